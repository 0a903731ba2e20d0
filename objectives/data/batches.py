"""What trials learn and are evaluated on, on a device: drawn and scaled once, kept, and shared by all that see it.

A batch of waves depends on (data seed, epoch) alone and most trials end early, so the first epochs of a study are drawn
once in a process and not once per trial: on a CPU a draw of 256 classes takes longer than an epoch of a narrow net.
Trials need not start together for that, so what one sees never depends on its neighbours.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from objectives.configuration import Configuration
from objectives.data.scaling import scaled
from objectives.data.waves import Floats, Labels

KEPT_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}


class Problem(Protocol):
    """Where samples come from. All that is asked depends on its arguments alone; `epoch` counts from 0."""

    @property
    def inputs(self) -> int:
        """Of a sample."""

    def key(self, configuration: Configuration, data_seed: int, epoch: int) -> tuple[object, ...]:
        """What the parts of an epoch depend on: epochs of one key have the same."""

    def parts(
        self, configuration: Configuration, data_seed: int, epoch: int
    ) -> tuple[tuple[Floats, Labels], tuple[Floats, Labels]]:
        """What is learned in an epoch, and what is evaluated before it; twice the same object if that is one batch."""

    def order(self, configuration: Configuration, data_seed: int, epoch: int) -> NDArray[np.intp] | None:
        """In which order an epoch learns its samples; None for as they are, all at once."""

    def anchors(
        self,
        configuration: Configuration,
        data_seed: int,
        at: Floats,  # (n,) in [0, 1)
    ) -> Floats:  # (n, inputs)
        """Points at fractions of the inputs, for biases spread over them."""


class Batch(NamedTuple):
    """Samples for a network of gain 1."""

    x: Tensor  # (n, inputs)
    labels: Tensor  # (n,)


class Parts(NamedTuple):
    """Of waves one and the same batch."""

    learned: Batch
    evaluated: Batch

    @classmethod
    def of(cls, learned: tuple[Any, Any], evaluated: tuple[Any, Any], made: Callable[..., Batch]) -> Self:
        """The parts with a batch made of each, once if they are one."""
        batch = made(*learned)
        return cls(batch, batch if evaluated is learned else made(*evaluated))

    @property
    def nbytes(self) -> int:
        return self.learned.x.nbytes + (self.evaluated.x.nbytes if self.evaluated is not self.learned else 0)


class Batches:
    """The batches of a problem on one device; the latest used are kept."""

    def __init__(
        self, problem: Problem, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.problem, self.device, self.dtype = problem, torch.device(device), dtype
        self._kept: OrderedDict[tuple[object, ...], Parts] = OrderedDict()
        self._room = KEPT_BYTES[self.device.type]  # bytes

    def of(self, configuration: Configuration, data_seed: int, epoch: int) -> Batch:
        """What a configuration is evaluated on before an epoch, scaled but for its gain."""
        return self._get(configuration, data_seed, epoch, configuration.scaling).evaluated

    def minibatches(self, configuration: Configuration, data_seed: int, epoch: int) -> Sequence[Batch]:
        """What it then learns, in turn: of waves that very batch."""
        x, labels = learned = self._get(configuration, data_seed, epoch, configuration.scaling).learned
        order = self.problem.order(configuration, data_seed, epoch)
        if order is None:
            return (learned,)
        at, size = torch.from_numpy(order).to(self.device), configuration.batch_size or len(order)
        return list(map(Batch, torch.split(x[at], size), torch.split(labels[at], size)))

    def anchors(
        self,
        configuration: Configuration,
        data_seed: int,
        epoch: int,
        at: Floats,  # (n,) in [0, 1)
    ) -> Tensor:  # (n, inputs)
        """The problem's anchors, scaled as the inputs of one epoch but for the gain."""
        raw = self._get(configuration, data_seed, epoch, "none").learned
        anchors = torch.from_numpy(self.problem.anchors(configuration, data_seed, at)).to(self.device, self.dtype)
        return scaled(configuration.scaling, anchors, raw.x)

    def _get(self, configuration: Configuration, data_seed: int, epoch: int, scaling: str) -> Parts:
        key = *self.problem.key(configuration, data_seed, epoch), scaling
        parts = self._kept.get(key)
        if parts is None:
            parts = self._kept[key] = self._made(configuration, data_seed, epoch, scaling)
            self._room -= parts.nbytes
            while self._room < 0 and len(self._kept) > 1:
                self._room += self._kept.popitem(last=False)[1].nbytes
        else:
            self._kept.move_to_end(key)
        return parts

    def _made(self, configuration: Configuration, data_seed: int, epoch: int, scaling: str) -> Parts:
        if scaling != "none":
            raw = self._get(configuration, data_seed, epoch, "none")
            return Parts.of(*raw, lambda x, labels: Batch(scaled(scaling, x, raw.learned.x), labels))
        return Parts.of(*self.problem.parts(configuration, data_seed, epoch), self._on_device)

    def _on_device(self, x: Floats, labels: Labels) -> Batch:
        return Batch(torch.from_numpy(x).to(self.device, self.dtype), torch.from_numpy(labels).to(self.device))
