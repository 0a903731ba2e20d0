"""The wave problem: tell apart C constant waves, each with a little noise.

Class i is `x ~ N(i/s, sigma²)` for each of D inputs, with `s = max(255, C − 1)`. All D inputs of a sample carry the
same number, so a network sees one dimension and must cut its range into C bins.
Source: the question "why can a neural network hardly learn the classifier in which x/256 has class x".

Every draw is keyed by (data seed, epoch) through the counter-based generator Philox (Salmon et al., SC'11): a batch
is the same whoever draws it, on whatever device, in whatever order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Waves:
    """The data of one study."""

    #: Inputs of a sample, D.
    inputs: int = 225
    #: Standard deviation of the noise on each input.
    sigma: float = 1e-4

    def batch(
        self, classes: int, data_seed: int, epoch: int, sampling: str
    ) -> tuple[
        Floats,  # (classes, inputs)
        Labels,  # (classes,)
    ]:
        """The batch of one epoch: every class once, in order, or as many classes drawn at random."""
        draw = np.random.Generator(np.random.Philox(key=[data_seed, epoch]))
        x = draw.standard_normal((classes, self.inputs), dtype=np.float32)
        labels = np.arange(classes) if sampling == "every_class" else draw.integers(classes, size=classes)
        x *= self.sigma
        x += (labels / self._span(classes)).astype(np.float32)[:, None]
        return x, labels

    def anchors(
        self,
        classes: int,
        at: Floats,  # (n,) in [0, 1)
    ) -> Floats:  # (n, inputs)
        """Noise-free points at the given fractions of the input range, for biases spread over it."""
        return np.repeat((at * (classes - 1) / self._span(classes)).astype(np.float32)[:, None], self.inputs, axis=1)

    @staticmethod
    def _span(classes: int) -> int:
        return max(255, classes - 1)
