"""The classifier: one or two hidden layers of one activation, then a linear layer to the logits.

Initialisation follows Keras, since that is what the page ran: Glorot uniform weights, U(−a, a) with a = √(6/(fan_in +
fan_out)) (Glorot & Bengio 2010, eq. 16), and zero biases. Each layer draws by key (seed, layer) in the order of its
logical indices, so it does not depend on device, neighbours or padding.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from objectives.configuration import Configuration
from objectives.waves import Floats

#: Formula of each activation. The Gaussian and the sine are local and periodic: one unit can pick out one class.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "gaussian": lambda x: torch.exp(-x * x),
    "sine": torch.sin,
}
_BIAS_KEY = 1 << 32  # layer keys are small; biases draw from another stream


class Network(nn.Module):
    """Logits (batch, classes) from scaled inputs (batch, inputs)."""

    def __init__(self, configuration: Configuration, inputs: int, seed: int) -> None:
        super().__init__()
        sizes = (inputs, *configuration.widths, configuration.classes)
        self.layers = nn.ModuleList(nn.Linear(*pair, device="meta") for pair in pairwise(sizes)).to_empty(device="cpu")
        self.activation = ACTIVATIONS[configuration.activation]
        with torch.no_grad():
            for key, layer in enumerate(self.linear):
                layer.weight.copy_(torch.from_numpy(glorot_uniform(seed, key, *layer.weight.shape)))
                layer.bias.zero_()

    @property
    def linear(self) -> list[nn.Linear]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    @torch.no_grad()
    def spread(
        self,
        anchors: Tensor,  # (width, inputs), scaled
    ) -> None:
        """Centre each unit of the first layer on its anchor: its pre-activation there is 0."""
        first = self.linear[0]
        first.bias.copy_(-(first.weight * anchors).sum(1))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.linear
        for layer in hidden:
            x = self.activation(layer(x))
        logits: Tensor = last(x)
        return logits


def glorot_uniform(seed: int, layer: int, fan_out: int, fan_in: int) -> Floats:  # (fan_out, fan_in)
    """Weights of one layer, keyed by (seed, layer)."""
    limit = np.float32((6 / (fan_in + fan_out)) ** 0.5)
    return limit * (2 * _uniform(seed, layer, (fan_out, fan_in)) - 1)


def centres(seed: int, units: int) -> Floats:  # (units,) in [0, 1)
    """Where on the input range each unit of the first layer is centred."""
    return _uniform(seed, _BIAS_KEY, (units,))


def _uniform(seed: int, key: int, shape: tuple[int, ...]) -> Floats:
    return np.random.Generator(np.random.Philox(key=[seed, key])).random(shape, dtype=np.float32)
