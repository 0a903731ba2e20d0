"""The other tools on the same search, each written as its own documentation writes it.

`python -P tests/bench/contenders.py TOOL SPEC SEED ENOUGH` searches, in the current directory, until it is killed, with
a process of one thread per core: TOOL is one of CONTENDERS, SPEC a study's spec as JSON. What it finds is appended to
`events.jsonl`, one object a line with `time` and `kind`: `begin` (a process takes its first trial), `best` (its best so
far: `params`, the `epochs` if it converged, and its `gap`), `confirmed` (a configuration of at most ENOUGH epochs does
it again on fresh seeds). time_to_best.py starts it and reads that.

All are told the score that the product tells its own sampler, and train with the product's solo trainer, an epoch at
a time. A plain torch.optim loop is slower and would have to draw its batches anew for each trial, so that favours them.
"""

import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from multiprocessing import Pool
from pathlib import Path
from statistics import median
from typing import Any

import torch

from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.samples import Samples
from objectives.data.waves import Waves
from objectives.trainers.solo import Solo
from search.ask.scoring import REPLICATES, score
from search.ask.stopping import FLOOR
from search.spec.space import Choices, consistent, suggest
from search.spec.study_spec import StudySpec, derive

PROCESSES = len(os.sched_getaffinity(0))  # as many as `fewest launch` starts

#: What a contender hears after each evaluation: the epoch, and the score of a trial that ends there.
Report = Callable[[int, float], None]


@dataclass
class Bench:
    """The work that every contender has done for it: trains configurations and writes down what is found."""

    spec: StudySpec
    problem: Waves | Samples
    seed: int
    #: Epochs with which a configuration is re-run on fresh seeds at once; 0 for never.
    enough: int
    #: Where to write what is found.
    events: Path
    _trainer: Solo | None = None
    _best: float = math.inf  # score

    def run(self, params: dict[str, Any], report: Report | None = None, epochs: int | None = None) -> float:
        """The score of a configuration, after at most so many epochs. `report` may raise to stop it."""
        if self._trainer is None:
            torch.set_num_threads(1)
            self._trainer = Solo(Batches(self.problem), self.spec.target, self.spec.hold)
            self._say("begin")
        outcome = self._trained(params, epochs or self.spec.max_epochs, report)
        if outcome.converged and outcome.epochs <= self.enough and self._again(params):
            self._say("confirmed", epochs=outcome.epochs, params=params)
        return self._score(outcome)

    def _again(self, params: dict[str, Any]) -> bool:
        """Whether it converges on all fresh seeds, within FLOOR as in our own re-runs, and on most in so few epochs."""
        runs = (
            self._trained(params, min(FLOOR, self.spec.max_epochs), fresh=fresh) for fresh in range(1, REPLICATES + 1)
        )
        epochs = [outcome.epochs for outcome in takewhile(lambda outcome: outcome.converged, runs)]
        return len(epochs) == REPLICATES and median(epochs) <= self.enough

    def _trained(self, params: dict[str, Any], cap: int, report: Report | None = None, fresh: int = 0) -> Outcome:
        assert self._trainer
        seeds = derive(self.seed, "trial", fresh), derive(self.seed, "data", fresh)
        self._trainer.admit(Trial(0, Configuration.of(params), *seeds, cap))
        (progress,) = self._trainer.running
        try:
            while not self._trainer.advance(1):
                if report:
                    report(progress.epoch, score(False, 0, progress.shortfall(), self.spec.max_epochs))
        finally:  # whether it has ended or was stopped
            self._trainer.release()
            outcome = progress.outcome(0.0, progress.end or End.CAP)
            if not fresh and self._score(outcome) < self._best:
                self._best = self._score(outcome)
                epochs = outcome.epochs if outcome.converged else None
                self._say("best", epochs=epochs, gap=outcome.gap, params=params)
        return outcome

    def _score(self, outcome: Outcome) -> float:
        return score(outcome.converged, outcome.epochs, outcome.gap, self.spec.max_epochs)

    def _say(self, kind: str, **facts: Any) -> None:
        with self.events.open("a") as events:  # one short write, so that two processes share the file
            events.write(json.dumps({"time": time.time(), "kind": kind, **facts}) + "\n")


def optuna(bench: Bench, pruner: str = "") -> None:
    """Optuna with TPE, as in "Multi-process Optimization with JournalStorage" of its tutorial: a pool on one file.

    For several processes its documentation advises against SQLite.
    """
    in_processes(partial(optuna_process, bench, pruner), range(PROCESSES))


def optuna_process(bench: Bench, pruner: str, process: int) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    def objective(trial: optuna.Trial) -> float:
        def report(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return bench.run(suggest(bench.spec.space, trial), report if pruner else None)

    pruners = {
        "": optuna.pruners.NopPruner(),
        "sha": optuna.pruners.SuccessiveHalvingPruner(),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=bench.spec.max_epochs),
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name="race",
        storage=JournalStorage(JournalFileBackend("journal.log")),
        sampler=optuna.samplers.TPESampler(seed=derive(bench.seed, process) % (1 << 32)),  # or all begin alike
        pruner=pruners[pruner],
        load_if_exists=True,
    )
    study.optimize(objective)


def ray(bench: Bench) -> None:
    """Ray Tune with OptunaSearch over a define-by-run space, and ASHA.

    ASHA compares after 1, 4, 16 … epochs: by Ray's own count of reports its first look would be at networks that have
    not learned at all. Trials that are over count at every later look. One takes over another's process, which Tune's
    documentation has for short trials.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def trainable(params: dict[str, Any]) -> None:
        def report(epoch: int, value: float) -> None:
            tune.report({"epoch": epoch, "score": value})

        report(bench.spec.max_epochs, bench.run(params, report))

    goal = {"metric": "score", "mode": "min"}
    ray.init(
        num_cpus=PROCESSES,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(Path.cwd() / "ray"),
    )
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            **goal,
            search_alg=OptunaSearch(partial(suggest, bench.spec.space), **goal, seed=bench.seed),
            scheduler=ASHAScheduler(time_attr="epoch", max_t=bench.spec.max_epochs),
            num_samples=-1,
            max_concurrent_trials=PROCESSES,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd()), verbose=0),
    ).fit()


def keras(bench: Bench) -> None:
    """Keras Tuner's Hyperband, distributed as its guide says: one chief, and a process for each worker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    os.environ |= {"KERAS_BACKEND": "torch", "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    import keras_tuner  # noqa: F401, once: a script for each, as in its guide, takes 4 s longer

    in_processes(partial(keras_process, bench), ["chief", *(f"tuner{process}" for process in range(PROCESSES))])


def keras_process(bench: Bench, role: str) -> None:
    """A model that goes on to the next round is trained anew, which costs up to half more."""
    os.environ["KERASTUNER_TUNER_ID"] = role
    import keras_tuner

    class Tuner(keras_tuner.Hyperband):
        def run_trial(self, trial: Any) -> float:
            given = trial.hyperparameters
            params = {name: given.get(name) for name in bench.spec.space}
            return bench.run(consistent(params), epochs=given.get("tuner/epochs"))

    space = keras_tuner.HyperParameters()
    for name, dimension in bench.spec.space.items():
        if isinstance(dimension, Choices):
            space.Choice(name, list(dimension.values))
        else:
            number, kind = (space.Int, int) if dimension.whole else (space.Float, float)
            number(name, kind(dimension.low), kind(dimension.high), sampling="log" if dimension.log else "linear")
    Tuner(
        max_epochs=bench.spec.max_epochs,
        hyperband_iterations=1000,  # until it is killed
        seed=bench.seed,
        hyperparameters=space,
    ).search()


def in_processes(work: Callable[[Any], None], each: Sequence[Any]) -> None:
    """One process for each, all of them stopped if one fails."""
    with Pool(len(each)) as pool:
        list(pool.imap_unordered(work, each))


CONTENDERS: dict[str, Callable[[Bench], None]] = {
    "plain": optuna,
    "sha": partial(optuna, pruner="sha"),
    "hyperband": partial(optuna, pruner="hyperband"),
    "ray": ray,
    "keras": keras,
}

if __name__ == "__main__":
    tool, given, seed, enough = sys.argv[1:]
    spec = StudySpec.model_validate_json(given)
    problem: Waves | Samples = Waves(spec.inputs, spec.sigma)
    if spec.data:
        from search.spec.dataset import read  # which loads the store

        problem = read(Path(spec.data.name))[1]
    events = Path("events.jsonl").absolute()  # for Ray gives each trial a directory of its own
    CONTENDERS[tool](Bench(spec, problem, int(seed), int(enough), events))
    sys.exit(f"{tool} has ended by itself")
