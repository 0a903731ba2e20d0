"""What to try next: the only caller of an Optuna sampler.

A study begins with its design. Then proposals are the sampler's, on a history of the study in memory, or explore. The
history has scores on a log scale, on which a Gaussian process can follow epochs; TPE only ranks.

Where class counts are searched, few classes teach many, since a trial of them takes less time and no more luck: up to
FOCUS trials each are for one count after another, the lowest first, the rest for whichever has had the fewest. Whatever
leads at one count and would lead at another is tried there as it is. The sampler sees all counts as one: parameters
carried to the middle one, scores by their place within their own.
"""

import inspect
import json
import math
import random
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import TrialState

from objectives.parameters import Params
from objectives.user_code.loader import UserCodeError, load, reporting_errors
from search.ask import sampler_history
from search.ask.initial_design import Design
from search.ask.scoring import score
from search.errors import UsageError
from search.spec import space
from search.spec.study_spec import StudySpec, derive
from storage.schema import RunState

#: Where proposals come from, in turn, while nothing has converged and then: the sampler, a point of the design, or a
#: leader with REDRAWN of its parameters drawn anew. A sampler's categories collapse: once a mediocre activation and
#: optimizer led, 290 of 300 trials of one study kept both. CPU seconds of one worker until a configuration of at most 3
#: epochs was known, 16 studies of 256 classes each time, mean and worst: in the first turn 3.7 and 13; with half of all
#: from the sampler 6.8 and 24, with three in four 10 and 34, these on other seeds. Most of what explores ends early.
SEARCHING = ("leader", "design", "leader", "design", "sampler")
REFINING = ("sampler", "leader", "sampler", "design")
REDRAWN = 2
FOCUS = 100  # trials for one class count after another, at most
#: A proposal: the parameters of the trial that will have a given number.
Proposal = Callable[[int], Mapping[str, Any]]


class Proposals:
    """One worker's proposals for one study."""

    def __init__(self, spec: StudySpec, budget: int, worker_id: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # its version is pinned
        self._spec, self._design = spec, Design(spec)
        self._first = min(len(self._design), max(len(spec.start), budget // 4))
        self._share = min(FOCUS, budget // 2 // len(spec.class_counts))
        self._learns = spec.sampler not in ("random", "qmc")
        self._avoids = self._learns and spec.sampler != "cmaes"
        made = sampler(spec.sampler, derive(spec.seed, spec.sampler, worker_id) >> 31)
        self._history = sampler_history.SamplerHistory()
        self._study = optuna.create_study(storage=self._history, sampler=made)
        self._history_id = self._history.get_study_id_from_name(self._study.study_name)
        self._untaught: list[Any] = []  # rows of told trials that the history has not been given
        self._running: list[Any] = []  # rows of others that run
        self._numbers: dict[int, int] = {}  # the history's number of a trial, and its id there, by the study's
        self._asked: int | None = None  # the history's number of a trial whose number in the study is not known yet
        self._random = random.Random(derive(spec.seed, "explore", worker_id))
        self._made = 0
        counts = spec.class_counts
        self._middle = counts[len(counts) // 2]
        self._sampled = {name: dimension for name, dimension in spec.space.items() if name != "classes"}
        self._tried: Counter[int] = Counter()  # trials that are over, by classes
        self._open: Counter[int] = Counter()  # trials that run or wait
        self._seen: set[int] = set()  # hashes of the parameters of all trials
        self._free = [name for name, dimension in self._sampled.items() if dimension.at(0.0) != dimension.at(0.999)]
        self._converged: Counter[int] = Counter()
        self._leaders: dict[int, tuple[float, int, Params]] = {}  # score, trial and parameters, by classes

    def learn(self, told: Sequence[Any], unfinished: Sequence[Any]) -> None:
        """Take account of trials: those newly told, and all that run or wait; rows of `fewest_runs`."""
        done = [row for row in told if row.state == RunState.DONE]
        for row in done:
            leader = self._score(row), row.trial, json.loads(row.params)
            self._leaders[row.classes] = min(leader, self._leaders.get(row.classes, leader), key=lambda each: each[:2])
        self._tried.update(row.classes for row in told)
        self._converged.update(row.classes for row in done if row.converged)
        self._open = Counter(row.classes for row in unfinished)
        if len(self._spec.class_counts) > 1:
            self._seen.update(hash(row.params) for row in (*told, *unfinished))
        if self._learns:
            self._untaught += told
        if self._avoids:
            self._running = [row for row in unfinished if row.trial not in self._numbers]

    def correct(self, classes: int, leader: tuple[float, int, Params] | None) -> None:
        """The leader of a class count was refuted on fresh seeds: this one leads now, or whatever is told next."""
        self._leaders.pop(classes, None)
        if leader:
            self._leaders[classes] = leader

    def next(self, reserved: int) -> Proposal:
        """The next proposal of a study that has created `reserved` trials."""
        if self._spec.sampler == "qmc":
            return lambda number: space.consistent(self._design.drawn(number))
        if reserved < self._first and self._learns:
            return self._design.point
        self._made += 1
        classes = self._next_classes()
        lesson = self._transfer_leader(classes)
        if lesson:
            return lesson
        turn = REFINING if self._converged[classes] else SEARCHING
        way = turn[self._made % len(turn)] if self._learns and self._leaders else "sampler"
        if way == "leader":
            return self._near_a_leader(classes)
        if way == "design":
            return lambda number: space.consistent(self._design.drawn(number) | {"classes": classes})
        return self._sample(classes)

    def _next_classes(self) -> int:
        had = {count: self._tried[count] + self._open[count] for count in self._spec.class_counts}
        focused = (count for count, trials in had.items() if trials < self._share and self._learns)
        return next(focused, min(had, key=lambda count: (had[count], count)))

    def bind_trial_number(self, number: int | None) -> None:
        """The proposal became the trial of that number; None if it became none."""
        if self._asked is None:
            return
        if number is None or not self._learns:
            self._study.tell(self._asked, state=TrialState.FAIL)
        else:
            self._numbers[number] = self._asked
        self._asked = None

    def _sample(self, classes: int) -> Proposal:
        self._teach()
        trial = self._study.ask()
        trial.set_user_attr(sampler_history.GROUP, classes)
        self._asked = trial.number
        own = self._middle if self._learns else classes  # what is only drawn is drawn for the count itself
        params = space.carried(self._spec.space, space.suggest(self._sampled, trial) | {"classes": own}, classes)
        return _for_any_number(params)

    def _transfer_leader(self, classes: int) -> Proposal | None:
        """The best leader of another class count that is better than this one's and new to it, as it is."""
        if not self._learns:
            return None
        bar = min(self._leaders.get(classes, (math.inf,))[0], self._spec.max_epochs)
        for value, _, params in sorted(self._leaders.values(), key=lambda leader: leader[:2]):
            leader = space.carried(self._spec.space, params, classes) if value < bar else None
            if leader and hash(json.dumps(leader)) not in self._seen:
                return _for_any_number(leader)
        return None

    def _near_a_leader(self, classes: int) -> Proposal:
        """The leader of the class count, or of the best one as long as it has none, but for a few parameters."""
        _, _, params = self._leaders.get(classes) or min(self._leaders.values(), key=lambda leader: leader[:2])
        kept = space.carried(self._spec.space, params, classes)
        free = [name for name in self._free if name in kept]
        redrawn = self._random.sample(free, min(REDRAWN, len(free)))
        kept = {name: value for name, value in kept.items() if name not in redrawn}
        return lambda number: space.consistent(self._design.drawn(number) | kept)

    def _teach(self) -> None:
        """Bring the history up to date, just before it is used: what many workers tell costs each of them time."""
        told, self._untaught = self._untaught, []
        best = sorted((row for row in told if row.state == RunState.DONE), key=self._score)
        kept = {row.trial for row in told[-sampler_history.RECENT :]}  # of a long past, what a sampler will still see
        for classes in self._spec.class_counts:
            kept |= {row.trial for row in [row for row in best if row.classes == classes][: sampler_history.BEST]}
        for row in (*(row for row in told if row.trial in kept), *self._running):
            self._reflect(row)
        self._running = []

    def _reflect(self, row: Any) -> None:
        """Bring one trial of the history up to date."""
        state, value = TrialState.RUNNING, None
        if row.state == RunState.FAILED:
            state = TrialState.FAIL
        elif row.state == RunState.DONE:
            state, value = TrialState.COMPLETE, math.log(max(self._score(row), 0.5))
        if row.trial in self._numbers:
            self._history.set_trial_state_values(self._numbers[row.trial], state, None if value is None else [value])
            return
        params = space.carried(self._spec.space, json.loads(row.params), self._middle)
        del params["classes"]
        now = datetime.now()
        trial = sampler_history.Known(  # `create_trial` checks it first, which takes twice as long as all the rest
            number=-1,
            trial_id=-1,
            state=state,
            value=value,
            params=params,
            distributions=space.distributions(self._sampled, params),
            user_attrs={sampler_history.GROUP: row.classes},
            system_attrs={},
            intermediate_values={},
            datetime_start=now,
            datetime_complete=now if state.is_finished() else None,
        )
        self._numbers[row.trial] = self._history.create_new_trial(self._history_id, trial)

    def _score(self, row: Any) -> float:
        return score(row.converged, row.epochs, row.gap, self._spec.max_epochs)


def _for_any_number(params: Mapping[str, Any]) -> Proposal:
    return lambda number: params


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """The Optuna sampler of that name or import path, seeded; UsageError for what is none."""
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
        with reporting_errors(name):
            kind = load(name)
            loaded = kind(seed=seed) if "seed" in inspect.signature(kind).parameters else kind()
    except UserCodeError as error:
        raise UsageError(f"`sampler` {error}") from None
    if not isinstance(loaded, samplers.BaseSampler):
        raise UsageError(f"`sampler` {name} is no Optuna sampler")
    return loaded
