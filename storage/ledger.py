"""The ledger: budgets, leases, attempts and outcomes. Every method is at most one write transaction.

A budget of N means that N trials are created, ever: `create` takes a slot of the budget in the transaction that
creates the trial. A worker holds its runs by a lease on the database's clock. When the lease expires the attempt is
over and the same run waits for another worker; what the first one tells afterwards is refused, since `finish` names
the attempt.
"""

import array
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.engine import StorageError, StorageMisuse, now, reading, redacted, writing
from storage.schema import RunState, attempts, curves, runs, studies, workers
from storage.store import open_store

LEASE_SECONDS = 20.0  # renew about three times as often
RETRIES = 2  # attempts after the first, when workers are lost or fail


@dataclass(frozen=True)
class StudyRecord:
    """A study as stored."""

    study_id: int
    name: str
    #: JSON text.
    spec: str
    #: Trials that may ever be created.
    budget: int


@dataclass(frozen=True)
class NewRun:
    """A run to be done. `trial` is the number of the trial that it replicates; None for a reference."""

    name: str
    trial: int | None
    replicate: int
    params: Mapping[str, Any]
    seed: int
    data_seed: int
    #: Most epochs it may use; None leaves that to the worker.
    cap: int | None


@dataclass(frozen=True)
class Run:
    """A run as held by one worker: what to train, and which attempt this is."""

    run_id: int
    name: str
    trial: int | None
    trial_id: int | None
    replicate: int
    params: dict[str, Any]
    seed: int
    data_seed: int
    cap: int | None
    attempt: int


class Ledger:
    """The studies of one store."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.now = now(engine)

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> "Ledger":
        """The ledger at a storage URL; with `create`, its tables are made where the store is empty.

        StorageMisuse for a store that is not ours, or of another version.
        """
        return cls(open_store(url, create=create))

    # Studies

    def create_study(self, name: str, spec: str, budget: int, directions: Sequence[str]) -> StudyRecord:
        """The study of that name, created unless it exists; a stored spec and budget are left as they are."""
        try:
            with writing(self.engine) as connection:
                found = self._study(connection, name)
                if found:
                    return found
                study_id = _insert(connection, insert(schema.optuna_studies).values(study_name=name))
                _forget(connection, study_id)
                connection.execute(
                    insert(schema.optuna_directions),
                    [{"study_id": study_id, "objective": i, "direction": d} for i, d in enumerate(directions)],
                )
                connection.execute(
                    insert(studies).values(
                        study_id=study_id, spec=spec, budget=budget, reserved=0, told=0, stopping=False
                    )
                )
        except StorageError as error:
            if not isinstance(error.__cause__, sa.exc.IntegrityError):  # another process was first
                raise
        return self.study(name)

    def study(self, name: str) -> StudyRecord:
        """The study of that name; StorageMisuse names those there are."""
        with reading(self.engine) as connection:
            found = self._study(connection, name)
            if found:
                return found
            ours = schema.optuna_studies.c.study_id == studies.c.study_id
            names = connection.scalars(select(schema.optuna_studies.c.study_name).where(ours)).all()
        there = f"it has {', '.join(names)}" if names else "it has none yet"
        raise StorageMisuse(f"no study {name!r} in {redacted(self.engine.url)}; {there}")

    def reopen(self, study_id: int, budget: int, timeout: float | None) -> None:
        """Let trials be asked again: up to `budget` or what was created already, for `timeout` seconds if given."""
        deadline = None if timeout is None else self.now + timeout
        total = sa.case((studies.c.reserved > budget, studies.c.reserved), else_=budget)
        self._update_study(study_id, budget=total, stopping=False, deadline=deadline)

    def stop(self, study_id: int) -> None:
        """Ask every worker of the study to finish what it runs and leave."""
        self._update_study(study_id, stopping=True)

    def stopping(self, study_id: int) -> bool:
        """Whether the study is being stopped."""
        with reading(self.engine) as connection:
            return bool(connection.scalar(select(studies.c.stopping).where(studies.c.study_id == study_id)))

    def asking(self, study_id: int) -> bool:
        """Whether another trial may be created now."""
        with reading(self.engine) as connection:
            return connection.scalar(select(studies.c.study_id).where(self._open(study_id))) is not None

    # Workers

    def register(self, name: str, device: str, software: Mapping[str, Any]) -> int:
        """A new worker's id; its lease begins."""
        with writing(self.engine) as connection:
            row = insert(workers).values(
                name=name,
                device=device,
                software=json.dumps(software),
                started=self.now,
                expires=self.now + LEASE_SECONDS,
            )
            return _insert(connection, row)

    def renew(self, worker_id: int) -> None:
        """Extend the lease on all that the worker runs."""
        with writing(self.engine) as connection:
            connection.execute(
                update(workers).where(workers.c.worker_id == worker_id).values(expires=self.now + LEASE_SECONDS)
            )

    def retire(self, worker_id: int) -> None:
        """End the worker's lease; what it still ran waits for another, at no fault of the run."""
        with writing(self.engine) as connection:
            held = and_(runs.c.worker_id == worker_id, runs.c.state == RunState.RUNNING)
            for run in connection.execute(select(runs).where(held).with_for_update()).all():
                self._end_attempt(connection, run.run_id, run.attempt, "released")
                connection.execute(update(runs).where(runs.c.run_id == run.run_id).values(state=RunState.WAITING))
            connection.execute(update(workers).where(workers.c.worker_id == worker_id).values(expires=self.now))

    def bury(self, name: str) -> None:
        """A worker of this name is known to be dead: its lease is over now."""
        with writing(self.engine) as connection:
            alive = and_(workers.c.name == name, workers.c.expires > self.now)
            connection.execute(update(workers).where(alive).values(expires=self.now))

    # Runs

    def create(
        self,
        study_id: int,
        worker_id: int,
        params: Mapping[str, Any],
        data_seed: int,
        seed_of: Callable[[int], int],
        optuna: Mapping[str, tuple[float, str]],
    ) -> Run | None:
        """Create the study's next trial and take its run; None if the budget, the deadline or a stop forbids it.

        `seed_of` maps the trial's number to its seed; `optuna` gives each parameter's internal value and distribution
        as JSON.
        """
        with writing(self.engine) as connection:
            slot = update(studies).where(self._open(study_id)).values(reserved=studies.c.reserved + 1)
            number = connection.scalar(slot.returning(studies.c.reserved - 1))
            if number is None:
                return None
            trial = insert(schema.optuna_trials).values(
                number=number, study_id=study_id, state="RUNNING", datetime_start=_utc_now()
            )
            trial_id = _insert(connection, trial)
            connection.execute(
                insert(schema.optuna_params),
                [
                    {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": distribution}
                    for name, (value, distribution) in optuna.items()
                ],
            )
            run = NewRun(str(number), number, 0, params, seed_of(number), data_seed, None)
            row = _row(study_id, run) | {"trial_id": trial_id}
            run_id = _insert(connection, insert(runs).values(row))
            return self._begin_attempt(connection, run_id, worker_id)

    def add(self, study_id: int, new: Sequence[NewRun]) -> None:
        """Add runs that are not trials, for any worker to take; those that exist by name are left as they are."""
        upsert = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        if new:
            with writing(self.engine) as connection:
                rows = [_row(study_id, run) for run in new]
                connection.execute(upsert(runs).on_conflict_do_nothing(), rows)

    def take(self, study_id: int, worker_id: int) -> Run | None:
        """Take a run that waits, after ending attempts whose lease has expired; None if there is none, or a stop."""
        lost = self._expired(study_id)
        going = select(studies.c.study_id).where(studies.c.study_id == study_id, sa.not_(studies.c.stopping))
        waits = and_(runs.c.study_id.in_(going), runs.c.state == RunState.WAITING)
        with reading(self.engine) as connection:
            if connection.scalar(select(runs.c.run_id).where(or_(waits, lost)).limit(1)) is None:
                return None
        with writing(self.engine) as connection:
            connection.execute(going.with_for_update())  # every transaction locks the study before its runs
            for run in connection.execute(select(runs).where(lost).with_for_update(skip_locked=True)).all():
                self._fault(connection, run, "expired")
            first = select(runs.c.run_id).where(waits).order_by(runs.c.run_id).limit(1)
            run_id = connection.scalar(first.with_for_update(skip_locked=True))
            return None if run_id is None else self._begin_attempt(connection, run_id, worker_id)

    def finish(
        self,
        run: Run,
        outcome: Mapping[str, Any],
        values: Sequence[float],
        curve: bytes,
        attributes: Mapping[str, Any],
    ) -> bool:
        """Record the outcome of an attempt; False, and nothing is changed, if the attempt was over already.

        `outcome` fills the outcome's columns of `fewest_runs`; `values` and `attributes` are what Optuna gets of a
        trial.
        """
        with writing(self.engine) as connection:
            done = connection.execute(
                update(runs)
                .where(runs.c.run_id == run.run_id, runs.c.state == RunState.RUNNING, runs.c.attempt == run.attempt)
                .values(state=RunState.DONE, finished=self.now, told=self._next_told(connection, run.run_id), **outcome)
            )
            if done.rowcount == 0:
                connection.rollback()
                return False
            self._end_attempt(connection, run.run_id, run.attempt, "done")
            connection.execute(insert(curves).values(run_id=run.run_id, points=curve))
            if run.trial_id is not None:
                self._complete(connection, run.trial_id, "COMPLETE", attributes)
                connection.execute(
                    insert(schema.optuna_values),
                    [
                        {"trial_id": run.trial_id, "objective": i, "value": value, "value_type": "FINITE"}
                        for i, value in enumerate(values)
                    ],
                )
            return True

    def fault(self, run: Run, reason: str) -> None:
        """An attempt was lost to a fault that is not the configuration's: try again, or give the run up."""
        with writing(self.engine) as connection:
            held = and_(runs.c.run_id == run.run_id, runs.c.state == RunState.RUNNING, runs.c.attempt == run.attempt)
            mine = select(runs.c.study_id).where(held)
            connection.execute(select(studies.c.study_id).where(studies.c.study_id.in_(mine)).with_for_update())
            found = connection.execute(select(runs).where(held).with_for_update()).one_or_none()
            if found:
                self._fault(connection, found, reason)

    def unfinished(self, study_id: int) -> int:
        """Runs that wait or are running."""
        with reading(self.engine) as connection:
            states = runs.c.state.in_([RunState.WAITING, RunState.RUNNING])
            return connection.scalar(select(sa.func.count()).where(runs.c.study_id == study_id, states)) or 0

    def changes(self, study_id: int, since: int) -> Sequence[Row[Any]]:
        """Runs told after the `since`-th outcome, in that order: rows of `fewest_runs`."""
        with reading(self.engine) as connection:
            told = and_(runs.c.study_id == study_id, runs.c.told > since)
            return connection.execute(select(runs).where(told).order_by(runs.c.told)).all()

    def running(self, study_id: int) -> Sequence[Row[Any]]:
        """Runs that some worker holds now."""
        with reading(self.engine) as connection:
            held = and_(runs.c.study_id == study_id, runs.c.state == RunState.RUNNING)
            return connection.execute(select(runs).where(held)).all()

    # Parts of transactions

    @staticmethod
    def _study(connection: Connection, name: str) -> StudyRecord | None:
        found = connection.execute(
            select(studies.c.study_id, studies.c.spec, studies.c.budget)
            .join(schema.optuna_studies, schema.optuna_studies.c.study_id == studies.c.study_id)
            .where(schema.optuna_studies.c.study_name == name)
        ).one_or_none()
        return found and StudyRecord(found.study_id, name, found.spec, found.budget)

    def _update_study(self, study_id: int, **values: Any) -> None:
        with writing(self.engine) as connection:
            connection.execute(update(studies).where(studies.c.study_id == study_id).values(values))

    def _open(self, study_id: int) -> sa.ColumnElement[bool]:
        """The study takes another trial."""
        return and_(
            studies.c.study_id == study_id,
            studies.c.reserved < studies.c.budget,
            sa.not_(studies.c.stopping),
            or_(studies.c.deadline.is_(None), studies.c.deadline > self.now),
        )

    def _expired(self, study_id: int) -> sa.ColumnElement[bool]:
        """The run is held by a worker whose lease is over."""
        dead = select(workers.c.worker_id).where(workers.c.expires <= self.now)
        return and_(runs.c.study_id == study_id, runs.c.state == RunState.RUNNING, runs.c.worker_id.in_(dead))

    def _begin_attempt(self, connection: Connection, run_id: int, worker_id: int) -> Run:
        taken = (
            update(runs)
            .where(runs.c.run_id == run_id)
            .values(state=RunState.RUNNING, worker_id=worker_id, attempt=runs.c.attempt + 1)
        )
        row = connection.execute(taken.returning(runs)).one()
        attempt = {"run_id": run_id, "attempt": row.attempt, "worker_id": worker_id, "started": self.now}
        connection.execute(insert(attempts).values(attempt))
        fields = ("run_id", "name", "trial", "trial_id", "replicate", "seed", "data_seed", "cap", "attempt")
        return Run(params=json.loads(row.params), **{name: getattr(row, name) for name in fields})

    def _end_attempt(self, connection: Connection, run_id: int, attempt: int, end: str) -> None:
        this = and_(attempts.c.run_id == run_id, attempts.c.attempt == attempt)
        connection.execute(update(attempts).where(this).values(ended=self.now, end=end))

    def _fault(self, connection: Connection, run: Row[Any], reason: str) -> None:
        self._end_attempt(connection, run.run_id, run.attempt, reason)
        values: dict[str, Any] = {"faults": run.faults + 1, "reason": reason, "state": RunState.WAITING}
        if run.faults >= RETRIES:
            values |= {"state": RunState.FAILED, "finished": self.now, "told": self._next_told(connection, run.run_id)}
            if run.trial_id is not None:
                self._complete(connection, run.trial_id, "FAIL", {"reason": reason})
        connection.execute(update(runs).where(runs.c.run_id == run.run_id).values(values))

    @staticmethod
    def _next_told(connection: Connection, run_id: int) -> int:
        """The next place in the study's order of outcomes; the study's row stays locked, so commits keep the order."""
        study_id = select(runs.c.study_id).where(runs.c.run_id == run_id).scalar_subquery()
        told = update(studies).where(studies.c.study_id == study_id).values(told=studies.c.told + 1)
        return int(connection.execute(told.returning(studies.c.told)).scalar_one())

    @staticmethod
    def _complete(connection: Connection, trial_id: int, state: str, attributes: Mapping[str, Any]) -> None:
        trials = schema.optuna_trials
        connection.execute(
            update(trials).where(trials.c.trial_id == trial_id).values(state=state, datetime_complete=_utc_now())
        )
        connection.execute(
            insert(schema.optuna_user_attributes),
            [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()],
        )


def pack(epochs: Sequence[int], accuracy: Sequence[float], loss: Sequence[float]) -> bytes:
    """A curve for `fewest_curves`: n epochs as int32, n accuracies and n losses as float32, one after another, zlib."""
    parts = (array.array("i", epochs), array.array("f", accuracy), array.array("f", loss))
    return zlib.compress(b"".join(part.tobytes() for part in parts))


def unpack(points: bytes) -> tuple[list[int], list[float], list[float]]:
    """Epochs, accuracy and loss of a packed curve."""
    raw = zlib.decompress(points)
    n = len(raw) // 3
    epochs, rest = array.array("i", raw[:n]), array.array("f", raw[n:])
    return epochs.tolist(), rest[: n // 4].tolist(), rest[n // 4 :].tolist()


def _row(study_id: int, run: NewRun) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "name": run.name,
        "trial": run.trial,
        "replicate": run.replicate,
        "classes": run.params["classes"],
        "params": json.dumps(run.params),
        "seed": run.seed,
        "data_seed": run.data_seed,
        "cap": run.cap,
        "state": RunState.WAITING,
        "attempt": 0,
        "faults": 0,
    }


def _forget(connection: Connection, study_id: int) -> None:
    """Delete what is left of a study that somebody deleted through Optuna, whose number may be given again."""
    mine = select(runs.c.run_id).where(runs.c.study_id == study_id)
    for table in (curves, attempts):
        connection.execute(delete(table).where(table.c.run_id.in_(mine)))
    for table in (runs, studies):
        connection.execute(delete(table).where(table.c.study_id == study_id))


def _insert(connection: Connection, row: sa.Insert) -> int:
    """Insert one row; its primary key."""
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
