"""A user module is trained as a plain loop would, draws by its seed alone, and its mistakes are misses."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.trainers.solo import Solo
from objectives.trainers.trial_array import TrialArray
from objectives.user_code import module as user_module
from objectives.user_code.loader import Constructor, UserCodeError, load
from tests.support import user_modules as own

WAVES = Waves(inputs=20)
BASE: dict[str, Any] = {"classes": 12, "optimizer": "adam", "lr": 0.02, "scaling": "fixed", "gain": 2.0}


def trial(name: str, key: int = 0, cap: int = 12, **arguments: Any) -> Trial:
    """A trial of a module of `tests.support.user_modules`."""
    params = BASE | {"objective": f"tests.support.user_modules:{name}"} | arguments
    return Trial(key, Configuration.of(params), seed=5, data_seed=6, cap=cap)


def trained(asked: Trial, dtype: torch.dtype = torch.float32) -> tuple[Outcome, nn.Module | None]:
    """The outcome of one trial, and its module."""
    solo = Solo(Batches(WAVES, "cpu", dtype), target=0.99, hold=3)
    solo.admit(asked)
    while not (ended := solo.advance(7)):
        pass
    assert solo.room == 1
    return ended[0][1], solo.network


def test_equals_a_plain_torch_loop() -> None:
    """The loss curve is that of a loop by hand with torch.optim, the first layer at a tenth of the learning rate."""
    outcome, _ = trained(trial("Plain", width=9, first_lr_ratio=0.1), torch.float64)
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        net = own.Plain(20, 12, 9).double()
    rates = [{"params": net[0].parameters(), "lr": 0.002}, {"params": net[2].parameters(), "lr": 0.02}]
    rule, losses = torch.optim.Adam(rates, eps=1e-7), []
    for epoch in range(13):
        x, labels = (torch.from_numpy(part) for part in WAVES.batch(12, 6, epoch, "every_class"))
        loss = nn.functional.cross_entropy(net((x.double() - 0.5) / 0.289 * 2), labels)
        losses.append(loss.item())
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()
    assert list(outcome.curve.loss) == pytest.approx(losses, rel=1e-10)


def test_what_is_drawn_depends_on_the_trial_alone() -> None:
    """Dropout and batch normalisation give the same to the bit in any process state, and beside a neighbour."""
    torch.manual_seed(1)
    alone, _ = trained(trial("Noisy"))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, _ = trained(trial("Noisy"))
    assert torch.equal(torch.get_rng_state(), before)
    array = TrialArray(Batches(WAVES), 0.99, 3, always=True)
    array.admit(Trial(1, Configuration.of({**BASE, "width": 8, "activation": "sine"}), 1, 1, cap=12))
    array.admit(trial("Noisy"))
    ended: dict[int, Outcome] = {}
    while len(ended) < 2:
        ended |= {done.key: outcome for done, outcome in array.advance(5)}
    assert alone.curve == again.curve == ended[0].curve
    assert trained(trial("Noisy", dropout=0.5))[0].curve != alone.curve


def test_evaluation_and_learning_have_their_modes() -> None:
    """What differs in evaluation is evaluated so, and what is learned is not that forward pass."""
    outcome, module = trained(trial("Modes", cap=5))
    assert outcome.converged and outcome.epochs == 0
    assert isinstance(module, own.Modes) and not module.training


def test_parameters_without_a_gradient_stay_as_they_are() -> None:
    """Unused and frozen ones do; tied, lazy and disordered ones learn."""
    asked = trial("Odd", optimizer="adamw")
    begun = user_module.construct(asked, Batches(WAVES)).state_dict()
    _, module = trained(asked)
    assert module is not None
    same = {name for name, value in module.state_dict().items() if torch.equal(value, begun[name])}
    assert same == {"unused.weight", "unused.bias", "first.weight"}


def test_the_first_layer_is_the_first_with_parameters_of_its_own_to_learn() -> None:
    """In the order of definition, without its children's and without frozen ones; all others are the rest."""
    nested = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 2))
    nested[0][1].requires_grad_(False)
    first, rest = user_module.split_first_layer(nested, "a:b")
    assert first == list(nested[0][2].parameters()) and rest == list(nested[1].parameters())


def test_a_constructor_gets_what_it_names() -> None:
    """By keyword, also what has no place with one hidden layer."""
    asked = trial("Named", hidden_layers=1, activation="sine", deep=True)
    module = user_module.construct(asked, Batches(WAVES))
    assert isinstance(module, own.Named) and module.given == (1, None, "sine", True) and module.out_features == 12
    assert Constructor.of("tests.support.user_modules:Named").extra_parameters == ("deep",)
    assert Constructor.of("tests.support.user_modules:Needs").missing(["width"]) == ["depth"]


@pytest.mark.parametrize(
    ("name", "arguments", "said", "epochs"),
    [
        ("Raises", {"where": "constructor"}, r": KeyError: 'no such thing' \(user_modules\.py, line \d+\)", 0),
        ("Raises", {"where": "forward"}, r": RuntimeError: it will not \(user_modules\.py, line \d+\)", 1),
        ("Raises", {"where": "backward"}, ": RuntimeError: element 0 of tensors does not require grad", 0),
        ("Raises", {"here": 1}, r": TypeError: .*unexpected keyword argument 'here'", 0),
        ("TooMany", {}, r" puts out float32 of shape \(12, 13\), not \(12, 12\)", 0),
        ("Pair", {"width": 3}, " puts out no tensor of logits, but tuple", 0),
        ("Nothing", {}, " has no parameters to learn", 0),
        ("Trained", {}, " takes `lr`, which is a parameter of its training", 0),
        ("number", {}, " makes no torch.nn.Module, but int", 0),
        ("Plane", {}, ": AttributeError: .*'Plane'", 0),
    ],
)
def test_a_mistake_is_a_miss_that_says_what_it_was(name: str, arguments: Any, said: str, epochs: int) -> None:
    """At whatever epoch, in one line that names the class, and the trainer goes on."""
    outcome, module = trained(trial(name, **arguments))
    assert outcome.end is End.EXCEPTION and outcome.epochs == epochs and outcome.gap > 0.999 and module is None
    assert outcome.reason is not None and "\n" not in outcome.reason
    with pytest.raises(UserCodeError, match=f"^tests.support.user_modules:{name}{said}"):
        raise UserCodeError(outcome.reason)


def test_running_out_of_memory_is_no_exception_of_the_module() -> None:
    """It ends as it does for our network."""
    outcome, _ = trained(trial("Raises", where="memory"))
    assert outcome.end is End.OUT_OF_MEMORY


def test_code_is_found_in_the_working_directory_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file there is imported, unless it has the name of a module of ours or of Python's."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_of_this_test.py").write_text("class Thing: pass")
    (tmp_path / "wave.py").write_text("Wave_read = 'mine'")
    assert load("own_of_this_test:Thing").__name__ == "Thing"
    assert load("wave:Wave_read") != "mine" and sys.path[-1] == str(tmp_path)
