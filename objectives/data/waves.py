"""The wave problem: classify C constant waves, each with a little noise.

Class i is `x ~ N(i/s, sigma²)` for each of D inputs, with `s = max(255, C − 1)`. All D inputs of a sample carry the
same number, so a network sees one dimension and must cut its range into C bins.
Source: the question "why can a neural network hardly learn the classifier in which x/256 has class x".

Every draw is keyed by (data seed, epoch) through the counter-based generator Philox (Salmon et al., SC'11): a batch
is the same whoever draws it, on whatever device, in whatever order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.configuration import Configuration

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Part = tuple[Floats, Labels]  # samples (n, inputs), labels (n,)


def philox(seed: int, key: int) -> np.random.Generator:
    """The random stream of a seed and a key: an epoch, a layer, or a purpose beside them."""
    return np.random.Generator(np.random.Philox(key=[seed, key]))


@dataclass(frozen=True)
class Waves:
    """The data of one study."""

    #: Inputs of a sample, D.
    inputs: int = 225
    #: Standard deviation of the noise on each input.
    sigma: float = 1e-4

    def batch(self, classes: int, data_seed: int, epoch: int, sampling: str) -> Part:  # (classes, inputs), (classes,)
        """The batch of one epoch: every class once, in order, or as many classes drawn at random."""
        draw = philox(data_seed, epoch)
        x = draw.standard_normal((classes, self.inputs), dtype=np.float32)
        labels = np.arange(classes) if sampling == "every_class" else draw.integers(classes, size=classes)
        x *= self.sigma
        x += (labels / span(classes)).astype(np.float32)[:, None]
        return x, labels

    def key(self, configuration: Configuration, data_seed: int, epoch: int) -> tuple[object, ...]:
        """Every epoch has a batch of its own."""
        return configuration.classes, configuration.batch_sampling, data_seed, epoch

    def parts(self, configuration: Configuration, data_seed: int, epoch: int) -> tuple[Part, Part]:
        """The batch of the epoch twice: evaluated first, then learned."""
        batch = self.batch(configuration.classes, data_seed, epoch, configuration.batch_sampling)
        return batch, batch

    def order(self, configuration: Configuration, data_seed: int, epoch: int) -> None:
        """None: an epoch learns its batch at once."""

    def anchors(self, configuration: Configuration, data_seed: int, at: Floats) -> Floats:
        """Noise-free points at fractions of the input range."""
        classes = configuration.classes
        return np.repeat((at * (classes - 1) / span(classes)).astype(np.float32)[:, None], self.inputs, axis=1)


def span(classes: int) -> int:
    """The factor s: how many distances between neighbouring classes the interval from 0 to 1 holds."""
    return max(255, classes - 1)
