"""User modules, right ones and wrong ones, for the tests to name by their import path."""

from typing import Any

import torch
from torch import Tensor, nn


class Plain(nn.Sequential):
    """One hidden layer of tanh."""

    def __init__(self, inputs: int, classes: int, width: int) -> None:
        super().__init__(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, classes))


class Noisy(nn.Sequential):
    """With batch normalisation and dropout."""

    def __init__(self, inputs: int, classes: int, width: int = 32, dropout: float = 0.2) -> None:
        middle = nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)
        super().__init__(nn.Linear(inputs, width), *middle, nn.Linear(width, classes))


class Modes(nn.Linear):
    """Right in evaluation, and useless in training."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x) * 0
        return nn.functional.one_hot(torch.arange(len(x), device=x.device), self.out_features).to(x.dtype)


class Odd(nn.Module):
    """A parameter that nothing uses, one that is frozen, a tied one, one whose memory is not in order, a lazy layer."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.first = nn.Linear(inputs, 12)
        self.first.weight.requires_grad_(False)
        self.conv = nn.Conv2d(3, 3, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.lazy = nn.LazyLinear(classes)
        self.tied = self.lazy

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.tied(self.conv(self.first(x).view(-1, 3, 2, 2)).flatten(1))
        return logits


class Named(nn.Linear):
    """Says what it was given."""

    def __init__(self, classes: int, hidden_layers: int, width_2: int | None, activation: str, *, deep: bool) -> None:
        super().__init__(5, classes)
        self.given = hidden_layers, width_2, activation, deep


class Raises(nn.Linear):
    """Fails where it is told to."""

    def __init__(self, inputs: int, classes: int, where: str = "nowhere") -> None:
        super().__init__(inputs, classes)
        self.where, self.passes = where, 0
        if where == "constructor":
            raise KeyError("no such thing")
        if where == "memory":
            torch.empty(1 << 50)

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        if self.where == "forward" and self.passes == 4:
            raise RuntimeError("it will not\ngo on")
        logits = super().forward(x)
        return logits.detach() if self.where == "backward" else logits


class TooMany(nn.Linear):
    """One class more than there are."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(inputs, classes + 1)


class Pair(Plain):
    """Two answers."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class Nothing(nn.Module):
    """Nothing to learn."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Trained(nn.Linear):
    """Takes what is of its training."""

    def __init__(self, inputs: int, classes: int, lr: float = 0.1) -> None:
        super().__init__(inputs, classes)


class Needs(nn.Linear):
    """Takes what it must be given."""

    def __init__(self, inputs: int, classes: int, depth: int) -> None:
        super().__init__(inputs, classes)


def number(inputs: int, classes: int) -> int:
    """No module at all."""
    return inputs * classes
