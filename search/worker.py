"""A worker: one process on one device that asks, trains and tells until the study has no more to do.

One signal drains it: it takes no new trial and finishes what it runs. A second one makes it leave at once; what
it ran is released for others. Killed outright, it loses its lease and the same trials are tried again: within seconds
where a worker of the same machine sees it, else when the lease expires. While the database is away it waits.
"""

import os
import platform
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from objectives.batches import Batches
from objectives.trainer import Trainer
from objectives.trial_array import TrialArray
from objectives.waves import Waves
from search.processes import bury_the_dead, handling, this_process
from search.stopping import burst
from search.study import Study
from storage import leases, ledger
from storage.engine import StorageError
from storage.leases import LEASE_SECONDS
from storage.ledger import Run
from storage.store import BRIEF_SECONDS, Store
from storage.studies import StudyRecord

POLL_SECONDS = 0.2  # between two questions whether there is something to do again
RENEW_SECONDS = 1.0  # between two tries to renew the lease while the database is away
DEVICE_FAILED = 75  # exit status: the device's fault, so another process may do better (EX_TEMPFAIL)


class Left(Exception):
    """The worker was told twice to leave; what it was running has been released."""


class Worker:
    """Serves one study on one device until the study is over or stopped, it is drained, or its parent is gone."""

    def __init__(self, store: Store, record: StudyRecord, device: str, parent: int | None = None) -> None:
        torch.set_num_threads(1)  # several threads in each of several workers make all of them slower
        self._store, self._parent = store, parent
        bury_the_dead(store)
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._worker_id = store.write(leases.register, name, device, software(), this_process())
        self._study = Study(store, record, self._worker_id)
        spec = self._study.spec
        batches = Batches(Waves(spec.inputs, spec.sigma), device)
        self._trainer: Trainer = TrialArray(batches, spec.target, spec.hold)
        self._held: dict[int, Run] = {}
        self._draining = False

    def work(self) -> None:
        """Ask, train and tell until nothing is left; Left after a second signal."""
        try:
            with handling(self._leave), self._lease():
                while self._step():
                    pass
        finally:
            self._store.patience = min(self._store.patience, BRIEF_SECONDS)
            with suppress(StorageError):  # then the lease ends by itself
                self._store.write(leases.retire, self._worker_id)

    def _step(self) -> bool:
        self._draining |= self._parent not in (None, os.getppid())
        while self._trainer.room and not self._draining:
            run = self._study.ask(self._held)
            if run is None:
                break
            self._held[run.run_id] = run
            self._trainer.admit(self._study.trial(run))
        if not self._held:
            if self._draining or self._study.stopping or self._study.over:
                return False
            time.sleep(POLL_SECONDS)
            return True
        self._train()
        self._study.look()
        for progress in self._trainer.running:
            self._study.judge(self._held[progress.trial.key], progress)
        return True

    def _train(self) -> None:
        try:
            ended = self._trainer.advance(burst(self._trainer.running))
        except RuntimeError as error:  # the device's fault, not the configuration's: try again elsewhere
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            for run in self._held.values():
                self._store.write(ledger.fault, run, reason)
            raise
        for trial, outcome in ended:
            self._study.tell(self._held.pop(trial.key), trial, outcome)

    @contextmanager
    def _lease(self) -> Iterator[None]:
        """Renew the lease from a thread, since one epoch of a large network can outlast it."""
        over, store = threading.Event(), replace(self._store, patience=0.0)

        def renew() -> None:
            pause = LEASE_SECONDS / 3
            while not over.wait(pause):
                try:
                    store.write(leases.renew, self._worker_id)
                    bury_the_dead(store)
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

    def _leave(self) -> None:
        """Drain at the first signal; at the second, leave whatever is running."""
        if self._draining:
            self._store.patience = 0.0
            raise Left
        self._draining = True


def software() -> dict[str, Any]:
    """Versions of what decides a trial's numbers, and the commit when running from a checkout."""
    commit = (
        _git("rev-parse", "HEAD") if _git("ls-files", __file__) else None
    )  # else an installed copy in some checkout
    packages = {name: metadata.version(name) for name in ("fewest", "torch", "numpy", "optuna")}
    return {"python": platform.python_version(), **packages, "commit": commit}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
