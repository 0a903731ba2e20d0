"""The service's own workers: processes here that serve whatever study is open, and are replaced when they die.

They log where the service does. One that cannot live, for want of a device or of the database, is tried again at
growing intervals.
"""

import logging
import signal
import threading
import time
from collections.abc import Sequence

from search.train.engine import WorkerProcess, start
from search.train.processes import worker_name
from storage.backoff import doubling

CHECK_SECONDS = 0.25  # between two looks at a process
RESTART_SECONDS = 1.0, 60.0  # before another is started: the first pause and, if they go on to die young, the longest
GROWN_SECONDS = 30.0  # after which one that dies is not to blame
log = logging.getLogger("fewest")


class WorkerSupervisor:
    """A worker for each of some devices, until they are told to leave."""

    def __init__(self, url: str, devices: Sequence[str], *options: str) -> None:
        """`options` are those of the `worker` command, besides the device."""
        self._url, self._options, self._asked_to_leave = url, options, 0
        self._threads = [threading.Thread(target=self._keep, args=(device,), daemon=True) for device in devices]
        for thread in self._threads:
            thread.start()

    def leave(self, _: int = signal.SIGTERM) -> None:
        """Ask every worker to finish what it trains and leave; the second time to leave at once; the third, kill it."""
        self._asked_to_leave += 1

    def wait(self) -> None:
        """See that all leave."""
        self._asked_to_leave = max(self._asked_to_leave, 1)
        for thread in self._threads:
            thread.join()

    def _keep(self, device: str) -> None:
        """Start one worker after another on a device."""
        pauses = doubling(*RESTART_SECONDS)
        while not self._asked_to_leave:
            began, worker = time.monotonic(), start(self._url, device, *self._options, captured=False)
            _log(logging.INFO, worker, device, "has started")
            while worker.status is None:
                time.sleep(CHECK_SECONDS)
                worker.request_stop(self._asked_to_leave)
            if self._asked_to_leave:
                return _log(logging.INFO, worker, device, f"has left: exit status {worker.status}")
            _log(logging.WARNING, worker, device, f"has ended: exit status {worker.status}")
            if time.monotonic() - began > GROWN_SECONDS:
                pauses = doubling(*RESTART_SECONDS)
            due = time.monotonic() + next(pauses)
            while not self._asked_to_leave and time.monotonic() < due:
                time.sleep(CHECK_SECONDS)


def _log(level: int, worker: WorkerProcess, device: str, event: str) -> None:
    name = worker_name(worker.process.pid)
    log.log(level, "worker %s on %s %s", name, device, event, extra={"worker": name})
