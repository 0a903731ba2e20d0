"""When a running trial is no longer worth an epoch: caps that follow the incumbent, and rungs that compare trials.

Cap: κ times the incumbent of the same class count, with a floor. Rungs: at fixed epochs a trial must be among the best third,
by gap, of all trials of its class count that got there (Li et al. 2018, Hyperband; asynchronous as in ASHA). Trials
enter at the first, second or third rung in turn, so that one that starts slowly is not always thrown away: with a
single bracket 1 of 4 studies of the default space found nothing in the time that all others took to find 1-epoch configurations.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from objectives.convergence import Outcome, Progress, Trial, gap

RUNGS = (4, 12, 36, 108)  # epochs
KEEP = 3  # one in so many stays at a rung
BRACKETS = 3
KAPPA = 2  # cap in incumbents
FLOOR = 12  # epochs that every trial may use
BURST = 16  # most epochs between two looks at a trial


@dataclass
class Stopping:
    """What is known of one study's trials that bears on stopping others."""

    max_epochs: int
    _incumbent: dict[int, int] = field(default_factory=dict)  # epochs by classes
    _gaps: dict[tuple[int, int], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by classes and rung, sorted

    def learn(self, classes: int, converged: bool, epochs: int, rungs: Sequence[float | None]) -> None:
        """Take account of a trial that has an outcome; `rungs` as given by `rung_gaps`."""
        if converged:
            self._incumbent[classes] = min(epochs, self._incumbent.get(classes, epochs))
        for rung, found in zip(RUNGS, rungs, strict=True):
            if found is not None:
                insort(self._gaps[classes, rung], found)

    def cap(self, classes: int) -> int:
        """Most epochs that a trial may use now."""
        return self.room(self._incumbent.get(classes, self.max_epochs))

    def room(self, epochs: int) -> int:
        """The cap of a trial that is to compete with one that converged in so many epochs."""
        return min(self.max_epochs, max(FLOOR, KAPPA * epochs))

    def judge(self, number: int, progress: Progress) -> None:
        """Lower a running trial's cap to what it still deserves."""
        classes = progress.trial.configuration.classes
        progress.lower_cap(self.cap(classes))
        for rung in RUNGS[number % BRACKETS :]:
            gaps = self._gaps[classes, rung]
            if rung <= progress.epoch and len(gaps) >= KEEP and progress.gap(rung) > gaps[len(gaps) // KEEP]:
                progress.lower_cap(rung)


def rung_gaps(trial: Trial, outcome: Outcome, target: float, hold: int) -> list[float | None]:
    """A finished trial's gap at each rung: 0 once it had converged, None where it ended before."""
    curve, classes = outcome.curve, trial.configuration.classes
    return [
        gap(curve.accuracy[: rung + 1], curve.loss[: rung + 1], classes, target, hold)
        if rung <= outcome.epochs
        else (0.0 if outcome.converged else None)
        for rung in RUNGS
    ]


def burst(running: Sequence[Progress]) -> int:
    """Epochs until the next of the running trials is to be judged."""
    return min([BURST, *(rung - progress.epoch for progress in running for rung in RUNGS if rung > progress.epoch)])
