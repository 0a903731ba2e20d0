"""Workers and their leases: one lease per worker covers all its runs, and expires by the database's clock."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Text, and_, bindparam, insert, not_, select, update

from storage.database import StorageMisuse, now
from storage.schema import PENDING, RunState, attempts, runs, studies, workers

LEASE_SECONDS = 20.0  # renew about three times as often


class SingleMachineOnly(StorageMisuse):
    """Another machine's worker works on the SQLite file: locks and shared memory do not reach from host to host."""


@dataclass(frozen=True)
class Process:
    """Where a worker runs."""

    #: The scope in which `number` is unique: one boot of one machine, a slash, and a container on it.
    machine: str
    number: int


@dataclass(frozen=True)
class Load:
    """How busy a worker has been since its last report."""

    #: Trials that it can train at once.
    slots: int
    #: Slots that trained, on average.
    occupied: float
    #: Trial-epochs per second.
    rate: float


def register(
    connection: Connection, name: str, device: str, software: Mapping[str, Any], process: Process | None = None
) -> int:
    """Add a worker, begin its lease and return its id; SingleMachineOnly as of `require_one_machine`."""
    if process:
        require_one_machine(connection, process.machine)
    lease = {"started": now(), "expires": now() + LEASE_SECONDS}
    place = {"machine": process.machine, "process": process.number} if process else {}
    row = insert(workers).values(name=name, device=device, software=json.dumps(software), **lease, **place)
    return int(connection.execute(row.returning(workers.c.worker_id)).scalar_one())


def require_one_machine(connection: Connection, machine: str) -> None:
    """Raise SingleMachineOnly if a worker of another machine works on this SQLite file; containers share a machine."""
    if connection.dialect.name != "sqlite":
        return
    boot = machine.partition("/")[0]
    elsewhere = not_(workers.c.machine.startswith(f"{boot}/", autoescape=True))
    name = connection.scalar(select(workers.c.name).where(workers.c.expires > now(), elsewhere).limit(1))
    if name:
        raise SingleMachineOnly(
            f"a SQLite file is for one machine, and worker {name} of another one works on it; "
            f"name a Postgres, or try again in {LEASE_SECONDS:.0f} s if that machine is gone"
        )


def renew(connection: Connection, worker_id: int, load: Load | None = None) -> None:
    """Extend the worker's lease, and report how busy it is."""
    values = {"expires": now() + LEASE_SECONDS} | (vars(load) if load else {})
    connection.execute(update(workers).where(workers.c.worker_id == worker_id).values(values))


def retire(connection: Connection, worker_id: int) -> None:
    """End the worker's lease; its unfinished runs wait for another worker, and no attempt counts against them."""
    pending = and_(runs.c.study_id.in_(select(studies.c.study_id)), runs.c.outcome_seq == PENDING)
    held = and_(pending, runs.c.worker_id == worker_id, runs.c.state == RunState.RUNNING)
    for run_id in connection.scalars(select(runs.c.run_id).where(held).with_for_update()).all():
        end_attempt(connection, run_id, "released")
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(state=RunState.WAITING))
    connection.execute(update(workers).where(workers.c.worker_id == worker_id).values(expires=now()))


def expire_dead_workers(connection: Connection, machine: str, alive: Callable[[int], bool]) -> None:
    """End the leases of this machine's workers whose process is gone, so that their runs need not wait for expiry."""
    leased_here = and_(workers.c.machine == machine, workers.c.expires > now())
    rows = connection.execute(select(workers.c.worker_id, workers.c.process).where(leased_here)).all()
    dead = [row.worker_id for row in rows if not alive(row.process)]
    if dead:
        connection.execute(update(workers).where(workers.c.worker_id.in_(dead)).values(expires=now()))


def end_attempt(connection: Connection, run_id: int, end: str) -> None:
    """Record the end of a run's current attempt, such as `released`."""
    connection.execute(_ENDED, {"this_run": run_id, "this_end": end})


_ATTEMPT = runs.c.run_id, runs.c.attempt, runs.c.worker_id, runs.c.started
_ENDING = select(*_ATTEMPT, now(), bindparam("this_end", type_=Text)).where(runs.c.run_id == bindparam("this_run"))
_ENDED = insert(attempts).from_select(["run_id", "attempt", "worker_id", "started", "ended", "end"], _ENDING)
