"""When a trial has converged, and what is kept of it.

Evaluation i is made after i epochs, on data not yet trained on. A trial has converged at epoch e when evaluations e … e+hold−1
all reach the target. A trial may use `cap` epochs; hold evaluations that have begun by then are let finish, so a
miss at cap c means exactly that epochs-to-convergence is greater than c: it is right-censored there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from objectives.configuration import Configuration

#: Evaluations kept of a curve: all of the first half, then evenly thinned ones.
CURVE_POINTS = 1024
#: The worst gap, of a trial that diverged: the largest float below 1.
WORST = math.nextafter(1, 0)


class End(StrEnum):
    """Why a trial ended. All but the first are misses."""

    CONVERGED = "converged"
    CAP = "cap"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class Trial:
    """One training to be done. Nothing else decides its numbers."""

    #: What the caller knows it by.
    key: int
    configuration: Configuration
    #: Seed of the initial weights.
    seed: int
    #: Seed of the data stream.
    data_seed: int
    #: Most epochs it may use.
    cap: int
    #: Epoch of the data stream that it starts at.
    stream_offset: int = 0


@dataclass(frozen=True)
class Curve:
    """Evaluations of one trial; the three sequences have one length."""

    epochs: Sequence[int]
    accuracy: Sequence[float]
    loss: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one attempt at a trial came to."""

    end: End
    #: Epochs-to-convergence; of a miss, the epochs it was given.
    epochs: int
    #: Most epochs it was allowed in the end.
    cap: int
    #: 0 if converged, else how far from it: below 1, the worse the higher.
    gap: float
    #: At the last evaluation; None where not finite.
    accuracy: float | None
    loss: float | None
    best_accuracy: float | None
    best_loss: float | None
    #: First epoch at which the target was reached, held or not; None if never.
    reached: int | None
    #: Wall seconds of training.
    seconds: float
    curve: Curve

    @property
    def converged(self) -> bool:
        return self.end is End.CONVERGED


@dataclass
class Progress:
    """A running trial: its evaluations so far and whether they end it."""

    trial: Trial
    target: float
    hold: int
    cap: int = field(init=False)
    accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    _streak: int = 0

    def __post_init__(self) -> None:
        self.cap = self.trial.cap

    @property
    def epoch(self) -> int:
        """Epochs completed before the latest evaluation; −1 before the first."""
        return len(self.accuracy) - 1

    def observe(self, accuracy: float, loss: float) -> None:
        """Take the next evaluation."""
        self.accuracy.append(accuracy)
        self.loss.append(loss)
        self._streak = self._streak + 1 if accuracy >= self.target else 0

    def lower_cap(self, cap: int) -> None:
        """Allow no more than `cap` epochs, or the epochs already completed if those are more."""
        self.cap = min(self.cap, max(cap, self.epoch, 0))

    @property
    def end(self) -> End | None:
        """Why the trial is over, or None while it is not."""
        if self.epoch < 0:
            return None
        if not math.isfinite(self.loss[-1]):
            return End.DIVERGED
        if self._streak >= self.hold:
            return End.CONVERGED
        return End.CAP if self._streak == 0 and self.epoch >= self.cap else None

    def gap(self, upto: int | None = None) -> float:
        """How far the first `upto` epochs are from converging; all of them by default."""
        stop = None if upto is None else upto + 1
        return gap(self.accuracy[:stop], self.loss[:stop], self.trial.configuration.classes, self.target, self.hold)

    def outcome(self, seconds: float, end: End | None = None) -> Outcome:
        """The outcome of a trial that is over, or that is ended from outside for the given reason."""
        end = end or self.end
        assert end is not None, "the trial is still running"
        converged = end is End.CONVERGED
        finite = [loss for loss in self.loss if math.isfinite(loss)]
        return Outcome(
            end=end,
            epochs=self.epoch - self.hold + 1 if converged else max(min(self.epoch, self.cap), 0),
            cap=self.cap,
            gap=0.0 if converged else self.gap() if end is End.CAP else WORST,
            accuracy=self.accuracy[-1] if self.accuracy else None,
            loss=self.loss[-1] if self.loss and math.isfinite(self.loss[-1]) else None,
            best_accuracy=max(self.accuracy, default=None),
            best_loss=min(finite, default=None),
            reached=next((i for i, accuracy in enumerate(self.accuracy) if accuracy >= self.target), None),
            seconds=seconds,
            curve=thinned(self.accuracy, self.loss),
        )


def gap(
    accuracy: Sequence[float],  # (evaluations,)
    loss: Sequence[float],  # (evaluations,)
    classes: int,
    target: float,
    hold: int,
) -> float:
    """How far a miss was from converging, in [0, 1): 0 almost there, 1 diverged.

    The mean of two shortfalls at the best `hold` evaluations in a row: of accuracy, 1 − a/target, and of loss, l/(l + ln classes).
    Accuracy alone is flat while nothing is learned yet; loss alone ranks a net that is right but
    overconfident below one that has learned nothing.
    """
    if not accuracy or not math.isfinite(loss[-1]):
        return WORST
    rows = range(max(1, len(accuracy) - hold + 1))
    best_accuracy = max(min(accuracy[i : i + hold]) for i in rows)
    best_loss = min(max(loss[i : i + hold]) for i in rows)
    shortfall = max(0.0, 1 - best_accuracy / target)
    return min(WORST, (shortfall + best_loss / (best_loss + math.log(classes))) / 2)


def thinned(accuracy: Sequence[float], loss: Sequence[float]) -> Curve:
    """At most CURVE_POINTS evaluations: the first half whole, the rest at even steps, the last always."""
    n, head = len(accuracy), CURVE_POINTS // 2
    step = max(1, math.ceil((n - head) / (head - 1)))
    epochs = sorted({*range(min(n, head)), *range(head, n, step), *([n - 1] if n else [])})
    return Curve(epochs, [accuracy[i] for i in epochs], [loss[i] for i in epochs])
