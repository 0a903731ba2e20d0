"""The waveforms that own data are tried on are made anew by anyone, and are what they are said to be."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from search.spec import dataset as data
from tests.support.waveforms import LENGTH, waveforms

ROOT = Path(__file__).parents[2]


def test_the_script_writes_a_file_that_can_be_learned(tmp_path: Path) -> None:
    """It has the classes and samples that were asked for, and the same seed gives the same data."""
    command = [
        sys.executable,
        "-m",
        "tests.support.waveforms",
        str(tmp_path / "w.npz"),
        "--classes",
        "8",
        "--seed",
        "3",
    ]
    subprocess.run([*command, "--samples-per-class", "6"], cwd=ROOT, check=True, capture_output=True)
    reference, samples = data.read(tmp_path / "w.npz")
    assert (reference.samples, reference.features, reference.classes) == (48, LENGTH, 8)
    x, labels = waveforms(8, 6, 3)
    assert (samples.x == x).all() and (samples.labels == labels).all()
    assert (waveforms(8, 6, 4)[0] != x).any()


def test_a_class_has_a_shape_and_its_samples_differ() -> None:
    """Templates tell most of the held-out samples apart, and no single point of the wave does."""
    x = waveforms(64, 20, 0)[0]
    known, asked = x.reshape(64, 20, -1)[:, :15], x.reshape(64, 20, -1)[:, 15:].reshape(-1, LENGTH)
    means, true = known.mean(1), np.repeat(np.arange(64), 5)
    distance = ((asked[:, None] - means) ** 2).sum(2)
    assert 0.7 < (distance.argmin(1) == true).mean() < 0.98
    by_one = [(np.abs(asked[:, None, at] - means[:, at]).argmin(1) == true).mean() for at in range(LENGTH)]
    assert max(by_one) < 0.15
