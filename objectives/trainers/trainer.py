"""The one interface between a worker and its trainers: admit while there is room, advance, take outcomes."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from objectives.convergence import Outcome, Progress, Trial


class TrainerKind(StrEnum):
    """The way to train trials."""

    AUTO = "auto"  # in the array, but for trials that gain nothing there
    ARRAY = "array"  # in the array, but for trials that no array holds
    SOLO = "solo"  # one by one


class Trainer(Protocol):
    """Trains one trial or many on one device. A trial's numbers do not depend on what else is admitted."""

    @property
    def room(self) -> int:
        """How many more trials can be admitted now."""

    @property
    def running(self) -> Sequence[Progress]:
        """The admitted trials; their caps may be lowered between bursts."""

    def admit(self, trial: Trial) -> None:
        """Take a trial; ValueError if there is no room."""

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        """Train every running trial by up to `epochs` epochs; hand back, and forget, those that ended."""

    def release(self) -> list[Trial]:
        """Forget every running trial without an outcome."""
