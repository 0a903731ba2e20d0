"""Networks start as Keras would start them, by key and not by order of creation."""

import torch

from objectives.configuration import Configuration
from objectives.convergence import Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.model.network import glorot_uniform, initial_parameters, is_correct

PARAMS = {
    "classes": 8,
    "hidden_layers": 2,
    "width": 300,
    "width_2": 5,
    "activation": "tanh",
    "optimizer": "sgd",
    "lr": 0.1,
}
BATCHES = Batches(Waves(inputs=40))


def trial(**params: object) -> Trial:
    return Trial(0, Configuration.of(PARAMS | params), seed=3, data_seed=1, cap=1)


def test_glorot_uniform_limits_and_zero_biases() -> None:
    """Weights fill U(−a, a) with a = √(6/(fan_in + fan_out)); biases are 0."""
    parameters = initial_parameters(trial(), BATCHES)
    first = parameters[0][0]
    limit = (6 / 340) ** 0.5
    assert 0.99 * limit < first.max().item() <= limit
    assert -limit <= first.min().item() < -0.99 * limit
    assert all(not bias.any() for _, bias in parameters)
    assert [tuple(weight.shape) for weight, _ in parameters] == [(300, 40), (5, 300), (8, 5)]


def test_initialisation_depends_on_seed_and_layer_alone() -> None:
    """The global generator and earlier networks change nothing; seed and layer change everything."""
    torch.manual_seed(0)
    before = initial_parameters(trial(), BATCHES)
    torch.manual_seed(1)
    after = initial_parameters(trial(), BATCHES)
    assert all(torch.equal(*pair) for a, b in zip(before, after, strict=True) for pair in zip(a, b, strict=True))
    assert (glorot_uniform(3, 0, 4, 4) != glorot_uniform(4, 0, 4, 4)).all()
    assert (glorot_uniform(3, 0, 4, 4) != glorot_uniform(3, 1, 4, 4)).all()


def test_spread_centres_units_all_over_the_input_range() -> None:
    """Each first unit's pre-activation is 0 at one point of the range, and those points cover it."""
    weight, bias = initial_parameters(trial(bias_init="spread", scaling="fixed", gain=50.0), BATCHES)[0]
    at = -bias / weight.sum(1) / 50 * 0.289 + 0.5  # where all inputs carry the same number
    assert 0 <= at.min().item() < 0.001 and 0.026 < at.max().item() < 7 / 255


def test_a_tie_tells_nothing_apart() -> None:
    """Only a logit above all others counts, so a dead network is right nowhere."""
    logits = torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    for out in (None, torch.empty_like(logits)):
        assert is_correct(logits, logits[:, 1:2], out).tolist() == [True, False, False]
