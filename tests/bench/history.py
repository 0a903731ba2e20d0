"""What a bounded history costs and buys TPE: the time of a proposal, and how good the best of a search is.

`python -m tests.bench.history [--sizes 100,1000,10000] [--trials 1200] [--seeds 5]` prints two tables. The first: ms
per proposal of our TPE, over the 12 parameters of the default space, after so many trials, with Optuna's full history
and with `sampler_history`. The second: searches of `--trials` trials, one in four random, on each of the landscapes of
`tests.bench.landscapes`, with noise. Lower is better.
"""

import argparse
import math
import random
import statistics
import time
import warnings

import optuna
from optuna.storages import BaseStorage, InMemoryStorage

from search.ask.proposals import sampler
from search.ask.sampler_history import BEST, RECENT, SamplerHistory
from search.ask.scoring import score
from search.spec import space
from tests.bench.landscapes import CAP, LANDSCAPES, SPACE, log_epochs, outcome

EXPLORE = 4


def search(landscape: str, storage: BaseStorage, seed: int, trials: int) -> float:
    """The natural logarithm of the fewest epochs found."""
    study = optuna.create_study(storage=storage)
    samplers, dice, best = (sampler("tpe", seed), sampler("random", seed)), random.Random(seed), math.inf
    for number in range(trials):
        study.sampler = samplers[number % EXPLORE == EXPLORE - 1]
        trial = study.ask()
        found = log_epochs(landscape, space.suggest(SPACE, trial), dice.gauss(0, 0.15))
        study.tell(trial, score(*outcome(found), CAP))
        best = min(best, found)
    return best


def proposal(storage: BaseStorage, size: int, times: int = 20) -> float:
    """ms of one proposal of TPE after `size` trials with random scores."""
    study, dice = optuna.create_study(storage=storage, sampler=sampler("random", 0)), random.Random(0)
    for _ in range(size):
        trial = study.ask()
        space.suggest(SPACE, trial)
        study.tell(trial, dice.uniform(1, 600))
    study.sampler, began = sampler("tpe", 0), time.perf_counter()
    for _ in range(times):
        trial = study.ask()
        space.suggest(SPACE, trial)
        study.tell(trial, dice.uniform(1, 600))
    return (time.perf_counter() - began) / times * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,1000,10000")
    parser.add_argument("--trials", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print("| trials in the study | full history, ms per proposal | best and latest, ms per proposal |\n|---|---|---|")
    for size in map(int, arguments.sizes.split(",")):
        print(
            f"| {size:,} | {proposal(InMemoryStorage(), size):.1f} | {proposal(SamplerHistory(), size):.1f} |",
            flush=True,
        )
    print(f"\n| landscape | full history: mean log epochs of the best | the best {BEST} and latest {RECENT} | better |")
    print("|---|---|---|---|")
    for landscape in LANDSCAPES:
        pairs = [
            [search(landscape, storage(), seed, arguments.trials) for storage in (InMemoryStorage, SamplerHistory)]
            for seed in range(arguments.seeds)
        ]
        full, bounded = (statistics.mean(column) for column in zip(*pairs, strict=True))
        better = sum(b < a for a, b in pairs)
        print(f"| {landscape} | {full:.3f} | {bounded:.3f} | {better} of {arguments.seeds} |", flush=True)


if __name__ == "__main__":
    main()
