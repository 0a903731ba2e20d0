"""Memory of a bucket: what an epoch reads and writes, one row per slot, padded so that no row's place changes a bit."""

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

ALIGNED_NUMBERS = 16  # 64 bytes, since a BLAS may round differently at another alignment
VECTOR_NUMBERS = 32  # that torch's elementwise loops take at once, and round otherwise than what is left over


class Shape(NamedTuple):
    """The sizes that all trials of a bucket share."""

    inputs: int
    #: Units of each hidden layer, padded.
    widths: tuple[int, ...]
    classes: int

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return list(pairwise((self.inputs, *self.widths, self.classes)))

    @property
    def parameters(self) -> int:
        """Parameters of one slot, each layer's weights and biases on a boundary of their own."""
        return sum(round_up(fan_in * fan_out) + round_up(fan_out) for fan_in, fan_out in self.layers)

    @property
    def numbers(self) -> int:
        """Numbers that one slot keeps: parameters, their gradients and state, and each layer's inputs and outputs."""
        return 4 * self.parameters + 3 * self.classes * (sum(self.widths) + self.inputs + self.classes)


def round_up(number: int, grain: int = ALIGNED_NUMBERS) -> int:
    """The next multiple of `grain`."""
    return -(-number // grain) * grain


def width_grain(classes: int) -> int:
    """Multiple to which a hidden layer is padded, so that no vector and no alignment depends on a slot's place."""
    return max(ALIGNED_NUMBERS, VECTOR_NUMBERS // math.gcd(classes, VECTOR_NUMBERS))


@dataclass
class Rows:
    """Adjoining rows of a bucket's memory: views, since making them costs as much as using them."""

    x: Tensor  # (slots, classes, inputs), gain included
    labels: Tensor  # (slots, classes, 1)
    weights: list[Tensor]  # (slots, out, in) of each layer
    biases: list[Tensor]  # (slots, 1, out) of each layer
    weight_gradients: list[Tensor]  # like weights
    bias_gradients: list[Tensor]  # like biases
    z: list[Tensor]  # (slots, classes, out) of each layer: into its activation; of the last layer the logits
    h: list[Tensor]  # (slots, classes, out) of each hidden layer: out of its activation
    d: list[Tensor]  # (slots, classes, out) of each layer: the loss's gradient by z

    def __post_init__(self) -> None:
        self.inputs = [self.x, *self.h]  # of each layer
        self.transposed = [weight.mT for weight in self.weights]
        self.d_transposed = [d.mT for d in self.d]

    def part(self, part: slice) -> "Rows":
        """Some of the rows."""
        values = [getattr(self, field.name) for field in fields(self)]
        cut: list[Any] = [[view[part] for view in each] if isinstance(each, list) else each[part] for each in values]
        return Rows(*cut)


def layer_views(parameters: Tensor, shape: Shape) -> tuple[list[Tensor], list[Tensor]]:  # from (slots, parameters)
    """Weights (slots, out, in) and biases (slots, 1, out) of each layer, as they lie in rows of parameters."""
    at, weights, biases = 0, [], []
    for fan_in, fan_out in shape.layers:
        weights.append(parameters[:, at : at + fan_in * fan_out].view(-1, fan_out, fan_in))
        at += round_up(fan_in * fan_out)
        biases.append(parameters[:, at : at + fan_out].unsqueeze(1))
        at += round_up(fan_out)
    return weights, biases
