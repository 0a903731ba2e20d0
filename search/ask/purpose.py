"""What a worker is there for, and so which runs it takes. No Optuna here, since commands name it."""

from enum import StrEnum

from storage.schema import RunKind


class Purpose(StrEnum):
    """What a worker is there for."""

    SEARCH = "search"  # begins trials, and runs whatever the answer needs
    CONFIRM = "confirm"  # runs what waits of a search, and begins nothing
    LADDER = "ladder"  # runs what waits of the ladder, which no search waits for

    @property
    def kinds(self) -> frozenset[RunKind]:
        """The kinds of runs that it takes."""
        ladder = frozenset({RunKind.LADDER})
        return ladder if self is Purpose.LADDER else frozenset(RunKind) - ladder
