"""The local engine: one worker process per device on this machine, watched until the study is over.

Workers are plain processes of the `worker` command; the storage URL reaches them in the environment, where `ps` does
not show it. They get no terminal signals of their own: one Ctrl-C drains them, a second makes them leave.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from search import query
from search.processes import GRACE_SECONDS, bury_the_dead, handling
from storage.engine import StorageError
from storage.store import Store
from storage.studies import StudyRecord

LOOK_SECONDS = 0.25  # between two looks at the study
DISMISS_SECONDS = 10.0  # for a worker to leave before it is killed
LEFT = 0, 130, 143  # exit statuses of workers that were told to leave, or had no more to do
RESTARTS = 5  # of workers that died without a single outcome in between, before the study is given up


class EngineError(Exception):
    """The workers cannot do their work: the last thing that one of them said."""


@dataclass
class WorkerProcess:
    """A process of the `worker` command, and what it said."""

    device: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def last_words(self) -> str:
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else f"exit status {self.process.returncode}"


def start(url: str, device: str, *options: str) -> WorkerProcess:
    """A worker of this process: it leaves when this one is gone. `options` are the command's, besides the device."""
    # -P: a file in the user's directory must not stand in for a module of ours or of Python's
    command = [sys.executable, "-P", "-m", "search.cli", "worker", "--device", device, *options]
    environment = os.environ | {"FEWEST_STORAGE": url, "FEWEST_PARENT": str(os.getpid()), "OMP_NUM_THREADS": "1"}
    said = tempfile.TemporaryFile()  # noqa: SIM115, read when the worker has died
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
    )
    return WorkerProcess(device, process, said)


class LocalEngine:
    """Worker processes for one study."""

    def __init__(
        self,
        store: Store,
        study: StudyRecord,
        url: str,
        devices: Sequence[str],
        *options: str,
    ) -> None:
        """`options` are those of the `worker` command, besides the study and the device."""
        self._store, self._study, self._url, self._options = store, study, url, options
        bury_the_dead(store)
        self._workers = [self._start(device) for device in devices]
        self._restarts = self._outcomes = 0
        self._asked_to_leave = 0

    def run(self, show: Callable[[dict[str, Any], str], None]) -> bool:
        """Watch until every worker has left; False if they were told to leave. EngineError if they keep dying."""
        with handling(self._leave, GRACE_SECONDS):
            try:
                while self._workers:
                    state = self._store.read(query.status, self._study)
                    note = "finishing what runs; Ctrl-C again to leave at once" if self._asked_to_leave else ""
                    show(state, note)
                    outcomes = state["done"] + state["failed"] + state["replicates"] - state["climbing"]
                    self._restarts = 0 if outcomes > self._outcomes else self._restarts
                    self._outcomes = outcomes
                    for worker in [w for w in self._workers if not w.alive]:
                        self._replace(worker)
                    time.sleep(LOOK_SECONDS)
            except BaseException as error:
                self._dismiss()
                if isinstance(error, StorageError) and self._asked_to_leave > 1:  # nobody waits for it any longer
                    raise KeyboardInterrupt from None
                raise
        return not self._asked_to_leave

    def _start(self, device: str) -> WorkerProcess:
        return start(self._url, device, "--study", self._study.name, *self._options)

    def _replace(self, worker: WorkerProcess) -> None:
        """Start another worker for one that has died; one that has left because of an error ends the study."""
        self._workers.remove(worker)
        left = worker.process.returncode
        if left in LEFT:
            return
        bury_the_dead(self._store)
        if self._asked_to_leave:
            return
        self._restarts += 1
        if left in (1, 2):
            raise EngineError(worker.last_words)
        if self._restarts > RESTARTS:
            raise EngineError(f"workers keep dying: {worker.last_words}")
        self._workers.append(self._start(worker.device))

    def _dismiss(self) -> None:
        """Make every worker leave at once, releasing what it runs if it still can."""
        self._tell(signal.SIGINT)
        self._tell(signal.SIGTERM)  # another number: two pending signals of one number would arrive as one
        for worker in self._workers:
            try:
                worker.process.wait(DISMISS_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers:
            worker.process.send_signal(number)

    def _leave(self, _: int) -> None:
        """Drain the workers at the first signal, make them leave at the second, kill them at the third."""
        self._asked_to_leave += 1
        if self._asked_to_leave > 1:
            self._store.patience = 0.0
        self._tell(signal.SIGINT if self._asked_to_leave < 3 else signal.SIGKILL)
