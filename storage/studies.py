"""Studies: a name, a spec, a budget of trials, and whether more of them may be asked for now."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, delete, exists, func, insert, not_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.database import NameTaken, NotFound, StorageMisuse, now, redacted
from storage.schema import PENDING, RunKind, RunState, attempts, curves, runs, studies, workers

_DATA_LOCK = 0x6665776564  # beside that of `storage.store`
RETRIES = 2  # attempts after the first, unless the study says otherwise
_SAME = schema.optuna_studies.c.study_id == studies.c.study_id, schema.optuna_studies.c.study_name == studies.c.name
#: The study is there for Optuna too. Somebody may have deleted it through Optuna, and its number been given again.
EXISTS_IN_OPTUNA = exists().where(*_SAME)
_IN_TIME = or_(studies.c.deadline.is_(None), studies.c.deadline > now())
#: The study takes another trial.
ACCEPTS_TRIALS = and_(EXISTS_IN_OPTUNA, studies.c.reserved < studies.c.budget, not_(studies.c.stopping), _IN_TIME)

_SINCE = runs.c.outcome_seq > studies.c.concluded, runs.c.outcome_seq < PENDING
_TOLD_SINCE = exists().where(runs.c.study_id == studies.c.study_id, *_SINCE, runs.c.kind != RunKind.LADDER)
#: A worker found nothing left to do, and nothing was told since then but runs of the ladder, which change no answer.
CONCLUDED = and_(studies.c.concluded.is_not(None), not_(_TOLD_SINCE))


@dataclass(frozen=True)
class StudyRecord:
    """A study as stored."""

    study_id: int
    name: str
    #: The spec as JSON text.
    spec_json: str
    #: Trials that may ever be created.
    budget: int


_RECORD = studies.c.study_id, studies.c.name, studies.c.spec, studies.c.budget  # of a StudyRecord


def create(
    connection: Connection,
    name: str,
    spec: str,
    budget: int,
    directions: Sequence[str],
    data: tuple[str, bytes] | None = None,  # digest and content of what it searches on
) -> StudyRecord:
    """The study of that name, created unless it exists; a stored spec and budget are left as they are.

    NameTaken if a study of Optuna's own has that name.
    """
    optuna = schema.optuna_studies
    new = upsert(connection)(optuna).values(study_name=name).on_conflict_do_nothing()
    study_id = connection.scalar(new.returning(optuna.c.study_id))
    if study_id is None:
        existing = look_up(connection, name)
        if existing:
            return existing
        raise NameTaken(f"study {name!r} was made without fewest; name another with `--study`")
    forget(connection, study_id, name)
    rows = [{"study_id": study_id, "objective": i, "direction": direction} for i, direction in enumerate(directions)]
    connection.execute(insert(schema.optuna_directions), rows)
    if data:
        kept = {"digest": data[0], "content": data[1]}
        connection.execute(upsert(connection)(schema.data).on_conflict_do_nothing(), kept)
    row = {"study_id": study_id, "name": name, "spec": spec, "budget": budget, "retries": RETRIES}
    connection.execute(insert(studies).values(row | {"reserved": 0, "outcome_seq": 0, "stopping": False}))
    return StudyRecord(study_id, name, spec, budget)


def find(connection: Connection, name: str) -> StudyRecord:
    """The study of that name; NotFound names those there are."""
    study = look_up(connection, name)
    if study:
        return study
    names = connection.scalars(select(studies.c.name).where(EXISTS_IN_OPTUNA).order_by(studies.c.study_id)).all()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names) or 'none yet'}"
    raise NotFound(f"no study {name!r}", hint, redacted(connection.engine.url))


def content(connection: Connection, digest: str) -> bytes:
    """The data set of that digest; StorageMisuse if somebody has removed it."""
    stored = connection.scalar(select(schema.data.c.content).where(schema.data.c.digest == digest))
    if stored is None:
        where = redacted(connection.engine.url)
        raise StorageMisuse(f"{where} has lost the data of this study (SHA-256 {digest:.12}…); begin another study")
    return bytes(stored)


def reopen(
    connection: Connection,
    study_id: int,
    budget: int,
    timeout: float | None = None,
    retries: int | None = None,
    until_epochs: int | None = None,
) -> None:
    """Let trials be asked for again: up to `budget` or what was created already, for `timeout` seconds if given.

    `until_epochs`: only until a configuration of so few epochs is confirmed for every class count.
    """
    change = update(studies).where(studies.c.study_id == study_id)
    change = change.values(stopping=False, until_epochs=until_epochs, concluded=None)
    change = change.values(budget=case((studies.c.reserved > budget, studies.c.reserved), else_=budget))
    change = change.values(deadline=None if timeout is None else now() + timeout)
    connection.execute(change if retries is None else change.values(retries=retries))


def resume(connection: Connection, study_id: int) -> None:
    """Take back a stop; what ends the search otherwise stays as it is."""
    connection.execute(update(studies).where(studies.c.study_id == study_id).values(stopping=False, concluded=None))


def stop(connection: Connection, study_id: int) -> None:
    """Ask every worker of the study to finish what it runs and leave."""
    connection.execute(update(studies).where(studies.c.study_id == study_id).values(stopping=True))


def conclude(connection: Connection, study_id: int, seq: int) -> bool:
    """A worker that knew every outcome up to `seq` found nothing left to do; False if others know more, or as much."""
    first = studies.c.study_id == study_id, studies.c.outcome_seq == seq, studies.c.concluded.is_distinct_from(seq)
    return bool(connection.execute(update(studies).where(*first).values(concluded=seq)).rowcount)


def open_ones(connection: Connection) -> list[tuple[StudyRecord, int]]:
    """The studies in which there may be something to do, and how many living workers run something of each."""
    living = and_(workers.c.worker_id == runs.c.worker_id, workers.c.expires > now())
    held = runs.c.study_id == studies.c.study_id, runs.c.outcome_seq == PENDING, runs.c.state == RunState.RUNNING
    busy = select(func.count(runs.c.worker_id.distinct())).select_from(runs.join(workers, living)).where(*held)
    open_ = EXISTS_IN_OPTUNA, not_(studies.c.stopping), not_(CONCLUDED)
    return [
        (StudyRecord(*row[:-1]), row[-1])
        for row in connection.execute(select(*_RECORD, busy.scalar_subquery()).where(*open_))
    ]


def forget(connection: Connection, study_id: int, name: str = "") -> None:
    """Delete what is left of a study that somebody deleted through Optuna: one of this number, or of this name.

    On SQLite Optuna can leave trials behind that a worker made meanwhile, and the number is given again. Data go with
    the last study that names them.
    """
    if connection.dialect.name == "postgresql":  # another study may just be created on the data that nobody names yet
        connection.execute(select(func.pg_advisory_xact_lock(_DATA_LOCK)))
    old = or_(studies.c.study_id == study_id, studies.c.name == name)
    ids = connection.scalars(select(studies.c.study_id).where(old)).all()
    own = select(runs.c.run_id).where(runs.c.study_id.in_(ids))
    for table in (curves, attempts):
        connection.execute(delete(table).where(table.c.run_id.in_(own)))
    for table in (runs, studies):
        connection.execute(delete(table).where(table.c.study_id.in_(ids)))
    trials = schema.optuna_trials
    left = select(trials.c.trial_id).where(trials.c.study_id == study_id)
    for part in (schema.optuna_params, schema.optuna_values, schema.optuna_user_attributes):
        connection.execute(delete(part).where(part.c.trial_id.in_(left)))
    connection.execute(delete(trials).where(trials.c.study_id == study_id))
    named = exists().where(EXISTS_IN_OPTUNA, studies.c.spec.contains(schema.data.c.digest))
    connection.execute(delete(schema.data).where(not_(named)))


def is_ours(connection: Connection, study_id: int) -> bool:
    """Whether a study of Optuna's is one of fewest's."""
    return bool(connection.scalar(select(studies.c.study_id).where(studies.c.study_id == study_id, EXISTS_IN_OPTUNA)))


def upsert(connection: Connection) -> Any:
    """This database's `insert` that knows ON CONFLICT."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def look_up(connection: Connection, name: str) -> StudyRecord | None:
    """The study of that name, or None."""
    row = connection.execute(select(*_RECORD).where(studies.c.name == name, EXISTS_IN_OPTUNA)).one_or_none()
    return row and StudyRecord(*row)
