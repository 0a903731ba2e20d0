"""What the shell can ask can be asked in Python, too, with the same answers."""

import json
from pathlib import Path

import pytest

from search import client
from search.errors import UsageError
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
    assert client.status(study="s")["done"] == 40
    asked = [
        (
            client.best(study="s", top=3, where={"lr": (0.1, 0.5), "optimizer": ["adam", "sgd", "nadam"]}),
            "best --top 3 --where lr=0.1:0.5 --where optimizer=adam,sgd,nadam",
        ),
        (client.best(study="s", per="activation", by="weights"), "best --per activation --by weights"),
        (client.best(study="s", target=0.2, hold=1, storage=storage), "best --target 0.2 --hold 1"),
        (client.trials(study="s", limit=5, after=3), "trials --limit 5 --after 3"),
    ]
    for answer, line in asked:
        done = command(tmp_path, *line.split(), "--study", "s", "--storage", storage, "--format", "json")
        assert json.loads(done.stdout) == answer and answer, line


def test_records_become_a_frame_with_a_column_for_each_parameter(storage: str) -> None:
    """Of trials, of the best, and of values of which nothing converged."""
    frame = client.frame(client.trials(study="s", storage=storage))
    assert len(frame) == 40 and {"trial", "epochs", "converged", "lr", "activation"} <= set(frame)
    assert frame[frame.converged].lr.min() > 0.1
    per = client.frame(client.best(per="activation", study="s", storage=storage))
    assert "activation" in per and len(per) > 3


def test_what_is_not_there_is_an_error_in_one_line(storage: str) -> None:
    """A study, a parameter, a cost, a range."""
    with pytest.raises(StorageMisuse, match="no study 'default' in"):
        client.best(storage=storage)
    with pytest.raises(UsageError, match="did you mean 'lr'"):
        client.best(study="s", storage=storage, where={"lrr": 1.0})
    with pytest.raises(UsageError, match="`by` must be one of epochs, seconds, weights, got 'time'"):
        client.best(study="s", storage=storage, by="time")
    with pytest.raises(UsageError, match="values, lists of values or tuples"):
        client.best(study="s", storage=storage, where={"lr": ("a", "b")})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match=r"a tuple \(low, high\)"):
        client.best(study="s", storage=storage, where={"lr": (1.0, 2.0, 3.0)})  # type: ignore[dict-item]
