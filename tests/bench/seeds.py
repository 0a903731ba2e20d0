"""Does `fewest launch` find and confirm a fast configuration, whatever the seed?

`python -m tests.bench.seeds [--seeds 10] [LAUNCH OPTIONS …]` runs `fewest launch --seed S` for S = 0, 1, … in an
empty directory each and prints, as Markdown, the winner's epochs, its replicates, when the study first knew a
configuration of at most 5 epochs, and the wall time of the whole command. Raw answers go to stderr as JSON lines.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENOUGH_EPOCHS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    arguments, options = parser.parse_known_args()
    print(
        f"`fewest launch --seed S {' '.join(options)}` on {len(os.sched_getaffinity(0))} cores, {platform.machine()}\n"
    )
    print("| seed | winner's epochs | replicates | their epochs | trials converged | wall seconds | winner |")
    print("|---|---|---|---|---|---|---|")
    good, walls = 0, []
    for seed in range(arguments.seeds):
        answer, wall = launch(seed, options)
        print(json.dumps({"seed": seed, "wall": wall, **answer}), file=sys.stderr, flush=True)
        winner, walls = answer["winner"], [*walls, wall]
        if winner is None:
            print(f"| {seed} | none | | | {answer['status']['converged']} | {wall:.0f} | |", flush=True)
            continue
        quick = sum(epochs <= ENOUGH_EPOCHS for epochs in winner["replicate_epochs"])
        good += winner["epochs"] <= ENOUGH_EPOCHS and quick >= 4
        again = f"{winner['replicates_converged']}/{winner['replicates']}"
        print(
            f"| {seed} | {winner['epochs']} | {again} | {winner['replicate_epochs']} "
            f"| {answer['status']['converged']} | {wall:.0f} | {winner['params']} |",
            flush=True,
        )
    said = f"{good} of {arguments.seeds} winners converge within {ENOUGH_EPOCHS} epochs, also on 4 of 5 fresh seeds"
    print(f"\n{said}; median {statistics.median(walls):.0f} s, worst {max(walls):.0f} s")


def launch(seed: int, options: list[str]) -> tuple[dict[str, dict], float]:
    """The answer of one `fewest launch` and its wall seconds."""
    command = [str(Path(sys.executable).parent / "fewest"), "launch", "--seed", str(seed), "--format", "json", *options]
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        return json.loads(done.stdout), time.perf_counter() - started


if __name__ == "__main__":
    main()
