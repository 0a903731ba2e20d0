"""A worker: one process on one device that keeps its trainer's slots full: it asks, trains and tells.

One signal drains it: it takes no new trial and finishes what it runs. A second one makes it leave at once; what
it ran is released for others. Killed outright, it loses its lease and the same trials are tried again: within seconds
where a worker of the same machine sees it, else when the lease expires. While the database is away it waits.
"""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from objectives.convergence import Outcome, Progress, Trial
from objectives.trainers.trainer import TrainerKind
from search.ask.purpose import Purpose
from search.ask.stopping import burst
from search.ask.study import Study
from search.spec.dataset import stored
from search.spec.stored_study import StoredStudy
from search.train.processes import GRACE_SECONDS, expire_dead_workers, handling, this_process, worker_name
from search.train.trainers import software, trainer
from storage import leases, ledger
from storage.database import StorageError
from storage.leases import LEASE_SECONDS, Load
from storage.ledger import Run
from storage.store import BRIEF_SECONDS, Store

IDLE_SECONDS = 0.2  # between two questions whether there is something to do again
POLL_SECONDS = 0.05  # at least, between two looks at what others have told
POLL_SHARE = 0.005  # at most, of a worker's time: where looks take long, many workers look at one database
FIRST_SECONDS = 2.0  # until the lease is renewed for the first time, so that `status` soon says how busy the slots are
RENEW_SECONDS = 1.0  # between two tries to renew the lease while the database is away
DEVICE_FAILED = 75  # exit status: the device's fault, so another process may do better (EX_TEMPFAIL)

log = logging.getLogger("fewest")


class WorkerAborted(BaseException):
    """The worker had to leave at once; what it was running has been released. No `except Exception` may hold it.

    `status`: what the process is to exit with, by the signal that came last.
    """

    def __init__(self, status: int) -> None:
        self.status = status


class Worker:
    """Serves one study on one device until the study is over or stopped, it is drained, or its parent is gone.

    On a GPU asking and telling are a thread's, one run ahead, so that a slow sampler or database leaves it busy. On a
    CPU they would only take turns with the training on one core, and at random: there they are done in between, so that
    a single worker's study is a function of its seed.
    """

    def __init__(
        self,
        store: Store,
        study: StoredStudy,
        device: str,
        parent: int | None = None,
        kind: TrainerKind = TrainerKind.AUTO,
        ahead: bool | None = None,  # ask and tell from a thread; by default on a GPU
        purpose: Purpose = Purpose.SEARCH,
        grace: float = GRACE_SECONDS,  # from SIGTERM until what still trains is released
        elsewhere: Callable[[], bool] = lambda: False,  # whether it should take no more here, and serve others
    ) -> None:
        self._store, self._parent, self._grace, self._elsewhere = store, parent, grace, elsewhere
        expire_dead_workers(store)
        name, self._of = worker_name(os.getpid()), study.name
        self._worker_id = store.write(leases.register, name, device, software(kind, device), this_process())
        self._study = Study(store, study, self._worker_id, purpose)
        spec = self._study.spec
        self._trainer = trainer(spec, stored(spec, store), device, kind)
        self._ahead = device != "cpu" if ahead is None else ahead
        self._clerk: Executor = ThreadPoolExecutor(1, "clerk") if self._ahead else _Inline()
        self._asked: Future[Run | None] | None = None
        self._telling: list[Future[None]] = []
        self._held: dict[int, Run] = {}
        self._meter = Meter()
        self._looked = self._asked_in_vain = -math.inf
        self._pause = POLL_SECONDS
        self._draining = self.told_to_leave = False
        #: It was the first to find that nothing is left to do in the study.
        self.concluded = False

    def work(self) -> None:
        """Ask, train and tell until nothing is left; WorkerAborted after a second signal."""
        try:
            with handling(self._leave, self._grace), self._lease():
                while self._step():
                    pass
        finally:
            self._store.patience = min(self._store.patience, BRIEF_SECONDS)
            self._clerk.shutdown(cancel_futures=True)
            with suppress(StorageError):  # then the lease ends by itself
                self._store.write(leases.retire, self._worker_id)

    def _step(self) -> bool:
        self.told_to_leave |= self._parent not in (None, os.getppid())
        self._draining |= self.told_to_leave or self._elsewhere()
        while self._trainer.room and not self._draining and (run := self._next()):
            self._trainer.admit(self._study.trial(run))
        if self._ahead and self._trainer.running and self._asked is None and not self._draining:
            self._asked = self._clerk.submit(self._ask)
        if not self._trainer.running:
            for telling in self._telling:
                telling.result()
            if self._draining or self._study.stopping:
                return False
            if self._study.over:
                self.concluded = self._study.conclude()
                return False
            time.sleep(IDLE_SECONDS)
            return True
        self._train()
        running = [(self._held[progress.trial.key], progress) for progress in self._trainer.running]
        for about in (self._study.note, self._study.judge):
            for run, progress in running:
                about(run, progress)
        return True

    def _next(self) -> Run | None:
        """A run to train; None if there is none now, or none yet and others train."""
        trains = bool(self._trainer.running)
        if trains and time.monotonic() - self._asked_in_vain < IDLE_SECONDS:
            return None
        self._asked = self._asked or self._clerk.submit(self._ask)
        if trains and not self._asked.done():
            return None
        run, self._asked = self._asked.result(), None
        if run is None:
            self._asked_in_vain = time.monotonic()
        return run

    def _ask(self) -> Run | None:
        run = self._study.ask(tuple(self._held))
        if run:
            self._held[run.run_id] = run
            self._log(logging.DEBUG, run, "begins")
        return run

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        run = self._held[trial.key]
        if self._study.tell(run, trial, outcome):
            end = "converged in" if outcome.converged else "missed, given"
            self._log(logging.INFO, run, f"{end} {outcome.epochs} epochs")
        else:
            self._log(logging.WARNING, run, "its lease was lost, so its outcome is not taken")
        del self._held[trial.key]

    def _train(self) -> None:
        running = self._trainer.running
        try:
            with self._meter.training(running, self._trainer.room):
                ended = self._trainer.advance(burst(running))
        except RuntimeError as error:  # the device's fault, not the configuration's: try again elsewhere
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            for progress in running:
                self._store.write(ledger.fault, self._held[progress.trial.key], reason)
                self._log(logging.ERROR, self._held[progress.trial.key], reason)
            raise
        self._telling = [telling for telling in self._telling if not telling.done() or telling.result()]
        self._telling += [self._clerk.submit(self._tell, *outcome) for outcome in ended]
        if ended:  # the next ask looks, at once: what the running trials are judged by is not to depend on the clock
            self._asked_in_vain = -math.inf
        elif time.monotonic() - self._looked > self._pause:
            self._telling.append(self._clerk.submit(self._look))
            self._looked = time.monotonic()

    def _look(self) -> None:
        began = time.monotonic()
        self._study.look()
        self._pause = max(POLL_SECONDS, (time.monotonic() - began) / POLL_SHARE)

    @contextmanager
    def _lease(self) -> Iterator[None]:
        """Renew the lease from a thread, since one epoch of a large network can outlast it."""
        over, store = threading.Event(), replace(self._store, patience=0.0)

        def renew() -> None:
            pause = FIRST_SECONDS
            while not over.wait(pause):
                try:
                    store.write(leases.renew, self._worker_id, self._meter.take().load())
                    expire_dead_workers(store)
                    pause = LEASE_SECONDS / 3
                except StorageError:  # the next ask or tell meets the same fault and reports it
                    pause = RENEW_SECONDS

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _leave(self, number: int) -> None:
        """Drain at the first signal; at the second, or when the grace is over, leave whatever is running."""
        if self.told_to_leave:
            self._store.patience = 0.0
            for run in self._held.values():
                self._log(logging.WARNING, run, "released")
            raise WorkerAborted(130 if number == signal.SIGINT else 143)
        log.info("finishing what runs")
        self.told_to_leave = True

    def _log(self, level: int, run: Run, event: str) -> None:
        about = {"trial": run.name, "attempt": run.attempt}
        log.log(level, "%s of study %r: %s", run.name, self._of, event, extra=about)


@dataclass
class Usage:
    """The use of a worker's slots since a moment."""

    #: By this process's monotonic clock.
    since: float = field(default_factory=time.monotonic)
    #: The most there were.
    slots: int = 0
    #: Summed over the slots.
    seconds: float = 0.0
    #: Trained by all slots.
    epochs: int = 0

    def load(self) -> Load:
        """Its rates up to now."""
        seconds = time.monotonic() - self.since
        return Load(self.slots, self.seconds / seconds, self.epochs / seconds)


class Meter:
    """How busy a worker's slots are: one thread trains, and another takes what has been counted."""

    def __init__(self) -> None:
        self._usage, self._lock = Usage(), threading.Lock()

    @contextmanager
    def training(self, running: Sequence[Progress], room: int) -> Iterator[None]:
        """Count what runs within, with room for so many others."""
        began, before = time.monotonic(), _epochs(running)
        yield
        seconds, epochs = (time.monotonic() - began) * len(running), _epochs(running) - before
        with self._lock:
            self._usage.slots = max(self._usage.slots, len(running) + room)
            self._usage.seconds += seconds
            self._usage.epochs += epochs

    def take(self) -> Usage:
        """The use since the last call."""
        with self._lock:
            taken, self._usage = self._usage, Usage()
        return taken


def _epochs(running: Sequence[Progress]) -> int:
    return sum(max(progress.epoch, 0) for progress in running)


class _Inline(Executor):
    """An executor that runs each function at once."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments, **options))
        return done
