"""The ledger on SQLite and Postgres: budgets are exact, finished runs stay finished, leases decide who may tell."""

import threading
from collections.abc import Callable, Collection
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution, distribution_to_json

from storage import leases, ledger, schema, studies
from storage.curves import pack, unpack
from storage.database import StorageMisuse
from storage.leases import Process
from storage.ledger import NewRun, NewTrial, Run, StudyDelta
from storage.schema import RunKind, RunState, attempts, runs, workers
from storage.store import Store
from storage.studies import RETRIES, StudyRecord

#: What a worker of a search takes.
SEARCH = frozenset(RunKind) - {RunKind.LADDER}
Load = Callable[[str], optuna.Study]
PARAMS = {"classes": 8, "lr": 0.5}
OPTUNA = {"lr": (0.5, distribution_to_json(FloatDistribution(0, 1)))}


def new(number: int) -> NewTrial:
    """The trial of a number."""
    return NewTrial(PARAMS, 100 + number, 7, OPTUNA)


def replicate(k: int) -> NewRun:
    """The k-th replicate of the first trial."""
    seeds = {"seed": k, "data_seed": k}
    return NewRun(kind=RunKind.REPLICATE, name=f"0#{k}", trial=0, replicate=k, params=PARAMS, cap=12, **seeds)


CURVE = pack([0, 1, 2], [0.0, 0.5, 1.0], [3.0, 2.0, 1.0])
OUTCOME = {"end": "converged", "converged": True, "epochs": 1, "cap": 9, "gap": 0.0}


@pytest.fixture
def study(store: Store) -> StudyRecord:
    """A study with a budget of 5 trials."""
    return store.write(studies.create, "s", '{"a": 1}', 5, ["MINIMIZE"])


def create(store: Store, study: StudyRecord, worker: int) -> Run | None:
    """The next trial, if any."""
    held = [run.run_id for run in rows(store, runs) if run.worker_id == worker and run.state == RunState.RUNNING]
    return store.write(ledger.create, study.study_id, worker, held, new)


def finish(store: Store, run: Run) -> bool:
    """Tell a converged outcome."""
    return store.write(ledger.finish, run, OUTCOME, [1.0], CURVE, {"epochs": 1})


def take(store: Store, study: StudyRecord, worker: int, kinds: Collection[RunKind] = SEARCH) -> Run | None:
    """A run that waits, if any, for a worker that knows what it holds."""
    held = [run.run_id for run in rows(store, runs) if run.worker_id == worker and run.state == RunState.RUNNING]
    return store.write(ledger.take, study.study_id, worker, held, kinds=kinds)


def look(store: Store, study: StudyRecord, since: int = 0) -> StudyDelta:
    """What a worker sees."""
    return store.read(ledger.poll, study.study_id, since)


def register(store: Store, name: str, process: Process | None = None) -> int:
    """A new worker."""
    return store.write(leases.register, name, "cpu", {}, process)


def expire(store: Store, worker: int) -> None:
    """End a worker's lease as the clock would."""
    store.write(sa.Connection.execute, sa.update(workers).where(workers.c.worker_id == worker).values(expires=0))


def rows(store: Store, table: sa.Table) -> list[Any]:
    """All rows of a table."""
    return store.read(lambda connection: list(connection.execute(sa.select(table))))


def test_a_budget_of_n_creates_exactly_n_trials(store: Store, study: StudyRecord, url: str) -> None:
    """Eight threads with ledgers of their own create 5 trials together, numbered 0 to 4."""

    def ask() -> None:
        own = Store.open(url)
        worker = register(own, "w")
        while run := create(own, study, worker):
            made.append(run)
        own.close()

    made: list[Run] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.name for run in made) == ["0", "1", "2", "3", "4"]
    assert sorted(run.seed for run in made) == [100, 101, 102, 103, 104]


def test_a_budget_may_be_raised_or_lowered_to_what_there_is(store: Store, study: StudyRecord) -> None:
    """Reopening with more trials creates the difference; with fewer, none, and what was created stays."""
    worker = register(store, "w")
    assert sum(create(store, study, worker) is not None for _ in range(9)) == 5
    store.write(studies.reopen, study.study_id, 7, None, None)
    assert sum(create(store, study, worker) is not None for _ in range(9)) == 2
    store.write(studies.reopen, study.study_id, 3, None, None)
    assert store.read(studies.find, "s").budget == 7 and create(store, study, worker) is None


def test_creating_a_study_again_leaves_it_as_it_is(store: Store, study: StudyRecord) -> None:
    """The stored spec and budget win, for the caller to compare."""
    assert store.write(studies.create, "s", '{"a": 2}', 9, ["MINIMIZE"]) == study


def test_studies_share_the_data_that_they_are_created_with(store: Store) -> None:
    """They are kept once, by their digest, and come back as they were; data that are not there are named."""
    content = bytes(range(256)) * 1000
    for name in ("a", "b", "b"):
        store.write(studies.create, name, '{"digest": "abc"}', 5, ["MINIMIZE"], ("abc", content))
    assert [tuple(row) for row in rows(store, schema.data)] == [("abc", content)]
    assert store.read(studies.content, "abc") == content
    with pytest.raises(StorageMisuse, match=r"lost the data of this study \(SHA-256 def…"):
        store.read(studies.content, "def")


def test_data_go_with_the_last_study_that_names_them(store: Store, url: str) -> None:
    """A study deleted through Optuna leaves them to the next one that is made, which removes what none needs."""
    for name, digest in (("a", "abc"), ("b", "abc"), ("c", "def")):
        store.write(studies.create, name, f'{{"digest": "{digest}"}}', 5, ["MINIMIZE"], (digest, b"1"))
    storage = optuna.storages.RDBStorage(url)
    for name, kept in (("a", {"abc", "def"}), ("c", {"abc"}), ("b", set())):
        optuna.delete_study(study_name=name, storage=storage)
        store.write(studies.create, f"after {name}", "{}", 5, ["MINIMIZE"])
        assert {row.digest for row in rows(store, schema.data)} == kept
    storage.remove_session()
    storage.engine.dispose()


def test_a_study_deleted_through_optuna_can_be_made_anew(store: Store, study: StudyRecord, url: str) -> None:
    """Nothing of the old one is left, even where the database gives its number again."""
    run = create(store, study, register(store, "w"))
    assert run and finish(store, run)
    storage = optuna.storages.RDBStorage(url)
    optuna.delete_study(study_name="s", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    again = store.write(studies.create, "s", '{"a": 2}', 3, ["MINIMIZE"])
    assert (again.spec_json, again.budget) == ('{"a": 2}', 3) and not look(store, again).outcomes
    other = register(store, "w")
    first = create(store, again, other)
    assert first and first.trial == 0 and finish(store, first)


def test_a_new_study_has_no_trials_of_a_deleted_one(store: Store, study: StudyRecord) -> None:
    """Not even those that a worker made while Optuna was deleting the rest."""
    run = create(store, study, register(store, "w"))
    assert run and finish(store, run)
    if store.engine.dialect.name == "postgresql":
        pytest.skip("foreign keys do not let this happen there")
    for table in (schema.optuna_directions, schema.optuna_studies):
        store.write(sa.Connection.execute, sa.delete(table))
    again = store.write(studies.create, "s", '{"a": 2}', 3, ["MINIMIZE"])
    assert again.study_id == study.study_id and rows(store, schema.optuna_trials) == rows(store, runs) == []


def test_an_unknown_study_is_named_with_those_there_are(store: Store, study: StudyRecord) -> None:
    """The error lists the studies of the store."""
    with pytest.raises(StorageMisuse, match=r"no study 'x' .* it has s"):
        store.read(studies.find, "x")


def test_a_told_trial_is_what_plain_optuna_reads(store: Store, study: StudyRecord, plain_optuna: Load) -> None:
    """State, number, parameters, values and times are Optuna's own."""
    run = create(store, study, register(store, "w"))
    assert run and finish(store, run)
    (trial,) = plain_optuna("s").trials
    assert (trial.number, trial.state.name, trial.params, trial.value) == (0, "COMPLETE", {"lr": 0.5}, 1.0)
    assert trial.user_attrs == {"epochs": 1} and trial.duration is not None


def test_an_outcome_is_told_once(store: Store, study: StudyRecord) -> None:
    """Telling the same attempt again, as after a lost connection, changes nothing."""
    run = create(store, study, register(store, "w"))
    assert run and finish(store, run)
    before = rows(store, runs), look(store, study)
    assert finish(store, run)
    assert (rows(store, runs), look(store, study)) == before


def test_what_a_lost_commit_gave_is_given_again(store: Store, study: StudyRecord) -> None:
    """A worker that does not know of a run it holds gets that run, and no second one, by asking in either way."""
    worker = register(store, "w")
    run = create(store, study, worker)
    none_held: list[int] = []
    assert run and store.write(ledger.take, study.study_id, worker, none_held, kinds=SEARCH) == run
    ask = study.study_id, worker, none_held, lambda number: NewTrial({"classes": 9}, 0, 7, OPTUNA)
    assert store.write(ledger.create, *ask) == run
    assert len(rows(store, runs)) == 1 and finish(store, run)


def test_a_trial_that_somebody_told_through_optuna_keeps_our_outcome(
    store: Store, study: StudyRecord, plain_optuna: Load
) -> None:
    """A tell through Optuna while a worker trains is no obstacle to the worker's own."""
    run = create(store, study, register(store, "w"))
    plain_optuna("s").tell(0, 99.0)
    assert run and finish(store, run)
    assert plain_optuna("s").trials[0].value == 1.0


def test_a_deleted_study_is_noticed_by_its_workers(store: Store, study: StudyRecord, url: str) -> None:
    """A study that was deleted through Optuna takes no trial and says so; one of plain Optuna's is not taken for it."""
    worker = register(store, "w")
    storage = optuna.storages.RDBStorage(url)
    optuna.delete_study(study_name="s", storage=storage)
    optuna.create_study(study_name="t", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    with pytest.raises(StorageMisuse, match="has been deleted"):
        look(store, study)
    assert create(store, study, worker) is None
    with pytest.raises(StorageMisuse, match="no study 't'"):
        store.read(studies.find, "t")
    with pytest.raises(StorageMisuse, match="made without fewest"):
        store.write(studies.create, "t", "{}", 5, ["MINIMIZE"])


def test_dead_processes_of_a_machine_lose_their_leases_at_once(store: Store, study: StudyRecord) -> None:
    """Their runs go to the next worker; those of living processes and of other containers stay."""
    ids = [register(store, "w", Process(machine, number)) for machine, number in (("m/a", 1), ("m/a", 2), ("m/b", 1))]
    held = [create(store, study, worker) for worker in ids]
    store.write(leases.expire_dead_workers, "m/a", lambda process: process != 1)
    other = register(store, "other")
    again = take(store, study, other)
    assert held[0] and again and again.run_id == held[0].run_id and take(store, study, other) is None


def test_leases_are_not_judged_until_everybody_could_renew(store: Store, study: StudyRecord) -> None:
    """Just after the database was away a worker may leave expired leases alone."""
    slow, quick = register(store, "slow"), register(store, "quick")
    assert create(store, study, slow)
    expire(store, slow)
    assert store.write(ledger.take, study.study_id, quick, [], kinds=SEARCH, judge=False) is None
    assert take(store, study, quick)


def test_an_expired_lease_gives_the_same_trial_to_another_worker(store: Store, study: StudyRecord) -> None:
    """The second worker gets the first one's run; the first one's late tell is refused, the second one's counts."""
    slow, quick = register(store, "slow"), register(store, "quick")
    run = create(store, study, slow)
    assert run and take(store, study, quick) is None
    expire(store, slow)
    again = take(store, study, quick)
    assert again and (again.run_id, again.params, again.seed, again.attempt) == (run.run_id, run.params, run.seed, 2)
    assert not finish(store, run)
    assert finish(store, again)
    assert [(a.attempt, a.end) for a in rows(store, attempts)] == [(1, "expired")]


def test_a_renewed_lease_keeps_its_runs(store: Store, study: StudyRecord) -> None:
    """One renewal serves all that the worker holds."""
    worker = register(store, "w")
    held = [create(store, study, worker) for _ in range(3)]
    expire(store, worker)
    store.write(leases.renew, worker)
    assert take(store, study, register(store, "other")) is None
    assert all(run and finish(store, run) for run in held)


def test_a_retired_worker_releases_its_runs_without_blame(store: Store, study: StudyRecord) -> None:
    """Released runs wait at once, and count no fault however often."""
    for _ in range(RETRIES + 3):
        worker = register(store, "w")
        run = take(store, study, worker) or create(store, study, worker)
        assert run and run.name == "0"
        store.write(leases.retire, worker)
    assert [(run.state, run.faults) for run in rows(store, runs)] == [(RunState.WAITING, 0)]


def test_a_run_that_keeps_failing_is_given_up_with_the_reason(
    store: Store, study: StudyRecord, plain_optuna: Load
) -> None:
    """After the retries the trial is FAIL for Optuna and failed, with its reason, for us."""
    worker = register(store, "w")
    run = create(store, study, worker)
    for _ in range(RETRIES):
        assert run
        store.write(ledger.fault, run, "cable cut")
        run = take(store, study, worker)
    assert run and run.attempt == RETRIES + 1
    store.write(ledger.fault, run, "cable cut")
    assert take(store, study, worker) is None and not finish(store, run)
    assert [(r.state, r.reason, r.outcome_seq) for r in rows(store, runs)] == [(RunState.FAILED, "cable cut", 1)]
    assert plain_optuna("s").trials[0].state.name == "FAIL"


def test_a_study_has_its_own_number_of_retries(store: Store, study: StudyRecord) -> None:
    """Without retries the first fault is the end."""
    store.write(studies.reopen, study.study_id, 5, None, 0)
    run = create(store, study, register(store, "w"))
    assert run
    store.write(ledger.fault, run, "cable cut")
    assert [row.state for row in rows(store, runs)] == [RunState.FAILED]


def test_no_trial_is_created_after_a_stop_or_the_deadline(store: Store, study: StudyRecord) -> None:
    """A stop closes the study for every run, a passed deadline for new trials; reopening it undoes both."""
    worker = register(store, "w")
    store.write(ledger.add, study.study_id, [replicate(1)])
    store.write(studies.stop, study.study_id)
    assert look(store, study).stopping and create(store, study, worker) is None
    assert take(store, study, worker) is None
    store.write(studies.reopen, study.study_id, 5, -1.0, None)
    assert not look(store, study).stopping and create(store, study, worker) is None
    assert take(store, study, worker)
    store.write(studies.reopen, study.study_id, 5, 60.0, None)
    assert look(store, study).asks and create(store, study, worker)


def test_changes_come_once_in_the_order_of_telling(store: Store, study: StudyRecord) -> None:
    """A reader that remembers the last place it saw misses nothing and gets nothing twice."""
    worker = register(store, "w")
    first, second = create(store, study, worker), create(store, study, worker)
    assert first and second and finish(store, second)
    seen = look(store, study).outcomes
    assert [row.name for row in seen] == ["1"]
    assert finish(store, first)
    assert [row.name for row in look(store, study, seen[-1].outcome_seq).outcomes] == ["0"]
    assert not look(store, study).unfinished


def test_added_runs_are_added_once(store: Store, study: StudyRecord) -> None:
    """Replicates that are named again stay one run each, and Optuna sees none of them."""
    new = [replicate(k) for k in (1, 2)]
    threads = [threading.Thread(target=store.write, args=(ledger.add, study.study_id, new)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker = register(store, "w")
    taken = [take(store, study, worker) for _ in range(3)]
    assert [run and (run.name, run.cap) for run in taken] == [("0#1", 12), ("0#2", 12), None]
    assert taken[0] and finish(store, taken[0])


def test_curves_come_back_as_they_were() -> None:
    """A packed curve unpacks to the same numbers in float32."""
    assert unpack(CURVE) == ([0, 1, 2], [0.0, 0.5, 1.0], [3.0, 2.0, 1.0])
    assert unpack(pack([], [], [])) == ([], [], [])


def test_a_run_of_the_ladder_is_for_workers_that_are_there_for_it(store: Store, study: StudyRecord) -> None:
    """Others leave it waiting; what waits is withdrawn by another ladder, with its attempts, and what runs is not."""
    rung = {"kind": RunKind.LADDER, "replicate": 1, "params": PARAMS, "seed": 1, "data_seed": 2, "cap": 9}
    ladder = [NewRun(name=f"ladder:8:{label}@9#1", label=label, **rung) for label in "abc"]
    store.write(ledger.replace_waiting, study.study_id, RunKind.LADDER, ladder[:2])
    worker, other = register(store, "w"), register(store, "v")
    assert take(store, study, worker) is None
    held = store.write(ledger.take, study.study_id, worker, (), kinds={RunKind.LADDER})
    assert held and held.name == ladder[0].name
    assert store.write(ledger.take, study.study_id, other, (), kinds={RunKind.LADDER})
    store.write(leases.retire, other)
    assert len(rows(store, attempts)) == 1
    store.write(ledger.replace_waiting, study.study_id, RunKind.LADDER, ladder[2:])
    assert [run.name for run in rows(store, runs)] == [ladder[0].name, ladder[2].name]
    assert rows(store, attempts) == [] and finish(store, held)
