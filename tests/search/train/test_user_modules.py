"""A study of a user module: searched over its own parameters, the same on every worker, refused in one line."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.configuration import Configuration
from objectives.convergence import Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.trainers.solo import Solo
from search.ask.initial_design import Design
from search.errors import UsageError
from search.spec import parsing as options
from search.spec.space import Choices, Range, carried, preset
from search.spec.study_spec import StudySpec
from search.train.dry_run import dry_run
from tests.support.command import command, forked

MINE = """
import random
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs, classes, width, dropout=0.0, kernel=3, norm=True):
        super().__init__()
        print("my own print")
        if kernel > inputs:
            raise ValueError(f"kernel {kernel} is wider than {inputs} inputs")
        self.conv = nn.Conv1d(1, width, kernel)
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(width * (inputs - kernel + 1), classes)

    def forward(self, x):
        return self.last(self.dropout(self.norm(self.conv(x.unsqueeze(1))).sin().flatten(1)))
"""
SEARCHED = ["--classes", "4", "--inputs", "8", "--target", "0.9", "--hold", "1", "--max-epochs", "20", "--seed", "1"]
SEARCHED += ["--range", "dropout=0.01:0.3", "--choices", "kernel=3,5,99", "--range", "width=8:32"]
SEARCHED += ["--choices", "optimizer=adamw,rmsprop", "--range", "lr=0.01:0.1", "--range", "first_lr_ratio=1e-5:0.01"]
SEARCHED += ["--choices", "norm=true,false", "--fix", "scaling=fixed", "--range", "gain=200:1000"]
OWN = "tests.support.user_modules:"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a module, and a study of 24 trials of it by two workers."""
    directory = tmp_path_factory.mktemp("mine")
    (directory / "own_net.py").write_text(MINE)
    (directory / "random.py").write_text("raise SystemExit('my own file ran')")
    shared = ["--trials", "24", "--workers", "2", "--format", "json"]
    done = command(directory, "launch", "--objective", "own_net:Net", *SEARCHED, *shared)
    assert done.returncode == 0, done.stderr
    (directory / "answer.json").write_text(done.stdout)
    (directory / "trials.json").write_text(command(directory, "trials", "--format", "json").stdout)
    return directory


def listed(directory: Path) -> list[dict[str, Any]]:
    """The study's trials."""
    rows: list[dict[str, Any]] = json.loads((directory / "trials.json").read_text())
    return rows


def test_a_study_of_an_own_module_finds_a_winner(searched: Path) -> None:
    """Over its own parameters too, shown with them everywhere, and with no model of the question beside it."""
    answer = json.loads((searched / "answer.json").read_text())
    assert answer["status"]["done"] == 24 and answer["winner"]["confirmed"] and answer["question"] is None
    params = answer["winner"]["params"]
    assert params["objective"] == "own_net:Net" and params["kernel"] in (3, 5) and isinstance(params["norm"], bool)
    assert not {"activation", "hidden_layers", "width_2", "bias_init"} & params.keys()
    report = command(searched, "report")
    assert report.returncode == 0 and (searched / "report.html").exists(), report.stderr
    shown = command(searched, "best").stdout
    assert "own_net:Net width " in shown and " dropout 0." in shown and " bias" not in shown


def test_an_exception_in_a_worker_is_a_miss_with_its_reason(searched: Path) -> None:
    """Only of the configurations that raise; the study goes on."""
    rows = listed(searched)
    assert all((row["end"] == "exception") == (row["params"]["kernel"] == 99) for row in rows)
    raised = [row for row in rows if row["end"] == "exception"]
    message = "own_net:Net: ValueError: kernel 99 is wider than 8 inputs (own_net.py, line 10)"
    assert raised and {(row["reason"], row["state"], row["attempts"]) for row in raised} == {(message, "done", 1)}
    assert f"miss at 0 ({message})" in " ".join(command(searched, "trials").stdout.split())


def test_a_trial_of_any_worker_is_the_same_alone(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs and loss to the bit, whichever of two workers trained it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(searched)
    solo = Solo(Batches(Waves(inputs=8)), target=0.9, hold=1)
    for row in listed(searched):
        solo.admit(Trial(0, Configuration.of(row["params"]), row["seed"], row["data_seed"], row["cap"]))
        ended: list[Any] = []
        while not ended:
            ended = solo.advance(5)
        assert (ended[0][1].end, ended[0][1].epochs, ended[0][1].loss) == (row["end"], row["epochs"], row["loss"])


def test_the_best_is_trained_and_saved(searched: Path) -> None:
    """With weights by its own names, and what it prints apart from the answer."""
    done = command(searched, "train", "--save", "w.pt", "--format", "json")
    assert json.loads(done.stdout)["params"]["objective"] == "own_net:Net" and "my own print" in done.stderr
    assert {"conv.weight", "last.bias"} <= torch.load(searched / "w.pt")["state_dict"].keys()


def test_a_worker_that_lacks_the_module_says_so(searched: Path, tmp_path: Path) -> None:
    """Exit status 2 and one line, wherever the store is."""
    shutil.copy(searched / "fewest.db", tmp_path)
    done = forked(tmp_path, "worker", "--study", "default")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "`objective` own_net:Net: ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "`objective` gone:Net: ModuleNotFoundError"),
        ("broken", "`objective` broken:Net: NameError: name 'nn' is not defined (broken.py, line 1)"),
        ("narrow", "`objective` narrow:Net: RuntimeError: mat1 and mat2"),
    ],
)
def test_a_wrong_module_is_refused_before_anything_is_stored(name: str, message: str, tmp_path: Path) -> None:
    """Exit status 2, one line that names it, no store."""
    (tmp_path / "broken.py").write_text("class Net(nn.Module): pass")
    narrow = (
        "from torch.nn import Linear\nclass Net(Linear):\n def __init__(self, classes): super().__init__(3, classes)"
    )
    (tmp_path / "narrow.py").write_text(narrow)
    done = command(tmp_path, "launch", "--objective", f"{name}:Net")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and message in done.stderr
    assert not (tmp_path / "fewest.db").exists()


def test_another_module_or_another_space_of_it_is_another_study() -> None:
    """The difference is named, also where only one of the two has the parameter."""
    own = options.constructor(OWN + "Noisy")
    searched = StudySpec.of(space=options.dimensions(["dropout=0.1"], [], [], own), own=own)
    for other, message in (
        (StudySpec.of(), f"`objective` {OWN}Noisy, not none"),
        (StudySpec.of(own=options.constructor(OWN + "Plain")), f"`objective` {OWN}Noisy, not {OWN}Plain"),
        (StudySpec.of(own=own), "`dropout` 0.1, not none"),
    ):
        assert searched.difference(other) == message
    assert StudySpec.of().difference(searched) == f"`objective` none, not {OWN}Noisy"
    assert StudySpec.of(own=own).difference(searched) == "`dropout` none, not 0.1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nothing", "has no parameters to learn"),
        ("TooMany", "puts out float32 of shape (2, 5), not (2, 4) of (batch, classes)"),
        ("Pair", "puts out no tensor of logits, but tuple"),
        ("number", "makes no torch.nn.Module, but int"),
    ],
)
def test_a_rehearsal_finds_what_is_wrong(name: str, message: str) -> None:
    """On a few samples of the study's own problem."""
    spec = StudySpec.of(options.class_counts("4"), own=options.constructor(OWN + name), inputs=4)
    with pytest.raises(UsageError) as refused:
        dry_run(spec, None, "cpu")
    assert str(refused.value) == f"`objective` {OWN}{name} {message}"


def test_a_rehearsal_takes_one_configuration_that_can_be_trained() -> None:
    """Some may be impossible, and those are the study's to find."""
    dimensions = options.dimensions([], [], ["where=constructor,nowhere"], own=options.constructor(OWN + "Raises"))
    spec = StudySpec.of(space=dimensions, own=options.constructor(OWN + "Raises"))
    assert {Design(spec).point(number)["where"] for number in range(4)} == {"constructor", "nowhere"}
    dry_run(spec, None, "cpu")


def test_the_space_is_what_the_constructor_names() -> None:
    """And training's parameters; its own have the type that is written."""
    own = options.constructor(OWN + "Noisy")
    ranges = ["dropout=0:0.5", "width=8:64"]
    spec = StudySpec.of(space=options.dimensions([], ranges, [], own), own=own)
    assert spec.objective == OWN + "Noisy" and StudySpec.model_validate_json(spec.model_dump_json()) == spec
    training = {"classes", "lr", "first_lr_ratio", "gain", "optimizer", "scaling", "batch_sampling"}
    assert spec.space.keys() == {"objective", "width", "dropout", *training}
    assert spec.space["dropout"] == Range(low=0, high=0.5, log=False, whole=False)
    named = options.constructor(OWN + "Raises")
    dimensions = options.dimensions(["where=true"], [], [], named) | options.dimensions([], ["where=2:9"], [], named)
    assert dimensions["where"] == Range(low=2, high=9, log=True, whole=True)
    several = options.dimensions([], [], ["where=1,0.5,false,inf"], named)["where"]
    assert several == Choices(values=(1, 0.5, False, "inf"))
    assert Choices.model_validate_json(several.model_dump_json()).values[2] is False


def test_wrong_names_and_missing_ones_are_named() -> None:
    """The nearest may be the module's own; what our network alone has is none of its."""
    own = options.constructor(OWN + "Noisy")
    for fix, message in (
        ("drpout=0.1", "did you mean 'dropout'"),
        ("bias_init=zeros", "unknown parameter 'bias_init'"),
    ):
        with pytest.raises(UsageError, match=message):
            options.dimensions([fix], [], [], own)
    with pytest.raises(UsageError, match="from a number to a number"):
        options.dimensions([], ["dropout=true:2"], [], own)
    with pytest.raises(UsageError, match="Needs needs `depth`; give it"):
        StudySpec.of(own=options.constructor(OWN + "Needs"))
    with pytest.raises(UsageError, match="takes `lr`, which is a parameter of its training"):
        options.constructor(OWN + "Trained")
    with pytest.raises(UsageError, match="unknown parameter 'dropout'"):
        StudySpec.of(space={"dropout": Choices(values=(0.1,))})


def test_what_another_network_has_does_not_go_along() -> None:
    """Configurations that a study begins with are moved into its space, whatever made them."""
    own = options.constructor(OWN + "Noisy")
    spec = StudySpec.of(own=own, start=(preset("answer", 256).params,))
    moved = carried(spec.space, spec.start[0], 256)
    assert "activation" not in moved and moved["width"] == 2048
    first = Configuration.of(Design(spec).point(0))
    assert first.objective == OWN + "Noisy" and first.lr == 1e-3 and dict(first.arguments) == {"width": 2048}
    assert len(Design(spec)) == len(Design(StudySpec.of())) - 1  # for the page's two models
