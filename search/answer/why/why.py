"""What held a missed trial back: it is trained again and measured, and each piece of advice is tried.

Causes hide one another: where classes look alike, no learning rate is right. So the best advice is followed, what comes
of that is measured in turn, and the answer is a short chain of steps, each on top of those before it.
"""

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch

from objectives.configuration import Configuration
from objectives.convergence import Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.samples import Samples
from objectives.data.waves import Waves
from objectives.model.network import Network
from objectives.parameters import PARAMETERS
from objectives.probe import Snapshot, accuracy_learned, initial_network, snapshot, update_effect
from objectives.trainers.solo import Solo, out_of_memory
from search.answer.why.causes import CAUSES
from search.answer.why.miss_diagnosis import Case, Cause, Change, Finding, Tried, in_words
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
        """What held a missed trial back, first things first."""
        try:
            return self._steps(row)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise Failure(f"there is not enough memory on {self.device} to train trial {row.trial} again") from None

    def _steps(self, row: RunRecord) -> list[Step]:
        trial = Trial(0, Configuration.of(row.params), row.seed, row.data_seed, row.spent)
        trial = replace(trial, cap=min(max(trial.cap, 1), MOST_EPOCHS, self._affordable(trial)))
        case, now = self.examined(trial)
        case = replace(case, epochs=row.spent, reached=row.reached, curve=row.curve)
        steps: list[Step] = []
        while len(steps) < MOST_STEPS and not now.converged:
            step = self._step(case, trial, now)
            if step is None or (steps and not step.better):
                break
            steps.append(step)
            trial = self.changed(trial, step.finding.advice)
            if step.tried.converged:
                break
            case, now = self.examined(trial)
        return steps

    def _step(self, case: Case, trial: Trial, now: Tried) -> Step | None:
        """The advice that helps most; if none helps, the first that there is."""
        found = [finding for cause in CAUSES if (finding := cause(case))]
        steps = []
        for finding in found:
            tried = Tried.of(self.trained(self.changed(trial, finding.advice)))
            if finding.cause not in (Cause.CUT, Cause.IMPROVING) or tried.converged:
                steps.append(Step(finding, tried, tried.better_than(now)))
        helping = [step for step in steps if step.better]
        return min(helping, key=lambda step: step.tried.order) if helping else next(iter(steps), None)

    def changed(self, trial: Trial, advice: Mapping[str, Any]) -> Trial:
        """The trial with other parameters, or more epochs as far as they can be afforded."""
        params = {**trial.configuration.params, **advice}
        longer = params.pop("max_epochs", 0)
        configuration = Configuration.of(consistent(params))
        other = replace(trial, configuration=configuration)
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

    def examined(self, trial: Trial) -> tuple[Case, Tried]:
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
        outcome = ended[0][1]
        case = Case(
            configuration=trial.configuration,
            target=self.spec.target,
            max_epochs=self.spec.max_epochs,
            inputs=self.spec.inputs,
            epochs=outcome.epochs,
            reached=outcome.reached,
            curve=outcome.curve,
            start=start,
            end=snapshot(trial, batches, _network(solo), outcome.epochs),
            first=first,
            last=last,
            legible=self._legible(trial, start),
            learned=accuracy_learned(trial, batches, _network(solo), outcome.epochs) if self.samples else None,
        )
        return case, Tried.of(outcome)

    def _legible(self, trial: Trial, start: Snapshot) -> Change:
        """The least change that makes most of the classes readable at the start, else the one that makes most so."""
        best = Change({}, start)
        for others in _ladder(trial.configuration):
            if best.look.legible >= READABLE * best.look.shown:
                break
            changes = [self._began(trial, {**others, "gain": gain}) for gain in _gains(trial.configuration.gain)]
            most = max(change.look.legible for change in changes)
            if most > best.look.legible:
                plateau = [change for change in changes if change.look.legible >= PLATEAU * most]
                best = plateau[len(plateau) // 2]
        return best

    def _began(self, trial: Trial, params: Mapping[str, Any]) -> Change:
        other = self.changed(trial, params)
        return Change(params, snapshot(other, self._batches, initial_network(other, self._batches), 0))


def _network(solo: Solo) -> Network:
    if not isinstance(solo.network, Network):  # it ran out of memory before it had one
        raise MemoryError
    return solo.network


def _gains(own: float) -> list[float]:
    return [float(f"{PARAMETERS['gain'].nearest(own * factor):.3g}") for factor in GAINS]


def _ladder(configuration: Configuration) -> Iterator[dict[str, Any]]:
    """What else is changed besides the gain, each rung with all before it: nothing, then more and more."""
    rungs: list[tuple[str, Any]] = [("bias_init", "spread"), ("activation", "sine"), ("hidden_layers", 1)]
    if configuration.scaling in ("batch", "minmax"):
        rungs.insert(0, ("batch_sampling", "every_class"))
    if configuration.width < 2 * configuration.classes:
        rungs.append(("width", 2 * configuration.classes))
    changes: dict[str, Any] = {}
    yield changes
    for name, value in rungs:
        if getattr(configuration, name) != value:
            changes = {**changes, name: value}
            yield changes
