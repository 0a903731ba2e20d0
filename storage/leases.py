"""Workers and their leases: one lease per worker holds all that it runs, and expires by the database's clock."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Text, and_, bindparam, insert, not_, select, update

from storage.database import StorageMisuse, now
from storage.schema import PENDING, RunState, attempts, runs, studies, workers

LEASE_SECONDS = 20.0  # renew about three times as often


class ForOneMachine(StorageMisuse):
    """A SQLite file on which another machine's worker works: locks and shared memory do not reach from host to host."""


@dataclass(frozen=True)
class Process:
    """Where a worker runs."""

    #: What makes `number` unique: one boot of one machine, a slash, and a container on it.
    machine: str
    number: int


@dataclass(frozen=True)
class Load:
    """How busy a worker has been since it last said so."""

    #: Trials that it can train at once.
    slots: int
    #: How many of them trained, on average.
    occupied: float
    #: Trial-epochs per second.
    rate: float


def register(
    connection: Connection, name: str, device: str, software: Mapping[str, Any], process: Process | None = None
) -> int:
    """A new worker's id; its lease begins. ForOneMachine as of `only_here`."""
    if process:
        only_here(connection, process.machine)
    row = insert(workers).values(
        name=name,
        device=device,
        software=json.dumps(software),
        started=now(),
        expires=now() + LEASE_SECONDS,
        machine=process and process.machine,
        process=process and process.number,
    )
    return int(connection.execute(row.returning(workers.c.worker_id)).scalar_one())


def only_here(connection: Connection, machine: str) -> None:
    """ForOneMachine if the store is a SQLite file and a worker of another machine lives; containers share a machine."""
    if connection.dialect.name != "sqlite":
        return
    boot = machine.partition("/")[0]
    elsewhere = not_(workers.c.machine.startswith(f"{boot}/", autoescape=True))
    name = connection.scalar(select(workers.c.name).where(workers.c.expires > now(), elsewhere).limit(1))
    if name:
        raise ForOneMachine(
            f"a SQLite file is for one machine, and worker {name} of another one works on it; "
            f"name a Postgres, or try again in {LEASE_SECONDS:.0f} s if that machine is gone"
        )


def renew(connection: Connection, worker_id: int, load: Load | None = None) -> None:
    """Extend the lease on all that the worker runs, and report how busy it is."""
    mine = workers.c.worker_id == worker_id
    values = asdict(load) if load else {}
    connection.execute(update(workers).where(mine).values(expires=now() + LEASE_SECONDS, **values))


def retire(connection: Connection, worker_id: int) -> None:
    """End the worker's lease; what it still ran waits for another, at no fault of the run."""
    anywhere = and_(runs.c.study_id.in_(select(studies.c.study_id)), runs.c.told == PENDING)
    held = and_(anywhere, runs.c.worker_id == worker_id, runs.c.state == RunState.RUNNING)
    for run_id in connection.scalars(select(runs.c.run_id).where(held).with_for_update()).all():
        end_attempt(connection, run_id, "released")
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(state=RunState.WAITING))
    connection.execute(update(workers).where(workers.c.worker_id == worker_id).values(expires=now()))


def bury(connection: Connection, machine: str, alive: Callable[[int], bool]) -> None:
    """End the leases of this machine's workers whose process is gone, so that nobody waits for them to expire."""
    here = and_(workers.c.machine == machine, workers.c.expires > now())
    found = connection.execute(select(workers.c.worker_id, workers.c.process).where(here)).all()
    dead = [worker.worker_id for worker in found if not alive(worker.process)]
    if dead:
        connection.execute(update(workers).where(workers.c.worker_id.in_(dead)).values(expires=now()))


def end_attempt(connection: Connection, run_id: int, end: str) -> None:
    """Enter that a run's present attempt came to nothing."""
    connection.execute(_ENDED, {"this_run": run_id, "this_end": end})


_ATTEMPT = runs.c.run_id, runs.c.attempt, runs.c.worker_id, runs.c.started
_ENDED = insert(attempts).from_select(
    ["run_id", "attempt", "worker_id", "started", "ended", "end"],
    select(*_ATTEMPT, now(), bindparam("this_end", type_=Text)).where(runs.c.run_id == bindparam("this_run")),
)
