"""What has been found: read-only SQL over the ledger's tables. Rows come back as plain dicts, ready for JSON.

Every function is the body of one read transaction, `store.read(query.best, study)`, and reads by an index, so that its
time depends on what it returns and not on the size of the study.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, select, true

from objectives.convergence import Curve, End
from search.scoring import Evidence, score
from search.space import carried
from search.spec import StudySpec, parsed
from storage.curves import unpack
from storage.engine import StorageMisuse, now
from storage.schema import PENDING, RunState, curves, runs, studies, workers
from storage.studies import StudyRecord

_OUTCOME = ("converged", "epochs", "cap", "gap", "accuracy", "loss", "best_accuracy", "reached", "seconds", "end")


def best(connection: Connection, study: StudyRecord, classes: int | None = None, top: int = 10) -> list[dict[str, Any]]:
    """The `top` best of the converged trials; those that are equally good share a `rank`.

    First those confirmed by replicates, by their mean score; then those not re-run, by epochs; last those refuted.
    """
    tried = _candidates(connection, study)
    untried = select(runs).where(
        _hits(study, classes), runs.c.trial.not_in([candidate.trial for candidate, _ in tried])
    )
    rows = connection.execute(untried.order_by(runs.c.epochs, runs.c.trial).limit(top)).all()
    found = [*tried, *(_candidate(row, ()) for row in rows)]
    return _ranked(candidate for candidate in found if classes in (None, candidate[1]["classes"]))[:top]


def confirmed(connection: Connection, study: StudyRecord) -> list[dict[str, Any]]:
    """Every configuration that enough replicates confirmed, of every class count, best first."""
    return [row for row in _ranked(_candidates(connection, study)) if row["confirmed"]]


def _trials(study: StudyRecord) -> ColumnElement[bool]:
    """The study's trials, and no other runs."""
    return and_(runs.c.study_id == study.study_id, runs.c.replicate == 0, runs.c.trial.is_not(None))


def _hits(study: StudyRecord, classes: int | None = None) -> ColumnElement[bool]:
    """The study's converged trials."""
    counted = true() if classes is None else runs.c.classes == classes
    return and_(_trials(study), counted, runs.c.state == RunState.DONE, runs.c.converged)


def _candidates(connection: Connection, study: StudyRecord) -> list[tuple[Evidence, dict[str, Any]]]:
    """The trials that were re-run on fresh seeds: few, whatever the size of the study."""
    spec = parsed(study.spec)
    over = runs.c.state.in_((RunState.DONE, RunState.FAILED))  # one that failed is no evidence of converging either
    again = and_(runs.c.study_id == study.study_id, runs.c.replicate > 0, runs.c.trial.is_not(None), over)
    replicates: dict[int, list[tuple[bool, int, float]]] = {}
    for trial, *outcome in connection.execute(
        select(
            runs.c.trial,
            func.coalesce(runs.c.converged, false()),
            func.coalesce(runs.c.epochs, 0),
            func.coalesce(runs.c.gap, 1.0),
        ).where(again)
    ):
        replicates.setdefault(trial, []).append(tuple(outcome))
    first = and_(runs.c.study_id == study.study_id, runs.c.replicate == 0, runs.c.trial.in_(replicates))
    rows = connection.execute(select(runs).where(first))
    return [_candidate(row, replicates[row.trial], spec.max_epochs) for row in rows]


def _candidate(
    first: Any, again: Sequence[tuple[bool, int, float]], max_epochs: int = 0
) -> tuple[Evidence, dict[str, Any]]:
    hits = sorted(epochs for converged, epochs, _ in again if converged)
    evidence = Evidence(first.trial, first.epochs, [score(*replicate, max_epochs) for replicate in again], len(hits))
    return evidence, {
        "trial": first.trial,
        "classes": first.classes,
        "epochs": first.epochs,
        "replicates": len(again),
        "replicates_converged": len(hits),
        "replicate_epochs": hits,
        "confirmed": evidence.confirmed,
        "accuracy": first.accuracy,
        "loss": first.loss,
        "seconds": first.seconds,
        "params": json.loads(first.params),
    }


def _ranked(found: Iterable[tuple[Evidence, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Best first; those of one class count that no test tells from the best of their rank share it."""
    ranked, firsts = [], dict[int, tuple[int, Evidence]]()  # rank and its first, by classes
    for place, (evidence, answer) in enumerate(sorted(found, key=lambda each: each[0].order), start=1):
        rank, first = firsts.get(answer["classes"], (place, evidence))
        if not evidence.ties(first):
            rank, first = place, evidence
        firsts[answer["classes"]] = rank, first
        ranked.append({"rank": rank, **answer})
    return ranked


def by_classes(connection: Connection, study: StudyRecord) -> list[dict[str, Any]]:
    """How the search went at each class count that has a told trial, fewest first: what its outlook depends on.

    `epochs`: the fewest of any trial; `equalled`: others that needed as few; `since`: told after the first of them.
    """
    done = and_(_trials(study), runs.c.state == RunState.DONE)
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


def start(connection: Connection, source: StudyRecord, spec: StudySpec, top: int = 3) -> list[dict[str, Any]]:
    """What a study of that spec begins with if it is to learn from another one: its best, carried to each class count.

    Empty if nothing has converged there.
    """
    counts = parsed(source.spec).class_counts
    known = {count: found for count in counts if (found := best(connection, source, count, top))}
    return [
        carried(spec.space, row["params"], classes)
        for classes in (spec.class_counts if known else ())
        for row in known[min(known, key=lambda count: abs(math.log(count / classes)))]
    ]


def reference(connection: Connection, study: StudyRecord) -> dict[str, Any] | None:
    """The outcome of the question's model in this study, or None while there is none."""
    this = and_(runs.c.study_id == study.study_id, runs.c.replicate == 0, runs.c.trial.is_(None))
    row = connection.execute(select(runs).where(this, runs.c.state == RunState.DONE)).first()
    return None if row is None else _record(row)


def trials(
    connection: Connection, study: StudyRecord, limit: int | None = None, after: int = -1
) -> list[dict[str, Any]]:
    """The study's trials in order of their numbers, finished or not, from the one after number `after`."""
    page = and_(runs.c.study_id == study.study_id, runs.c.replicate == 0, runs.c.trial > after)
    return [_record(row) for row in connection.execute(select(runs).where(page).order_by(runs.c.trial).limit(limit))]


def trial(connection: Connection, study: StudyRecord, number: int) -> dict[str, Any]:
    """One trial as `recorded` gives it; StorageMisuse names the nearest if there is none of that number."""
    found = recorded(connection, study, runs.c.replicate == 0, runs.c.trial == number)
    if found:
        return found[0]
    last = connection.scalar(select(func.max(runs.c.trial)).where(_trials(study)))
    there = "it has none yet" if last is None else f"the nearest is {max(0, min(number, last))} of 0 to {last}"
    raise StorageMisuse(f"study {study.name!r} has no trial {number}; {there}")


def finished(connection: Connection, study: StudyRecord) -> list[int]:
    """The numbers of the trials that have an outcome, but for those that ran out of memory: that is the machine's."""
    done = and_(_trials(study), runs.c.state == RunState.DONE, runs.c.end != End.OUT_OF_MEMORY)
    return list(connection.scalars(select(runs.c.trial).where(done).order_by(runs.c.trial)))


def recorded(connection: Connection, study: StudyRecord, *which: ColumnElement[bool]) -> list[dict[str, Any]]:
    """Runs of any kind, by trial and replicate, with all that is known of how each was trained.

    Besides what `trials` gives: `name`, `replicate`, `trial` (None of a reference), `stream_offset` and `curve` (a
    Curve, both None without an outcome), `device` and `software` of the worker that trained it last (None before there
    was one).
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
            **_record(row),
            "name": row.name,
            "replicate": row.replicate,
            "stream_offset": row.stream_offset,
            "curve": None if row.points is None else Curve(*unpack(row.points)),
            "device": row.device,
            "software": row.software and json.loads(row.software),
        }
        for row in found
    ]


def _record(row: Any) -> dict[str, Any]:
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


def status(connection: Connection, study: StudyRecord) -> dict[str, Any]:
    """How far the study is: its trials by state, its living workers and how busy they are, and the incumbent."""
    mine = runs.c.study_id == study.study_id
    trial = _trials(study)
    row = connection.execute(select(studies).where(studies.c.study_id == study.study_id)).one()
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
    confirming = select(func.count()).where(unfinished, runs.c.trial_id.is_(None))
    found = connection.execute(select(runs).where(_hits(study)).order_by(epochs, runs.c.trial).limit(1)).first()
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
        "confirming": connection.scalar(confirming),
        "workers": connection.scalar(select(func.count(runs.c.worker_id.distinct())).where(held)),
        "slots": load[0],
        "occupied": load[1],
        "epochs_per_second": load[2],
        "stopping": row.stopping,
        "epochs_trained": sum(int(found.epochs or 0) for found in ends.values()),
        "incumbent": None if found is None else _record(found),
    }
