"""Wave data is what the page describes, and the same whoever draws it."""

import numpy as np
import pytest

from objectives.configuration import Configuration
from objectives.data.waves import Waves


@pytest.mark.parametrize(("classes", "span"), [(32, 255), (256, 255), (1024, 1023)])
def test_class_means_and_noise(classes: int, span: int) -> None:
    """Class i is N(i/s, sigma²) in every input, with s = max(255, classes − 1)."""
    x, labels = Waves(inputs=400, sigma=1e-3).batch(classes, data_seed=1, epoch=0, sampling="every_class")
    assert x.shape == (classes, 400) and x.dtype == np.float32
    assert labels.tolist() == list(range(classes))
    noise = x - (np.arange(classes) / span)[:, None]
    assert abs(noise.mean()) < 1e-5
    assert noise.std() == pytest.approx(1e-3, rel=0.02)


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    """The same key gives the same bits; another seed or epoch gives other noise."""
    waves = Waves()
    first = waves.batch(8, 1, 0, "every_class")[0]
    assert (first == Waves().batch(8, 1, 0, "every_class")[0]).all()
    assert (first != waves.batch(8, 1, 1, "every_class")[0]).mean() > 0.9
    assert (first != waves.batch(8, 2, 0, "every_class")[0]).mean() > 0.9


def test_random_batches_draw_classes() -> None:
    """Random batches have as many samples as classes, drawn with repetition."""
    x, labels = Waves().batch(256, 1, 0, "random")
    assert labels.shape == (256,) and len(set(labels.tolist())) < 256
    assert np.allclose(x.mean(1), labels / 255, atol=1e-4)


def test_anchors_span_the_inputs() -> None:
    """Anchors at 0 and almost 1 are the first and the last class, in every input."""
    configuration = Configuration(classes=256, width=1, activation="sine", optimizer="sgd", lr=1)
    anchors = Waves(inputs=3).anchors(configuration, 0, np.array([0, 0.5, 1], dtype=np.float32))
    assert np.allclose(anchors, [[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]])
