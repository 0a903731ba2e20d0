"""The classifier: one or two hidden layers of one activation, then a linear layer to the logits.

Initialisation follows Keras, which the page ran: Glorot uniform weights, U(−a, a) with a = √(6/(fan_in +
fan_out)) (Glorot & Bengio 2010, eq. 16), and zero biases. Each layer draws by key (seed, layer) in the order of its
logical indices, so it does not depend on device, neighbours or padding.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from objectives.configuration import Configuration
from objectives.convergence import Trial
from objectives.data.batches import Batches
from objectives.data.waves import Floats, philox
from objectives.model.activations import ACTIVATIONS

_BIAS_KEY = 1 << 32  # layer keys are small; biases draw from another stream


class Network(nn.Module):
    """Logits (batch, classes) from scaled inputs (batch, inputs)."""

    def __init__(self, configuration: Configuration, parameters: Sequence[tuple[Tensor, Tensor]]) -> None:
        """`parameters` are the weights (out, in) and biases (out,) of each layer."""
        super().__init__()
        self.layers = nn.ModuleList()
        self.activation = ACTIVATIONS[configuration.activation].forward
        for weight, bias in parameters:
            fan_out, fan_in = weight.shape
            layer = nn.Linear(fan_in, fan_out, device="meta")
            layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:  # (batch, inputs), (batch, classes)
        """The logits."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        logits: Tensor = last(x)
        return logits


def initial_parameters(trial: Trial, batches: Batches) -> list[tuple[Tensor, Tensor]]:
    """Initial weights and biases; `spread` biases put the zero of each unit of the first layer on its own anchor.

    Of each layer (out, in) and (out,).
    """
    configuration = trial.configuration
    sizes = batches.problem.inputs, *configuration.widths, configuration.classes
    weights = [
        torch.from_numpy(glorot_uniform(trial.seed, key, fan_out, fan_in)).to(batches.device, batches.dtype)
        for key, (fan_in, fan_out) in enumerate(pairwise(sizes))
    ]
    biases = [weight.new_zeros(len(weight)) for weight in weights]
    if configuration.bias_init == "spread":
        at = centres(trial.seed, configuration.width)
        anchors = batches.anchors(configuration, trial.data_seed, trial.stream_offset, at)
        biases[0] = -(weights[0] * anchors * configuration.gain).sum(1)
    return list(zip(weights, biases, strict=True))


def correct_predictions(logits: Tensor, labels: Tensor) -> Tensor:  # (n, classes), (n,) → (n,), bool
    """Which samples are predicted right, as of `is_correct`."""
    return is_correct(logits, logits.gather(1, labels.unsqueeze(1)))


def is_correct(logits: Tensor, of_label: Tensor, out: Tensor | None = None) -> Tensor:  # (…, classes), (…, 1) → (…)
    """Which predictions are correct, as bool: the label's logit is above all others, so a tie is not.

    `out` is like logits: the comparisons as numbers take a quarter of the time.
    """
    return torch.ge(logits, of_label, out=out).sum(-1) == 1


def glorot_uniform(seed: int, layer: int, fan_out: int, fan_in: int) -> Floats:  # (fan_out, fan_in)
    """Weights of one layer, keyed by (seed, layer)."""
    weights = philox(seed, layer).random((fan_out, fan_in), dtype=np.float32)
    weights *= 2  # in place: a large layer's memory costs more than its arithmetic
    weights -= 1
    weights *= np.float32((6 / (fan_in + fan_out)) ** 0.5)
    return weights


def centres(seed: int, units: int) -> Floats:  # (units,) in [0, 1)
    """The point of the input range on which each unit of the first layer is centred."""
    return philox(seed, _BIAS_KEY).random(units, dtype=np.float32)
