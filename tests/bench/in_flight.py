"""What it costs a search to have many trials in flight: the best found, against trials in flight and workers.

`python -m tests.bench.in_flight [--trials 400] [--seeds 5] [--sampler tpe] [--at 50,100,200,400]` runs whole studies on
a SQLite store, asked and told in turn by so many workers with so many trials each, on every landscape of
`tests.bench.landscapes`; the oldest trial ends first. Printed is the mean, over landscapes and seeds, of the natural
logarithm of the fewest epochs after so many trials; a tenth more is a tenth more epochs.
"""

import argparse
import math
import random
import statistics
import tempfile
from collections import deque
from pathlib import Path

from search.ask.study import Study
from search.spec import stored_study
from search.spec.study_spec import StudySpec
from storage import leases
from storage.schema import RunKind
from storage.store import Store
from tests.bench.landscapes import CAP, LANDSCAPES, log_epochs, made, outcome

FLIGHTS = (1, 1), (1, 4), (1, 16), (1, 64), (4, 1), (16, 1)  # workers, and trials that each has in flight


def search(landscape: str, seed: int, sampler: str, trials: int, workers: int, each: int) -> list[float]:
    """The natural logarithm of the fewest epochs found so far, after each trial."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open(f"sqlite:///{Path(directory) / 'store.db'}", create=True)
        spec = StudySpec.of(seed=seed, sampler=sampler, max_epochs=CAP)
        record = store.write(stored_study.create, "s", spec, trials)
        views = [Study(store, record, store.write(leases.register, "w", "cpu", {})) for _ in range(workers)]
        flying, dice, best = deque(), random.Random(seed), [math.inf]
        while len(best) <= trials:
            for view in views if len(flying) < workers * each else ():
                run = view.ask([run.run_id for owner, run in flying if owner is view])
                if run:
                    flying.append((view, run))
            if len(flying) < min(workers * each, trials - len(best) + 1):
                continue
            view, run = flying.popleft()
            found = log_epochs(landscape, run.params, dice.gauss(0, 0.15))
            if run.kind is RunKind.TRIAL:
                best.append(min(best[-1], found))
            view.tell(run, view.trial(run), made(*outcome(found)))
        store.close()
        return best[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--at", default="50,100,200,400")
    arguments = parser.parse_args()
    at = [n for n in map(int, arguments.at.split(",")) if n <= arguments.trials] or [arguments.trials]
    print(f"| workers | in flight each | {' | '.join(f'after {n} trials' for n in at)} | loss in the end |")
    print("|---|---|" + "---|" * (len(at) + 1))
    alone = None
    for workers, each in FLIGHTS:
        curves = [
            search(landscape, seed, arguments.sampler, arguments.trials, workers, each)
            for landscape in LANDSCAPES
            for seed in range(arguments.seeds)
        ]
        found = [statistics.mean(curve[n - 1] for curve in curves) for n in at]
        alone = found[-1] if alone is None else alone
        means = " | ".join(f"{mean:.2f}" for mean in found)
        print(f"| {workers} | {each} | {means} | {found[-1] - alone:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
