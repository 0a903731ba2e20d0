"""The best, by whatever people ask for: the answers of SQL are those of going through all trials one by one."""

from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa

from search.cli.output import Format, best_table, records
from search.errors import UsageError
from search.query import ranking
from search.query import runs as query
from search.query.best_query import BestQuery, By, for_classes
from search.query.records import BestAnswer, TrialRecord
from search.spec import stored_study
from search.spec.space import Choices, Range
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec
from storage.schema import runs
from storage.store import Store
from tests.search.ask.test_study import another, begun, work

SLOW, FEW = Range(low=0.2, high=0.6, log=False, whole=False), Choices(values=("adam", "sgd", "rmsprop", "nadam"))
WHERE: list[dict[str, Any]] = [{}, {"lr": SLOW}, {"optimizer": FEW, "hidden_layers": Choices(values=(2,))}]


def searched(store: Store) -> StoredStudy:
    """A study of 80 trials over two class counts with its replicates, each trial of another duration."""
    record, study = begun(store, 80, classes="8,16")
    work(study)
    hours = sa.cast(runs.c.run_id % 17, sa.Float) + 0.5
    store.write(lambda connection: connection.execute(sa.update(runs).values(seconds=hours)).rowcount)
    return record


def every(store: Store, record: StoredStudy, wanted: BestQuery) -> list[TrialRecord]:
    """The wanted trials with an outcome, chosen one by one."""
    return [row for row in store.read(query.trials, record) if row.end and wanted.admits(row.params)]


def test_the_best_are_all_that_converged_in_order(store: Store) -> None:
    """Narrowed by any parameter, confirmed first, and by what is asked for within those."""
    record = searched(store)
    for where, by in product(WHERE, By):
        wanted = BestQuery(where, by)
        found = store.read(ranking.best, record, wanted, 1000)
        hits = [row.trial for row in every(store, record, wanted) if row.converged]
        assert sorted(row.trial for row in found) == hits and len(hits) > 2
        unconfirmed = [not row.confirmed for row in found]
        assert unconfirmed == sorted(unconfirmed) and (where or len(set(unconfirmed)) == 2)
        if by is not By.EPOCHS:
            costs = [(not row.confirmed, getattr(row, by)) for row in found]
            assert costs == sorted(costs)
        for top in (1, 3):
            assert store.read(ranking.best, record, wanted, top) == found[:top]


@pytest.mark.parametrize("name", ["classes", "width_2", "lr"])
def test_each_value_is_shown_with_its_best_and_how_its_trials_ended(store: Store, name: str) -> None:
    """Values of which nothing converged are there, too, and the counts add up."""
    record = searched(store)
    for where in WHERE:
        check_values(store, record, name, BestQuery(where))


def check_values(store: Store, record: StoredStudy, name: str, wanted: BestQuery) -> None:
    """What is answered of each value is what its trials say."""
    found = store.read(ranking.best_per, record, name, wanted)
    best = store.read(ranking.best, record, wanted, 1000)
    trials = every(store, record, wanted)
    values = [row.value for row in found]
    assert len(set(values)) == len(values) and set(values) == {row.params.get(name) for row in trials}
    for row in found:
        mine = [trial for trial in trials if trial.params.get(name) == row.value]
        missed = [trial.epochs for trial in mine if not trial.converged]
        assert (row.ended.trials, row.ended.missed, row.ended.open) == (len(mine), len(missed), 0)
        assert (row.ended.least_cap, row.ended.most_cap) == (min(missed, default=None), max(missed, default=None))
        first = next((each for each in best if each.params.get(name) == row.value), None)
        assert (row.best and row.best.trial) == (first and first.trial)
        assert row.ended.converged == sum(trial.converged for trial in mine)


def test_at_the_studys_own_goal_the_curves_say_what_is_recorded(store: Store) -> None:
    """Judged anew by the same target and hold, nothing changes."""
    record = searched(store)
    anew = BestQuery(target=0.99, hold=3)
    assert store.read(ranking.best, record, anew, 1000) == store.read(ranking.best, record, top=1000)
    for name in ("activation", "classes"):
        per = {row.value: row for row in store.read(ranking.best_per, record, name, anew)}
        assert per == {row.value: row for row in store.read(ranking.best_per, record, name)}
    assert store.read(ranking.tally, record, anew) == store.read(ranking.tally, record, BestQuery())


def test_another_goal_is_answered_from_the_curves(sqlite: Store) -> None:
    """What learned little reaches a low target at once; what stopped when it converged is open for a longer hold."""
    record = searched(sqlite)
    low = sqlite.read(ranking.tally, record, BestQuery(target=0.2, hold=1))
    assert low.trials == low.converged == 80
    assert sqlite.read(ranking.best, record, BestQuery(target=0.2, hold=1), 1)[0].epochs == 0
    long = sqlite.read(ranking.tally, record, BestQuery(hold=4))
    own = sqlite.read(ranking.tally, record, BestQuery())
    assert (long.converged, long.open, long.missed) == (0, own.converged, own.missed)
    assert not sqlite.read(ranking.best, record, BestQuery(hold=4))


LACKING: list[tuple[str, BestQuery, str | None]] = [
    ("unknown parameter 'lrr'; did you mean 'lr'?", BestQuery({"lrr": SLOW}), None),
    ("unknown `activation` 'tan'; did you mean 'tanh'?", BestQuery({"activation": Choices(values=("tan",))}), None),
    ("`lr` is a number, got 'tan'", BestQuery({"lr": Choices(values=("tan",))}), None),
    ("`activation` is one of sigmoid, tanh,", BestQuery({"activation": SLOW}), None),
    ("`lr` is a number, got True", BestQuery({"lr": Choices(values=(True,))}), None),
    ("the range of `lr` is empty: 5 to 1", BestQuery({"lr": Range(low=5, high=1, log=False, whole=False)}), None),
    ("unknown `classes` 64; it is one of 8, 16", for_classes(64), None),
    ("unknown parameter 'activatoin'; did you mean 'activation'?", BestQuery(), "activatoin"),
]


def test_values_are_shown_where_nothing_converged(store: Store) -> None:
    """With how many missed at what cap, and nothing of a best one."""
    spec = StudySpec.of(Choices(values=(8,)), {"lr": Choices(values=(1e-3,)), "width": Choices(values=(32, 64))})
    record = store.write(stored_study.create, "none", spec, 6)
    work(another(store, record))
    found = store.read(ranking.best_per, record, "width")
    assert sum(row.ended.missed for row in found) == 6 and all(row.best is None for row in found)
    assert {row.flat()["rank"] for row in found} == {None}
    best_table(BestAnswer(found, store.read(ranking.tally, record, BestQuery())), per="width")


def test_the_smallest_are_found_where_widths_are_choices(store: Store) -> None:
    """Whose text no database may take for a number by itself."""
    dimensions = {"lr": Choices(values=(0.5,)), "width": Choices(values=(64, 16)), "width_2": Choices(values=(8,))}
    spec = StudySpec.of(Choices(values=(8,)), dimensions)
    record = store.write(stored_study.create, "few", spec, 12)
    work(another(store, record))
    found = store.read(ranking.best, record, BestQuery(by=By.WEIGHTS), 50)
    confirmed = [row.weights for row in found if row.confirmed]
    assert len(found) == 12 and confirmed == sorted(confirmed)


def test_what_the_study_lacks_is_refused(sqlite: Store) -> None:
    """In one line with the nearest name."""
    record = searched(sqlite)
    for said, wanted, name in LACKING:
        with pytest.raises(UsageError) as refused:
            if name:
                sqlite.read(ranking.best_per, record, name, wanted)
            sqlite.read(ranking.best, record, wanted)
        assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("field", "value"), [("target", 0.0), ("target", 1.5), ("target", float("nan")), ("hold", 0)])
def test_a_goal_that_cannot_be_is_refused(field: str, value: float) -> None:
    """With the name of what is wrong."""
    with pytest.raises(UsageError, match=f"`{field}` must be"):
        BestQuery(**{field: value})  # type: ignore[arg-type]


def test_tables_show_what_missed_and_at_what_cap(sqlite: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """For people with the values that have no hit, for programs flat."""
    record = searched(sqlite)
    found = sqlite.read(ranking.best_per, record, "optimizer")
    best_table(BestAnswer(found, sqlite.read(ranking.tally, record, BestQuery())), per="optimizer")
    said = capsys.readouterr().out
    own = sqlite.read(ranking.tally, record, BestQuery())
    assert f"Of 80 trials {own.converged} converged, {own.missed} missed (given " in said
    records(found, Format.CSV)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("optimizer,trials,converged,missed,least_cap,most_cap,open,rank,trial")
    assert len(rows) == len(found)
