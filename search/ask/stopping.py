"""When a running trial is no longer worth an epoch: a horizon, a cap after the incumbent, rungs that compare trials.

Horizon: what converges in few epochs is found in few epochs, so a study first gives every trial HORIZON of them, and
doubles that after the same number of trials until all may use `max_epochs`. Cap: κ times the incumbent of the same
class count, with a floor. Rungs: at fixed epochs a trial must be among the best
third, by shortfall, of all trials of its class count that got there, and no more than a third may go on, even if each
is better than all before it (Li et al. 2018, Hyperband; asynchronous as in Li et al. 2020, ASHA).

Most trials are judged from the first rung on; some only from a later one, since an early rung throws away what starts
slowly. With one bracket, 1 of 4 studies of the default space found nothing at all while every other found 1-epoch
configurations; without the limit of a third, a region that keeps improving slowly took all the time (34 trials in 60 s
instead of 536).
"""

import math
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from objectives.convergence import Outcome, Progress, Trial, shortfall

RUNGS = (1, 4, 12, 36, 108)  # epochs
KEEP = 3  # one in so many goes on at a rung
BRACKETS = (0, 0, 0, 1, 0, 0, 2)  # first rung of trials 0, 1, …, and again; odd, as a design alternates
HORIZON = 4  # epochs that the first trials may use
STEP = 32  # trials after which the horizon doubles, at most
SMALL = 100  # trials of a budget too small for rungs: of 30 trials of a small problem twice as many converge without
OPEN = 3  # the horizon is at `max_epochs` after one in so many trials of the budget
KAPPA = 2  # cap in incumbents
FLOOR = 12  # epochs that every trial may use
EPOCHS_AT_ONCE = 16  # most epochs between two looks at a trial


@dataclass
class Stopping:
    """What is known of one study's trials that bears on stopping others."""

    max_epochs: int
    #: Trials in the budget, and of each class count.
    budget: int
    trials: int
    _told: Counter[int] = field(default_factory=Counter)  # trials, by classes
    _incumbent: dict[int, int] = field(default_factory=dict)  # epochs, by classes
    _shortfalls: dict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))  # sorted
    _noted: set[tuple[int, int]] = field(default_factory=set)  # running trials in those, by number and rung
    _judged: Counter[tuple[int, int, int]] = field(default_factory=Counter)  # by classes, bracket and rung
    _kept: Counter[tuple[int, int, int]] = field(default_factory=Counter)

    def learn(
        self, number: int, classes: int, converged: bool, epochs: int, shortfalls: Sequence[float | None]
    ) -> None:
        """Take account of a trial that has an outcome; `shortfalls` as given by `at_rungs`."""
        self._told[classes] += 1
        if converged:
            self._incumbent[classes] = min(epochs, self._incumbent.get(classes, epochs))
        for rung, found in zip(RUNGS, shortfalls, strict=True):
            if found is not None:
                if (number, rung) not in self._noted:
                    insort(self._shortfalls[classes, rung], found)
                self._noted.discard((number, rung))
                if rung in self._rungs(number):
                    self._judged[classes, _bracket(number), rung] += 1
                    self._kept[classes, _bracket(number), rung] += converged or epochs > rung

    def cap(self, classes: int) -> int:
        """Most epochs that a trial may use now."""
        incumbent = self._incumbent.get(classes, self.max_epochs)
        return min(self._horizon(classes), room(incumbent, self.max_epochs))

    def _horizon(self, classes: int) -> int:
        if self.max_epochs <= HORIZON or self.trials <= OPEN:
            return self.max_epochs
        step = min(STEP, self.trials / OPEN / math.log2(self.max_epochs / HORIZON))
        return min(self.max_epochs, HORIZON << int(min(self._told[classes] / step, 32)))

    def _rungs(self, number: int) -> Sequence[int]:
        """Those at which a trial is compared with others."""
        return RUNGS[_bracket(number) :] if self.budget >= SMALL else ()

    def correct(self, classes: int, fewest: int | None) -> None:
        """The incumbent was refuted on fresh seeds, and needs so many epochs now; None if nothing else converged."""
        self._incumbent.pop(classes, None)
        if fewest is not None:
            self._incumbent[classes] = fewest

    def note(self, number: int, progress: Progress) -> None:
        """Let others be compared with a running trial at the rung where it is: all that began together get there."""
        rung = progress.epoch
        if rung in RUNGS and (number, rung) not in self._noted:
            insort(self._shortfalls[progress.trial.configuration.classes, rung], progress.shortfall())
            self._noted.add((number, rung))

    def judge(self, number: int, progress: Progress) -> None:
        """Lower a running trial's cap to what it still deserves."""
        classes, rung = progress.trial.configuration.classes, progress.epoch
        progress.lower_cap(self.cap(classes))
        others = self._shortfalls[classes, rung]
        if rung not in self._rungs(number) or not others:
            return
        ladder = classes, _bracket(number), rung
        full = self._kept[ladder] >= math.ceil((self._judged[ladder] + 1) / KEEP)
        if full or progress.shortfall() > others[len(others) // KEEP]:
            progress.lower_cap(rung)


def room(epochs: int, max_epochs: int) -> int:
    """The cap of a trial that is to compete with one that converged in so many epochs."""
    return min(max_epochs, max(FLOOR, KAPPA * epochs))


def at_rungs(trial: Trial, outcome: Outcome, target: float) -> list[float | None]:
    """A finished trial's shortfall at each rung: 0 once it had converged, None where it ended before."""
    curve, classes = outcome.curve, trial.configuration.classes
    return [
        shortfall(curve.accuracy[: rung + 1], curve.loss[: rung + 1], classes, target)
        if rung <= outcome.epochs
        else (0.0 if outcome.converged else None)
        for rung in RUNGS
    ]


def burst(running: Sequence[Progress]) -> int:
    """Epochs until the next of the running trials is to be judged."""
    ahead = (rung - progress.epoch for progress in running for rung in RUNGS if rung > progress.epoch)
    return min([EPOCHS_AT_ONCE, *ahead])


def _bracket(number: int) -> int:
    return BRACKETS[number % len(BRACKETS)]
