"""The ledger on SQLite and Postgres: budgets are exact, finished runs stay finished, leases decide who may tell."""

import threading
from collections.abc import Callable
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution, distribution_to_json

from storage.engine import StorageMisuse, reading, writing
from storage.ledger import RETRIES, Ledger, NewRun, Run, StudyRecord, pack, unpack
from storage.schema import RunState, attempts, runs, workers

Load = Callable[[str], optuna.Study]
PARAMS = {"classes": 8, "lr": 0.5}
OPTUNA = {"lr": (0.5, distribution_to_json(FloatDistribution(0, 1)))}
CURVE = pack([0, 1, 2], [0.0, 0.5, 1.0], [3.0, 2.0, 1.0])
OUTCOME = {"end": "converged", "converged": True, "epochs": 1, "cap": 9, "gap": 0.0}


@pytest.fixture
def study(ledger: Ledger) -> StudyRecord:
    """A study with a budget of 5 trials."""
    return ledger.create_study("s", '{"a": 1}', 5, ["MINIMIZE"])


def create(ledger: Ledger, study: StudyRecord, worker: int) -> Run | None:
    """The next trial, if any."""
    return ledger.create(study.study_id, worker, PARAMS, 7, lambda number: 100 + number, OPTUNA)


def finish(ledger: Ledger, run: Run) -> bool:
    """Tell a converged outcome."""
    return ledger.finish(run, OUTCOME, [1.0], CURVE, {"epochs": 1})


def expire(ledger: Ledger, worker: int) -> None:
    """End a worker's lease as the clock would."""
    with writing(ledger.engine) as connection:
        connection.execute(sa.update(workers).where(workers.c.worker_id == worker).values(expires=0))


def rows(ledger: Ledger, table: sa.Table) -> list[Any]:
    """All rows of a table."""
    with reading(ledger.engine) as connection:
        return list(connection.execute(sa.select(table)))


def test_a_budget_of_n_creates_exactly_n_trials(ledger: Ledger, study: StudyRecord, url: str) -> None:
    """Eight threads with ledgers of their own create 5 trials together, numbered 0 to 4."""

    def ask() -> None:
        own = Ledger.open(url)
        worker = own.register("w", "cpu", {})
        while run := create(own, study, worker):
            made.append(run)
        own.engine.dispose()

    made: list[Run] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.name for run in made) == ["0", "1", "2", "3", "4"]
    assert sorted(run.seed for run in made) == [100, 101, 102, 103, 104]


def test_a_budget_may_be_raised_or_lowered_to_what_there_is(ledger: Ledger, study: StudyRecord) -> None:
    """Reopening with more trials creates the difference; with fewer, none, and what was created stays."""
    worker = ledger.register("w", "cpu", {})
    assert sum(create(ledger, study, worker) is not None for _ in range(9)) == 5
    ledger.reopen(study.study_id, 7, None)
    assert sum(create(ledger, study, worker) is not None for _ in range(9)) == 2
    ledger.reopen(study.study_id, 3, None)
    assert ledger.study("s").budget == 7 and create(ledger, study, worker) is None


def test_creating_a_study_again_leaves_it_as_it_is(ledger: Ledger, study: StudyRecord) -> None:
    """The stored spec and budget win, for the caller to compare."""
    assert ledger.create_study("s", '{"a": 2}', 9, ["MINIMIZE"]) == study


def test_a_study_deleted_through_optuna_can_be_made_anew(ledger: Ledger, study: StudyRecord, url: str) -> None:
    """Nothing of the old one is left, even where the database gives its number again."""
    run = create(ledger, study, ledger.register("w", "cpu", {}))
    assert run and finish(ledger, run)
    storage = optuna.storages.RDBStorage(url)
    optuna.delete_study(study_name="s", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    again = ledger.create_study("s", '{"a": 2}', 3, ["MINIMIZE"])
    assert (again.spec, again.budget) == ('{"a": 2}', 3) and not ledger.changes(again.study_id, 0)
    other = ledger.register("w", "cpu", {})
    first = create(ledger, again, other)
    assert first and first.trial == 0 and finish(ledger, first)


def test_an_unknown_study_is_named_with_those_there_are(ledger: Ledger, study: StudyRecord) -> None:
    """The error lists the studies of the store."""
    with pytest.raises(StorageMisuse, match=r"no study 'x' .* it has s"):
        ledger.study("x")


def test_a_told_trial_is_what_plain_optuna_reads(ledger: Ledger, study: StudyRecord, plain_optuna: Load) -> None:
    """State, number, parameters, values and times are Optuna's own."""
    run = create(ledger, study, ledger.register("w", "cpu", {}))
    assert run and finish(ledger, run)
    (trial,) = plain_optuna("s").trials
    assert (trial.number, trial.state.name, trial.params, trial.value) == (0, "COMPLETE", {"lr": 0.5}, 1.0)
    assert trial.user_attrs == {"epochs": 1} and trial.duration is not None


def test_an_outcome_is_told_once(ledger: Ledger, study: StudyRecord) -> None:
    """A second tell of the same attempt is refused and changes nothing."""
    run = create(ledger, study, ledger.register("w", "cpu", {}))
    assert run and finish(ledger, run)
    before = rows(ledger, runs)
    assert not finish(ledger, run)
    assert rows(ledger, runs) == before


def test_an_expired_lease_gives_the_same_trial_to_another_worker(ledger: Ledger, study: StudyRecord) -> None:
    """The second worker gets the first one's run; the first one's late tell is refused, the second one's counts."""
    slow, quick = ledger.register("slow", "cpu", {}), ledger.register("quick", "cpu", {})
    run = create(ledger, study, slow)
    assert run and ledger.take(study.study_id, quick) is None
    expire(ledger, slow)
    again = ledger.take(study.study_id, quick)
    assert again and (again.run_id, again.params, again.seed, again.attempt) == (run.run_id, run.params, run.seed, 2)
    assert not finish(ledger, run)
    assert finish(ledger, again)
    assert [(a.attempt, a.end) for a in rows(ledger, attempts)] == [(1, "expired"), (2, "done")]


def test_a_renewed_lease_keeps_its_runs(ledger: Ledger, study: StudyRecord) -> None:
    """One renewal serves all that the worker holds."""
    worker = ledger.register("w", "cpu", {})
    held = [create(ledger, study, worker) for _ in range(3)]
    expire(ledger, worker)
    ledger.renew(worker)
    assert ledger.take(study.study_id, ledger.register("other", "cpu", {})) is None
    assert all(run and finish(ledger, run) for run in held)


def test_a_retired_worker_releases_its_runs_without_blame(ledger: Ledger, study: StudyRecord) -> None:
    """Released runs wait at once, and count no fault however often."""
    for _ in range(RETRIES + 3):
        worker = ledger.register("w", "cpu", {})
        run = ledger.take(study.study_id, worker) or create(ledger, study, worker)
        assert run and run.name == "0"
        ledger.retire(worker)
    assert [(run.state, run.faults) for run in rows(ledger, runs)] == [(RunState.WAITING, 0)]


def test_a_run_that_keeps_failing_is_given_up_with_the_reason(
    ledger: Ledger, study: StudyRecord, plain_optuna: Load
) -> None:
    """After the retries the trial is FAIL for Optuna and failed, with its reason, for us."""
    worker = ledger.register("w", "cpu", {})
    run = create(ledger, study, worker)
    for _ in range(RETRIES):
        assert run
        ledger.fault(run, "cable cut")
        run = ledger.take(study.study_id, worker)
    assert run and run.attempt == RETRIES + 1
    ledger.fault(run, "cable cut")
    assert ledger.take(study.study_id, worker) is None and not finish(ledger, run)
    assert [(r.state, r.reason, r.told) for r in rows(ledger, runs)] == [(RunState.FAILED, "cable cut", 1)]
    assert plain_optuna("s").trials[0].state.name == "FAIL"


def test_no_trial_is_created_after_a_stop_or_the_deadline(ledger: Ledger, study: StudyRecord) -> None:
    """A stop closes the study for every run, a passed deadline for new trials; reopening it undoes both."""
    worker = ledger.register("w", "cpu", {})
    ledger.add(study.study_id, [NewRun("0#1", 0, 1, PARAMS, 1, 1, 12)])
    ledger.stop(study.study_id)
    assert ledger.stopping(study.study_id) and create(ledger, study, worker) is None
    assert ledger.take(study.study_id, worker) is None
    ledger.reopen(study.study_id, 5, -1.0)
    assert not ledger.stopping(study.study_id) and create(ledger, study, worker) is None
    assert ledger.take(study.study_id, worker)
    ledger.reopen(study.study_id, 5, 60.0)
    assert ledger.asking(study.study_id) and create(ledger, study, worker)


def test_changes_come_once_in_the_order_of_telling(ledger: Ledger, study: StudyRecord) -> None:
    """A reader that remembers the last place it saw misses nothing and gets nothing twice."""
    worker = ledger.register("w", "cpu", {})
    first, second = create(ledger, study, worker), create(ledger, study, worker)
    assert first and second and finish(ledger, second)
    seen = ledger.changes(study.study_id, 0)
    assert [row.name for row in seen] == ["1"]
    assert finish(ledger, first)
    assert [row.name for row in ledger.changes(study.study_id, seen[-1].told)] == ["0"]
    assert ledger.unfinished(study.study_id) == 0


def test_added_runs_are_added_once(ledger: Ledger, study: StudyRecord) -> None:
    """Replicates that are named again stay one run each, and Optuna sees none of them."""
    new = [NewRun(f"0#{k}", 0, k, PARAMS, k, k, 12) for k in (1, 2)]
    threads = [threading.Thread(target=ledger.add, args=(study.study_id, new)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker = ledger.register("w", "cpu", {})
    taken = [ledger.take(study.study_id, worker) for _ in range(3)]
    assert [run and (run.name, run.cap) for run in taken] == [("0#1", 12), ("0#2", 12), None]
    assert taken[0] and finish(ledger, taken[0])


def test_curves_come_back_as_they_were() -> None:
    """A packed curve unpacks to the same numbers in float32."""
    assert unpack(CURVE) == ([0, 1, 2], [0.0, 0.5, 1.0], [3.0, 2.0, 1.0])
    assert unpack(pack([], [], [])) == ([], [], [])
