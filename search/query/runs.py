"""What has been found: read-only SQL over the ledger's tables. Rows come back as plain dicts, ready for JSON.

Every function is the body of one read transaction, `store.read(query.status, study)`, and reads by an index, so that
its time depends on what it returns and not on the size of the study. What is best of it: search.query.ranking.
"""

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, not_, select

from objectives.convergence import Curve, End
from storage.curves import unpack
from storage.database import NotFound, now
from storage.schema import PENDING, RunState, curves, of_ladder, runs, studies, workers
from storage.studies import CONCLUDED, THERE, StudyRecord

_OUTCOME = ("converged", "epochs", "cap", "gap", "accuracy", "loss", "best_accuracy", "reached", "seconds", "end")
OVER = RunState.DONE, RunState.FAILED


def these_trials(study: StudyRecord) -> ColumnElement[bool]:
    """The study's trials, and no other runs."""
    return and_(runs.c.study_id == study.study_id, runs.c.replicate == 0, runs.c.trial.is_not(None))


def hits(study: StudyRecord) -> ColumnElement[bool]:
    """The study's converged trials."""
    return and_(these_trials(study), runs.c.state == RunState.DONE, runs.c.converged)


def by_classes(connection: Connection, study: StudyRecord) -> list[dict[str, Any]]:
    """How the search went at each class count that has a told trial, fewest first: what its outlook depends on.

    `epochs`: the fewest of any trial; `equalled`: others that needed as few; `since`: told after the first of them.
    """
    done = and_(these_trials(study), runs.c.state == RunState.DONE)
    fewest = func.min(case((runs.c.converged, runs.c.epochs)))
    counts = select(
        runs.c.classes,
        func.count().label("trials"),
        func.count(case((runs.c.converged, 1))).label("converged"),
        fewest.label("epochs"),
    )
    found = []
    for row in connection.execute(counts.where(done).group_by(runs.c.classes).order_by(runs.c.classes)).all():
        n, since = 0, None
        if row.converged:
            here = and_(done, runs.c.classes == row.classes)
            best = and_(here, runs.c.converged, runs.c.epochs == row.epochs)
            n, first = connection.execute(select(func.count(), func.min(runs.c.told)).where(best)).one()
            since = connection.scalar(select(func.count()).where(here, runs.c.told > first))
        found.append({**row._mapping, "equalled": max(n - 1, 0), "since": since})
    return found


def reference(connection: Connection, study: StudyRecord) -> dict[str, Any] | None:
    """The outcome of the question's model in this study, or None while there is none."""
    this = and_(runs.c.study_id == study.study_id, runs.c.replicate == 0, runs.c.trial.is_(None))
    row = connection.execute(select(runs).where(this, runs.c.state == RunState.DONE)).first()
    return None if row is None else plain(row)


def trials(
    connection: Connection, study: StudyRecord, limit: int | None = None, after: int = -1
) -> list[dict[str, Any]]:
    """The study's trials in order of their numbers, finished or not, from the one after number `after`."""
    page = and_(runs.c.study_id == study.study_id, runs.c.replicate == 0, runs.c.trial > after)
    return [plain(row) for row in connection.execute(select(runs).where(page).order_by(runs.c.trial).limit(limit))]


def trial(connection: Connection, study: StudyRecord, number: int) -> dict[str, Any]:
    """One trial as `recorded` gives it; NotFound names the nearest if there is none of that number."""
    found = recorded(connection, study, runs.c.replicate == 0, runs.c.trial == number)
    if found:
        return found[0]
    last = connection.scalar(select(func.max(runs.c.trial)).where(these_trials(study)))
    there = "it has none yet" if last is None else f"the nearest is {max(0, min(number, last))} of 0 to {last}"
    raise NotFound(f"study {study.name!r} has no trial {number}", there)


def finished(connection: Connection, study: StudyRecord) -> list[int]:
    """The numbers of the trials that have an outcome, but for those that ran out of memory: that is the machine's."""
    done = and_(these_trials(study), runs.c.state == RunState.DONE, runs.c.end != End.OUT_OF_MEMORY)
    return list(connection.scalars(select(runs.c.trial).where(done).order_by(runs.c.trial)))


def recorded(connection: Connection, study: StudyRecord, *which: ColumnElement[bool]) -> list[dict[str, Any]]:
    """Runs of any kind, by trial and replicate, with all that is known of how each was trained.

    Besides what `trials` gives: `name`, `replicate`, `trial` (None of a reference or the ladder), `stream_offset` and
    `curve` (a Curve, both None without an outcome), `device` and `software` of the worker that trained it last (None
    before there was one).
    """
    found = connection.execute(
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
        {
            **plain(row),
            "name": row.name,
            "replicate": row.replicate,
            "stream_offset": row.stream_offset,
            "curve": None if row.points is None else Curve(*unpack(row.points)),
            "device": row.device,
            "software": row.software and json.loads(row.software),
        }
        for row in found
    ]


def plain(row: Any) -> dict[str, Any]:
    """A row of `fewest_runs` as a record."""
    return {
        "trial": row.trial,
        "state": row.state,
        "classes": row.classes,
        **{name: getattr(row, name) for name in _OUTCOME},
        "seed": row.seed,
        "data_seed": row.data_seed,
        "attempts": row.attempt,
        "reason": row.reason,
        "params": json.loads(row.params),
    }


def listed(connection: Connection, after: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
    """The store's studies in the order of their ids, from the one after id `after`."""
    columns = studies.c.study_id.label("id"), studies.c.name.label("study"), studies.c.budget, studies.c.reserved
    page = select(*columns, studies.c.stopping, CONCLUDED.label("over")).where(studies.c.study_id > after, THERE)
    return [dict(row._mapping) for row in connection.execute(page.order_by(studies.c.study_id).limit(limit))]


def living(connection: Connection) -> list[dict[str, Any]]:
    """The workers whose leases have not expired: the study that each serves, the trials it holds, and how busy it is.

    `study` is None of a worker that has nothing to do, `slots`, `occupied` and `rate` of one that has just begun.
    """
    held = and_(runs.c.worker_id == workers.c.worker_id, runs.c.told == PENDING, runs.c.state == RunState.RUNNING)
    columns = (workers.c[name] for name in ("worker_id", "name", "device", "started", "slots", "occupied", "rate"))
    joined = workers.outerjoin(runs, and_(runs.c.study_id.in_(select(studies.c.study_id)), held)).outerjoin(
        studies, studies.c.study_id == runs.c.study_id
    )
    found = (
        select(*columns, func.max(studies.c.name).label("study"), func.count(runs.c.run_id).label("running"))
        .select_from(joined)
        .where(workers.c.expires > now())
        .group_by(workers.c.worker_id)
        .order_by(workers.c.worker_id)
    )
    return [dict(row._mapping) for row in connection.execute(found)]


def status(connection: Connection, study: StudyRecord) -> dict[str, Any]:
    """How far the study is: its trials by state, its living workers and how busy they are, and the incumbent.

    `confirming` and `climbing`: replicates and runs of the ladder without an outcome yet. `over`: a worker has found
    nothing left to do.
    """
    mine = runs.c.study_id == study.study_id
    trial = these_trials(study)
    row = connection.execute(select(studies, CONCLUDED.label("over")).where(studies.c.study_id == study.study_id)).one()
    epochs = runs.c.epochs
    sums = (
        func.count().label("n"),
        func.sum(epochs).label("epochs"),
        func.min(epochs).label("least"),
        func.max(epochs).label("most"),
    )
    by_end = select(runs.c.state, runs.c.converged, *sums).where(trial).group_by(runs.c.state, runs.c.converged)
    ends = {(found.state, found.converged): found for found in connection.execute(by_end)}
    count = {end: found.n for end, found in ends.items()}
    missed = ends.get((RunState.DONE, False))
    living = select(workers.c.worker_id).where(workers.c.expires > now())
    unfinished = and_(mine, runs.c.told == PENDING)
    held = and_(unfinished, runs.c.state == RunState.RUNNING, runs.c.worker_id.in_(living))
    running = connection.scalar(select(func.count()).where(held, runs.c.trial_id.is_not(None))) or 0
    again = select(func.count()).where(
        mine, runs.c.replicate > 0, runs.c.trial.is_not(None), runs.c.state == RunState.DONE
    )
    aside = select(func.count()).where(unfinished, runs.c.trial_id.is_(None))
    found = connection.execute(select(runs).where(hits(study)).order_by(epochs, runs.c.trial).limit(1)).first()
    busy = workers.c.worker_id.in_(select(runs.c.worker_id).where(held))
    loads = (func.sum(column) for column in (workers.c.slots, workers.c.occupied, workers.c.rate))
    load = connection.execute(select(*loads).where(busy)).one()
    return {
        "study": study.name,
        "budget": row.budget,
        "done": count.get((RunState.DONE, True), 0) + count.get((RunState.DONE, False), 0),
        "converged": count.get((RunState.DONE, True), 0),
        "missed": count.get((RunState.DONE, False), 0),
        "least_cap": missed and missed.least,
        "most_cap": missed and missed.most,
        "failed": count.get((RunState.FAILED, None), 0),
        "running": running,
        "waiting": count.get((RunState.WAITING, None), 0) + count.get((RunState.RUNNING, None), 0) - running,
        "replicates": connection.scalar(again),
        "confirming": connection.scalar(aside.where(not_(of_ladder))),
        "climbing": connection.scalar(aside.where(of_ladder)),
        "workers": connection.scalar(select(func.count(runs.c.worker_id.distinct())).where(held)),
        "slots": load[0],
        "occupied": load[1],
        "epochs_per_second": load[2],
        "stopping": row.stopping,
        "over": row.over,
        "epochs_trained": sum(int(found.epochs or 0) for found in ends.values()),
        "incumbent": None if found is None else plain(found),
    }
