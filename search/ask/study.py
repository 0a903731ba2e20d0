"""One worker's ask and tell.

An ask is mostly one read and one write: what was told since the last poll, and the new trial stored whole. As soon as a
leader of a class count can be re-run at little cost it is; and when every trial has an outcome, the same ask hands out
what is still needed to name a winner: replicates of the best trials, and a run of the question's model as a reference.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from optuna.distributions import distribution_to_json

from objectives.configuration import Configuration
from objectives.convergence import Outcome, Progress, Trial
from objectives.parameters import Params
from search.ask import scoring
from search.ask.proposals import Proposal, Proposals
from search.ask.purpose import Purpose
from search.ask.stopping import Stopping, at_rungs, room
from search.spec import space
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec, derive
from storage import ledger, studies
from storage.curves import pack
from storage.leases import LEASE_SECONDS
from storage.schema import RunKind, RunState
from storage.store import Store


class Study:
    """A study as one worker sees it."""

    def __init__(self, store: Store, study: StoredStudy, worker_id: int, purpose: Purpose = Purpose.SEARCH) -> None:
        self.spec, self._purpose = study.spec, purpose
        self._store, self._id, self._worker_id = store, study.study_id, worker_id
        self._delta = ledger.StudyDelta((), (), asks=True, stopping=False, reserved=0, until_epochs=None)
        self._proposals = Proposals(self.spec, study.budget, worker_id)
        self._seen_seq = 0
        self._stopping = Stopping(self.spec.max_epochs, study.budget, study.budget // len(self.spec.class_counts))
        self._trained: Counter[int] = Counter()  # epochs of trials, by classes
        self._retrained: Counter[int] = Counter()  # epochs of replicates
        self._replicated: set[tuple[int, int]] = set()  # told replicates, as (trial, replicate)
        self._candidates: dict[int, dict[int, scoring.Evidence]] = defaultdict(dict)  # by classes and trial
        self._params: dict[int, Params] = {}  # of those candidates, by trial

    def ask(self, held: Collection[int] = ()) -> ledger.Run | None:
        """The next run to train: one that waits, a new trial, or what the answer still needs; None for nothing now.

        `held` are the ids of the runs that this worker is training already.
        """
        self.look()
        if any(self._may_be_taken(row, held) for row in self._delta.unfinished):
            run = self._take(held)
            if run:
                return run
        if self._asks:
            again = self._challenges()
            return (self._added(again, held) if again else None) or self._propose(held)
        if self._delta.stopping or self._delta.unfinished or self._purpose is not Purpose.SEARCH:
            return None
        return self._added([*self._finals(), *self._references()], held)

    @property
    def over(self) -> bool:
        """When last looked at, nothing was left to do in this study, by this worker or any other."""
        if self._purpose is not Purpose.SEARCH:
            return not any(row.kind != RunKind.TRIAL or row.state == RunState.WAITING for row in self._delta.unfinished)
        return not self._delta.unfinished and not self._asks

    def conclude(self) -> bool:
        """Note in the store that nothing is left to do, as far as this worker knows all that was told.

        False if somebody was first, or it is not for this worker to say.
        """
        return self._purpose is Purpose.SEARCH and self._store.write(studies.conclude, self._id, self._seen_seq)

    @property
    def stopping(self) -> bool:
        """When last looked at, somebody had asked for the study to stop."""
        return self._delta.stopping

    def trial(self, run: ledger.Run) -> Trial:
        """What the trainer is to do for a run."""
        configuration = Configuration.of(run.params)
        cap = self._stopping.cap(configuration.classes) if run.cap is None else run.cap
        return Trial(run.run_id, configuration, run.seed, run.data_seed, cap)

    def note(self, run: ledger.Run, progress: Progress) -> None:
        """Take account of how far a running trial has come."""
        if run.kind is RunKind.TRIAL and run.trial is not None:
            self._stopping.note(run.trial, progress)

    def judge(self, run: ledger.Run, progress: Progress) -> None:
        """Lower the cap of a running trial to what it still deserves; replicates and references keep theirs."""
        if run.kind is RunKind.TRIAL and run.trial is not None:
            self._stopping.judge(run.trial, progress)

    def tell(self, run: ledger.Run, trial: Trial, outcome: Outcome) -> bool:
        """Record an outcome; False if the lease on the run was lost in the meantime."""
        spec = self.spec
        rungs = at_rungs(trial, outcome, spec.target)
        kept = {field.name: getattr(outcome, field.name) for field in fields(outcome) if field.name != "curve"}
        shown = ["converged", "epochs", "cap", "gap", "accuracy", "loss", "end", "reason"]
        if outcome.reason is None:  # that of the last fault stays
            shown.remove("reason")
            del kept["reason"]
        kept["converged"] = outcome.converged
        values = [self._score(outcome), float(trial.configuration.classes)]
        attributes = {name: kept[name] for name in shown}
        kept |= {"stream_offset": trial.stream_offset, "rungs": json.dumps(rungs)}
        curve = pack(outcome.curve.epochs, outcome.curve.accuracy, outcome.curve.loss)
        return self._store.write(ledger.finish, run, kept, values[: len(spec.directions)], curve, attributes)

    def look(self) -> None:
        """Learn what every worker has told since the last look, and what others are running."""
        delta = self._store.read(ledger.poll, self._id, self._seen_seq)
        self._delta = replace(delta, unfinished=[row for row in delta.unfinished if row.kind in self._purpose.kinds])
        for row in self._delta.outcomes:
            self._learn(row)
        self._proposals.learn(_trials(self._delta.outcomes), _trials(self._delta.unfinished))
        if self._delta.outcomes:
            self._seen_seq = self._delta.outcomes[-1].outcome_seq

    @property
    def _asks(self) -> bool:
        """Another trial may be created now, and is wanted."""
        return self._delta.asks and not self._satisfied and self._purpose is Purpose.SEARCH

    @property
    def _satisfied(self) -> bool:
        """Every class count has a confirmed configuration that needs no more epochs than the launch asks for."""
        enough = self._delta.until_epochs
        return enough is not None and all(
            any(candidate.complete and candidate.typical <= enough for candidate in self._candidates[classes].values())
            for classes in self.spec.class_counts
        )

    def _may_be_taken(self, row: Any, held: Collection[int]) -> bool:
        """The run waits, its worker is dead, or it was given to this worker by a commit whose answer was lost."""
        if row.state == RunState.WAITING:
            return not self._delta.stopping and row.run_id not in held
        return row.run_id not in held if row.worker_id == self._worker_id else row.expired and self._judges

    @property
    def _judges(self) -> bool:
        """Leases have been renewed since the database was last away, so those that are over belong to the dead."""
        return self._store.steady(LEASE_SECONDS)

    def _take(self, held: Collection[int]) -> ledger.Run | None:
        kinds = self._purpose.kinds
        return self._store.write(ledger.take, self._id, self._worker_id, held, kinds=kinds, judge=self._judges)

    def _added(self, new: Sequence[ledger.NewRun], held: Collection[int]) -> ledger.Run | None:
        """Add runs that are not trials, and take one."""
        self._store.write(ledger.add, self._id, new)
        run = self._take(held)
        if run is None:
            self.look()
        return run

    def _learn(self, row: Any) -> None:
        candidates, done = self._candidates[row.classes], row.state == RunState.DONE
        if row.kind == RunKind.TRIAL and done:
            self._trained[row.classes] += row.epochs
            self._stopping.learn(row.trial, row.classes, row.converged, row.epochs, json.loads(row.rungs))
            if row.converged:
                candidates[row.trial] = scoring.Evidence(row.trial, row.epochs, loss=row.loss)
                self._params[row.trial] = json.loads(row.params)
        elif row.kind == RunKind.REPLICATE:  # one that failed is no evidence of converging either
            before = candidates[row.trial]
            scores = *before.scores, self._score(row) if done else 2.0 * self.spec.max_epochs
            now = replace(before, scores=scores, converged=before.converged + (done and row.converged))
            candidates[row.trial] = now
            self._retrained[row.classes] += row.epochs or 0
            self._replicated.add((row.trial, row.replicate))
            if now.refuted and not before.refuted:
                self._drop_refuted_leader(row.classes)

    def _drop_refuted_leader(self, classes: int) -> None:
        """What was refuted neither bounds other trials nor teaches them any longer."""
        standing = [candidate for candidate in self._candidates[classes].values() if not candidate.refuted]
        best = min(standing, key=lambda candidate: (candidate.epochs, candidate.trial), default=None)
        self._stopping.correct(classes, best.epochs if best else None)
        leader = (float(best.epochs), best.trial, self._params[best.trial]) if best else None
        self._proposals.correct(classes, leader)

    def _score(self, told: Any) -> float:
        """What the sampler is told of an outcome, by its `converged`, `epochs` and `gap`."""
        return scoring.score(told.converged, told.epochs, told.gap, self.spec.max_epochs)

    def _propose(self, held: Collection[int]) -> ledger.Run | None:
        proposal = self._proposals.next(self._delta.reserved)
        made: dict[int, ledger.NewTrial] = {}  # by number: the transaction may be tried again

        def new(number: int) -> ledger.NewTrial:
            return made.setdefault(number, self._new_trial(number, proposal))

        run = self._store.write(ledger.create, self._id, self._worker_id, held, new)
        # The last slot may be another worker's by now, or an earlier run have come to light.
        self._proposals.bind_trial_number(run.trial if run and run.trial in made else None)
        return run

    def _new_trial(self, number: int, proposal: Proposal) -> ledger.NewTrial:
        params = proposal(number)
        optuna = {
            name: (distribution.to_internal_repr(params[name]), distribution_to_json(distribution))
            for name, distribution in space.distributions(self.spec.space, params).items()
        }
        return ledger.NewTrial(params, derive(self.spec.seed, "trial", number), derive(self.spec.seed, "data"), optuna)

    def _challenges(self) -> list[ledger.NewRun]:
        """Replicates that are worth running while the search goes on, and that nobody has run or begun."""
        begun = self._replicated | {(row.trial, row.replicate) for row in self._delta.unfinished}
        due = [
            due
            for classes, candidates in self._candidates.items()
            for due in scoring.challenge(candidates.values(), self._trained[classes], self._retrained[classes])
        ]
        return [self._replicate(candidate, k) for candidate, k in due if (candidate.trial, k) not in begun]

    def _finals(self) -> list[ledger.NewRun]:
        """Replicates that are still needed when every trial has an outcome."""
        due = [due for candidates in self._candidates.values() for due in scoring.due(candidates.values())]
        return [self._replicate(candidate, k) for candidate, k in due]

    def _references(self) -> list[ledger.NewRun]:
        if len(self.spec.class_counts) > 1 or self.spec.objective:
            return []
        (classes,) = self.spec.class_counts
        question = space.preset("question", classes, self.spec.training).params
        cap = self.spec.max_epochs
        return [new_run(self.spec, RunKind.REFERENCE, f"question@{classes}", question, cap, label="question")]

    def _replicate(self, candidate: scoring.Evidence, k: int) -> ledger.NewRun:
        return replicate(self.spec, candidate.trial, k, self._params[candidate.trial], candidate.epochs)


def replicate(spec: StudySpec, trial: int, k: int, params: Mapping[str, Any], epochs: int) -> ledger.NewRun:
    """The k-th re-run of a trial that converged in so many epochs, on seeds of its own."""
    cap = room(epochs, spec.max_epochs)
    return new_run(spec, RunKind.REPLICATE, f"{trial}#{k}", params, cap, trial=trial, replicate=k)


def new_run(
    spec: StudySpec, kind: RunKind, name: str, params: Mapping[str, Any], cap: int, **which: Any
) -> ledger.NewRun:
    """A run that is no trial, on the seeds of its name; `which` are its label, trial and replicate."""
    seed, data_seed = (derive(spec.seed, what, name) for what in ("trial", "data"))
    return ledger.NewRun(kind=kind, name=name, params=params, seed=seed, data_seed=data_seed, cap=cap, **which)


def _trials(rows: Iterable[Any]) -> list[Any]:
    """Of rows of `fewest_runs`, those that are trials of their own."""
    return [row for row in rows if row.kind == RunKind.TRIAL]
