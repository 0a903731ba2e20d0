"""Networks start as Keras would start them, by key and not by order of creation."""

import torch

from objectives.configuration import Configuration
from objectives.network import Network, centres, glorot_uniform

TWO = Configuration(classes=8, hidden_layers=2, width=300, width_2=5, activation="tanh", optimizer="sgd", lr=0.1)


def test_glorot_uniform_limits_and_zero_biases() -> None:
    """Weights fill U(−a, a) with a = √(6/(fan_in + fan_out)); biases are 0."""
    network = Network(TWO, inputs=40, seed=3)
    first = network.linear[0]
    limit = (6 / 340) ** 0.5
    assert 0.99 * limit < first.weight.max().item() <= limit
    assert -limit <= first.weight.min().item() < -0.99 * limit
    assert all(not layer.bias.any() for layer in network.linear)
    assert [tuple(layer.weight.shape) for layer in network.linear] == [(300, 40), (5, 300), (8, 5)]


def test_initialisation_depends_on_seed_and_layer_alone() -> None:
    """The global generator and earlier networks change nothing; seed and layer change everything."""
    torch.manual_seed(0)
    before = Network(TWO, 40, seed=3).state_dict()
    torch.manual_seed(1)
    after = Network(TWO, 40, seed=3).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (glorot_uniform(3, 0, 4, 4) != glorot_uniform(4, 0, 4, 4)).all()
    assert (glorot_uniform(3, 0, 4, 4) != glorot_uniform(3, 1, 4, 4)).all()


def test_spread_centres_units_on_their_anchors() -> None:
    """After spreading, the pre-activation of each unit is 0 at its anchor."""
    network = Network(TWO, 40, seed=3)
    anchors = torch.from_numpy(centres(3, 300))[:, None].repeat(1, 40)
    network.spread(anchors)
    assert torch.allclose(network.linear[0](anchors).diagonal(), torch.zeros(300), atol=1e-5)
    assert 0 <= anchors.min().item() < 0.02 and 0.98 < anchors.max().item() < 1
