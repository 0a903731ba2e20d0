"""The batches that trials learn and are evaluated on, on a device: drawn and scaled once, kept, and shared.

A batch of waves depends on (data seed, epoch) alone and most trials end early, so the first epochs of a study are drawn
once in a process and not once per trial: on a CPU a draw of 256 classes takes longer than an epoch of a narrow net.
Trials need not start together for that, so a trial's batches never depend on its neighbours.
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
from objectives.data.waves import Floats, Labels, Part

CACHE_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}


class Problem(Protocol):
    """A source of samples. Each method depends on its arguments alone; `epoch` counts from 0."""

    @property
    def inputs(self) -> int:
        """Numbers in a sample."""

    def key(self, configuration: Configuration, data_seed: int, epoch: int) -> tuple[object, ...]:
        """A key of the epoch's parts: epochs of one key have the same."""

    def parts(self, configuration: Configuration, data_seed: int, epoch: int) -> tuple[Part, Part]:
        """The samples to learn in an epoch, and those to evaluate before it; twice the same object if they are one."""

    def order(self, configuration: Configuration, data_seed: int, epoch: int) -> NDArray[np.intp] | None:
        """The order in which an epoch learns its samples; None for as they are, all at once."""

    def anchors(self, configuration: Configuration, data_seed: int, at: Floats) -> Floats:  # (n,) → (n, inputs)
        """Points at fractions in [0, 1) of the input range, for biases spread over it."""


class Batch(NamedTuple):
    """Samples for a network of gain 1."""

    x: Tensor  # (n, inputs)
    labels: Tensor  # (n,)


class Parts(NamedTuple):
    """The two batches of an epoch; of waves one and the same."""

    learned: Batch
    evaluated: Batch

    @classmethod
    def of(cls, learned: tuple[Any, Any], evaluated: tuple[Any, Any], convert: Callable[..., Batch]) -> Self:
        """Convert each part to a batch, once if they are one."""
        batch = convert(*learned)
        return cls(batch, batch if evaluated is learned else convert(*evaluated))

    @property
    def nbytes(self) -> int:
        """Memory of the samples."""
        return self.learned.x.nbytes + (self.evaluated.x.nbytes if self.evaluated is not self.learned else 0)


class Batches:
    """The batches of a problem on one device; a cache keeps the latest used."""

    def __init__(
        self, problem: Problem, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.problem, self.device, self.dtype = problem, torch.device(device), dtype
        self._cache: OrderedDict[tuple[object, ...], Parts] = OrderedDict()
        self._free_bytes = CACHE_BYTES[self.device.type]

    def evaluation_batch(self, configuration: Configuration, data_seed: int, epoch: int) -> Batch:
        """The samples that a configuration is evaluated on before an epoch, scaled but for its gain."""
        return self._get(configuration, data_seed, epoch, configuration.scaling).evaluated

    def minibatches(self, configuration: Configuration, data_seed: int, epoch: int) -> Sequence[Batch]:
        """The batches that the epoch learns, in turn: of waves the very evaluation batch."""
        x, labels = learned = self._get(configuration, data_seed, epoch, configuration.scaling).learned
        order = self.problem.order(configuration, data_seed, epoch)
        if order is None:
            return (learned,)
        indices, size = torch.from_numpy(order).to(self.device), configuration.batch_size or len(order)
        return list(map(Batch, torch.split(x[indices], size), torch.split(labels[indices], size)))

    def anchors(self, configuration: Configuration, data_seed: int, epoch: int, at: Floats) -> Tensor:  # (n, inputs)
        """The problem's anchors, scaled as the inputs of an epoch but for the gain."""
        raw = self._get(configuration, data_seed, epoch, "none").learned
        anchors = torch.from_numpy(self.problem.anchors(configuration, data_seed, at)).to(self.device, self.dtype)
        return scaled(configuration.scaling, anchors, raw.x)

    def _get(self, configuration: Configuration, data_seed: int, epoch: int, scaling: str) -> Parts:
        key = *self.problem.key(configuration, data_seed, epoch), scaling
        if key not in self._cache:
            self._cache[key] = self._make(configuration, data_seed, epoch, scaling)
            self._free_bytes -= self._cache[key].nbytes
            while self._free_bytes < 0 and len(self._cache) > 1:
                self._free_bytes += self._cache.popitem(last=False)[1].nbytes
        self._cache.move_to_end(key)
        return self._cache[key]

    def _make(self, configuration: Configuration, data_seed: int, epoch: int, scaling: str) -> Parts:
        if scaling != "none":
            raw = self._get(configuration, data_seed, epoch, "none")
            return Parts.of(*raw, lambda x, labels: Batch(scaled(scaling, x, raw.learned.x), labels))
        return Parts.of(*self.problem.parts(configuration, data_seed, epoch), self._on_device)

    def _on_device(self, x: Floats, labels: Labels) -> Batch:
        return Batch(torch.from_numpy(x).to(self.device, self.dtype), torch.from_numpy(labels).to(self.device))
