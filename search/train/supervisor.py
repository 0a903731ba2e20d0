"""The service's own workers: processes here that serve whatever study is open, and are replaced when they die.

They log where the service does. One that cannot live, for want of a device or of the database, is tried again at
growing intervals.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from search.train.engine import WorkerProcess, start
from search.train.processes import worker_name
from storage.backoff import doubling

CHECK_SECONDS = 0.25  # between two looks at the processes
RESTART_SECONDS = 1.0, 60.0  # before another is started: the first pause and, if they go on to die young, the longest
GROWN_SECONDS = 30.0  # after which one that dies is not to blame
log = logging.getLogger("fewest")


@dataclass
class _Post:
    """A device, and the worker that is there, or the time at which the next one comes."""

    device: str
    worker: WorkerProcess | None = None
    since: float = 0.0
    due: float = 0.0
    pauses: Iterator[float] = field(default_factory=lambda: doubling(*RESTART_SECONDS))


class WorkerSupervisor:
    """A worker for each of some devices, until they are told to leave."""

    def __init__(self, url: str, devices: Sequence[str], *options: str) -> None:
        """`options` are those of the `worker` command, besides the device."""
        self._url, self._options = url, options
        self._posts = [_Post(device) for device in devices]
        self._asked_to_leave = 0
        self._watch = threading.Thread(target=self._fill, name="supervisor", daemon=True)
        self._watch.start()

    def leave(self, _: int = signal.SIGTERM) -> None:
        """Ask every worker to finish what it trains and leave; the second time to leave at once; the third, kill it."""
        self._asked_to_leave += 1

    def wait(self) -> None:
        """See that all leave."""
        self._asked_to_leave = max(self._asked_to_leave, 1)
        self._watch.join()
        while living := [post.worker for post in self._posts if post.worker and post.worker.alive]:
            for worker in living:
                worker.request_stop(self._asked_to_leave)
            time.sleep(CHECK_SECONDS)
        for post in self._posts:
            if post.worker:
                _log(logging.INFO, post.worker, f"has left: exit status {post.worker.status}")

    def _fill(self) -> None:
        while not self._asked_to_leave:
            for post in self._posts:
                self._look_at(post)
            time.sleep(CHECK_SECONDS)

    def _look_at(self, post: _Post) -> None:
        now = time.monotonic()
        if post.worker is None:
            if now >= post.due:
                post.worker, post.since = start(self._url, post.device, *self._options, captured=False), now
                _log(logging.INFO, post.worker, "has started")
        elif not post.worker.alive:
            if now - post.since > GROWN_SECONDS:
                post.pauses = doubling(*RESTART_SECONDS)
            post.due = now + next(post.pauses)
            _log(logging.WARNING, post.worker, f"has ended: exit status {post.worker.status}")
            post.worker = None


def _log(level: int, worker: WorkerProcess, said: str) -> None:
    name = worker_name(worker.process.pid)
    log.log(level, "worker %s on %s %s", name, worker.device, said, extra={"worker": name})
