"""Ask and tell: every sampler, shared knowledge between workers, and the runs that name a winner."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Progress, Trial
from objectives.parameters import PARAMETERS
from search.ask.proposals import REDRAWN, sampler
from search.ask.purpose import Purpose
from search.ask.scoring import FINALISTS, REPLICATES
from search.ask.study import Study, replicate
from search.errors import UsageError
from search.query import ranking
from search.query import runs as query
from search.query.best_query import for_classes
from search.spec import parsing as options
from search.spec import stored_study
from search.spec.space import carried
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import SAMPLERS, StudySpec
from storage import leases, ledger, studies
from storage.ledger import Run
from storage.store import Store

FAST_LR = 0.1  # in these tests a trial converges, in so many epochs as its layers, if it learns faster than this


def begun(store: Store, budget: int, **fields: object) -> tuple[StoredStudy, Study]:
    """A study over 8 classes, and one worker's view of it."""
    classes = options.class_counts(str(fields.pop("classes", "8")))
    spec = StudySpec.of(classes=classes, **fields)
    record = store.write(stored_study.create, "s", spec, budget)
    return record, another(store, record)


def another(store: Store, record: StoredStudy) -> Study:
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
    assert study.over and sqlite.read(query.status, record).done == 14


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_class_counts_are_searched(sampler: str, sqlite: Store) -> None:
    """Each of several class counts has about as many trials and its own winner; there is no single reference."""
    record, study = begun(sqlite, 42, sampler=sampler, classes="8..32")
    work(study)
    counts = sqlite.read(query.by_classes, record)
    assert [row.classes for row in counts] == [8, 16, 32] and all(11 <= row.trials <= 17 for row in counts)
    hit = {row.classes for row in counts if row.converged}
    assert {row.classes for row in sqlite.read(ranking.confirmed, record)} == hit and len(hit) >= 2
    assert sqlite.read(query.reference, record) is None
    assert all(row.classes == 16 for row in sqlite.read(ranking.best, record, for_classes(16)))


def test_a_sampler_of_anybodys_serves_a_study(sqlite: Store) -> None:
    """Any Optuna sampler, by its import path."""
    record, study = begun(sqlite, 14, sampler="optuna.samplers:NSGAIISampler")
    assert isinstance(study._proposals._study.sampler, optuna.samplers.NSGAIISampler)
    work(study)
    assert sqlite.read(query.status, record).done == 14


@pytest.mark.parametrize("path", ["no.such:Sampler", "optuna.samplers:Nothing", "builtins:dict", "optuna:create_study"])
def test_what_is_no_sampler_is_refused_in_one_line(path: str) -> None:
    """A module or name that is not there, or is something else."""
    with pytest.raises(UsageError, match=f"`sampler` {path}"):
        sampler(path, 0)


def test_the_first_trials_are_the_design_whoever_asks(empty_sqlite: Path, tmp_path: Path) -> None:
    """Two workers together begin with the trials that one alone begins with: by number, none twice."""
    begun_with = []
    for workers in (1, 2):
        shutil.copy(empty_sqlite, tmp_path / f"{workers}.db")
        store = Store.open(f"sqlite:///{tmp_path}/{workers}.db")
        record, study = begun(store, 200)
        views = [study, another(store, record)][:workers]
        held: list[Run] = []
        for number in range(len(study._proposals._design)):
            run = views[number % workers].ask([run.run_id for run in held])
            assert run
            held.append(run)
        begun_with.append([run.params for run in sorted(held, key=lambda run: run.trial or 0)])
        store.close()
    assert begun_with[0] == begun_with[1]
    assert [params["optimizer"] for params in begun_with[0][:2]] == ["rmsprop", "adam"]  # the page's two models
    for name, parameter in PARAMETERS.items():
        values = {params.get(name) for params in begun_with[0]}
        assert not parameter.choices or values == set(parameter.choices)


def test_exploring_redraws_a_few_parameters_of_a_leader(sqlite: Store) -> None:
    """Such a proposal keeps all parameters of the best but two, and those are inside the space."""
    record, study = begun(sqlite, 60)
    work(study)
    best = min(
        (row for row in sqlite.read(query.trials, record) if row.converged),
        key=lambda row: (row.epochs, row.trial),
    ).params
    near = [study._proposals._near_a_leader(8)(number) for number in range(20)]
    changed = [{name for name in {*params, *best} if params.get(name) != best.get(name)} for params in near]
    assert all(len(names - {"width_2"}) <= REDRAWN for names in changed) and len(set().union(*changed)) > 4
    assert all(Configuration.of(params).classes == 8 for params in near)


def test_what_one_class_count_taught_serves_another(sqlite: Store) -> None:
    """A leader's gain goes with the distance between classes, its width with the root of their number."""
    params = {**options.configuration("256", None, ["width=100", "activation=sine", "optimizer=sgd", "lr=0.1"]).params}
    space = StudySpec.of(classes=options.class_counts("16..1021")).space
    there, lower = (carried(space, params | {"gain": 30.0}, classes) for classes in (1021, 16))
    assert (there["width"], there["gain"], there["classes"], there["activation"]) == (200, 120.0, 1021, "sine")
    assert (lower["width"], lower["gain"]) == (25, 30.0)
    assert carried(space, params | {"gain": 900.0}, 1021)["gain"] == 1000


def test_few_classes_teach_many(sqlite: Store) -> None:
    """Trials are for the fewest classes at first; what leads there is the first that is tried at the next count."""
    _, study = begun(sqlite, 120, classes="8..32")
    runs = [run for run in work(study) if not run.replicate]
    alone = next(place for place, run in enumerate(runs) if run.params["classes"] > 8)
    learned = {run.params["lr"] for run in runs[:alone] if played(study, run)[1].converged}
    assert alone >= 20 and runs[alone].params["classes"] == 16 and runs[alone].params["lr"] in learned


def test_a_study_begins_with_the_best_of_another(sqlite: Store) -> None:
    """Its first trials are those of the other study, carried to its own class count."""
    source, study = begun(sqlite, 40)
    work(study)
    spec = StudySpec.of(classes=options.class_counts("16"))
    spec = spec.model_copy(update={"start": tuple(sqlite.read(ranking.start, source, spec))})
    record = sqlite.write(stored_study.create, "t", spec, 20)
    run = another(sqlite, record).ask()
    best = sqlite.read(ranking.best, source, top=1)[0].params
    assert run and run.params["classes"] == 16
    assert run.params["lr"] == best["lr"] and run.params["width"] == min(round(2**0.5 * best["width"]), 1024)


def test_a_leader_is_confirmed_while_the_search_goes_on(sqlite: Store) -> None:
    """Its replicates come between trials, two first and the others if those do not refute it."""
    record, study = begun(sqlite, 200)
    runs = []
    while not any(row.confirmed for row in sqlite.read(ranking.best, record)):
        run = study.ask()
        assert run and study.tell(run, *played(study, run))
        runs.append(run)
    again = [run for run in runs if run.replicate]
    assert len(runs) - len(again) < 200 and [run.replicate for run in again if run.trial == again[-1].trial][:2] == [
        1,
        2,
    ]


def test_a_fluke_neither_bounds_nor_teaches_once_it_is_refuted(sqlite: Store) -> None:
    """Its replicates missed: the next best is the incumbent and the leader."""
    _, study = begun(sqlite, 300)
    refuted = set[int]()
    while not refuted:
        run = study.ask()
        assert run
        trial, outcome = played(study, run)
        if run.replicate:
            outcome = replace(outcome, end=End.CAP, epochs=12, gap=0.9)
        assert study.tell(run, trial, outcome)
        study.look()
        refuted = {trial for trial, found in study._candidates[8].items() if found.refuted}
    standing = [found.epochs for trial, found in study._candidates[8].items() if trial not in refuted]
    assert study._stopping._incumbent.get(8) == min(standing, default=None)
    leader = study._proposals._leaders.get(8)
    assert leader is None or leader[1] not in refuted


def test_what_waits_is_run_without_another_trial(sqlite: Store) -> None:
    """A worker that only runs what waits begins nothing, adds nothing, and leaves the study as open as it was."""
    record, study = begun(sqlite, 200)
    for _ in range(60):
        run = study.ask()
        assert run and study.tell(run, *played(study, run))
    hit = next(row for row in sqlite.read(query.trials, record) if row.converged)
    again = [replicate(study.spec, hit.trial, k, hit.params, hit.epochs) for k in range(1, 9)]
    before = sqlite.read(query.status, record)
    sqlite.write(ledger.add, record.study_id, again)
    helper = Study(sqlite, record, sqlite.write(leases.register, "w", "cpu", {}), Purpose.CONFIRM)
    done = work(helper)
    assert helper.over and not study.over and {run.trial for run in done} == {hit.trial}
    after = sqlite.read(query.status, record)
    assert after.done == before.done and after.waiting == 0
    assert study.ask() is not None


def test_a_study_ends_when_a_configuration_is_good_enough(sqlite: Store) -> None:
    """With `until_epochs` no trial is begun after one of so few epochs is confirmed; without it the study goes on."""
    record, study = begun(sqlite, 200)
    sqlite.write(studies.reopen, record.study_id, 200, until_epochs=2)
    work(study)
    state = sqlite.read(query.status, record)
    best = sqlite.read(ranking.best, record, top=1)[0]
    assert study.over and state.done < 200 and best.replicates_converged == REPLICATES and best.epochs <= 2
    sqlite.write(studies.reopen, record.study_id, 200)
    work(study)
    assert sqlite.read(query.status, record).done == 200


def test_what_one_worker_finds_the_other_knows(sqlite: Store) -> None:
    """After a look, a second worker's caps follow the first one's incumbent, and its sampler has the trials."""
    record, study = begun(sqlite, 30)
    for _ in range(30):
        run = study.ask()
        assert run and study.tell(run, *played(study, run))
    other = another(sqlite, record)
    other.look()
    other._proposals._teach()  # as it does before it samples
    trials = sqlite.read(query.trials, record)
    assert len(other._proposals._study.trials) == len(trials) > 15
    assert other._stopping.cap(8) < other.spec.max_epochs
    assert sorted(t.value or 0 for t in other._proposals._study.trials)[0] < math.log(5)


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
    for study in (one, two):
        study._proposals._teach()  # as they do before they sample
    assert len(one._proposals._study.trials) == len(two._proposals._study.trials) == 12
    for study, run in [(study, run) for study, mine in held.items() for run in mine]:
        assert study.tell(run, *played(study, run))


def test_the_end_of_a_study_confirms_the_best_and_runs_the_question(sqlite: Store) -> None:
    """When all trials are told: five fresh seeds for each finalist, one reference, then nothing more."""
    record, study = begun(sqlite, 40)
    runs = work(study)
    again = [run for run in runs if run.replicate]
    last = max(place for place, run in enumerate(runs) if run.trial is not None and not run.replicate)
    assert len({run.trial for run in again}) >= FINALISTS and len(again) == REPLICATES * len(
        {run.trial for run in again}
    )
    assert sum(run.replicate > 0 for run in runs[last:]) >= REPLICATES
    assert len({run.seed for run in runs}) == len({run.data_seed for run in again}) + 40 + 1
    best = sqlite.read(ranking.best, record, top=1000)
    confirmed = [row.confirmed for row in best]
    assert sum(confirmed) >= FINALISTS and confirmed == sorted(confirmed, reverse=True)
    assert best[0].replicates == best[0].replicates_converged == REPLICATES
    reference = sqlite.read(query.reference, record)
    assert reference and reference.params["optimizer"] == "rmsprop" and not reference.converged
    assert study.ask() is None and study.over


def test_equally_good_configurations_share_a_rank(sqlite: Store) -> None:
    """A tie is called a tie."""
    record, study = begun(sqlite, 60)
    work(study)
    best = sqlite.read(ranking.best, record, top=1000)
    by_rank = {row.rank: [r.trial for r in best if r.rank == row.rank] for row in best}
    assert list(by_rank) == sorted(by_rank) and min(by_rank) == 1
    assert any(len(trials) > 1 for trials in by_rank.values())
    assert sqlite.read(ranking.best, record, top=2) == best[:2]


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
    assert [row.trial for row in first + rest] == list(range(25))
    state = sqlite.read(query.status, record)
    assert state.done == 25 == state.converged + state.missed and state.running == 0
    assert state.converged == sum(row.converged for row in first + rest)
    assert state.incumbent and state.incumbent.epochs == min(row.epochs for row in first + rest if row.converged)
