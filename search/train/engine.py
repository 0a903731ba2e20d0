"""Engines: the workers of one study are started, watched and replaced until it is over.

The local engine has one per device of this machine. Workers are plain processes of the `worker` command; the storage
URL reaches them in the environment, where `ps` does not show it. They get no terminal signals of their own: one Ctrl-C
drains them, a second makes them leave.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from subprocess import DEVNULL, Popen
from typing import IO, Protocol

from search.errors import Failure
from search.query import runs
from search.query.records import Status
from search.train.processes import GRACE_SECONDS, expire_dead_workers, handling, signals_blocked
from storage.database import StorageError
from storage.store import Store
from storage.studies import StudyRecord

STATUS_SECONDS = 0.25  # between two looks at the study
DISMISS_SECONDS = 10.0  # for workers to leave before they are killed
LEAVING = "finishing what runs; Ctrl-C again to leave at once"
LEFT = 0, 130, 143  # exit statuses of workers that were told to leave, or had no more to do
RESTARTS = 5  # of workers that died without a single outcome in between, before the study is given up
_STDERR = 2
_ASKED = signal.SIGINT, signal.SIGTERM, signal.SIGKILL  # two pending signals of one number would arrive as one


class Worker(Protocol):
    """A worker as its engine sees it."""

    @property
    def status(self) -> int | None:
        """Its exit status, or None while it serves."""

    @property
    def last_words(self) -> str:
        """The last line that it wrote, or how it ended."""

    def request_stop(self, asked: int) -> None:
        """Tell it how often it is asked to leave: once to drain, twice to leave at once, three times to die."""

    def another(self) -> "Worker":
        """A new worker in its place."""


@dataclass
class WorkerProcess:
    """A process of the `worker` command, and its output."""

    process: Popen[bytes]
    #: What `start` was given: the storage URL, the device and the options.
    arguments: Sequence[str]
    #: None if it writes on our stderr.
    output: IO[bytes] | None
    #: How often it has been asked to leave.
    asked: int = 0

    @property
    def status(self) -> int | None:
        return self.process.poll()

    @property
    def last_words(self) -> str:
        lines = []
        if self.output:
            self.output.seek(0)
            lines = self.output.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else f"exit status {self.process.returncode}"

    def request_stop(self, asked: int) -> None:
        for number in _ASKED[self.asked : asked]:
            self.process.send_signal(number)
        self.asked = max(self.asked, asked)

    def another(self) -> "WorkerProcess":
        return start(*self.arguments)


def start(url: str, device: str, *options: str, captured: bool = True) -> WorkerProcess:
    """A worker of this process: it leaves when this one is gone. `options` are the command's, besides the device.

    `captured`: its output is kept for `last_words`, and not put on our stderr.
    """
    # -P: a file in the user's directory must not stand in for a module of ours or of Python's
    command = [sys.executable, "-P", "-m", "search.cli.main", "worker", "--device", device, *options]
    environment = os.environ | {"FEWEST_STORAGE": url, "FEWEST_PARENT": str(os.getpid()), "OMP_NUM_THREADS": "1"}
    output = tempfile.TemporaryFile() if captured else None  # noqa: SIM115, read when the worker has died
    where = output or _STDERR  # its stdout, too: ours is for answers
    with signals_blocked():
        process = Popen(command, env=environment, stdin=DEVNULL, stdout=where, stderr=where, start_new_session=True)
    return WorkerProcess(process, (url, device, *options), output)


class Engine:
    """The workers of one study."""

    def __init__(self, store: Store, study: StudyRecord, workers: Sequence[Worker]) -> None:
        self._store, self._study, self._workers = store, study, list(workers)
        self._restarts = self._outcomes = self._asked_to_leave = 0

    def _look_after(self) -> str:
        """Look after the workers; the text says what a person should know of them."""
        return ""

    def run(self, show: Callable[[Status, str], None]) -> bool:
        """Watch until every worker has left; False if they were told to leave. Failure if they keep dying."""
        with handling(self._leave, GRACE_SECONDS):
            try:
                while self._workers:
                    state, message = self._store.read(runs.status, self._study), self._look_after()
                    show(state, LEAVING if self._asked_to_leave else message)
                    if state.outcomes > self._outcomes:
                        self._restarts, self._outcomes = 0, state.outcomes
                    for worker in [worker for worker in self._workers if worker.status is not None]:
                        self._replace(worker)
                    time.sleep(STATUS_SECONDS)
            except BaseException as error:
                self._dismiss()
                if isinstance(error, StorageError) and self._asked_to_leave > 1:  # nobody waits for it any longer
                    raise KeyboardInterrupt from None
                raise
        return not self._asked_to_leave

    def _replace(self, worker: Worker) -> None:
        """Start another worker for one that has died; one that has left because of an error ends the study."""
        self._workers.remove(worker)
        left = worker.status
        if left in LEFT:
            return
        expire_dead_workers(self._store)
        if self._asked_to_leave:
            return
        self._restarts += 1
        if left in (1, 2):
            raise Failure(worker.last_words)
        if self._restarts > RESTARTS:
            raise Failure(f"workers keep dying: {worker.last_words}")
        self._workers.append(worker.another())

    def _dismiss(self) -> None:
        """Make every worker leave at once, releasing what it runs if it still can."""
        until = time.monotonic() + DISMISS_SECONDS
        self._tell(2)
        while any(worker.status is None for worker in self._workers) and time.monotonic() < until:
            time.sleep(STATUS_SECONDS / 10)
        self._tell(3)

    def _tell(self, asked: int) -> None:
        for worker in self._workers:
            worker.request_stop(asked)

    def _leave(self, _: int) -> None:
        """Drain the workers at the first signal, make them leave at the second, kill them at the third."""
        self._asked_to_leave += 1
        if self._asked_to_leave > 1:
            self._store.patience = 0.0


class LocalEngine(Engine):
    """Worker processes of this machine."""

    def __init__(self, store: Store, study: StudyRecord, url: str, devices: Sequence[str], *options: str) -> None:
        """`options` are those of the `worker` command, besides the study and the device."""
        expire_dead_workers(store)
        super().__init__(store, study, [start(url, device, "--study", study.name, *options) for device in devices])

    def _leave(self, number: int) -> None:
        super()._leave(number)
        self._tell(self._asked_to_leave)  # at once, even while the database is away
