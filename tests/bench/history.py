"""What a bounded history costs and buys TPE: the time of a proposal, and how good the best of a search is.

`python -m tests.bench.history [--sizes 100,1000,10000] [--trials 1200] [--seeds 5]` prints two tables. The first: ms
per proposal of our TPE, over the 12 parameters of the default space, after so many trials, with Optuna's full history
and with `search.mirror`. The second: searches of `--trials` trials on three landscapes whose outcome is a formula; each
has a best activation and optimizer, a valley of learning rate, gain and first-layer ratio, noise, and misses above 300
epochs; one hides the good activations behind a step, one has a region that is good at first and ends badly. Lower is
better.
"""

import argparse
import math
import random
import statistics
import time
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage

from objectives.configuration import CHOICES
from search import space
from search.mirror import BEST, RECENT, Mirror
from search.scoring import score
from search.spec import StudySpec
from search.study import EXPLORE, sampler

CAP = 300
LANDSCAPES = ("smooth", "step", "trap")
SPACE = StudySpec.of().space


def log_epochs(landscape: str, params: Mapping[str, Any], noise: float) -> float:
    """The outcome of a configuration: the natural logarithm of its epochs, or of what it would need past the cap.

    About 10 at best, so that the search is not over when it finds an epoch more than the least.
    """
    order = {name: place for choices in CHOICES.values() for place, name in enumerate(reversed(choices))}
    found = 2.5 + 0.4 * order[params["activation"]] + 0.25 * order[params["optimizer"]] + 0.2 * order[params["scaling"]]
    found += 1.2 * (math.log10(params["lr"]) + 2) ** 2
    found += 0.8 * (math.log10(params["gain"]) + math.log10(params["first_lr_ratio"]) / 2 - 0.6) ** 2
    found += 0.4 * max(0.0, 3 - math.log10(params["width"])) ** 2 + 0.5 * (params["hidden_layers"] - 1)
    found += 0.5 * order[params["bias_init"]] + 0.5 * order[params["batch_sampling"]]
    if landscape == "step" and order[params["activation"]] > 1:
        found += 3.0
    if landscape == "trap" and params["activation"] in ("relu", "gelu"):
        found += -1.0 if found > 3 else 1.5
    return found + noise


def search(landscape: str, storage: BaseStorage, seed: int, trials: int) -> float:
    """The natural logarithm of the fewest epochs found, exploring as a study does."""
    study = optuna.create_study(storage=storage)
    samplers, dice, best = (sampler("tpe", seed), sampler("random", seed)), random.Random(seed), math.inf
    for number in range(trials):
        study.sampler = samplers[number % EXPLORE == EXPLORE - 1]
        trial = study.ask()
        found = log_epochs(landscape, space.suggest(SPACE, trial), dice.gauss(0, 0.15))
        hit, epochs = found <= math.log(CAP), max(1, round(math.exp(min(found, 10.0))))
        gap = 1 - math.exp(-(max(found, math.log(CAP)) - math.log(CAP)) / 4)
        study.tell(trial, score(hit, epochs, gap, CAP))
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
        print(f"| {size:,} | {proposal(InMemoryStorage(), size):.1f} | {proposal(Mirror(), size):.1f} |", flush=True)
    print(f"\n| landscape | full history: mean log epochs of the best | the best {BEST} and latest {RECENT} | better |")
    print("|---|---|---|---|")
    for landscape in LANDSCAPES:
        pairs = [
            [search(landscape, storage(), seed, arguments.trials) for storage in (InMemoryStorage, Mirror)]
            for seed in range(arguments.seeds)
        ]
        full, bounded = (statistics.mean(column) for column in zip(*pairs, strict=True))
        better = sum(b < a for a, b in pairs)
        print(f"| {landscape} | {full:.3f} | {bounded:.3f} | {better} of {arguments.seeds} |", flush=True)


if __name__ == "__main__":
    main()
