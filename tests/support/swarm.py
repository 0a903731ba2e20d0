"""Many worker processes on one store, killed or not: real processes of the real worker, forked to start quickly."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
import sqlalchemy as sa

from objectives.convergence import Outcome, Progress, Trial
from search.ask.stopping import Stopping
from search.ask.study import Study
from search.spec import parsing as options
from search.spec import stored_study
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec
from storage import database as engine
from storage import leases
from storage.schema import RunState, attempts, curves, runs
from storage.store import OUTAGE_SECONDS, Store
from tests.bench import landscapes

IMPATIENT_SECONDS = 4  # TCP counts whole seconds, and tries a silent connection after a quarter
LEAVE_SECONDS = 240.0  # for all workers to find that a study is over

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["search.train.worker", "tests.support.swarm"])


def made(url: str, trials: int, **fields: Any) -> StoredStudy:
    """A study over 8 classes in a store, which is made if need be."""
    spec = StudySpec.of(**{"classes": options.class_counts("8"), "inputs": 16, "max_epochs": 30} | fields)
    store = Store.open(url, create=True)
    record = store.write(stored_study.create, "swarm", spec, trials)
    store.close()
    return record


def start(target: Any, *arguments: Any) -> BaseProcess:
    """A new process that runs a function of this module."""
    process = _processes.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def work(url: str, ahead: bool | None = None) -> None:
    """The worker of `fewest worker`, to the end of the study; with `ahead` it asks and tells from a thread."""
    from search.train.worker import Worker

    store = Store.open(url, patience=OUTAGE_SECONDS, wait=OUTAGE_SECONDS)
    Worker(store, store.read(stored_study.find, "swarm"), "cpu", ahead=ahead).work()
    store.close()


def work_unstopped(url: str, ahead: bool | None = None) -> None:
    """The same with no trial stopped early, so that many are caught running."""
    Study.judge = lambda self, run, progress: None  # type: ignore[method-assign]
    Stopping.cap = lambda self, classes: self.max_epochs  # type: ignore[method-assign]
    work(url, ahead)


class Simulated:
    """A trainer whose trials sleep for so many seconds, in EPOCHS naps, and come out as a landscape's formula says."""

    EPOCHS = 20

    def __init__(self, seconds: float) -> None:
        self._seconds, self.running = seconds, list[Progress]()
        self._ends = self._naps = 0.0

    @property
    def room(self) -> int:
        return 1 - len(self.running)

    def admit(self, trial: Trial) -> None:
        self.running.append(Progress(trial, 0.99, 1))
        self._ends = time.monotonic() + self._seconds

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        time.sleep(max(0.0, min(self._seconds / self.EPOCHS, self._ends - time.monotonic())))
        if time.monotonic() < self._ends:
            return []
        trial = self.running.pop().trial
        converged, needed, gap = landscapes.outcome(landscapes.log_epochs("smooth", trial.configuration.params, 0.0))
        return [(trial, landscapes.made(converged, needed, gap, self._seconds))]

    def release(self) -> list[Trial]:
        return [progress.trial for progress in self.running]


def simulate(url: str, seconds: float) -> None:
    """A worker whose trials take so many seconds, and as good as no CPU: as one on a GPU, so it asks ahead as those."""
    from search.train import worker

    worker.trainer = lambda *_: Simulated(seconds)  # type: ignore[assignment]
    work_unstopped(url, ahead=True)


def simulate_impatiently(url: str, seconds: float) -> None:
    """The same with a lease, and a patience with a silent connection, of IMPATIENT_SECONDS."""
    from search.train import worker

    leases.LEASE_SECONDS = worker.LEASE_SECONDS = engine.SILENCE_TIMEOUT_SECONDS = IMPATIENT_SECONDS
    worker.FIRST_SECONDS = IMPATIENT_SECONDS / 3
    simulate(url, seconds)


def work_instantly(url: str) -> None:
    """A worker whose trials take no time: it asks and tells until the budget is used up."""
    store = Store.open(url, patience=OUTAGE_SECONDS, wait=OUTAGE_SECONDS)
    record = store.read(stored_study.find, "swarm")
    study = Study(store, record, store.write(leases.register, str(os.getpid()), "cpu", {}))
    while True:
        study.look()
        run = study._propose(()) if study._delta.asks else None
        if run is None:
            break
        trial = study.trial(run)
        progress = Progress(trial, 0.99, 1)
        progress.observe(1.0, 0.1)
        assert study.tell(run, trial, progress.outcome(0.0))
    store.close()


def kill(url: str, kills: int, count: int, seed: int, pause: tuple[float, float] = (0.2, 1.0)) -> int:
    """Run `count` workers to the study's end; kill a random one every `pause` seconds and start another, `kills` times.

    How many were killed: fewer if the study was over before.
    """
    dice = random.Random(seed)
    swarm = [start(work, url) for _ in range(count)]
    killed = 0
    while killed < kills:
        time.sleep(dice.uniform(*pause))
        running = [process for process in swarm if process.is_alive()]
        if not running:
            break
        victim = dice.choice(running)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        if victim.exitcode == -signal.SIGKILL:  # it may have left by itself just before
            killed += 1
            swarm.append(start(work, url))
    leave(swarm)
    assert all(process.exitcode in (0, -signal.SIGKILL) for process in swarm), [p.exitcode for p in swarm]
    return killed


def leave(swarm: list[BaseProcess]) -> None:
    """Wait until every process has ended."""
    until = time.monotonic() + LEAVE_SECONDS
    for process in swarm:
        process.join(max(0.0, until - time.monotonic()))
    assert not any(process.is_alive() for process in swarm), "workers that do not leave"


def checked(url: str, record: StoredStudy, trials: int) -> Counter[str]:
    """How many attempts ended in which way. Asserts that the books of a study that is over are in order."""
    store = Store.open(url)
    found = store.read(lambda connection: connection.execute(sa.select(runs).order_by(runs.c.run_id)).all())
    lost = store.read(lambda connection: connection.execute(sa.select(attempts)).all())
    told = store.read(lambda connection: connection.scalars(sa.select(curves.c.run_id)).all())
    store.close()
    own = [run for run in found if run.trial_id is not None]
    assert sorted(run.trial for run in own) == list(range(trials))
    assert {run.state for run in found} <= {RunState.DONE, RunState.FAILED}
    assert sorted(run.outcome_seq for run in found) == list(range(1, len(found) + 1))
    assert sorted(told) == [run.run_id for run in found if run.state == RunState.DONE]
    for run in found:
        ends = [attempt.end for attempt in lost if attempt.run_id == run.run_id]
        assert run.attempt == len(ends) + (run.state == RunState.DONE)
        assert run.faults == sum(end != "released" for end in ends)
    storage = optuna.storages.RDBStorage(url)
    states = [trial.state.name for trial in optuna.load_study(study_name="swarm", storage=storage).trials]
    storage.remove_session()
    storage.engine.dispose()
    assert len(states) == trials and set(states) <= {"COMPLETE", "FAIL"}
    assert states.count("FAIL") == sum(run.state == RunState.FAILED for run in own)
    ends = Counter(attempt.end for attempt in lost)
    return ends + Counter(done=len(told), failed=sum(run.state == RunState.FAILED for run in found))
