"""What has been found: read-only SQL over the ledger's tables, answered as records.

Every function is the body of one read transaction, `store.read(runs.status, study)`, and reads by an index, so that
its time depends on what it returns and not on the size of the study. What is best of it: `ranking`.
"""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select

from objectives.convergence import Curve, End
from search.query.records import ClassCount, RunRecord, Status, StudySummary, TrialRecord, WorkerRecord
from storage.curves import unpack
from storage.database import NotFound, now
from storage.schema import PENDING, RunKind, RunState, curves, runs, studies, workers
from storage.studies import CONCLUDED, EXISTS_IN_OPTUNA, StudyRecord

_OUTCOME = ("converged", "epochs", "cap", "gap", "accuracy", "loss", "best_accuracy", "reached", "seconds", "end")
_AS_STORED = ("trial", "state", "classes", *_OUTCOME, "seed", "data_seed", "reason")
OVER = RunState.DONE, RunState.FAILED


def of_kind(study: StudyRecord, *kinds: RunKind) -> ColumnElement[bool]:
    """The study's runs of these kinds."""
    return and_(runs.c.study_id == study.study_id, runs.c.kind.in_(kinds))


def converged_trials(study: StudyRecord) -> ColumnElement[bool]:
    """The study's trials that converged."""
    return and_(of_kind(study, RunKind.TRIAL), runs.c.state == RunState.DONE, runs.c.converged)


def by_classes(connection: Connection, study: StudyRecord) -> list[ClassCount]:
    """How the search went at each class count that has a told trial, fewest first."""
    done = and_(of_kind(study, RunKind.TRIAL), runs.c.state == RunState.DONE)
    fewest = func.min(case((runs.c.converged, runs.c.epochs)))
    counts = select(
        runs.c.classes,
        func.count().label("trials"),
        func.count(case((runs.c.converged, 1))).label("converged"),
        fewest.label("epochs"),
    )
    answer = []
    for row in connection.execute(counts.where(done).group_by(runs.c.classes).order_by(runs.c.classes)).all():
        n, since = 0, None
        if row.converged:
            here = and_(done, runs.c.classes == row.classes)
            best = and_(here, runs.c.converged, runs.c.epochs == row.epochs)
            n, first = connection.execute(select(func.count(), func.min(runs.c.outcome_seq)).where(best)).one()
            since = connection.scalar(select(func.count()).where(here, runs.c.outcome_seq > first))
        answer.append(ClassCount(**row._mapping, equalled=max(n - 1, 0), since=since))
    return answer


def reference(connection: Connection, study: StudyRecord) -> TrialRecord | None:
    """The outcome of the question's model in this study, or None while there is none."""
    done = select(runs).where(of_kind(study, RunKind.REFERENCE), runs.c.state == RunState.DONE)
    row = connection.execute(done).first()
    return None if row is None else trial_record(row)


def trials(connection: Connection, study: StudyRecord, limit: int | None = None, after: int = -1) -> list[TrialRecord]:
    """The study's trials in order of their numbers, finished or not, from the one after number `after`."""
    page = select(runs).where(of_kind(study, RunKind.TRIAL), runs.c.trial > after).order_by(runs.c.trial).limit(limit)
    return [trial_record(row) for row in connection.execute(page)]


def trial(connection: Connection, study: StudyRecord, number: int) -> RunRecord:
    """One trial by its number; NotFound names the nearest if there is none."""
    found = recorded(connection, study, runs.c.kind == RunKind.TRIAL, runs.c.trial == number)
    if found:
        return found[0]
    last = connection.scalar(select(func.max(runs.c.trial)).where(of_kind(study, RunKind.TRIAL)))
    nearest = "it has none yet" if last is None else f"the nearest is {max(0, min(number, last))} of 0 to {last}"
    raise NotFound(f"study {study.name!r} has no trial {number}", nearest)


def finished(connection: Connection, study: StudyRecord) -> list[int]:
    """The numbers of the trials that have an outcome, but for those that ran out of memory: that is the machine's."""
    done = and_(of_kind(study, RunKind.TRIAL), runs.c.state == RunState.DONE, runs.c.end != End.OUT_OF_MEMORY)
    return list(connection.scalars(select(runs.c.trial).where(done).order_by(runs.c.trial)))


def recorded(connection: Connection, study: StudyRecord, *which: ColumnElement[bool]) -> list[RunRecord]:
    """Runs of any kind, by trial and replicate, with all that is known of how each was trained."""
    rows = connection.execute(
        select(runs, curves.c.points, workers.c.device, workers.c.software)
        .select_from(
            runs.outerjoin(curves, curves.c.run_id == runs.c.run_id).outerjoin(
                workers, workers.c.worker_id == runs.c.worker_id
            )
        )
        .where(runs.c.study_id == study.study_id, *which)
        .order_by(runs.c.trial, runs.c.replicate, runs.c.run_id)
    )
    return [
        RunRecord(
            **_fields(row),
            kind=RunKind(row.kind),
            name=row.name,
            label=row.label,
            replicate=row.replicate,
            stream_offset=row.stream_offset,
            curve=Curve(*unpack(row.points)) if row.points else Curve((), (), ()),
            device=row.device,
            software=row.software and json.loads(row.software),
        )
        for row in rows
    ]


def trial_record(row: Row[Any]) -> TrialRecord:
    """A row of `fewest_runs` as a record."""
    return TrialRecord(**_fields(row))


def _fields(row: Row[Any]) -> Mapping[str, Any]:
    same = {name: getattr(row, name) for name in _AS_STORED}
    return {**same, "attempts": row.attempt, "params": json.loads(row.params)}


def listed(connection: Connection, after: int = 0, limit: int | None = None) -> list[StudySummary]:
    """The store's studies in the order of their ids, from the one after id `after`."""
    columns = studies.c.study_id.label("id"), studies.c.name.label("study"), studies.c.budget, studies.c.reserved
    page = select(*columns, studies.c.stopping, CONCLUDED.label("over")).where(
        studies.c.study_id > after, EXISTS_IN_OPTUNA
    )
    rows = connection.execute(page.order_by(studies.c.study_id).limit(limit))
    return [StudySummary(**row._mapping) for row in rows]


def living(connection: Connection) -> list[WorkerRecord]:
    """The workers whose leases have not expired."""
    held = and_(
        runs.c.worker_id == workers.c.worker_id, runs.c.outcome_seq == PENDING, runs.c.state == RunState.RUNNING
    )
    columns = (workers.c[name] for name in ("worker_id", "name", "device", "started", "slots", "occupied", "rate"))
    joined = workers.outerjoin(runs, and_(runs.c.study_id.in_(select(studies.c.study_id)), held)).outerjoin(
        studies, studies.c.study_id == runs.c.study_id
    )
    query = (
        select(*columns, func.max(studies.c.name).label("study"), func.count(runs.c.run_id).label("running"))
        .select_from(joined)
        .where(workers.c.expires > now())
        .group_by(workers.c.worker_id)
        .order_by(workers.c.worker_id)
    )
    return [WorkerRecord(**row._mapping) for row in connection.execute(query)]


def status(connection: Connection, study: StudyRecord) -> Status:
    """How far the study is: its trials by state, its living workers and how busy they are, and the incumbent."""
    this = select(studies, CONCLUDED.label("over")).where(studies.c.study_id == study.study_id)
    row = connection.execute(this).one()
    left = _unfinished(connection, study)
    again = and_(of_kind(study, RunKind.REPLICATE), runs.c.state == RunState.DONE)
    first = select(runs).where(converged_trials(study)).order_by(runs.c.epochs, runs.c.trial).limit(1)
    incumbent = connection.execute(first).first()
    return Status(
        study=study.name,
        budget=row.budget,
        **_trials_by_end(connection, study),
        **_at_work(connection, study, left.get(RunKind.TRIAL, 0)),
        replicates=connection.scalar(select(func.count()).where(again)) or 0,
        confirming=left.get(RunKind.REPLICATE, 0) + left.get(RunKind.REFERENCE, 0),
        ladder_left=left.get(RunKind.LADDER, 0),
        outcomes=row.outcome_seq,
        stopping=row.stopping,
        over=row.over,
        incumbent=None if incumbent is None else trial_record(incumbent),
    )


def _trials_by_end(connection: Connection, study: StudyRecord) -> Mapping[str, Any]:
    """How many trials converged, missed and failed, and their epochs: fields of Status."""
    over = and_(of_kind(study, RunKind.TRIAL), runs.c.state.in_(OVER))
    epochs = runs.c.epochs
    sums = func.count().label("n"), func.sum(epochs).label("epochs"), func.min(epochs), func.max(epochs)
    by_end = select(runs.c.state, runs.c.converged, *sums).where(over).group_by(runs.c.state, runs.c.converged)
    ends = {(row[0], row[1]): tuple(row[2:]) for row in connection.execute(by_end)}
    nothing = 0, 0, None, None
    converged, missed = (ends.get((RunState.DONE, hit), nothing) for hit in (True, False))
    return {
        "done": converged[0] + missed[0],
        "converged": converged[0],
        "missed": missed[0],
        "least_cap": missed[2],
        "most_cap": missed[3],
        "failed": ends.get((RunState.FAILED, None), nothing)[0],
        "epochs_trained": int(converged[1] + missed[1]),
    }


def _unfinished(connection: Connection, study: StudyRecord) -> Mapping[str, int]:
    """How many runs of each kind wait or run."""
    pending = and_(runs.c.study_id == study.study_id, runs.c.outcome_seq == PENDING)
    counts = select(runs.c.kind, func.count()).where(pending).group_by(runs.c.kind)
    return {kind: n for kind, n in connection.execute(counts)}


def _at_work(connection: Connection, study: StudyRecord, unfinished: int) -> Mapping[str, Any]:
    """The trials that run and wait, and the living workers and how busy they are: fields of Status."""
    living = select(workers.c.worker_id).where(workers.c.expires > now())
    pending = and_(runs.c.study_id == study.study_id, runs.c.outcome_seq == PENDING)
    held = and_(pending, runs.c.state == RunState.RUNNING, runs.c.worker_id.in_(living))
    trials = func.count(case((runs.c.kind == RunKind.TRIAL, 1)))
    running, busy = connection.execute(select(trials, func.count(runs.c.worker_id.distinct())).where(held)).one()
    loads = (func.sum(column) for column in (workers.c.slots, workers.c.occupied, workers.c.rate))
    serving = workers.c.worker_id.in_(select(runs.c.worker_id).where(held))
    slots, occupied, rate = tuple(connection.execute(select(*loads).where(serving)).one())
    return {
        "running": running,
        "waiting": unfinished - running,
        "workers": busy,
        "slots": slots,
        "occupied": occupied,
        "epochs_per_second": rate,
    }
