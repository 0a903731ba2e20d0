"""The solo trainer trains exactly what torch.nn and torch.optim would, and ends where it should."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.model.network import glorot_uniform
from objectives.parameters import ACTIVATIONS, BIAS_INITS, OPTIMIZERS, SCALINGS
from objectives.trainers.solo import Solo

WAVES = Waves(inputs=20)
BASE: dict[str, Any] = {"classes": 12, "width": 9, "activation": "tanh", "optimizer": "sgd", "lr": 0.05}
#: Learns 256 classes in one or two epochs.
GOOD = Configuration.of(
    {"classes": 256, "width": 2035, "activation": "sine", "optimizer": "nesterov", "lr": 0.47, "first_lr_ratio": 1e-4}
    | {"scaling": "fixed", "gain": 173.0, "bias_init": "spread"}
)


def trained(
    configuration: Configuration,
    cap: int,
    problem: Waves = WAVES,
    burst: int = 7,
    blind: bool | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Outcome:
    """The outcome of one trial."""
    solo = Solo(Batches(problem, device, dtype), target=0.99, hold=3, blind=blind)
    solo.admit(Trial(1, configuration, seed=5, data_seed=6, cap=cap))
    assert solo.room == 0
    while not (ended := solo.advance(burst)):
        assert [progress.trial.key for progress in solo.running] == [1]
    assert solo.room == 1 and not solo.running
    return ended[0][1]


def by_hand(optimizer: Any, layers: int, epochs: int) -> list[float]:
    """Losses of a plain torch.nn and torch.optim loop in float64, the first layer at a tenth of the learning rate."""
    sizes = [20, *[9, 7][:layers], 12]
    linear = [nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes)]
    for key, layer in enumerate(linear):
        layer.weight.data = torch.from_numpy(glorot_uniform(5, key, layer.out_features, layer.in_features)).double()
        layer.bias.data.zero_()
    net = nn.Sequential(*[part for layer in linear for part in (layer, nn.Tanh())][:-1])
    rest = [parameter for layer in linear[1:] for parameter in layer.parameters()]
    rule = optimizer([{"params": linear[0].parameters(), "lr": 0.005}, {"params": rest, "lr": 0.05}])
    losses = []
    torch.set_default_dtype(torch.float64)  # in which NAdam keeps its product of momenta
    for epoch in range(epochs + 1):
        x, labels = (torch.from_numpy(part) for part in WAVES.batch(12, 6, epoch, "every_class"))
        loss = nn.functional.cross_entropy(net((x.double() - 0.5) / 0.289), labels)
        losses.append(loss.item())
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()
    torch.set_default_dtype(torch.float32)
    return losses


TORCH = {
    "sgd": lambda p: torch.optim.SGD(p),
    "momentum": lambda p: torch.optim.SGD(p, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, alpha=0.9, eps=1e-7),
    "adagrad": lambda p: torch.optim.Adagrad(p, initial_accumulator_value=0.1, eps=1e-7),
    "adadelta": lambda p: torch.optim.Adadelta(p, rho=0.95, eps=1e-7),
    "adam": lambda p: torch.optim.Adam(p, eps=1e-7),
    "adamax": lambda p: torch.optim.Adamax(p, eps=1e-7),
    "nadam": lambda p: torch.optim.NAdam(p, eps=1e-7),
    "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.004, eps=1e-7),
}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_a_plain_torch_loop(name: str, layers: int) -> None:
    """Every optimizer's loss curve is that of a loop written by hand."""
    params = BASE | {"optimizer": name, "first_lr_ratio": 0.1, "scaling": "fixed", "hidden_layers": layers}
    outcome = trained(Configuration.of(params | ({"width_2": 7} if layers == 2 else {})), 15, dtype=torch.float64)
    assert list(outcome.curve.loss) == pytest.approx(by_hand(TORCH[name], layers, 15), rel=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("bias_init", BIAS_INITS)
def test_every_combination_trains(activation: str, scaling: str, bias_init: str) -> None:
    """All activations, scalings and bias inits give a finite loss that falls."""
    params = BASE | {"activation": activation, "scaling": scaling, "bias_init": bias_init, "optimizer": "adam"}
    outcome = trained(Configuration.of(params), 40)
    assert outcome.best_loss is not None and outcome.best_loss < outcome.curve.loss[0]


def test_a_good_configuration_learns_256_classes_in_at_most_three_epochs() -> None:
    """What the page could not train in 2,500 epochs converges and holds."""
    outcome = trained(GOOD, 20, Waves())
    assert outcome.converged and outcome.epochs <= 3 and outcome.best_accuracy == 1.0


@pytest.mark.parametrize("burst", [1, 3, 64])
@pytest.mark.parametrize("blind", [False, True])
def test_the_outcome_does_not_depend_on_when_it_is_read(burst: int, blind: bool) -> None:
    """Evaluations read each epoch or once a burst, as on a GPU, give the same outcome to the bit."""
    outcome = trained(GOOD, 20, Waves(), burst=burst, blind=blind)
    same = trained(GOOD, 20, Waves())
    assert (outcome.epochs, outcome.curve, outcome.loss) == (same.epochs, same.curve, same.loss)


def test_an_accuracy_of_exactly_the_target_counts_as_reached() -> None:
    """19 of 20 are 0.95, than which the nearest number of 32 bits is less."""
    params = {"classes": 20, "width": 60, "activation": "sine", "optimizer": "adam", "lr": 0.01, "scaling": "fixed"}
    nearly = Configuration.of(params | {"first_lr_ratio": 1e-3, "gain": 20.0, "bias_init": "spread"})
    solo = Solo(Batches(WAVES), target=0.95, hold=1)
    solo.admit(Trial(1, nearly, seed=0, data_seed=6, cap=60))
    ((_, outcome),) = solo.advance(200)
    assert outcome.converged and outcome.accuracy == 0.95


def test_divergence_is_a_miss() -> None:
    """A learning rate that blows up ends as diverged, without an exception."""
    exploding = {"activation": "silu", "hidden_layers": 2, "width_2": 9, "lr": 1e6, "gain": 1e9}
    outcome = trained(Configuration.of(BASE | exploding), 200)
    assert outcome.end is End.DIVERGED and outcome.epochs < 200


def test_running_out_of_memory_is_a_miss() -> None:
    """A configuration that no memory can hold is a miss of the worst gap, and the trainer goes on."""
    huge = Configuration.of(BASE | {"hidden_layers": 2, "width": 1 << 20, "width_2": 1 << 20})
    outcome = trained(huge, 200)
    assert outcome.end is End.OUT_OF_MEMORY and outcome.epochs == 0 and 0.999 < outcome.gap < 1


def test_a_second_trial_is_refused_and_a_released_one_forgotten() -> None:
    """The solo trainer has room for one; released trials come back without an outcome."""
    solo = Solo(Batches(WAVES), 0.99, 3)
    trial = Trial(1, Configuration.of(BASE), 1, 1, 5)
    solo.admit(trial)
    with pytest.raises(ValueError, match="room for one"):
        solo.admit(trial)
    assert solo.release() == [trial] and solo.room == 1 and solo.advance(3) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_cpus_epochs() -> None:
    """On a GPU the same trial takes the same epochs, with losses equal to rounding."""
    gpu, cpu = trained(GOOD, 20, Waves(), device="cuda"), trained(GOOD, 20, Waves())
    assert gpu.epochs == cpu.epochs
    assert list(gpu.curve.loss[:2]) == pytest.approx(list(cpu.curve.loss[:2]), rel=1e-3)
