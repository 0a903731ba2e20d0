"""What the shell can ask can be asked in Python, too, with the same answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from search.client import connect
from search.errors import UsageError
from search.query.records import ValueRecord, plain
from storage.database import StorageMisuse
from storage.store import Store
from tests.search.ask.test_study import begun, work
from tests.support.command import command


@pytest.fixture
def storage(sqlite: Store, tmp_path: Path) -> str:
    """The URL of a store with a study `s` of 40 trials."""
    _, study = begun(sqlite, 40)
    work(study)
    return f"sqlite:///{tmp_path}/store.db"


def test_answers_are_those_of_the_shell(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record for record, at a URL that is given or that the environment has."""
    monkeypatch.setenv("FEWEST_STORAGE", storage)
    with connect() as studies, connect(storage) as given:
        assert studies.status(study="s").done == 40
        asked = [
            (
                studies.best(study="s", top=3, where={"lr": (0.1, 0.5), "optimizer": ["adam", "sgd", "nadam"]}),
                "best --top 3 --where lr=0.1:0.5 --where optimizer=adam,sgd,nadam",
            ),
            (
                studies.best(
                    study="s", where={"lr": {"low": 0.1, "high": 0.5}, "optimizer": {"values": ["adam", "sgd"]}}
                ),
                "best --where lr=0.1:0.5 --where optimizer=adam,sgd",
            ),
            (studies.best_per("activation", study="s", by="weights"), "best --per activation --by weights"),
            (given.best(study="s", target=0.2, hold=1), "best --target 0.2 --hold 1"),
            (studies.trials(study="s", limit=5, after=3), "trials --limit 5 --after 3"),
        ]
    for answer, line in asked:
        done = command(tmp_path, *line.split(), "--study", "s", "--storage", storage, "--format", "json")
        rows = [row.flat() if isinstance(row, ValueRecord) else plain(row) for row in answer]
        assert json.loads(done.stdout) == rows and rows, line


def test_records_become_a_frame_with_a_column_for_each_parameter(storage: str) -> None:
    """Of trials, of the best, and of values of which nothing converged."""
    with connect(storage) as studies:
        frame = studies.frame(studies.trials(study="s"))
        assert len(frame) == 40 and {"trial", "epochs", "converged", "lr", "activation"} <= set(frame)
        assert frame[frame.converged].lr.min() > 0.1
        best = studies.frame(studies.best(study="s"))
        assert len(best) == 10 and {"rank", "confirmed", "lr", "activation"} <= set(best)
        per = studies.frame(studies.best_per("activation", study="s"))
        assert "activation" in per and len(per) > 3


def test_what_is_not_there_is_an_error_in_one_line(storage: str) -> None:
    """A study, a parameter, a cost, a range."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("did you mean 'lr'", {"where": {"lrr": 1.0}}),
        ("`by` must be one of epochs, seconds, weights, got 'time'", {"by": "time"}),
        (r"`where`: 'lr' takes a value, a list of values or a tuple", {"where": {"lr": ("a", "b")}}),
        (r"`where`: 'lr' takes a value, a list", {"where": {"lr": {"low": 0.1, "high": float("inf")}}}),
        (r"a tuple \(low, high\)", {"where": {"lr": (1.0, 2.0, 3.0)}}),
    ]
    with connect(storage) as studies:
        with pytest.raises(StorageMisuse, match="no study 'default' in"):
            studies.best()
        for said, asked in wrong:
            with pytest.raises(UsageError, match=said):
                studies.best(study="s", **asked)
            with pytest.raises(UsageError, match=said):
                studies.best_per("activation", study="s", **asked)
        with pytest.raises(UsageError, match="did you mean 'activation'"):
            studies.best_per("activaton", study="s")
