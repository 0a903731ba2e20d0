"""What has been found: read-only SQL over the ledger's tables, answered as records.

Every function is the body of one read transaction, `store.read(runs.status, study)`, and reads by an index, so that
its time depends on what it returns and not on the size of the study. What is best of it: `ranking`.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
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
_stored = attrgetter(*_AS_STORED)
OVER = RunState.DONE, RunState.FAILED
UNFINISHED = RunState.WAITING, RunState.RUNNING


def of_kind(study: StudyRecord, *kinds: RunKind) -> ColumnElement[bool]:
    """The study's runs of these kinds."""
    return and_(runs.c.study_id == study.study_id, runs.c.kind.in_(kinds))


def converged_trials(study: StudyRecord) -> ColumnElement[bool]:
    """The study's trials that converged."""
    return and_(of_kind(study, RunKind.TRIAL), runs.c.state == RunState.DONE, runs.c.converged)


def by_classes(connection: Connection, study: StudyRecord) -> list[ClassCount]:
    """How the search went at each class count that has a told trial, fewest first."""
    done = and_(of_kind(study, RunKind.TRIAL), runs.c.state == RunState.DONE)
    hits = func.count(case((runs.c.converged, 1))).label("converged")
    fewest = func.min(case((runs.c.converged, runs.c.epochs))).label("epochs")
    counts = select(runs.c.classes, func.count().label("trials"), hits, fewest)
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
    if rows := recorded(connection, study, runs.c.kind == RunKind.TRIAL, runs.c.trial == number):
        return rows[0]
    last = connection.scalar(select(func.max(runs.c.trial)).where(of_kind(study, RunKind.TRIAL)))
    nearest = "it has none yet" if last is None else f"the nearest is {max(0, min(number, last))} of 0 to {last}"
    raise NotFound(f"study {study.name!r} has no trial {number}", nearest)


def finished(connection: Connection, study: StudyRecord) -> list[int]:
    """The numbers of the trials that have an outcome, but for those that ran out of memory: that is the machine's."""
    done = and_(of_kind(study, RunKind.TRIAL), runs.c.state == RunState.DONE, runs.c.end != End.OUT_OF_MEMORY)
    return list(connection.scalars(select(runs.c.trial).where(done).order_by(runs.c.trial)))


def recorded(connection: Connection, study: StudyRecord, *which: ColumnElement[bool]) -> list[RunRecord]:
    """Runs of any kind, by trial and replicate, with all that is known of how each was trained."""
    with_curves = runs.outerjoin(curves, curves.c.run_id == runs.c.run_id)
    joined = with_curves.outerjoin(workers, workers.c.worker_id == runs.c.worker_id)
    query = select(runs, curves.c.points, workers.c.device, workers.c.software).select_from(joined)
    query = query.where(runs.c.study_id == study.study_id, *which)
    rows = connection.execute(query.order_by(runs.c.trial, runs.c.replicate, runs.c.run_id))
    return [
        RunRecord(
            **_fields(row),
            **{name: getattr(row, name) for name in ("name", "label", "replicate", "stream_offset", "device")},
            kind=RunKind(row.kind),
            curve=Curve(*unpack(row.points)) if row.points else Curve((), (), ()),
            software=row.software and json.loads(row.software),
        )
        for row in rows
    ]


def trial_record(row: Row[Any]) -> TrialRecord:
    """A row of `fewest_runs` as a record."""
    return TrialRecord(**_fields(row))


def _fields(row: Row[Any]) -> Mapping[str, Any]:
    same = dict(zip(_AS_STORED, _stored(row), strict=True))
    return {**same, "attempts": row.attempt, "params": json.loads(row.params)}


def listed(connection: Connection, after: int = 0, limit: int | None = None) -> list[StudySummary]:
    """The store's studies in the order of their ids, from the one after id `after`."""
    columns = studies.c.study_id.label("id"), studies.c.name.label("study"), studies.c.budget, studies.c.reserved
    page = select(*columns, studies.c.stopping, CONCLUDED.label("over")).order_by(studies.c.study_id).limit(limit)
    rows = connection.execute(page.where(studies.c.study_id > after, EXISTS_IN_OPTUNA))
    return [StudySummary(**row._mapping) for row in rows]


def living(connection: Connection) -> list[WorkerRecord]:
    """The workers whose leases have not expired."""
    running = runs.c.outcome_seq == PENDING, runs.c.state == RunState.RUNNING
    held = and_(runs.c.study_id.in_(select(studies.c.study_id)), runs.c.worker_id == workers.c.worker_id, *running)
    columns = (workers.c[name] for name in ("worker_id", "name", "device", "started", "slots", "occupied", "rate"))
    joined = workers.outerjoin(runs, held).outerjoin(studies, studies.c.study_id == runs.c.study_id)
    does = func.max(studies.c.name).label("study"), func.count(runs.c.run_id).label("running")
    query = select(*columns, *does).select_from(joined).where(workers.c.expires > now())
    rows = connection.execute(query.group_by(workers.c.worker_id).order_by(workers.c.worker_id))
    return [WorkerRecord(**row._mapping) for row in rows]


def status(connection: Connection, study: StudyRecord) -> Status:
    """How far the study is: its trials by state, its living workers and how busy they are, and the incumbent."""
    this = select(studies, CONCLUDED.label("over")).where(studies.c.study_id == study.study_id)
    row = connection.execute(this).one()
    ends = _ends(connection, study)
    hits, misses = (ends[RunKind.TRIAL, RunState.DONE, converged] for converged in (True, False))
    unfinished = {kind: sum(ends[kind, state, None].runs for state in UNFINISHED) for kind in RunKind}
    working = _working(connection, study)
    first = select(runs).where(converged_trials(study)).order_by(runs.c.epochs, runs.c.trial).limit(1)
    incumbent = connection.execute(first).first()
    return Status(
        study=study.name,
        budget=row.budget,
        done=hits.runs + misses.runs,
        converged=hits.runs,
        missed=misses.runs,
        least_cap=misses.fewest,
        most_cap=misses.most,
        failed=ends[RunKind.TRIAL, RunState.FAILED, None].runs,
        running=working.trials,
        waiting=unfinished[RunKind.TRIAL] - working.trials,
        replicates=sum(ends[RunKind.REPLICATE, RunState.DONE, converged].runs for converged in (True, False)),
        confirming=unfinished[RunKind.REPLICATE] + unfinished[RunKind.REFERENCE],
        ladder_left=unfinished[RunKind.LADDER],
        outcomes=row.outcome_seq,
        workers=working.workers,
        slots=working.slots,
        occupied=working.occupied,
        epochs_per_second=working.rate,
        stopping=row.stopping,
        over=row.over,
        epochs_trained=int(hits.epochs + misses.epochs),
        incumbent=None if incumbent is None else trial_record(incumbent),
    )


@dataclass(frozen=True)
class _End:
    """Runs that ended alike: how many, their epochs, and the fewest and the most of one."""

    runs: int = 0
    epochs: int = 0
    fewest: int | None = None
    most: int | None = None


def _ends(connection: Connection, study: StudyRecord) -> Mapping[tuple[str, str, bool | None], _End]:
    """The study's runs by kind, state and whether they converged."""
    by = runs.c.kind, runs.c.state, runs.c.converged
    sums = func.count(), func.coalesce(func.sum(runs.c.epochs), 0), func.min(runs.c.epochs), func.max(runs.c.epochs)
    query = select(*by, *sums).where(runs.c.study_id == study.study_id).group_by(*by)
    return defaultdict(_End, {tuple(row[:3]): _End(*row[3:]) for row in connection.execute(query)})


def _working(connection: Connection, study: StudyRecord) -> Row[Any]:
    """The trials that living workers run, and those workers' number, slots, and how busy they are."""
    living = select(workers.c.worker_id).where(workers.c.expires > now())
    pending = and_(runs.c.study_id == study.study_id, runs.c.outcome_seq == PENDING)
    held = and_(pending, runs.c.state == RunState.RUNNING, runs.c.worker_id.in_(living))
    trials = select(func.count(case((runs.c.kind == RunKind.TRIAL, 1)))).where(held).scalar_subquery()
    loads = (func.sum(workers.c[name]).label(name) for name in ("slots", "occupied", "rate"))
    serving = workers.c.worker_id.in_(select(runs.c.worker_id).where(held))
    busy = select(trials.label("trials"), func.count().label("workers"), *loads).where(serving)
    return connection.execute(busy).one()
