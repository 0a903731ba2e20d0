"""Ask and tell: every sampler, shared knowledge between workers, and the runs that name a winner."""

import shutil
from pathlib import Path

import pytest

from objectives.convergence import Outcome, Progress, Trial
from search import options, query
from search.scoring import FINALISTS, REPLICATES
from search.spec import SAMPLERS, StudySpec
from search.study import Study
from storage import leases, studies
from storage.ledger import Run
from storage.store import Store
from storage.studies import StudyRecord

FAST_LR = 0.1  # in these tests a trial converges, in so many epochs as its layers, if it learns faster than this


def begun(store: Store, budget: int, **fields: object) -> tuple[StudyRecord, Study]:
    """A study over 8 classes, and one worker's view of it."""
    classes = options.class_counts(str(fields.pop("classes", "8")))
    spec = StudySpec.of(classes=classes, **fields)
    record = store.write(studies.create, "s", spec.model_dump_json(), budget, spec.directions)
    return record, another(store, record)


def another(store: Store, record: StudyRecord) -> Study:
    """One more worker's view of a study."""
    return Study(store, record, store.write(leases.register, "w", "cpu", {}))


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
def test_every_sampler_serves_a_study(sampler: str, sqlite: Store) -> None:
    """Each of them proposes valid configurations to the last trial, past its random start."""
    record, study = begun(sqlite, 14, sampler=sampler)
    runs = work(study)
    assert [run.trial for run in runs if not run.replicate and run.trial is not None] == list(range(14))
    assert study.over and sqlite.read(query.status, record)["done"] == 14


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "cmaes"])
def test_class_counts_are_searched(sampler: str, sqlite: Store) -> None:
    """With several class counts each has its incumbent and its winner, and there is no single reference."""
    record, study = begun(sqlite, 20, sampler=sampler, classes="8,16")
    work(study)
    best = sqlite.read(query.best, record, top=1000)
    assert {row["classes"] for row in best} == {8, 16} and sqlite.read(query.reference, record) is None
    assert all(row["classes"] == 16 for row in sqlite.read(query.best, record, classes=16))


def test_exploring_redraws_a_few_parameters_of_the_best(sqlite: Store) -> None:
    """Under TPE a proposal near the best keeps all its parameters but two, and is stored like any other."""
    record, study = begun(sqlite, 60)
    work(study)
    best = min((row for row in sqlite.read(query.trials, record) if row["converged"]), key=lambda row: row["epochs"])
    near = [study._near_a_best() for _ in range(20)]
    assert all(kept.items() <= best["params"].items() and len(best["params"]) - len(kept) == 2 for kept in near)
    assert {name for kept in near for name in best["params"].keys() - kept.keys()} > {"activation"}


def test_a_range_of_class_counts_confirms_its_front(sqlite: Store) -> None:
    """Over a range only class counts that no higher one dominates are re-run."""
    record, study = begun(sqlite, 60, classes="4..64")
    runs = work(study)
    again = {run.params["classes"] for run in runs if run.replicate}
    hits = {row["classes"]: row["epochs"] for row in sqlite.read(query.best, record, top=1000)}
    assert max(hits) in again and len(again) <= 2 < len(hits)


def test_what_one_worker_finds_the_other_knows(sqlite: Store) -> None:
    """After a look, a second worker's caps follow the first one's incumbent, and its sampler has the trials."""
    record, study = begun(sqlite, 30)
    for _ in range(30):
        run = study.ask()
        assert run and study.tell(run, *played(study, run))
    other = another(sqlite, record)
    other.look()
    assert len(other._mirror.trials) == 30
    assert other._stopping.cap(8) < other.spec.max_epochs
    assert sorted(t.value or 0 for t in other._mirror.trials)[0] < 5


def test_two_workers_share_a_budget(sqlite: Store) -> None:
    """Two views asking in turn create exactly the budget, and see each other's running trials."""
    record, one = begun(sqlite, 12)
    two = another(sqlite, record)
    held: dict[Study, list[Run]] = {one: [], two: []}
    for study in [one, two] * 6:
        run = study.ask([run.run_id for run in held[study]])
        assert run
        held[study].append(run)
    assert all(study.ask([run.run_id for run in mine]) is None for study, mine in held.items()) and not one.over
    assert sorted(run.trial or 0 for run in held[one] + held[two]) == list(range(12))
    assert len(one._mirror.trials) == len(two._mirror.trials) == 12
    for study, run in [(study, run) for study, mine in held.items() for run in mine]:
        assert study.tell(run, *played(study, run))


def test_the_end_of_a_study_confirms_the_best_and_runs_the_question(sqlite: Store) -> None:
    """When all trials are told: five fresh seeds for each finalist, one reference, then nothing more."""
    record, study = begun(sqlite, 40)
    runs = work(study)
    again = [run for run in runs if run.replicate]
    assert len(again) == FINALISTS * REPLICATES
    assert len({run.seed for run in runs}) == len({run.data_seed for run in again}) + 40 + 1
    best = sqlite.read(query.best, record, top=1000)
    assert [row["confirmed"] for row in best[: FINALISTS + 1]] == [True] * FINALISTS + [False]
    assert best[0]["replicates"] == best[0]["replicates_converged"] == REPLICATES
    reference = sqlite.read(query.reference, record)
    assert reference and reference["params"]["optimizer"] == "rmsprop" and not reference["converged"]
    assert study.ask() is None and study.over


def test_equally_good_configurations_share_a_rank(sqlite: Store) -> None:
    """A tie is called a tie."""
    record, study = begun(sqlite, 60)
    work(study)
    best = sqlite.read(query.best, record, top=1000)
    by_rank = {row["rank"]: [r["trial"] for r in best if r["rank"] == row["rank"]] for row in best}
    assert list(by_rank) == sorted(by_rank) and min(by_rank) == 1
    assert any(len(trials) > 1 for trials in by_rank.values())
    assert sqlite.read(query.best, record, top=2) == best[:2]


def test_the_same_seed_proposes_the_same_trials(empty_sqlite: Path, tmp_path: Path) -> None:
    """One worker's study is a function of its seed."""
    proposed = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        shutil.copy(empty_sqlite, tmp_path / f"{name}.db")
        store = Store.open(f"sqlite:///{tmp_path}/{name}.db")
        _, study = begun(store, 20, seed=seed)
        proposed.append([(run.params, run.seed, run.data_seed) for run in work(study)])
        store.close()
    assert proposed[0] == proposed[1] != proposed[2]


def test_trials_and_status_are_pages_and_counts(sqlite: Store) -> None:
    """Trials come in order and in pages; the counts add up."""
    record, study = begun(sqlite, 25)
    work(study)
    first, rest = sqlite.read(query.trials, record, limit=10), sqlite.read(query.trials, record, after=9)
    assert [row["trial"] for row in first + rest] == list(range(25))
    state = sqlite.read(query.status, record)
    assert state["done"] == 25 == state["converged"] + state["missed"] and state["running"] == 0
    assert state["converged"] == sum(row["converged"] for row in first + rest)
    assert state["incumbent"]["epochs"] == min(row["epochs"] for row in first + rest if row["converged"])
