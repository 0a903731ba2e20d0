"""A recorded trial that is trained again, alone, comes out as recorded, to the bit."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from objectives.convergence import Curve, End
from objectives.trainers.trainer import TrainerKind
from search.errors import UsageError
from search.query import runs as query
from search.spec import parsing as options
from search.spec import stored_study
from search.spec.study_spec import StudySpec
from search.train.replay import Replay, ReplayRecord, check, compared
from search.train.worker import Worker
from storage import schema
from storage.store import Store
from tests.support.command import Fewest, command
from tests.support.records import run

NO_CURVE = Curve((), (), ())
#: Trials of one shape or of many, and a learning rate at which some diverge.
SPACES: Sequence[tuple[TrainerKind, list[str], list[str]]] = [
    (TrainerKind.AUTO, ["hidden_layers=1", "width=64"], []),
    (TrainerKind.ARRAY, [], ["lr=1e-3:1"]),
    (TrainerKind.SOLO, ["hidden_layers=2"], ["lr=1:1000000", "gain=100:1000000"]),
]


def replayed(store: Store, name: str) -> list[ReplayRecord]:
    """Every trial of a study that has an outcome, again."""
    record = store.read(stored_study.find, name)
    again = Replay(record.spec, None, None)
    return [
        again(store.read(query.trial, record, number), lambda _: None) for number in store.read(query.finished, record)
    ]


@pytest.mark.parametrize(("kind", "fixed", "ranges"), SPACES)
def test_every_trial_comes_out_as_recorded(
    sqlite: Store, kind: TrainerKind, fixed: list[str], ranges: list[str]
) -> None:
    """Converged, missed, stopped early and diverged ones, from a full array, one that mixes shapes, or one by one."""
    dimensions = options.dimensions(fixed, ranges, [])
    few = {"classes": options.class_counts("8"), "inputs": 16, "max_epochs": 30, "sampler": "random"}
    spec = StudySpec.of(space=dimensions, **few)
    record = sqlite.write(stored_study.create, "s", spec, 40)
    Worker(sqlite, record, "cpu", kind=kind).work()
    rows = replayed(sqlite, "s")
    assert len(rows) == 40 and all(row.same_epochs and row.same_curve for row in rows)
    assert {row.largest_difference for row in rows} == {0.0} and {row.trainer for row in rows} == {kind}
    expected = {End.CAP, End.DIVERGED} if kind is TrainerKind.SOLO else {End.CAP, End.CONVERGED}
    assert {row.end for row in rows} >= expected and not any(row.changed for row in rows)


def test_another_trainer_than_recorded_shows_in_the_bits(sqlite: Store) -> None:
    """The solo trainer adds up in another order than the array, so the trainer must be the recorded one."""
    few = {"classes": options.class_counts("8"), "inputs": 16, "max_epochs": 30}
    spec = StudySpec.of(space=options.dimensions(["hidden_layers=1", "width=64"], [], []), **few)
    record = sqlite.write(stored_study.create, "s", spec, 10)
    Worker(sqlite, record, "cpu").work()
    software = json.dumps({"trainer": "solo", "torch": "1.0"})
    sqlite.write(lambda connection: connection.execute(sa.update(schema.workers).values(software=software)))
    rows = replayed(sqlite, "s")
    assert not all(row.same_curve for row in rows)
    assert max(row.largest_difference for row in rows) < 1e-3
    assert all(len(row.changed) == 1 and row.changed[0].startswith("torch 1.0, now ") for row in rows)


def test_curves_are_compared_as_they_are_stored() -> None:
    """Not a number equals itself, shorter is another, and differences are of finite values of one epoch."""
    nan, inf = float("nan"), float("inf")
    one = Curve([0, 1, 2], [0.1, 0.2, 0.3], [2.0, inf, nan])
    assert compared(one, one) == (True, 0.0)
    assert compared(one, Curve([0, 1], [0.1, 0.2], [2.0, inf])) == (False, 0.0)
    same, difference = compared(one, Curve([0, 2, 4], [0.1, 0.4, 0.9], [2.5, nan, 7.0]))
    assert not same and difference == 0.5
    assert compared(one, Curve([0, 1, 2], [float(np.float32(0.1)), 0.2, 0.3], [2.0, inf, nan])) == (True, 0.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"state": "running", "end": None, "curve": NO_CURVE}, "trial 7 is running"),
        (
            {"state": "failed", "end": None, "curve": NO_CURVE, "reason": "the device is gone"},
            "failed (the device is gone)",
        ),
        ({"end": "out of memory"}, "ran out of memory"),
    ],
)
def test_what_has_no_outcome_to_compare_with_is_refused(changed: dict[str, Any], said: str) -> None:
    """One line that says why."""
    recorded = run(trial=7, state="done", end="cap", curve=Curve([0], [0.5], [1.0]))
    check(recorded)
    with pytest.raises(UsageError) as refused:
        check(replace(recorded, **changed))
    assert said in str(refused.value) and "leave it out" in str(refused.value)


def test_a_study_of_two_workers_is_reproduced(searched: Path) -> None:
    """Twenty at random, or those that are asked for; the last line counts them, for programs on stderr."""
    done = command(searched, "replay")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "20 of 20 reproduce their epochs, 20 their curves to the bit"
    named = command(searched, "replay", "3", "0", "--format", "json")
    assert [row["trial"] for row in json.loads(named.stdout)] == [3, 0]
    assert named.stderr.splitlines()[-1].startswith("2 of 2 reproduce")
    unknown = command(searched, "replay", "41")
    assert unknown.returncode == 2 and "the nearest is 29" in unknown.stderr and unknown.stderr.count("\n") == 1


def test_a_difference_is_shown_and_is_a_failure(searched: Path, tmp_path: Path, fewest: Fewest) -> None:
    """Another seed in the record, made by a worker of which little is known: exit status 1, and all of it is said."""
    shutil.copy(searched / "fewest.db", tmp_path)
    store = Store.open(f"sqlite:///{tmp_path}/fewest.db")
    one = sa.update(schema.runs).where(schema.runs.c.trial == 3, schema.runs.c.replicate == 0).values(seed=1)
    store.write(lambda connection: connection.execute(one))
    store.write(lambda connection: connection.execute(sa.update(schema.workers).values(software='{"torch": "1.0"}')))
    store.close()
    done = fewest("replay", "2", "3")
    assert done.returncode == 1 and "1 their curves to the bit" in done.stdout
    assert "2 recorded without the name of the trainer: taken for auto" in done.stderr
    assert "2 of 2 recorded with torch 1.0, now " in done.stderr
