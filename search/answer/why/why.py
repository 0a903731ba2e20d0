"""What held a missed trial back: it is trained again and measured, and each piece of advice is tried.

Causes hide one another: where classes look alike, no learning rate is right. So the best advice is followed, what comes
of that is measured in turn, and the answer is a short chain of steps, each on top of those before it.
"""

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from operator import or_
from typing import Any

import torch

from objectives.configuration import Configuration
from objectives.convergence import Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.samples import Samples
from objectives.data.waves import Waves
from objectives.model.network import Network
from objectives.parameters import PARAMETERS, Params
from objectives.probe import Snapshot, accuracy_learned, initial_network, snapshot, update_effect
from objectives.trainers.solo import Solo, out_of_memory
from search.answer.why.causes import CAUSES
from search.answer.why.miss_diagnosis import Cause, Change, Finding, MissedTrial, Tried, in_words
from search.errors import Failure
from search.query.records import RunRecord
from search.spec.space import consistent
from search.spec.study_spec import StudySpec

MOST_STEPS = 3
MOST_EPOCHS = 64  # of one training
LEAST_EPOCHS = 4
MOST_FLOPS, MOST_UPDATES = 3e10, 1000  # of one training: about a second of a core
GAINS = tuple(10 ** (k / 3) for k in range(-9, 10))  # times the trial's own
READABLE = 0.9  # of what is shown: enough of the classes
PLATEAU = 0.95  # of the most that is readable: as good


@dataclass(frozen=True)
class Step:
    """What held the trial back once the steps before this one were taken."""

    finding: Finding
    #: What becomes of the trial with this and all earlier advice.
    tried: Tried
    better: bool

    @property
    def sentences(self) -> str:
        """For people: what was found, and what following the advice came to."""
        return f"{self.finding.sentence} With {in_words(self.finding.advice)} {self.tried.in_words(self.better)}."

    @property
    def record(self) -> dict[str, Any]:
        """For programs."""
        finite = {name: value if math.isfinite(value) else None for name, value in self.finding.measured.items()}
        return {**asdict(self.finding), "measured": finite, "tried": asdict(self.tried), "better": self.better}


@dataclass(frozen=True)
class Why:
    """The trainer's view of one study: where its trials are trained again."""

    spec: StudySpec
    samples: Samples | None
    device: str = "cpu"

    @cached_property
    def _batches(self) -> Batches:
        torch.set_num_threads(1)  # as workers do: the same trial gives the same numbers
        return Batches(self.samples or Waves(self.spec.inputs, self.spec.sigma), self.device)

    def steps(self, row: RunRecord) -> list[Step]:
        """What held a missed trial back, first things first; Failure without the memory to train it again."""
        try:
            return self._steps(row)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise Failure(f"there is not enough memory on {self.device} to train trial {row.trial} again") from None

    def _steps(self, row: RunRecord) -> list[Step]:
        trial = Trial(0, Configuration.of(row.params), row.seed, row.data_seed, row.spent)
        trial = replace(trial, cap=min(max(trial.cap, 1), MOST_EPOCHS, self._affordable(trial)))
        miss, own = self.examined(trial)
        miss = replace(miss, epochs=row.spent, reached=row.reached, curve=row.curve)
        steps: list[Step] = []
        while not own.converged and (step := self._step(miss, own)) and (step.better or not steps):
            steps.append(step)
            if len(steps) == MOST_STEPS or step.tried.converged:
                break
            miss, own = self.examined(self.changed(miss.trial, step.finding.advice))
        return steps

    def _step(self, miss: MissedTrial, own: Tried) -> Step | None:
        """The advice that helps most; if none helps, the first that there is."""
        steps = []
        for finding in filter(None, (cause(miss) for cause in CAUSES)):
            tried = Tried.of(self.trained(self.changed(miss.trial, finding.advice)))
            if finding.cause not in (Cause.CUT, Cause.IMPROVING) or tried.converged:
                steps.append(Step(finding, tried, tried.better_than(own)))
        helping = [step for step in steps if step.better]
        return min(helping, key=lambda step: step.tried.order) if helping else next(iter(steps), None)

    def changed(self, trial: Trial, advice: Mapping[str, Any]) -> Trial:
        """The trial with other parameters, or more epochs as far as they can be afforded."""
        params = {**trial.configuration.params, **advice}
        longer = params.pop("max_epochs", 0)
        other = replace(trial, configuration=Configuration.of(consistent(params)))
        return replace(other, cap=max(trial.cap, min(longer, self._affordable(other))))

    def _affordable(self, trial: Trial) -> int:
        """Epochs that it may be trained for: by arithmetic, so that the answer is the same on every machine."""
        sizes = self._batches.problem.inputs, *trial.configuration.widths, trial.configuration.classes
        learned = self._batches.minibatches(trial.configuration, trial.data_seed, 0)
        flops = 6 * sum(a * b for a, b in pairwise(sizes)) * sum(len(part.labels) for part in learned)
        return max(LEAST_EPOCHS, min(int(MOST_FLOPS / flops), MOST_UPDATES // len(learned)))

    def trained(self, trial: Trial) -> Outcome:
        """What comes of a trial."""
        solo = Solo(self._batches, self.spec.target, self.spec.hold)
        solo.admit(trial)
        while not (ended := solo.advance(MOST_EPOCHS)):
            pass
        return ended[0][1]

    def examined(self, trial: Trial) -> tuple[MissedTrial, Tried]:
        """The trial trained again, and measured at the start, after the first epoch and at the end."""
        batches, before = self._batches, initial_network(trial, self._batches)
        start = snapshot(trial, batches, before, 0)
        solo = Solo(batches, self.spec.target, self.spec.hold)
        solo.admit(trial)
        ended = solo.advance(1) or solo.advance(1)
        first = last = update_effect(trial, batches, before, _network(solo), 0)
        if not ended and trial.cap > 2:
            ended = solo.advance(trial.cap - 2)
        while not ended:
            epoch, before = solo.running[0].epoch, deepcopy(_network(solo))
            ended = solo.advance(1)
            last = update_effect(trial, batches, before, _network(solo), epoch)
        outcome, network = ended[0][1], _network(solo)
        miss = MissedTrial(
            spec=self.spec,
            trial=trial,
            epochs=outcome.epochs,
            reached=outcome.reached,
            curve=outcome.curve,
            start=start,
            end=snapshot(trial, batches, network, outcome.epochs),
            first=first,
            last=last,
            legible=self._legible(trial, start),
            learned=accuracy_learned(trial, batches, network, outcome.epochs) if self.samples else None,
        )
        return miss, Tried.of(outcome)

    def _legible(self, trial: Trial, start: Snapshot) -> Change:
        """The least change that makes most of the classes readable at the start, else the one that makes most so."""
        best, own = Change({}, start), trial.configuration
        gains = [float(f"{PARAMETERS['gain'].nearest(own.gain * factor):.3g}") for factor in GAINS]
        for others in _changes_beside_gain(own):
            if best.snapshot.legible >= READABLE * best.snapshot.shown:
                break
            changes = [self._began(trial, {**others, "gain": gain}) for gain in gains]
            most = max(change.snapshot.legible for change in changes)
            if most > best.snapshot.legible:
                plateau = [change for change in changes if change.snapshot.legible >= PLATEAU * most]
                best = plateau[len(plateau) // 2]
        return best

    def _began(self, trial: Trial, params: Mapping[str, Any]) -> Change:
        other = self.changed(trial, params)
        return Change(params, snapshot(other, self._batches, initial_network(other, self._batches), 0))


def _network(solo: Solo) -> Network:
    if not isinstance(solo.network, Network):  # it ran out of memory before it had one
        raise MemoryError
    return solo.network


def _changes_beside_gain(own: Configuration) -> Iterable[Params]:
    """What else is changed besides the gain, each with all before it: nothing, then more and more."""
    sampling = "every_class" if own.scaling in ("batch", "minmax") else own.batch_sampling
    others = {"batch_sampling": sampling, "bias_init": "spread", "activation": "sine", "hidden_layers": 1}
    others |= {"width": max(own.width, 2 * own.classes)}
    different = [{name: value} for name, value in others.items() if getattr(own, name) != value]
    return accumulate(different, or_, initial={})
