"""Batches on a device: drawn and scaled once, kept, and shared by every trial that is to see them.

A batch depends on (data seed, epoch) alone and most trials end early, so the first epochs of a study are drawn once in
a process and not once per trial: on a CPU a draw of 256 classes takes longer than an epoch of a narrow net. Trials
need not start together for that, so what one sees never depends on its neighbours.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor

from objectives.configuration import Configuration
from objectives.scaling import scaled
from objectives.waves import Floats, Waves

KEPT_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}


class Draw(NamedTuple):
    """Which batch."""

    classes: int
    sampling: str
    scaling: str
    data_seed: int
    epoch: int


class Batch(NamedTuple):
    """What a network of gain 1 learns in one epoch."""

    x: Tensor  # (classes, inputs)
    labels: Tensor  # (classes,)


class Batches:
    """The batches of a problem on one device; the latest used are kept."""

    def __init__(self, problem: Waves, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.problem, self.device, self.dtype = problem, torch.device(device), dtype
        self._kept: OrderedDict[Draw, Batch] = OrderedDict()
        self._room = KEPT_BYTES[self.device.type]  # bytes

    def of(self, configuration: Configuration, data_seed: int, epoch: int) -> Batch:
        """A configuration's batch of one epoch, scaled but for its gain."""
        c = configuration
        return self._get(Draw(c.classes, c.batch_sampling, c.scaling, data_seed, epoch))

    def anchors(
        self,
        configuration: Configuration,
        data_seed: int,
        epoch: int,
        at: Floats,  # (n,) in [0, 1)
    ) -> Tensor:  # (n, inputs)
        """Noise-free inputs at fractions of the input range, scaled as those of one epoch but for the gain."""
        raw = self._get(Draw(configuration.classes, configuration.batch_sampling, "none", data_seed, epoch))
        anchors = self.problem.anchors(configuration.classes, at)
        return scaled(configuration.scaling, torch.from_numpy(anchors).to(self.device, self.dtype), raw.x)

    def _get(self, draw: Draw) -> Batch:
        batch = self._kept.get(draw)
        if batch is None:
            batch = self._kept[draw] = self._made(draw)
            self._room -= batch.x.nbytes
            while self._room < 0 and len(self._kept) > 1:
                self._room += self._kept.popitem(last=False)[1].x.nbytes
        else:
            self._kept.move_to_end(draw)
        return batch

    def _made(self, draw: Draw) -> Batch:
        if draw.scaling != "none":
            raw = self._get(draw._replace(scaling="none"))
            return Batch(scaled(draw.scaling, raw.x, raw.x), raw.labels)
        x, labels = self.problem.batch(draw.classes, draw.data_seed, draw.epoch, draw.sampling)
        return Batch(torch.from_numpy(x).to(self.device, self.dtype), torch.from_numpy(labels).to(self.device))
