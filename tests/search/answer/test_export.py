"""An exported script trains what our trainers do, and does what its docstring says."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from objectives.configuration import Configuration
from objectives.convergence import Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.samples import Samples
from objectives.data.waves import Waves
from objectives.model.network import centres, glorot_uniform
from objectives.model.optimizers import Optimizer
from objectives.parameters import ACTIVATIONS, BIAS_INITS, OPTIMIZERS, SCALINGS
from objectives.trainers.solo import Solo
from search.answer.export.export import SEEDS, export, find_seed
from search.answer.export.script import Framework, Recipe, quoted, script
from search.errors import Failure
from search.spec import parsing as options
from search.spec.study_spec import DataRef, StudySpec
from tests.support import records
from tests.support.command import command

BASE: dict[str, Any] = {"classes": 8, "width": 12, "activation": "tanh", "optimizer": "adam", "lr": 0.05}
BASE |= {"scaling": "fixed", "gain": 3.0, "first_lr_ratio": 0.1}
WAVES, EPOCHS, HOLD = Waves(16, 1e-2), 6, 3  # noise enough that no input is the least of its batch in all places
_draw = np.random.default_rng(0)
SAMPLES = Samples(
    (_draw.normal(size=(90, 16)) * (np.arange(16) > 0)).astype(np.float32), np.arange(90) % 8, tuple("abcdefgh")
)

#: What differs from BASE; every choice of every parameter is in one of them.
CASES: list[dict[str, Any]] = [
    *({"activation": name} for name in ACTIVATIONS),
    *({"optimizer": name} for name in OPTIMIZERS),
    *({"scaling": name, "bias_init": bias} for name in SCALINGS for bias in BIAS_INITS),
    {"hidden_layers": 2, "width_2": 9, "bias_init": "spread", "activation": "gaussian"},
    {"scaling": "none", "gain": 1.0, "first_lr_ratio": 1.0, "bias_init": "spread"},
    {"optimizer": "adamw", "first_lr_ratio": 1.0},
    {"classes": 300, "bias_init": "spread"},
    {"batch_sampling": "random"},
    *(
        {"batch_size": 17, "scaling": name, "bias_init": "spread", "hidden_layers": 2, "width_2": 9}
        for name in SCALINGS
    ),
    {"batch_size": 512, "first_lr_ratio": 0.0, "gain": 1.0, "scaling": "none"},
]


def recipe(configuration: Configuration, loads: bool = False) -> Recipe:
    """A script that nothing ends before its epochs are over."""
    return Recipe(configuration, 16, 1e-2, 2.0, HOLD, EPOCHS, loads)


def ours(configuration: Configuration) -> tuple[Trial, Outcome]:
    """The same training by the solo trainer, in float64."""
    problem = SAMPLES if configuration.batch_size else WAVES
    solo = Solo(Batches(problem, dtype=torch.float64), 2.0, HOLD)
    solo.admit(Trial(0, configuration, seed=3, data_seed=4, cap=EPOCHS + HOLD - 1))
    ((trial, outcome),) = solo.advance(100)
    return trial, outcome


@pytest.fixture
def double() -> Iterator[None]:
    """Numbers of 64 bits, where a script does not say."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def script_of(configuration: Configuration, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's names, with our draws in place of its own."""
    names: dict[str, Any] = {"__name__": "script"}
    exec(compile(script(recipe(configuration), Framework.TORCH, ["It."], 0), "script.py", "exec"), names)
    sizes = [16, *configuration.widths, configuration.classes]
    layers = iter(range(len(sizes)))

    def weigh(weight: torch.Tensor) -> None:
        weight.data.copy_(torch.from_numpy(glorot_uniform(trial.seed, next(layers), *weight.shape)))

    monkeypatch.setattr(nn.init, "xavier_uniform_", weigh)
    at = centres(trial.seed, configuration.width)
    if configuration.batch_size:
        epochs = iter(range(EPOCHS + HOLD))
        orders = (torch.from_numpy(SAMPLES.order(configuration, trial.data_seed, epoch)) for epoch in epochs)
        monkeypatch.setattr(torch, "randperm", lambda n: next(orders))
        monkeypatch.setattr(torch, "randint", lambda n, size: torch.from_numpy((at * n).astype(np.int64)))
        names["load"] = lambda: (torch.from_numpy(SAMPLES.x).double(), torch.from_numpy(SAMPLES.labels))
        names["split"] = lambda labels: map(torch.from_numpy, SAMPLES.split(trial.data_seed))
        return names
    measured = configuration.scaling in ("batch", "minmax") and configuration.bias_init == "spread"
    epochs = iter([0] * measured + list(range(EPOCHS + HOLD)))  # biases are spread over a batch of their own
    monkeypatch.setattr(torch, "rand", lambda *size: torch.from_numpy(at).double().view(size))

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        raw = WAVES.batch(configuration.classes, trial.data_seed, next(epochs), configuration.batch_sampling)
        return torch.from_numpy(raw[0]).double(), torch.from_numpy(raw[1])

    names["batch"] = batch
    return names


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_torch_script_trains_as_our_trainer(
    case: dict[str, Any], double: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From our weights, on our batches, it prints the accuracy and the loss of every evaluation that ours makes."""
    configuration = Configuration.of(BASE | case)
    trial, outcome = ours(configuration)
    names, printed = script_of(configuration, trial, monkeypatch), list[str]()
    names["print"] = printed.append
    names["train"]()
    expected = [
        f"after {epoch} epochs: accuracy {accuracy:.4f}, loss {loss:.4f}"
        for epoch, accuracy, loss in zip(*vars(outcome.curve).values(), strict=True)
    ]
    assert printed == [*expected, f"not converged in {EPOCHS} epochs"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torchs_optimizers_are_ours(name: str, double: None) -> None:
    """Twenty steps with the script's arguments move parameters as ours, the first layer at its own rate."""
    torch.manual_seed(0)
    configuration = Configuration.of(BASE | {"optimizer": name})
    text, names = script(recipe(configuration), Framework.TORCH, ["It."], 0), {"__name__": "script"}
    exec(text, names)
    names["model"] = model = names["Classifier"]()
    copies = [[parameter.detach().clone() for parameter in layer.parameters()] for layer in model.layers]
    (made,) = (
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "optimizer"
    )
    theirs, ours = eval(ast.unparse(made), names), Optimizer(configuration, copies)
    pairs = list(zip(model.parameters(), (copy for layer in copies for copy in layer), strict=True))
    for _ in range(20):
        for parameter, copy in pairs:
            parameter.grad = torch.randn_like(parameter) * 1e-4
            copy.grad = parameter.grad.clone()
        theirs.step()
        ours.step()
    for parameter, copy in pairs:
        assert torch.allclose(parameter, copy, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_a_keras_script_trains_as_our_trainer() -> None:
    """From our weights, on our batches, it ends with ours, but for where Keras puts ε and for Nadam's momentum."""
    here = [sys.executable, "-m", "tests.support.keras_beside_ours"]
    done = subprocess.run(here, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout)
    assert len(differences) >= 14 and max(differences.values()) < 1e-5, differences


def test_scripts_are_well_written(tmp_path: Path) -> None:
    """Each is formatted, has nothing that it does not use, and imports its framework alone."""
    for i, case in enumerate(CASES):
        for loads in (False, True):
            asked = recipe(Configuration.of(BASE | case), loads)
            for framework in Framework:
                text = script(asked, framework, ["It learns.", "Well."], 0)
                (tmp_path / f"{framework}_{i}_{loads}.py").write_text(text)
    for file in tmp_path.iterdir():
        nodes = [
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        roots = {(node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes}
        known = {"torch", "argparse", "pathlib"} if "torch" in file.name else {"keras", "numpy", "pathlib"}
        assert roots <= known and file.read_text().count("\n") < 150
    for asked in (["check", "--select", "E,F,I,B,SIM,UP"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *asked, "--isolated", "--line-length", "120", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ['a"""b', "back\\slash", "end\\", "two\nlines", "'\"", "\udc80"])
def test_a_name_of_any_kind_stands_in_a_docstring(name: str) -> None:
    """Quotes, backslashes and line breaks of a study's or a file's name do not end it, nor what cannot be encoded."""
    about = [f"Classes of {quoted(name)}.", f"Study {quoted(name)}"]
    text = script(recipe(Configuration.of(BASE)), Framework.TORCH, about, 0)
    docstring = ast.get_docstring(ast.parse(text.encode()))
    assert docstring is not None and docstring.count("\n") == 3


@pytest.mark.parametrize(
    ("needed", "seed", "message"),
    [
        ({0: 3, 1: 2}, 1, "Seed 1: 2 epochs, as recorded (torch "),
        ({3: 5, 4: 1}, 4, f"Seed 4: 1 epoch, the nearest to the recorded 2 of seeds 0 to {SEEDS - 1} (– – – 5 1 – –"),
        ({}, 0, f"None of seeds 0 to {SEEDS - 1} converges, though the trial did in 2 epochs (torch "),
    ],
)
def test_the_first_seed_that_does_as_recorded_is_taken(needed: dict[int, int], seed: int, message: str) -> None:
    """Else the nearest, and what all of them came to is said."""

    def text(seed: int) -> str:
        end = f"converged after {needed[seed]} epochs" if seed in needed else "not converged in 12 epochs"
        return f"print('after 0 epochs: accuracy 0')\nprint({end!r})"

    shown = list[str]()
    found, outcome = find_seed(text, None, Framework.TORCH, 2, shown.append)
    assert found == seed and outcome.startswith(message)
    assert len(shown) == (seed if 2 in needed.values() else SEEDS)


def test_a_script_that_does_not_run_is_one_line() -> None:
    """The last line of what it says, as a failure of the command."""
    with pytest.raises(Failure, match=r"^the script does not run here: MemoryError: too wide$"):
        find_seed(lambda seed: "raise MemoryError('too wide')", None, Framework.TORCH, 1, print)


@pytest.fixture(scope="module")
def launched(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a finished study, to write to."""
    directory = tmp_path_factory.mktemp("export")
    shutil.copy(searched / "fewest.db", directory)
    return directory


def run(script: Path, *arguments: str) -> list[str]:
    """What a script prints, line by line, in a Python that sees neither us nor the environment."""
    command = [sys.executable, "-I", script.name, *arguments]
    done = subprocess.run(command, cwd=script.parent, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_winner_is_taken_home(launched: Path, tmp_path: Path) -> None:
    """Alone in a directory of its own, the script converges as recorded, and predicts with the weights."""
    (best,) = json.loads(command(launched, "best", "--top", "1", "--format", "json").stdout)
    done = command(launched, "export", "--out", "winner.py", "--weights", "winner.pt")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert f"epoch{'s' * (best['epochs'] != 1)}, as recorded (torch " in done.stderr
    for name in ("winner.py", "winner.pt"):
        shutil.move(launched / name, tmp_path)
    assert f"trial {best['trial']} of study 'default'" in (tmp_path / "winner.py").read_text()
    assert run(tmp_path / "winner.py")[-1] == f"converged after {best['epochs']} epochs"
    assert run(tmp_path / "winner.py", "--load", "winner.pt") == [
        "8 of 8 samples of a fresh batch are predicted correctly"
    ]


@pytest.mark.slow
def test_a_keras_script_converges_as_recorded() -> None:
    """It was run, and says so."""
    spec = StudySpec.of(options.class_counts("8"), inputs=16)
    good = {"width": 64, "activation": "sine", "optimizer": "adamw", "lr": 0.1, "first_lr_ratio": 1e-4}
    params = BASE | good | {"gain": 200.0, "bias_init": "spread"}
    recorded = records.run(trial=1, epochs=1, converged=True, params=params)
    exported = export("s", spec, None, recorded, Framework.KERAS, False, print)
    docstring = ast.get_docstring(ast.parse(exported.text))
    assert "1 epoch, as recorded (keras " in exported.message
    assert docstring is not None and f"\n{exported.message}.\n" in docstring


def test_own_data_go_beside_the_script(tmp_path: Path) -> None:
    """Blobs, a fifth of which is held out: written, loaded and learned."""
    labels = np.arange(200) % 4
    x = np.eye(4)[labels] * 3 + np.random.default_rng(0).normal(size=(200, 4))
    samples = Samples(x.astype(np.float32), labels, ("a", "b", "c", "d"))
    reference = DataRef(name="blobs.npz", digest="d", samples=200, features=4, classes=4, training=160)
    spec = StudySpec.of(data=reference, target=0.8, hold=1)
    params = BASE | {"classes": 4, "batch_size": 16, "scaling": "batch", "bias_init": "spread", "gain": 1.0}
    recorded = records.run(trial=1, epochs=1, converged=True, params=params)
    exported = export("s", spec, samples, recorded, Framework.TORCH, False, print)
    assert exported.data is not None and "as recorded" in exported.message
    (tmp_path / "blobs.data.pt").write_bytes(exported.data)
    (tmp_path / "blobs.py").write_text(exported.text)
    assert run(tmp_path / "blobs.py")[-1] == "converged after 1 epochs"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--out", "none/w.py"], 2, "cannot write none/w.py; `--out` names a file"),
        (["--weights", "."], 2, "cannot write .; `--weights` names a file"),
        (["--out", "w", "--weights", "w"], 2, "name the same file"),
        (["--as", "keras", "--weights", "w.pt"], 2, "`--weights` are for torch"),
        (["--trial", "99"], 2, "has no trial 99; the nearest is 29"),
        (["--classes", "9"], 2, "unknown `classes` 9; it is one of 8"),
        (["--trial", "3", "--classes", "8"], 2, "leave one out"),
    ],
)
def test_a_mistake_is_one_line(launched: Path, arguments: list[str], code: int, message: str) -> None:
    """Nothing is run, and nothing written."""
    before = sorted(launched.iterdir())
    done = command(launched, "export", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1) and message in done.stderr
    assert sorted(launched.iterdir()) == before
