"""What to try next: the only caller of an Optuna sampler.

A study begins with its design. Then most proposals are the sampler's, on a mirror of the study in memory. Where class
counts are searched, the next trial is for the count that has had the fewest, and the sampler sees all counts as one:
parameters carried to the middle one, scores by their place within their own. Scores are on a log scale there, on which
a Gaussian process can follow epochs; TPE only ranks.
"""

import importlib
import inspect
import json
import math
import random
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from search import mirror, space
from search.design import Design
from search.mirror import GROUP, Mirror
from search.scoring import score
from search.spec import SpecError, StudySpec, derive
from storage.schema import RunState

#: Where proposals come from, in turn, while nothing has converged and then: the sampler, a point of the design, or a
#: leader with REDRAWN of its parameters drawn anew. A sampler's categories collapse: once a mediocre activation and
#: optimizer led, 290 of 300 trials of one study kept both. CPU seconds of one worker until a configuration of at most 3
#: epochs was known, 16 studies of 256 classes, mean and worst: in the first turn 3.7 and 13, with half of all from the
#: sampler 6.8 and 24, with three in four 10 and 34. Most of what explores ends at the first rung.
SEARCHING = ("leader", "design", "leader", "design", "sampler")
REFINING = ("sampler", "leader", "sampler", "design")
REDRAWN = 2
#: A proposal: the parameters of the trial that will have a given number.
Proposal = Callable[[int], Mapping[str, Any]]


class Proposals:
    """One worker's proposals for one study."""

    def __init__(self, spec: StudySpec, budget: int, worker_id: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # its version is pinned
        self._spec, self._design = spec, Design(spec)
        self._first = {"random": 0, "qmc": math.inf}.get(spec.sampler, min(len(self._design), budget // 4))
        self._learns = spec.sampler not in ("random", "qmc")
        self._avoids = self._learns and spec.sampler != "cmaes"
        made = sampler(spec.sampler, derive(spec.seed, spec.sampler, worker_id) >> 31)
        self._study = optuna.create_study(storage=Mirror(), sampler=made)
        self._mirrored = 0  # trials that the mirror has been given
        self._numbers: dict[int, int] = {}  # the mirror's trial number by the study's
        self._asked: int | None = None  # the mirror's number of a trial whose number in the study is not known yet
        self._random = random.Random(derive(spec.seed, "explore", worker_id))
        self._made = 0
        counts = spec.class_counts
        self._middle = counts[len(counts) // 2]
        self._sampled = {name: dimension for name, dimension in spec.space.items() if name != "classes"}
        self._tried = Counter(dict.fromkeys(counts, 0))
        self._converged: Counter[int] = Counter()  # trials, by classes
        self._leaders: dict[int, tuple[float, int, dict[str, Any]]] = {}  # score, trial and parameters, by classes

    def learn(self, told: Sequence[Any], unfinished: Sequence[Any]) -> None:
        """Take account of trials: those newly told, and all that run or wait; rows of `fewest_runs`."""
        done = [row for row in told if row.state == RunState.DONE]
        for row in done:
            leader = self._score(row), row.trial, json.loads(row.params)
            self._leaders[row.classes] = min(leader, self._leaders.get(row.classes, leader), key=lambda each: each[:2])
        self._tried.update(row.classes for row in told)
        self._converged.update(row.classes for row in done if row.converged)
        self._open = Counter(row.classes for row in unfinished)
        if self._learns:
            best = sorted(done, key=self._score)
            kept = {row.trial for row in told[-mirror.RECENT :]}  # of a long past, what a sampler will still see
            for classes in self._spec.class_counts:
                kept |= {row.trial for row in [row for row in best if row.classes == classes][: mirror.BEST]}
            for row in told:
                if row.trial in kept:
                    self._reflect(row)
        if self._avoids:
            for row in unfinished:
                if row.trial not in self._numbers:
                    self._reflect(row)

    def next(self, reserved: int) -> Proposal:
        """The next proposal of a study that has created `reserved` trials."""
        if reserved < self._first:
            return self._design.point
        self._made += 1
        classes = min(self._spec.class_counts, key=lambda count: (self._tried[count] + self._open[count], count))
        turn = REFINING if self._converged[classes] else SEARCHING
        way = turn[self._made % len(turn)] if self._learns and self._leaders else "sampler"
        if way == "leader":
            return self._near_a_leader(classes)
        if way == "design":
            return lambda number: space.fitted(self._spec.space, self._design.drawn(number) | {"classes": classes})
        return self._sample(classes)

    def settle(self, number: int | None) -> None:
        """The proposal became the trial of that number; None if it became none."""
        if self._asked is None:
            return
        if number is None or not self._learns:
            self._study.tell(self._asked, state=TrialState.FAIL)
        else:
            self._numbers[number] = self._asked
        self._asked = None

    def _sample(self, classes: int) -> Proposal:
        trial = self._study.ask()
        trial.set_user_attr(GROUP, classes)
        self._asked, self._mirrored = trial.number, self._mirrored + 1
        params = space.suggest(self._sampled, trial) | {"classes": self._middle}
        found = space.carried(self._spec.space, params, classes)
        return lambda number: found

    def _near_a_leader(self, classes: int) -> Proposal:
        """The best of the class count, or now and then that of a neighbouring count, but for a few parameters."""
        nearest = sorted(self._leaders, key=lambda count: (abs(math.log(count / classes)), count))
        teacher = next((count for count in nearest if self._random.random() < 0.5), nearest[0])
        kept = space.carried(self._spec.space, self._leaders[teacher][2], classes)
        redrawn = self._random.sample(sorted(name for name in kept if name != "classes"), REDRAWN)
        kept = {name: value for name, value in kept.items() if name not in redrawn}
        return lambda number: space.fitted(self._spec.space, self._design.drawn(number) | kept)

    def _reflect(self, row: Any) -> None:
        """Bring one trial of the mirror up to date."""
        if row.trial not in self._numbers:
            params = space.carried(self._spec.space, json.loads(row.params), self._middle)
            del params["classes"]
            running = create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=space.distributions(self._sampled, params),
                user_attrs={GROUP: row.classes},
            )
            self._study.add_trial(running)
            self._numbers[row.trial] = self._mirrored
            self._mirrored += 1
        number = self._numbers[row.trial]
        if row.state == RunState.FAILED:
            self._study.tell(number, state=TrialState.FAIL)
        elif row.state == RunState.DONE:
            self._study.tell(number, math.log(max(self._score(row), 0.5)))

    def _score(self, row: Any) -> float:
        return score(row.converged, row.epochs, row.gap, self._spec.max_epochs)


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """The Optuna sampler of that name or import path, seeded; SpecError for what is none."""
    samplers = optuna.samplers
    if name == "tpe":
        # Grouped, so that the conditional width of a second layer does not split the joint model of the others.
        return samplers.TPESampler(seed=seed, multivariate=True, group=True)
    if name == "gp":
        return samplers.GPSampler(seed=seed)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed)
    if ":" not in name:
        return samplers.RandomSampler(seed=seed)
    try:
        module, _, attribute = name.partition(":")
        made = getattr(importlib.import_module(module), attribute)
        found = made(seed=seed) if "seed" in inspect.signature(made).parameters else made()
    except Exception as error:  # whatever a stranger's module raises
        raise SpecError(f"`sampler` {name}: {type(error).__name__}: {error}") from None
    if not isinstance(found, samplers.BaseSampler):
        raise SpecError(f"`sampler` {name} is no Optuna sampler")
    return found
