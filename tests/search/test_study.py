"""Ask and tell: every sampler, shared knowledge between workers, and the runs that name a winner."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from objectives.convergence import Outcome, Progress, Trial
from search import options, query
from search.scoring import FINALISTS, REPLICATES
from search.spec import SAMPLERS, StudySpec
from search.study import Study
from storage.ledger import Ledger, Run, StudyRecord

FAST_LR = 0.1  # in these tests a trial converges, in so many epochs as its layers, if it learns faster than this


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger on SQLite: what is tested here is above the store."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/store.db", create=True)
    yield ledger
    ledger.engine.dispose()


def begun(ledger: Ledger, budget: int, **fields: object) -> tuple[StudyRecord, Study]:
    """A study over 8 classes, and one worker's view of it."""
    classes = options.class_counts(str(fields.pop("classes", "8")))
    spec = StudySpec.of(classes=classes, **fields)
    record = ledger.create_study("s", spec.model_dump_json(), budget, spec.directions)
    return record, Study(ledger, record, ledger.register("w", "cpu", {}))


def played(study: Study, run: Run) -> tuple[Trial, Outcome]:
    """The outcome of a run without training it."""
    trial = study.trial(run)
    progress = Progress(trial, study.spec.target, study.spec.hold)
    hit = trial.configuration.lr > FAST_LR
    while progress.end is None:
        reached = hit and progress.epoch + 1 >= trial.configuration.hidden_layers
        progress.observe(1.0 if reached else 0.2, 1.0 / (1 + trial.configuration.lr))
        study.judge(run, progress)
    return trial, progress.outcome(0.01)


def work(study: Study) -> list[Run]:
    """All runs that one worker gets, told as it goes."""
    done = []
    while run := study.ask():
        assert study.tell(run, *played(study, run))
        done.append(run)
    return done


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_serves_a_study(sampler: str, sqlite: Ledger) -> None:
    """Each of them proposes valid configurations to the last trial, past its random start."""
    record, study = begun(sqlite, 14, sampler=sampler)
    runs = work(study)
    assert [run.trial for run in runs if not run.replicate and run.trial is not None] == list(range(14))
    assert study.over and query.status(sqlite, record)["done"] == 14


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "cmaes"])
def test_class_counts_are_searched(sampler: str, sqlite: Ledger) -> None:
    """With several class counts each has its incumbent and its winner, and there is no single reference."""
    record, study = begun(sqlite, 30, sampler=sampler, classes="8,16")
    work(study)
    best = query.best(sqlite, record)
    assert {row["classes"] for row in best} == {8, 16} and query.reference(sqlite, record) is None
    assert all(row["classes"] == 16 for row in query.best(sqlite, record, classes=16))


def test_exploring_redraws_a_few_parameters_of_the_best(sqlite: Ledger) -> None:
    """Under TPE a proposal near the best keeps all its parameters but two, and is stored like any other."""
    record, study = begun(sqlite, 60)
    work(study)
    best = min((row for row in query.trials(sqlite, record) if row["converged"]), key=lambda row: row["epochs"])
    near = [study._near_a_best() for _ in range(20)]
    assert all(kept.items() <= best["params"].items() and len(best["params"]) - len(kept) == 2 for kept in near)
    assert {name for kept in near for name in best["params"].keys() - kept.keys()} > {"activation"}


def test_a_range_of_class_counts_confirms_its_front(sqlite: Ledger) -> None:
    """Over a range only class counts that no higher one dominates are re-run."""
    record, study = begun(sqlite, 60, classes="4..64")
    runs = work(study)
    again = {run.params["classes"] for run in runs if run.replicate}
    hits = {row["classes"]: row["epochs"] for row in query.best(sqlite, record)}
    assert max(hits) in again and len(again) <= 2 < len(hits)


def test_what_one_worker_finds_the_other_knows(sqlite: Ledger) -> None:
    """After a look, a second worker's caps follow the first one's incumbent, and its sampler has the trials."""
    record, study = begun(sqlite, 30)
    for _ in range(30):
        run = study.ask()
        assert run and study.tell(run, *played(study, run))
    other = Study(sqlite, record, sqlite.register("other", "cpu", {}))
    other.look()
    assert len(other._mirror.trials) == 30
    assert other._stopping.cap(8) < other.spec.max_epochs
    assert sorted(t.value or 0 for t in other._mirror.trials)[0] < 5


def test_two_workers_share_a_budget(sqlite: Ledger) -> None:
    """Two views asking in turn create exactly the budget, and see each other's running trials."""
    record, one = begun(sqlite, 12)
    two = Study(sqlite, record, sqlite.register("other", "cpu", {}))
    held = []
    for study in [one, two] * 6:
        run = study.ask()
        assert run
        held.append((study, run))
    assert one.ask() is None and two.ask() is None and not one.over
    assert sorted(run.trial or 0 for _, run in held) == list(range(12))
    assert len(one._mirror.trials) == len(two._mirror.trials) == 12
    for study, run in held:
        assert study.tell(run, *played(study, run))


def test_the_end_of_a_study_confirms_the_best_and_runs_the_question(sqlite: Ledger) -> None:
    """When all trials are told: five fresh seeds for each finalist, one reference, then nothing more."""
    record, study = begun(sqlite, 40)
    runs = work(study)
    again = [run for run in runs if run.replicate]
    assert len(again) == FINALISTS * REPLICATES
    assert len({run.seed for run in runs}) == len({run.data_seed for run in again}) + 40 + 1
    best = query.best(sqlite, record)
    assert [row["confirmed"] for row in best[: FINALISTS + 1]] == [True] * FINALISTS + [False]
    assert best[0]["replicates"] == best[0]["replicates_converged"] == REPLICATES
    reference = query.reference(sqlite, record)
    assert reference and reference["params"]["optimizer"] == "rmsprop" and not reference["converged"]
    assert study.ask() is None and study.over


def test_equally_good_configurations_share_a_rank(sqlite: Ledger) -> None:
    """A tie is called a tie."""
    record, study = begun(sqlite, 60)
    work(study)
    best = query.best(sqlite, record)
    by_rank = {row["rank"]: [r["trial"] for r in best if r["rank"] == row["rank"]] for row in best}
    assert list(by_rank) == sorted(by_rank) and min(by_rank) == 1
    assert any(len(trials) > 1 for trials in by_rank.values())
    assert query.best(sqlite, record, top=2) == best[:2]


def test_the_same_seed_proposes_the_same_trials(tmp_path: Path) -> None:
    """One worker's study is a function of its seed."""
    proposed = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        ledger = Ledger.open(f"sqlite:///{tmp_path}/{name}.db", create=True)
        _, study = begun(ledger, 20, seed=seed)
        proposed.append([(run.params, run.seed, run.data_seed) for run in work(study)])
        ledger.engine.dispose()
    assert proposed[0] == proposed[1] != proposed[2]


def test_trials_and_status_are_pages_and_counts(sqlite: Ledger) -> None:
    """Trials come in order and in pages; the counts add up."""
    record, study = begun(sqlite, 25)
    work(study)
    first, rest = query.trials(sqlite, record, limit=10), query.trials(sqlite, record, after=9)
    assert [row["trial"] for row in first + rest] == list(range(25))
    state = query.status(sqlite, record)
    assert state["done"] == 25 == state["converged"] + state["missed"] and state["running"] == 0
    assert state["converged"] == sum(row["converged"] for row in first + rest)
    assert state["incumbent"]["epochs"] == min(row["epochs"] for row in first + rest if row["converged"])
