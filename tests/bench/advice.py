"""Does the advice of `fewest why` help when it is followed?

`python -m tests.bench.advice [--misses 20] [--seed 0] [LAUNCH OPTIONS …]` launches a study in an empty directory, draws
misses of it, asks why, and trains each on fresh seeds for as many epochs as it is, with the first advice, and with all
of it. Prints one line a miss, then how often the advice helped, by cause.
"""

import argparse
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from objectives.configuration import Configuration
from objectives.convergence import Trial
from search.answer.why.miss_diagnosis import Tried
from search.answer.why.why import MOST_EPOCHS, Why
from search.query import runs as query
from search.query.records import RunRecord
from search.spec import stored_study
from search.spec.dataset import stored
from search.spec.study_spec import derive
from storage.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--misses", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as directory:
        command = [str(Path(sys.executable).parent / "fewest"), "launch", "--seed", str(arguments.seed), *options]
        subprocess.run(command, cwd=directory, capture_output=True, check=True)
        store = Store.open(f"sqlite:///{directory}/fewest.db")
        record = store.read(stored_study.find, "default")
        missed = [row.trial for row in store.read(query.trials, record) if row.end == "cap"]
        drawn = random.Random(arguments.seed).sample(missed, min(arguments.misses, len(missed)))
        spec = record.spec
        why = Why(spec, stored(spec, store))
        print(f"`fewest launch {' '.join(options)}` on {len(os.sched_getaffinity(0))} cores, {platform.machine()}\n")
        print("| trial | causes | accuracy | with the first advice | with all of it |")
        print("|---|---|---|---|---|")
        found = [followed(why, store.read(query.trial, record, number)) for number in drawn]
    told = Counter(cause for cause, _, _ in found)
    first, every = (
        Counter(cause for cause, helped, _ in found if helped),
        Counter(c for c, _, helped in found if helped),
    )
    for cause, n in told.most_common():
        print(f"\n{cause}: the first advice helped in {first[cause]} of {n}, all of it in {every[cause]}", end="")
    print(f"\n\nin all: the first advice helped in {first.total()} of {len(found)}, all of it in {every.total()}")


def followed(why: Why, row: RunRecord) -> tuple[str, bool, bool]:
    """The first cause of a miss, and whether on fresh seeds its advice helped, and all there was."""
    steps = why.steps(row)
    seeds = (derive(0, what, row.trial) for what in ("advice", "its data"))
    trials = [Trial(0, Configuration.of(row.params), *seeds, min(max(row.epochs, 1), MOST_EPOCHS))]
    for step in steps:
        trials.append(why.changed(trials[-1], step.finding.advice))
    tried = [Tried.of(why.trained(trial)) for trial in (trials[0], trials[min(1, len(steps))], trials[-1])]
    words = (f"{each.accuracy:.2f}{f', converged after {each.epochs}' if each.converged else ''}" for each in tried)
    print(f"| {row.trial} | {', then '.join(step.finding.cause for step in steps)} | {' | '.join(words)} |", flush=True)
    own, first, every = tried
    return steps[0].finding.cause if steps else "nothing found", first.better_than(own), every.better_than(own)


if __name__ == "__main__":
    main()
