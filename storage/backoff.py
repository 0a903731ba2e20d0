"""Backoff: the pauses between two tries of what is busy or away, and the end of them.

tenacity lost: its stop, its wait and its note before a sleep would each be a function of ours, since the patience may
change and the notes come at growing intervals. It would save the loop, and hide which of its states they share.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 2.0  # between two tries of a transaction or a request
FIRST_NOTE_SECONDS = 2.0  # until the log first has that it is being waited for

log = logging.getLogger("fewest")


def doubling(first: float, longest: float) -> Iterator[float]:
    """Pauses in seconds: the first, and then each twice the one before, up to the longest."""
    while True:
        yield first
        first = min(2 * first, longest)


class Backoff:
    """The tries of one transaction or request, from now on."""

    def __init__(self, patience: Callable[[], float]) -> None:
        """`patience` in seconds is asked for after each try, so that it may be lost meanwhile."""
        self._patience, self._began, self._note_at = patience, time.monotonic(), FIRST_NOTE_SECONDS
        self._pauses = doubling(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)

    def pause(self, fault: object) -> bool:
        """Sleep until the next try, and log the fault from time to time; False at once if patience is over."""
        waited = time.monotonic() - self._began
        left = self._patience() - waited
        if left <= 0:
            return False
        if waited >= self._note_at:
            log.warning("%s; trying again for %.0f s", fault, left)
            self._note_at = 2 * waited
        time.sleep(next(self._pauses) * random.uniform(0.5, 1))
        return True
