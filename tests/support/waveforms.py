"""Waveforms of 256 classes with shape, jitter and noise: what the question's asker had before the synthetic version.

Each class c draws once: a fundamental f ∈ [3, 12] periods in the window (log-uniform), weights a₁…a₄ of its harmonics
(uniform in [0, 1], the k-th over k) and their phases φ₁…φ₄ in periods, a chirp g ∈ [−4, 4] periods, an envelope with
its peak at m ∈ [0.3, 0.7] and of width w ∈ [0.2, 0.6]. Each sample then draws a shift of its phase ε ~ N(0, PHASE²) in
periods, a shift in time δ ~ N(0, TIME²) in windows, an amplitude A = exp(N(0, AMPLITUDE²)), noise n(t) ~ N(0, NOISE²):

    x(t) = A · e(t + δ) · Σₖ aₖ sin(2π·(k·(f·u + g·u²/2 + ε) + φₖ)) / √(½ Σₖ aₖ²) + n(t),  u = t + δ,
    e(t) = exp(−((t − m)/w)²),  at 200 points t = 0, 1/200, … of the window.

`python -m tests.support.waveforms waveforms.npz` writes X (samples × 200) and y for `fewest launch --data`. The
seed decides every number.

No single number tells the classes apart: by its mean, its root mean square, its largest value or any one of its points
at most 0.03 of the samples that were held out are put into their class, by the largest line of the spectrum 0.11. The
mean of each class as a template tells 0.80, a linear model 0.91, one hidden layer of 1,024 units 0.97. What makes it
hard is the jitter of the phase: with a PHASE of 0.1 and a NOISE of 0.3 the last two are 0.69 and 0.92.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LENGTH, HARMONICS = 200, 4
PHASE, TIME, AMPLITUDE, NOISE = 0.06, 0.002, 0.2, 0.2

Floats = NDArray[np.float64]


def waveforms(
    classes: int, samples: int, seed: int
) -> tuple[
    NDArray[np.float32],  # (classes · samples, LENGTH)
    NDArray[np.int64],  # (classes · samples,)
]:
    """So many samples of each class, and which class each is of."""
    draw = np.random.default_rng(seed)
    fundamental = 3 * 4 ** draw.random(classes)
    weights = draw.random((classes, HARMONICS)) / np.arange(1, HARMONICS + 1)
    phases = draw.random((classes, HARMONICS))
    chirp, peak, width = draw.uniform((-4, 0.3, 0.2), (4, 0.7, 0.6), (classes, 3)).T
    labels = np.repeat(np.arange(classes), samples)
    at, n = labels[:, None], len(labels)
    u = np.arange(LENGTH) / LENGTH + TIME * draw.standard_normal((n, 1))
    turns = fundamental[at] * u + chirp[at] * u**2 / 2 + PHASE * draw.standard_normal((n, 1))
    wave = np.exp(-(((u - peak[at]) / width[at]) ** 2)) * np.exp(AMPLITUDE * draw.standard_normal((n, 1)))
    shape = sum(weights[at, k] * np.sin(2 * np.pi * ((k + 1) * turns + phases[at, k])) for k in range(HARMONICS))
    wave *= shape / np.sqrt((weights**2).sum(1) / 2)[at]
    return (wave + NOISE * draw.standard_normal(wave.shape)).astype(np.float32), labels


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="npz file to write")
    parser.add_argument("--classes", type=int, default=256)
    parser.add_argument("--samples-per-class", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    x, labels = waveforms(given.classes, given.samples_per_class, given.seed)
    np.savez_compressed(given.file, X=x, y=labels)
    print(f"{given.file}: {len(x)} waveforms of {LENGTH} samples in {given.classes} classes")


if __name__ == "__main__":
    main()
