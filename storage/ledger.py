"""The ledger: what is to be run, who runs it, and what came of it. Every function is the body of one transaction.

A budget of N means that N trials are created, ever: `create` takes a slot of the budget in the transaction that
creates the trial. A worker holds its runs by its lease. When the lease has expired the attempt is over and the same run
waits for another worker; what the first one tells afterwards is refused, since `finish` names the attempt. Every
transaction locks the study's row before its runs.

A commit can reach the database and its answer be lost. So a worker says which runs it holds whenever it asks for
another, and gets back what it was given without knowing; and an outcome that was told already is not told again.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Row, and_, bindparam, delete, exists, insert, literal, not_, select, update

from storage import schema
from storage.database import StorageMisuse, now, pipelined
from storage.leases import end_attempt
from storage.schema import PENDING, RunKind, RunState, attempts, curves, runs, studies, workers
from storage.studies import ACCEPTS_TRIALS, EXISTS_IN_OPTUNA, upsert


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run to be done."""

    kind: RunKind
    #: What no other run of the study is called.
    name: str
    #: Which model, of a reference or on the ladder.
    label: str | None = None
    #: The number of the trial, or of the one that it replicates.
    trial: int | None = None
    #: Which of several runs of one configuration.
    replicate: int = 0
    params: Mapping[str, Any]
    seed: int
    data_seed: int
    #: Most epochs it may use; None leaves that to the worker.
    cap: int | None = None


@dataclass(frozen=True)
class NewTrial:
    """A trial to be created."""

    params: Mapping[str, Any]
    seed: int
    data_seed: int
    #: Each parameter's internal value for Optuna, and its distribution as JSON.
    optuna: Mapping[str, tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class Run(NewRun):
    """A run as held by one worker: what to train, and which attempt this is."""

    run_id: int
    study_id: int
    trial_id: int | None
    attempt: int


@dataclass(frozen=True)
class StudyDelta:
    """What a worker that looks at its study learns."""

    #: Runs told since it last looked, in that order: rows of `fewest_runs`.
    outcomes: Sequence[Row[Any]]
    #: Runs that wait or that some worker holds: rows of `fewest_runs`, and whether the lease has `expired`.
    unfinished: Sequence[Row[Any]]
    #: Another trial may be created now.
    asks: bool
    #: Somebody has asked for the study to stop.
    stopping: bool
    #: Trials created so far.
    reserved: int
    #: The launch is content with a confirmed configuration of so few epochs; None if with none.
    until_epochs: int | None


def poll(connection: Connection, study_id: int, since: int) -> StudyDelta:
    """The study after its `since`-th outcome; StorageMisuse if it was deleted."""
    rows: Sequence[Row[Any]] = connection.execute(_POLL, {"this_study": study_id, "since": since}).all()
    if not rows:
        raise StorageMisuse("the study has been deleted")
    study = rows[0]
    outcomes = [row for row in rows if row.outcome_seq not in (None, PENDING)]
    unfinished = [row for row in rows if row.outcome_seq == PENDING]
    return StudyDelta(outcomes, unfinished, bool(study.asks), study.stopping, study.reserved, study.until_epochs)


def create(
    connection: Connection, study_id: int, worker_id: int, held: Collection[int], propose: Callable[[int], NewTrial]
) -> Run | None:
    """Create the study's next trial and take its run; None if the budget, the deadline or a stop forbids it.

    `held` are the runs that the worker knows to hold; `propose` makes the trial for the number that it is given.
    """
    own = {"this_study": study_id, "this_worker": worker_id, "held": list(held)}
    created = connection.execute(_TRIAL, own | {"start": _utc_now()}).one_or_none()
    if created is None:
        return _run(connection.execute(_UNKNOWN, own).first())
    trial_id, number = created
    new = propose(number)
    params = [
        {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": distribution}
        for name, (value, distribution) in new.optuna.items()
    ]
    with pipelined(connection):
        connection.execute(_SLOT, {"this_study": study_id})
        connection.execute(_PARAMS, params)
    run = NewRun(
        kind=RunKind.TRIAL, name=str(number), trial=number, params=new.params, seed=new.seed, data_seed=new.data_seed
    )
    row = _row(study_id, run) | {"trial_id": trial_id, "state": RunState.RUNNING, "worker_id": worker_id, "attempt": 1}
    return _run(connection.execute(_BEGUN, row).one())


def add(connection: Connection, study_id: int, new: Sequence[NewRun]) -> None:
    """Add runs that are not trials, for any worker to take; those that exist by name are left as they are."""
    rows = [_row(study_id, run) | {"state": RunState.WAITING, "attempt": 0} for run in new]
    if rows:
        connection.execute(upsert(connection)(runs).on_conflict_do_nothing(), rows)


def replace_waiting(connection: Connection, study_id: int, kind: RunKind, new: Sequence[NewRun]) -> None:
    """Add runs of a kind, and withdraw what still waits of that kind and is not among them."""
    _lock(connection, study_id)
    waits = and_(runs.c.study_id == study_id, runs.c.outcome_seq == PENDING, runs.c.state == RunState.WAITING)
    other = and_(waits, runs.c.kind == kind, runs.c.name.not_in([run.name for run in new]))
    ids = connection.scalars(select(runs.c.run_id).where(other)).all()
    for table in (attempts, runs):
        connection.execute(delete(table).where(table.c.run_id.in_(ids)))
    add(connection, study_id, new)


def take(
    connection: Connection,
    study_id: int,
    worker_id: int,
    held: Collection[int],
    *,
    kinds: Collection[RunKind],
    judge: bool = True,
) -> Run | None:
    """Take a run of these kinds that waits; None if there is none, or the study is being stopped.

    With `judge`, attempts of others whose lease has expired are ended first. `held` are the runs that the worker knows
    to hold; one that was taken from it meanwhile is left to others until it has told its own attempt.
    """
    study = _lock(connection, study_id)
    own = {"this_study": study_id, "this_worker": worker_id, "held": list(held)}
    unknown = connection.execute(_UNKNOWN, own).first()
    if unknown:
        return _run(unknown)
    unfinished = and_(runs.c.study_id == study_id, runs.c.outcome_seq == PENDING)
    if judge:
        dead = select(workers.c.worker_id).where(workers.c.expires <= now(), workers.c.worker_id != worker_id)
        lost = select(runs).where(unfinished, runs.c.state == RunState.RUNNING, runs.c.worker_id.in_(dead))
        for run in connection.execute(lost.with_for_update(skip_locked=True)).all():
            _fault(connection, run, "expired", study.retries)
    if study.stopping:
        return None
    waits = and_(unfinished, runs.c.kind.in_(kinds), runs.c.state == RunState.WAITING, runs.c.run_id.not_in(held))
    first = select(runs.c.run_id).where(waits).order_by(runs.c.run_id).limit(1)
    run_id = connection.scalar(first.with_for_update(skip_locked=True))
    attempt = {"worker_id": worker_id, "attempt": runs.c.attempt + 1, "started": now()}
    begun = update(runs).where(runs.c.run_id == run_id).values(state=RunState.RUNNING, **attempt)
    return None if run_id is None else _run(connection.execute(begun.returning(runs)).one())


def finish(
    connection: Connection,
    run: Run,
    outcome: Mapping[str, Any],
    values: Sequence[float],
    curve: bytes,
    attributes: Mapping[str, Any],
) -> bool:
    """Record the outcome of an attempt; False, and nothing is changed, if another attempt has begun in the meantime.

    `outcome` fills the outcome's columns of `fewest_runs`; `values` and `attributes` are what Optuna gets of a trial.
    """
    this = {"this_run": run.run_id, "this_attempt": run.attempt}
    seq = connection.scalar(_NEXT_SEQ_IF_HELD, this | {"this_study": run.study_id})
    if seq is None:
        return connection.scalar(_STATE, this) == RunState.DONE
    done = {"state": RunState.DONE, "outcome_seq": seq, **outcome}
    if connection.execute(_DONE, this | done).rowcount == 0:  # taken, or even told, while this waited for its turn
        connection.rollback()
        return False
    with pipelined(connection):
        connection.execute(_CURVE, {"run_id": run.run_id, "points": curve})
        if run.trial_id is not None:
            _complete(connection, run.trial_id, "COMPLETE", attributes)
            connection.execute(_NO_VALUES, {"this_trial": run.trial_id})  # somebody may have told it through Optuna
            columns = {"trial_id": run.trial_id, "value_type": "FINITE"}
            connection.execute(_VALUES, [columns | {"objective": i, "value": value} for i, value in enumerate(values)])
    return True


def fault(connection: Connection, run: Run, reason: str) -> None:
    """An attempt was lost to a fault that is not the configuration's: try again, or give the run up."""
    study = _lock(connection, run.study_id)
    attempt = select(runs).where(_HELD).with_for_update()
    row = connection.execute(attempt, {"this_run": run.run_id, "this_attempt": run.attempt}).one_or_none()
    if row:
        _fault(connection, row, reason, study.retries)


def _lock(connection: Connection, study_id: int) -> Row[int, bool]:
    """Lock the study's row, and read what an attempt's end depends on."""
    study = select(studies.c.retries, studies.c.stopping).where(studies.c.study_id == study_id)
    return connection.execute(study.with_for_update()).one()


def _fault(connection: Connection, run: Row[Any], reason: str, retries: int) -> None:
    """End an attempt; the study's row is locked already."""
    end_attempt(connection, run.run_id, reason)
    values: dict[str, Any] = {"faults": run.faults + 1, "reason": reason, "state": RunState.WAITING}
    if run.faults >= retries:
        seq = connection.scalar(_NEXT_SEQ, {"this_study": run.study_id})
        values |= {"state": RunState.FAILED, "finished": now(), "outcome_seq": seq}
        if run.trial_id is not None:
            _complete(connection, run.trial_id, "FAIL", {"reason": reason})
    connection.execute(update(runs).where(runs.c.run_id == run.run_id).values(values))


def _complete(connection: Connection, trial_id: int, state: str, attributes: Mapping[str, Any]) -> None:
    connection.execute(_COMPLETE, {"this_trial": trial_id, "state": state, "datetime_complete": _utc_now()})
    rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    connection.execute(_ATTRIBUTES, rows)


def _row(study_id: int, run: NewRun) -> dict[str, Any]:
    own = {"study_id": study_id, "classes": run.params["classes"], "params": json.dumps(run.params), "faults": 0}
    return vars(run) | own


def _run(row: Row[Any] | None) -> Run | None:
    if row is None:
        return None
    columns = {field.name: getattr(row, field.name) for field in fields(Run)}
    return Run(**columns | {"kind": RunKind(row.kind), "params": json.loads(row.params)})


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


# The statements of an ask and a tell, built once: building one takes several times as long as its execution on SQLite.

_STUDY = studies.c.study_id == bindparam("this_study")
_SEQ = studies.c.outcome_seq
_TRIALS = schema.optuna_trials
_RUNNING = literal("RUNNING", _TRIALS.c.state.type)
_UNFINISHED = and_(runs.c.study_id == bindparam("this_study"), runs.c.outcome_seq == PENDING)
_ATTEMPT = and_(runs.c.run_id == bindparam("this_run"), runs.c.attempt == bindparam("this_attempt"))
_HELD = and_(_ATTEMPT, runs.c.state == RunState.RUNNING)
_OWN = runs.c.state == RunState.RUNNING, runs.c.worker_id == bindparam("this_worker")
#: Runs that the worker was given by a commit whose answer it never got.
_UNKNOWN = select(runs).where(_UNFINISHED, *_OWN, runs.c.run_id.not_in(bindparam("held", expanding=True)))
_STATE_OF_STUDY = studies.c.stopping, studies.c.reserved, studies.c.until_epochs, ACCEPTS_TRIALS.label("asks")
_UNSEEN = and_(runs.c.study_id == studies.c.study_id, runs.c.outcome_seq > bindparam("since"))
_WITH_WORKERS = studies.outerjoin(runs, _UNSEEN).outerjoin(workers, workers.c.worker_id == runs.c.worker_id)
_POLL = select(*_STATE_OF_STUDY, (workers.c.expires <= now()).label("expired"), runs).select_from(_WITH_WORKERS)
_POLL = _POLL.where(_STUDY, EXISTS_IN_OPTUNA).order_by(runs.c.outcome_seq, runs.c.run_id)
#: The next trial of a study that takes one; the study's row stays locked, so that each number is given once.
_NUMBER = select(studies.c.reserved, studies.c.study_id, _RUNNING, bindparam("start", type_=DateTime))
_NUMBER = _NUMBER.where(_STUDY, ACCEPTS_TRIALS, not_(_UNKNOWN.exists())).with_for_update()
_TRIAL = insert(_TRIALS).from_select(["number", "study_id", "state", "datetime_start"], _NUMBER)
_TRIAL = _TRIAL.returning(_TRIALS.c.trial_id, _TRIALS.c.number)
_SLOT = update(studies).where(_STUDY).values(reserved=studies.c.reserved + 1)
_PARAMS = insert(schema.optuna_params).inline()
_BEGUN = insert(runs).values(started=now()).returning(runs)
#: The study's row stays locked, so that commits keep the order.
_NEXT_SEQ = update(studies).where(_STUDY).values(outcome_seq=_SEQ + 1).returning(_SEQ)
_NEXT_SEQ_IF_HELD = _NEXT_SEQ.where(exists().where(_HELD))
_STATE = select(runs.c.state).where(_ATTEMPT)
_DONE = update(runs).where(_HELD).values(finished=now())
_CURVE = insert(curves).inline()
_COMPLETE = update(_TRIALS).where(_TRIALS.c.trial_id == bindparam("this_trial"))
_ATTRIBUTES = insert(schema.optuna_user_attributes).inline()
_NO_VALUES = delete(schema.optuna_values).where(schema.optuna_values.c.trial_id == bindparam("this_trial"))
_VALUES = insert(schema.optuna_values).inline()
