"""A labelled data set: N samples of D numbers each, in C classes, as somebody measured them.

A fifth of it, the *validation part*, is never learned: evaluations use it. An epoch is one pass over the rest,
the *training part*, in an order of its own. The split is keyed by the data seed, the order by (data seed, epoch),
through Philox as in `objectives.data.waves`; the split draws from a stream that no epoch has.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from objectives.configuration import Configuration
from objectives.data.waves import Floats, Labels, Part, philox

VALIDATION_SHARE = 5  # one sample of each class in so many is held out
_SPLIT_KEY = 1 << 32  # epochs are fewer


@dataclass(frozen=True, eq=False)
class Samples:
    """The data of one study."""

    x: Floats  # (N, D)
    labels: Labels  # (N,) in 0 … C−1, at least two samples of each
    #: Name of each class, in sorted order.
    names: tuple[str, ...]

    @property
    def inputs(self) -> int:
        """Numbers in a sample, D."""
        return int(self.x.shape[1])

    @cached_property
    def training(self) -> int:
        """Samples in the training part, whatever the seed."""
        return len(self.labels) - int(_held_out(np.bincount(self.labels)).sum())

    def split(self, data_seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:  # (training,), (validation,)
        """Indices of the training and of the validation part: every class is in both, in its share."""
        shuffled = philox(data_seed, _SPLIT_KEY).permutation(len(self.labels))
        by_class = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        counts = np.bincount(self.labels)
        place = np.arange(len(by_class)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its class
        held_out = place < np.repeat(_held_out(counts), counts)
        return np.sort(by_class[~held_out]), np.sort(by_class[held_out])

    def key(self, configuration: Configuration, data_seed: int, epoch: int) -> tuple[object, ...]:
        """Every epoch has the parts of its seed."""
        return (data_seed,)

    def parts(self, configuration: Configuration, data_seed: int, epoch: int) -> tuple[Part, Part]:
        """The training part, and the validation part."""
        training, validation = self.split(data_seed)
        return (self.x[training], self.labels[training]), (self.x[validation], self.labels[validation])

    def order(self, configuration: Configuration, data_seed: int, epoch: int) -> NDArray[np.intp]:
        """Every sample of the training part once."""
        return philox(data_seed, epoch).permutation(self.training)

    def anchors(self, configuration: Configuration, data_seed: int, at: Floats) -> Floats:
        """Samples of the training part, so that each unit is centred where there are data."""
        training, _ = self.split(data_seed)
        return self.x[training[np.minimum((at * len(training)).astype(np.intp), len(training) - 1)]]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the samples, labels and names, whatever their compression."""
        digest = hashlib.sha256(json.dumps([self.x.shape, self.names]).encode())
        digest.update(self.x.astype("<f4").tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def packed(self) -> bytes:
        """The compressed npz that the store keeps."""
        file = io.BytesIO()
        np.savez_compressed(file, x=self.x, labels=self.labels, names=np.array(self.names))
        return file.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Self:
        """The samples that `packed` made this of."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(arrays["x"], arrays["labels"], tuple(arrays["names"].tolist()))


def _held_out(counts: NDArray[np.intp]) -> NDArray[np.intp]:  # (C,) samples of each class → (C,) held out
    return np.maximum(1, (counts + VALIDATION_SHARE // 2) // VALIDATION_SHARE)
