"""What has been found: read-only SQL over the ledger's tables. Rows come back as plain dicts, ready for JSON."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, func, select

from search.scoring import Evidence, score
from search.spec import StudySpec
from storage.engine import reading
from storage.ledger import Ledger, StudyRecord
from storage.schema import RunState, runs, studies, workers

_OUTCOME = ("converged", "epochs", "cap", "gap", "accuracy", "loss", "best_accuracy", "reached", "seconds", "end")


def best(
    ledger: Ledger, study: StudyRecord, classes: int | None = None, top: int | None = None
) -> list[dict[str, Any]]:
    """The converged trials, best first; those that are equally good share a `rank`.

    First those confirmed by replicates, by their mean score; then those not re-run, by epochs; last those refuted.
    """
    spec = StudySpec.model_validate_json(study.spec)
    trial, again = runs.alias("trial"), runs.alias("again")
    replicate = and_(
        again.c.study_id == trial.c.study_id,
        again.c.trial == trial.c.trial,
        again.c.replicate > 0,
        again.c.state == RunState.DONE,
    )
    query = (
        select(
            trial, again.c.converged.label("k"), again.c.epochs.label("again_epochs"), again.c.gap.label("again_gap")
        )
        .outerjoin(again, replicate)
        .where(
            trial.c.study_id == study.study_id, trial.c.replicate == 0, trial.c.trial_id.is_not(None), trial.c.converged
        )
        .order_by(trial.c.epochs, trial.c.trial)
    )
    if classes is not None:
        query = query.where(trial.c.classes == classes)
    with reading(ledger.engine) as connection:
        rows = connection.execute(query).all()
    replicates: dict[int, list[Any]] = {}
    for row in rows:
        replicates.setdefault(row.trial, []).append(row)
    ranked = sorted((_candidate(group, spec) for group in replicates.values()), key=lambda found: found[0].rank)
    ranks = {rank: place for place, rank in reversed(list(enumerate((e.rank for e, _ in ranked), start=1)))}
    return [{"rank": ranks[evidence.rank], **answer} for evidence, answer in ranked][:top]


def _candidate(rows: Sequence[Any], spec: StudySpec) -> tuple[Evidence, dict[str, Any]]:
    first, again = rows[0], [row for row in rows if row.k is not None]
    scores = [score(row.k, row.again_epochs, row.again_gap, spec.max_epochs) for row in again]
    hits = sorted(row.again_epochs for row in again if row.k)
    evidence = Evidence(first.trial, first.epochs, scores, len(hits))
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


def reference(ledger: Ledger, study: StudyRecord) -> dict[str, Any] | None:
    """The outcome of the question's model in this study, or None while there is none."""
    query = select(runs).where(runs.c.study_id == study.study_id, runs.c.trial.is_(None), runs.c.state == RunState.DONE)
    with reading(ledger.engine) as connection:
        row = connection.execute(query).first()
    return None if row is None else _record(row)


def trials(ledger: Ledger, study: StudyRecord, limit: int | None = None, after: int = -1) -> list[dict[str, Any]]:
    """The study's trials in order of their numbers, finished or not, from the one after number `after`."""
    query = (
        select(runs)
        .where(runs.c.study_id == study.study_id, runs.c.trial_id.is_not(None), runs.c.trial > after)
        .order_by(runs.c.trial)
        .limit(limit)
    )
    with reading(ledger.engine) as connection:
        return [_record(row) for row in connection.execute(query)]


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


def status(ledger: Ledger, study: StudyRecord) -> dict[str, Any]:
    """How far the study is: its trials by state, workers with a live lease, epochs trained and the incumbent."""
    mine = runs.c.study_id == study.study_id
    trial = and_(mine, runs.c.trial_id.is_not(None))
    with reading(ledger.engine) as connection:
        row = connection.execute(select(studies).where(studies.c.study_id == study.study_id)).one()
        counts = select(runs.c.state, func.count().label("n")).where(trial).group_by(runs.c.state)
        states = {found.state: found.n for found in connection.execute(counts)}
        missed = runs.c.converged.is_(False)
        sums = connection.execute(
            select(
                func.count().filter(runs.c.converged).label("converged"),
                func.coalesce(func.sum(runs.c.epochs), 0).label("epochs"),
                func.min(runs.c.epochs).filter(missed).label("least"),
                func.max(runs.c.epochs).filter(missed).label("most"),
            ).where(trial)
        ).one()
        again = connection.scalar(select(func.count()).where(mine, runs.c.replicate > 0, runs.c.state == RunState.DONE))
        living = select(workers.c.worker_id).where(workers.c.expires > ledger.now)
        held = and_(mine, runs.c.state == RunState.RUNNING, runs.c.worker_id.in_(living))
        alive = connection.scalar(select(func.count(runs.c.worker_id.distinct())).where(held))
        running = connection.scalar(select(func.count()).where(held, runs.c.trial_id.is_not(None))) or 0
        unfinished = runs.c.state.in_([RunState.WAITING, RunState.RUNNING])
        confirming = connection.scalar(select(func.count()).where(mine, runs.c.trial_id.is_(None), unfinished))
        found = connection.execute(
            select(runs).where(trial, runs.c.converged).order_by(runs.c.epochs, runs.c.trial).limit(1)
        ).first()
    done = states.get(RunState.DONE, 0)
    return {
        "study": study.name,
        "budget": row.budget,
        "done": done,
        "converged": sums.converged,
        "missed": done - sums.converged,
        "least_cap": sums.least,
        "most_cap": sums.most,
        "failed": states.get(RunState.FAILED, 0),
        "running": running,
        "waiting": states.get(RunState.WAITING, 0) + states.get(RunState.RUNNING, 0) - running,
        "replicates": again,
        "confirming": confirming,
        "workers": alive,
        "stopping": row.stopping,
        "epochs_trained": sums.epochs,
        "incumbent": None if found is None else _record(found),
    }
