"""What queries answer: frozen records, the same in Python, in the shell and over HTTP.

Epochs are counted, seconds are of training, losses in nats. `plain` makes JSON of any of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from objectives.convergence import Curve
from storage.schema import RunKind


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial, or any other run, and its outcome, of which each part is None until there is one."""

    #: Number in the study, also of a replicate's trial; None of a reference and of the ladder.
    trial: int | None
    #: A RunState: waiting, running, done or failed.
    state: str
    classes: int
    converged: bool | None
    #: Epochs-to-convergence, or of a miss those it was given.
    epochs: int | None
    #: Most epochs that it might use in the end.
    cap: int | None
    #: How far a miss was from converging, in [0, 1).
    gap: float | None
    #: At the last evaluation.
    accuracy: float | None
    loss: float | None
    best_accuracy: float | None
    #: The first epoch at the target, held or not.
    reached: int | None
    seconds: float | None
    #: An End.
    end: str | None
    seed: int
    data_seed: int
    #: Attempts begun.
    attempts: int
    #: Of a miss, or of the last fault.
    reason: str | None
    params: Mapping[str, Any]

    @property
    def spent(self) -> int:
        """Epochs that it took, to convergence or in vain; 0 before there is an outcome."""
        return self.epochs or 0


@dataclass(frozen=True, kw_only=True)
class RunRecord(TrialRecord):
    """All that is known of how a run was trained."""

    kind: RunKind
    name: str
    #: Which model, of a reference or on the ladder.
    label: str | None
    replicate: int
    #: Epoch of the data stream that it started at; None without an outcome.
    stream_offset: int | None
    #: Without any evaluation where there is no outcome.
    curve: Curve
    #: Of the worker that trained it last; None before there was one.
    device: str | None
    software: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class BestRecord:
    """A configuration that converged: what its own trial came to, and what its replicates show."""

    #: Equal for configurations that are equally good.
    rank: int
    trial: int
    classes: int
    epochs: int
    replicates: int
    replicates_converged: int
    #: Of those that converged, fewest first.
    replicate_epochs: Sequence[int]
    confirmed: bool
    accuracy: float | None
    loss: float | None
    seconds: float | None
    #: How many numbers the network learns; None of a user module.
    weights: int | None
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Tally:
    """How trials with an outcome ended."""

    trials: int
    converged: int
    missed: int
    #: What the missed ones were given; None without any.
    least_cap: int | None
    most_cap: int | None
    #: Those that another target cannot be told of.
    open: int = 0


@dataclass(frozen=True)
class ValueRecord:
    """One value of a parameter: how its trials ended, and the best of them, None where none converged."""

    name: str
    value: Any
    ended: Tally
    best: BestRecord | None

    def flat(self) -> dict[str, Any]:
        """One level of fields, the value under the parameter's name."""
        best = plain(self.best) if self.best else dict.fromkeys(field.name for field in fields(BestRecord))
        return {self.name: self.value, **plain(self.ended), **best, self.name: self.value}


@dataclass(frozen=True)
class BestAnswer:
    """The best configurations, or those of each value of a parameter, and how the trials asked of ended."""

    best: Sequence[BestRecord] | Sequence[ValueRecord]
    ended: Tally


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a study is."""

    study: str
    budget: int
    #: Trials with an outcome: the two below.
    done: int
    converged: int
    missed: int
    least_cap: int | None
    most_cap: int | None
    failed: int
    running: int
    waiting: int
    #: Re-runs on fresh seeds that have an outcome, and those and references that have none yet.
    replicates: int
    confirming: int
    #: Runs of the ladder without an outcome.
    ladder_left: int
    #: Outcomes of runs of every kind.
    outcomes: int
    #: Living workers that run something here, and how busy they are; None before they reported.
    workers: int
    slots: int | None
    occupied: float | None
    epochs_per_second: float | None
    stopping: bool
    #: A worker found nothing left to do.
    over: bool
    epochs_trained: int
    incumbent: TrialRecord | None

    @property
    def finished(self) -> int:
        """Trials that are over, with an outcome or not."""
        return self.done + self.failed


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How the search went at one class count: what its outlook depends on."""

    classes: int
    trials: int
    converged: int
    #: The fewest of any trial.
    epochs: int | None
    #: Others that needed as few.
    equalled: int
    #: Trials told after the first of them.
    since: int | None


@dataclass(frozen=True)
class Conclusion:
    """How a launch ends."""

    #: Every confirmed configuration, of every class count, best first.
    confirmed: Sequence[BestRecord]
    #: The question's model.
    question: TrialRecord | None
    by_classes: Sequence[ClassCount]
    status: Status

    @property
    def winners(self) -> list[BestRecord]:
        """The best confirmed configuration of each class count, fewest classes first."""
        best = {row.classes: row for row in reversed(self.confirmed)}
        return [best[classes] for classes in sorted(best)]


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A study in the list of them."""

    id: int
    study: str
    budget: int
    #: Trials created so far.
    reserved: int
    stopping: bool
    over: bool


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A living worker, and how busy it is: None if it has just begun."""

    worker_id: int
    name: str
    device: str
    #: Seconds since 1970 by the database's clock.
    started: float
    slots: int | None
    occupied: float | None
    rate: float | None
    #: The study that it serves, None if it has nothing to do.
    study: str | None
    #: Runs that it holds.
    running: int


@dataclass(frozen=True, kw_only=True)
class ReplayRecord:
    """The outcome of a trial that was trained again, beside its record."""

    trial: int
    recorded_epochs: int
    recorded_end: str
    epochs: int
    end: str
    same_epochs: bool
    #: To the bit.
    same_curve: bool
    #: Of accuracy or loss.
    largest_difference: float
    device: str
    #: None where the record does not name it.
    trainer: str | None
    #: What decides numbers and is no longer as it was.
    changed: Sequence[str]


def plain(value: Any) -> Any:
    """What JSON can hold in place of records: objects, lists and scalars."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
