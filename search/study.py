"""One worker's ask and tell: the only caller of an Optuna sampler.

The sampler works on a mirror of the study in memory, which fetches only what was told since it last looked; the trial
that it proposes is then stored whole in one transaction. When every trial has an outcome, the same ask hands out what
is still needed to name a winner: replicates of the best trials, and one run of the question's model as a reference.
"""

import json
import random
import warnings
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from objectives.configuration import Configuration
from objectives.convergence import Outcome, Progress, Trial
from search import mirror, scoring, space
from search.mirror import Mirror
from search.scoring import Evidence, score
from search.space import Range
from search.spec import StudySpec, derive
from search.stopping import Stopping, at_rungs
from storage import ledger
from storage.curves import pack
from storage.leases import LEASE_SECONDS
from storage.ledger import NewRun, News, Run
from storage.schema import RunState
from storage.store import Store
from storage.studies import StudyRecord

#: One proposal in so many explores under TPE, whose categories collapse: once a mediocre activation and optimizer led,
#: 290 of 300 trials of one study kept both, and another stayed at 5 epochs with random batches. It is in turn a random
#: configuration, and the best of a class count with REDRAWN of its parameters drawn anew. Most end at the first rung.
EXPLORE = 4
REDRAWN = 2
LEARN = ("tpe", "gp", "cmaes")  # samplers that learn from what was told
AVOID = ("tpe", "gp")  # those that also keep away from what is running


class Study:
    """A study as one worker sees it."""

    def __init__(self, store: Store, record: StudyRecord, worker_id: int) -> None:
        self.spec = StudySpec.model_validate_json(record.spec)
        self._store, self._id, self._worker_id = store, record.study_id, worker_id
        self._news = News((), (), asks=True, stopping=False)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # its version is pinned
        directions = [StudyDirection[name] for name in self.spec.directions]
        self._mirror = optuna.create_study(storage=Mirror(), directions=directions)
        self._mirrored = 0  # trials that the mirror has been given
        self._sampler, self._explorer = (
            sampler(name, derive(self.spec.seed, name, worker_id) % (1 << 32)) for name in (self.spec.sampler, "random")
        )
        self._random = random.Random(derive(self.spec.seed, "explore", worker_id))
        self._proposed = 0
        self._numbers: dict[int, int] = {}  # the mirror's trial number by the study's
        self._told = 0
        self._stopping = Stopping(self.spec.max_epochs)
        self._candidates: dict[int, dict[int, Evidence]] = defaultdict(dict)  # by classes and trial
        self._params: dict[int, dict[str, Any]] = {}  # of those candidates, by trial

    def ask(self, held: Collection[int] = ()) -> Run | None:
        """The next run to train: one that waits, a new trial, or what the answer still needs; None for nothing now.

        `held` are the ids of the runs that this worker is training already.
        """
        self.look()
        if any(self._may_be_taken(row, held) for row in self._news.unfinished):
            run = self._take(held)
            if run:
                return run
        if self._news.asks:
            return self._propose(held)
        if self._news.stopping or self._news.unfinished:
            return None
        self._store.write(ledger.add, self._id, self._due())
        run = self._take(held)
        if run is None:
            self.look()
        return run

    @property
    def over(self) -> bool:
        """When last looked at, nothing was left to do in this study, by this worker or any other."""
        return not self._news.unfinished and not self._news.asks

    @property
    def stopping(self) -> bool:
        """When last looked at, somebody had asked for the study to stop."""
        return self._news.stopping

    def trial(self, run: Run) -> Trial:
        """What the trainer is to do for a run."""
        configuration = Configuration.of(run.params)
        cap = self._stopping.cap(configuration.classes) if run.cap is None else run.cap
        return Trial(run.run_id, configuration, run.seed, run.data_seed, cap)

    def note(self, run: Run, progress: Progress) -> None:
        """Take account of how far a running trial has come."""
        if run.cap is None and run.trial is not None:
            self._stopping.note(run.trial, progress)

    def judge(self, run: Run, progress: Progress) -> None:
        """Lower the cap of a running trial to what it still deserves; replicates and references keep theirs."""
        if run.cap is None and run.trial is not None:
            self._stopping.judge(run.trial, progress)

    def tell(self, run: Run, trial: Trial, outcome: Outcome) -> bool:
        """Record an outcome; False if the lease on the run was lost in the meantime."""
        spec = self.spec
        rungs = at_rungs(trial, outcome, spec.target)
        kept = {field.name: getattr(outcome, field.name) for field in fields(outcome) if field.name != "curve"}
        shown = ("converged", "epochs", "cap", "gap", "accuracy", "loss", "end")
        kept["converged"] = outcome.converged
        return self._store.write(
            ledger.finish,
            run,
            kept | {"stream_offset": trial.stream_offset, "rungs": json.dumps(rungs)},
            self._values(trial.configuration.classes, outcome),
            pack(outcome.curve.epochs, outcome.curve.accuracy, outcome.curve.loss),
            {name: kept[name] for name in shown},
        )

    def look(self) -> None:
        """Learn what every worker has told since the last look, and what others are running."""
        self._news = self._store.read(ledger.look, self._id, self._told)
        told = [row for row in self._news.told if row.trial is not None]
        for row in told:
            self._learn(row)
        if self.spec.sampler in LEARN:
            for row in self._worth_reflecting([row for row in told if not row.replicate]):
                self._reflect(row)
        if self._news.told:
            self._told = self._news.told[-1].told
        if self.spec.sampler in AVOID:
            for row in self._news.unfinished:
                if row.replicate == 0 and row.trial is not None and row.trial not in self._numbers:
                    self._reflect(row)

    def _may_be_taken(self, row: Any, held: Collection[int]) -> bool:
        """The run waits, its worker is dead, or it was given to this worker by a commit whose answer was lost."""
        if row.state == RunState.WAITING:
            return not self._news.stopping and row.run_id not in held
        return row.run_id not in held if row.worker_id == self._worker_id else row.expired and self._judges

    @property
    def _judges(self) -> bool:
        """Leases have been renewed since the database was last away, so those that are over belong to the dead."""
        return self._store.steady(LEASE_SECONDS)

    def _take(self, held: Collection[int]) -> Run | None:
        return self._store.write(ledger.take, self._id, self._worker_id, held, judge=self._judges)

    def _learn(self, row: Any) -> None:
        found, done = self._candidates[row.classes], row.state == RunState.DONE
        if row.replicate == 0 and done:
            self._stopping.learn(row.trial, row.classes, row.converged, row.epochs, json.loads(row.rungs))
            if row.converged:
                found[row.trial] = Evidence(row.trial, row.epochs, loss=row.loss)
                self._params[row.trial] = json.loads(row.params)
        elif row.replicate:  # one that failed is no evidence of converging either
            before = found[row.trial]
            scores = *before.scores, self._values(row.classes, row)[0] if done else 2.0 * self.spec.max_epochs
            found[row.trial] = replace(before, scores=scores, converged=before.converged + (done and row.converged))

    def _worth_reflecting(self, told: Sequence[Any]) -> Sequence[Any]:
        """Those of newly told trials that a sampler will still see: all but of a study that has a long past."""
        if len(told) <= mirror.RECENT or self.spec.several_class_counts:
            return told
        old, latest = told[: -mirror.RECENT], told[-mirror.RECENT :]
        done = [row for row in old if row.state == RunState.DONE]
        return [*sorted(done, key=lambda row: self._values(row.classes, row))[: mirror.BEST], *latest]

    def _reflect(self, row: Any) -> None:
        """Bring one trial of the mirror up to date."""
        if row.trial not in self._numbers:
            params = json.loads(row.params)
            running = create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=space.distributions(self.spec.space, params),
            )
            self._mirror.add_trial(running)
            self._numbers[row.trial] = self._mirrored
            self._mirrored += 1
        number = self._numbers[row.trial]
        if row.state == RunState.FAILED:
            self._mirror.tell(number, state=TrialState.FAIL)
        elif row.state == RunState.DONE:
            self._mirror.tell(number, self._values(row.classes, row))

    def _values(self, classes: int, told: Any) -> list[float]:
        """What Optuna is told of an outcome, by direction; `told` has its `converged`, `epochs` and `gap`."""
        value = score(told.converged, told.epochs, told.gap, self.spec.max_epochs)
        return [value, float(classes)] if self.spec.several_class_counts else [value]

    def _propose(self, held: Collection[int]) -> Run | None:
        self._proposed += 1
        explores = self.spec.sampler == "tpe" and self._proposed % EXPLORE == 0
        self._mirror.sampler = self._explorer if explores else self._sampler
        if explores and self._params and self._proposed // EXPLORE % 2:
            self._mirror.enqueue_trial(self._near_a_best())
        trial = self._mirror.ask()
        self._mirrored += 1
        params = space.suggest(self.spec.space, trial)
        stored = {
            name: (distribution.to_internal_repr(params[name]), distribution_to_json(distribution))
            for name, distribution in trial.distributions.items()
        }
        seeds = derive(self.spec.seed, "data"), partial(derive, self.spec.seed, "trial")
        run = self._store.write(ledger.create, self._id, self._worker_id, held, params, *seeds, stored)
        taken = run is None or run.params != params  # the last slot by another worker, or an earlier run came to light
        if taken or self.spec.sampler not in LEARN:
            self._mirror.tell(trial.number, state=TrialState.FAIL)
        elif run and run.trial is not None:
            self._numbers[run.trial] = trial.number
        return run

    def _near_a_best(self) -> dict[str, Any]:
        """The parameters of the best trial of some class count, but for a few that are left to be drawn."""
        counts = [found for _, found in sorted(self._candidates.items()) if found]
        best = min(self._random.choice(counts).values(), key=lambda candidate: (candidate.epochs, candidate.trial))
        params = self._params[best.trial]
        redrawn = self._random.sample(sorted(params), REDRAWN)
        return {name: value for name, value in params.items() if name not in redrawn}

    def _due(self) -> Sequence[NewRun]:
        counts = {classes: found for classes, found in self._candidates.items() if found}
        if isinstance(self.spec.space["classes"], Range):  # too many counts to confirm one by one
            fewest = {
                classes: min(candidate.epochs for candidate in found.values()) for classes, found in counts.items()
            }
            counts = {classes: counts[classes] for classes in scoring.front(fewest)}
        due = [
            self._new_run(f"{candidate.trial}#{k}", candidate.trial, k, self._params[candidate.trial], candidate.epochs)
            for found in counts.values()
            for candidate, k in scoring.due(found.values())
        ]
        if not self.spec.several_class_counts:
            (classes,) = self.spec.space["classes"].values  # type: ignore[union-attr]
            question = space.preset("question", int(classes), self.spec.training).params
            due.append(self._new_run(f"question@{classes}", None, 0, question, self.spec.max_epochs))
        return due

    def _new_run(self, name: str, trial: int | None, replicate: int, params: dict[str, Any], epochs: int) -> NewRun:
        seed, data_seed = (derive(self.spec.seed, what, name) for what in ("trial", "data"))
        return NewRun(name, trial, replicate, params, seed, data_seed, self._stopping.room(epochs))


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """The Optuna sampler of that name, seeded."""
    samplers = optuna.samplers
    if name == "tpe":
        # Grouped, so that the conditional width of a second layer does not split the joint model of the others.
        return samplers.TPESampler(seed=seed, multivariate=True, group=True)
    if name == "gp":
        return samplers.GPSampler(seed=seed)
    if name == "qmc":
        return samplers.QMCSampler(seed=seed, scramble=True)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed)
    return samplers.RandomSampler(seed=seed)
