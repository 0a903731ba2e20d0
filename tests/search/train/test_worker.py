"""A worker keeps its slots full, whatever the sampler and the store do, and loses nothing when it is killed."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from objectives.configuration import Configuration
from objectives.convergence import Outcome, Progress, Trial
from search.query import runs as query
from search.spec import parsing as options
from search.spec import stored_study
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec
from search.train import worker
from search.train.worker import Meter, Usage, Worker
from storage import leases, ledger, schema
from storage.leases import Load
from storage.ledger import Run
from storage.schema import RunState, runs
from storage.store import Store
from tests.storage.test_ledger import new
from tests.support import swarm

#: Every trial of one shape, so that the array fills up.
ONE_SHAPE = options.dimensions(["hidden_layers=1", "width=64"], [], [])


def made(store: Store, trials: int, **fields: Any) -> StoredStudy:
    """A study over 8 classes whose trials share a shape."""
    few = {"classes": options.class_counts("8"), "space": ONE_SHAPE, "inputs": 16, "max_epochs": 30}
    spec = StudySpec.of(**few | fields)
    return store.write(stored_study.create, "s", spec, trials)


def outcomes(store: Store) -> list[Any]:
    """Every run's parameters, attempts, epochs and loss, in the order in which runs were created."""
    columns = runs.c.name, runs.c.params, runs.c.state, runs.c.attempt, runs.c.epochs, runs.c.loss
    return store.read(lambda connection: [tuple(row) for row in connection.execute(sa.select(*columns))])


def test_killing_a_full_array_loses_and_doubles_nothing(url: str) -> None:
    """SIGKILL to a worker that trains many trials at once: each is tried again, and N is exact."""
    long = {"max_epochs": 100_000, "target": 1.0, "hold": 1000, "sampler": "random"}
    record = swarm.made(url, 12, space=ONE_SHAPE, **long)
    store = Store.open(url)
    worker = swarm.start(swarm.work_unstopped, url)
    until = time.monotonic() + 60
    while store.read(query.status, record).running < 10:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    lost = store.read(query.status, record)
    shorter = record.spec.model_copy(update={"max_epochs": 4})
    change = sa.update(schema.studies).values(spec=shorter.model_dump_json())
    store.write(lambda connection: connection.execute(change))
    store.close()
    swarm.leave([swarm.start(swarm.work, url) for _ in range(2)])
    ends = swarm.checked(url, record, 12)
    # and the one reference: nothing may converge here
    assert lost.done == 0 and ends["done"] == 12 + 1 and ends["expired"] >= 10 and ends["failed"] == 0


@pytest.mark.parametrize("ahead", [False, True])
def test_a_worker_does_exactly_its_study(sqlite: Store, ahead: bool) -> None:
    """Asking in between or from a thread, ahead of need: every trial and replicate is done once."""
    record = made(sqlite, 40)
    Worker(sqlite, record, "cpu", ahead=ahead).work()
    found = outcomes(sqlite)
    assert {state for _, _, state, *_ in found} == {RunState.DONE} and {attempt for *_, attempt, _, _ in found} == {1}
    assert sqlite.read(query.status, record).done == 40


def test_a_single_workers_study_is_a_function_of_its_seed(
    empty_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same trials, epochs and losses, with as many in flight as the array holds, however often it looks."""
    found = []
    for name, pause in (("one.db", 0.0), ("two.db", 1e9)):
        monkeypatch.setattr(worker, "POLL_SECONDS", pause)
        shutil.copy(empty_sqlite, tmp_path / name)
        store = Store.open(f"sqlite:///{tmp_path / name}")
        Worker(store, made(store, 60, seed=3), "cpu").work()
        found.append(outcomes(store))
        store.close()
    assert found[0] == found[1]


def test_a_first_cohort_is_stopped_at_its_rungs(sqlite: Store) -> None:
    """Trials that fill the array together do not all run to the end before one has an outcome."""
    record = made(sqlite, 100, sigma=0.5, sampler="random", max_epochs=2000)
    Worker(sqlite, record, "cpu").work()
    epochs = sorted(epochs for *_, epochs, _ in outcomes(sqlite)[:16])
    assert epochs[0] == 1 and epochs[len(epochs) // 2] <= 36


def test_a_slow_sampler_does_not_idle_the_device(sqlite: Store) -> None:
    """While a sampler takes its time in the thread, the trials that are there train on."""
    worker = Worker(sqlite, made(sqlite, 5, target=1.0, hold=1000, max_epochs=3000), "cpu", ahead=True)
    asking, during = [False], [0]
    ask, advance = worker._study.ask, worker._trainer.advance

    def slow_ask(held: Collection[int] = ()) -> Run | None:
        asking[0] = True
        time.sleep(0.15)
        try:
            return ask(held)
        finally:
            asking[0] = False

    def watched(epochs: int) -> list[tuple[Trial, Outcome]]:
        during[0] += asking[0]
        return advance(epochs)

    worker._study.ask, worker._trainer.advance = slow_ask, watched  # type: ignore[method-assign]
    worker._study.judge = lambda run, progress: None  # type: ignore[method-assign]
    worker.work()
    assert sqlite.read(query.status, sqlite.read(stored_study.find, "s")).done == 5 and during[0] > 20


def test_status_says_how_busy_the_slots_are(store: Store) -> None:
    """What living workers of the study last reported, summed; nothing once they have left."""
    record = made(store, 10)
    for load in (Load(16, 12.5, 3000.0), Load(4, 1.5, 500.0)):
        worker = store.write(leases.register, "w", "cpu", {})
        assert store.write(ledger.create, record.study_id, worker, (), new)
        store.write(leases.renew, worker, load)
    state = store.read(query.status, record)
    assert (state.slots, state.occupied, state.epochs_per_second) == (20, 14.0, 3500.0)
    for worker in (1, 2):
        store.write(leases.retire, worker)
    assert store.read(query.status, record).slots is None


def test_a_working_worker_reports_its_load(sqlite: Store) -> None:
    """The first renewal of the lease carries occupied slots and trial-epochs per second."""
    record = made(sqlite, 16, target=1.0, hold=1000, max_epochs=20_000, sampler="random")
    reports: list[Load] = []
    worker = Worker(sqlite, record, "cpu")
    take = worker._meter.take

    def heard() -> Usage:
        usage = take()
        reports.append(usage.load())
        return usage

    worker._meter.take = heard  # type: ignore[method-assign]
    worker._study.judge = lambda run, progress: None  # type: ignore[method-assign]
    worker._study._stopping.trials = 1  # no horizon
    began = time.monotonic()
    advance = worker._trainer.advance

    def until_heard(epochs: int) -> list[tuple[Trial, Outcome]]:
        if reports or time.monotonic() - began > 30:
            for progress in worker._trainer.running:
                progress.lower_cap(0)
        return advance(epochs)

    worker._trainer.advance = until_heard  # type: ignore[method-assign]
    worker.work()
    assert reports[0].slots == 16 and 8 < reports[0].occupied <= 16 and reports[0].rate > 100


def test_what_two_threads_meter_is_counted_once() -> None:
    """Nothing is lost or counted twice while one thread trains and another takes what is counted."""
    meter, over, taken, interval = Meter(), threading.Event(), list[Usage](), sys.getswitchinterval()
    configuration = Configuration(classes=8, width=4, activation="tanh", optimizer="sgd", lr=0.1)
    progress = Progress(Trial(0, configuration, seed=0, data_seed=0, cap=100_000), target=1.0, hold=1)
    progress.observe(0.0, 1.0)

    def take() -> None:
        while not over.is_set():
            taken.append(replace(meter.take()))  # as it is now

    taker = threading.Thread(target=take)
    sys.setswitchinterval(1e-6)
    try:
        taker.start()
        for _ in range(20_000):
            with meter.training([progress], room=3):
                progress.observe(0.0, 1.0)
    finally:
        sys.setswitchinterval(interval)
        over.set()
        taker.join()
    taken.append(meter.take())
    assert sum(usage.epochs for usage in taken) == progress.epoch == 20_000 and len(taken) > 10
    counted = {(usage.slots, usage.seconds > 0, usage.epochs > 0) for usage in taken}
    assert counted <= {(0, False, False), (4, True, True)}
