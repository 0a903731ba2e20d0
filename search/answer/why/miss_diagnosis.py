"""The diagnosis of a miss: what was measured of it, what held it back, and what came of trying the advice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from objectives.convergence import Curve, Outcome, Trial
from objectives.parameters import Params
from objectives.probe import Snapshot, UpdateEffect
from search.answer.wording import epochs
from search.spec.study_spec import StudySpec

NOTABLE = 0.01  # of a gap
WORSE = 0.05  # of an accuracy: the gap counts the loss too


class Cause(StrEnum):
    """What held a trial back."""

    DIVERGED = "diverged"
    LOUD = "outputs too large"
    SATURATED = "saturated units"
    DEAD = "dead units"
    NOISE = "noise amplified"
    COARSE = "classes look alike"
    FIRST_LAYER = "first layer too fast"
    TOO_HIGH = "learning rate is too high"
    TOO_LOW = "learning rate is too low"
    UNSTEADY = "reached but not held"
    NOT_SHOWN = "classes not shown"
    OVERFITTED = "overfitted"
    CUT = "stopped early"
    IMPROVING = "still improving"


@dataclass(frozen=True)
class Change:
    """Other parameters, and what can be read of a network that begins with them."""

    params: Mapping[str, Any]
    snapshot: Snapshot


@dataclass(frozen=True)
class MissedTrial:
    """A missed trial, and what was measured while it was trained again."""

    spec: StudySpec
    trial: Trial
    #: Epochs it was given, and the first at which it reached the target.
    epochs: int
    reached: int | None
    curve: Curve
    #: As it began; after the epochs it was given, or as far as it was trained again.
    start: Snapshot
    end: Snapshot
    first: UpdateEffect
    last: UpdateEffect
    #: The least change of parameters that makes most classes readable from the start.
    legible: Change
    #: Accuracy at the end on what was learned, if that is not what is evaluated too.
    learned: float | None = None


@dataclass(frozen=True)
class Tried:
    """What came of a training."""

    converged: bool
    #: Epochs-to-convergence, or those it was given.
    epochs: int
    accuracy: float
    gap: float

    @classmethod
    def of(cls, outcome: Outcome) -> "Tried":
        """An outcome in short."""
        return cls(outcome.converged, outcome.epochs, outcome.best_accuracy or 0.0, outcome.gap)

    @property
    def order(self) -> tuple[bool, float]:
        """Least for what converges in the fewest epochs, then for what comes closest."""
        return not self.converged, self.epochs if self.converged else self.gap

    def better_than(self, other: "Tried") -> bool:
        """By more than chance would do."""
        if self.converged or other.converged:
            return self.order < other.order
        return self.gap < other.gap - NOTABLE and self.accuracy > other.accuracy - WORSE

    def in_words(self, better: bool) -> str:
        """How the training with other parameters went."""
        if self.converged:
            return f"it converges after {epochs(self.epochs)}"
        return f"it {'gets to' if better else 'does no better:'} accuracy {self.accuracy:.2f} in {epochs(self.epochs)}"


@dataclass(frozen=True)
class Finding:
    """A cause that was found."""

    cause: Cause
    sentence: str
    #: The numbers that decided.
    measured: dict[str, float]
    #: Parameters to change, and to what.
    advice: Params = field(default_factory=dict)


def in_words(params: Mapping[str, Any]) -> str:
    """As `fewest train --set` takes them."""
    parts = (f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items())
    return " ".join(part.replace("max_epochs=", "--max-epochs ") for part in parts)
