"""The default study with each trainer: does the trial array get there sooner?

`python -m tests.bench.trainers [--seeds 5] [--trainers auto,array,solo] [LAUNCH OPTIONS …]` runs `fewest launch
--trainer T --seed S`, alternating the trainers, in an empty directory each. Per trainer: median trials per second from
the first trial's start to the last one's end, and seconds from that start until a configuration of at most 3 epochs was
known; then the ratios to the last trainer, seed by seed. Raw figures go to stderr as JSON lines.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ENOUGH_EPOCHS = 3
FIRST = (
    "SELECT (SELECT min(finished) FROM fewest_runs WHERE kind = 'trial' AND converged "
    f"AND epochs <= {ENOUGH_EPOCHS}) - min(started), count(*) / (max(finished) - min(started)) "
    "FROM fewest_runs WHERE kind = 'trial'"
)


def launched(trainer: str, seed: int, options: list[str]) -> dict[str, float | None]:
    """Seconds to the first good configuration (None if there was none) and trials per second of one launch."""
    command = [
        str(Path(sys.executable).parent / "fewest"),
        "launch",
        "--trainer",
        trainer,
        "--seed",
        str(seed),
        *options,
    ]
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(command, cwd=directory, capture_output=True, check=True)
        first, rate = sqlite3.connect(Path(directory) / "fewest.db").execute(FIRST).fetchone()
    print(json.dumps({"trainer": trainer, "seed": seed, "first": first, "rate": rate}), file=sys.stderr, flush=True)
    return {"first": first, "rate": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trainers", default="auto,array,solo")
    arguments, options = parser.parse_known_args()
    trainers = arguments.trainers.split(",")
    found = [{trainer: launched(trainer, seed, options) for trainer in trainers} for seed in range(arguments.seeds)]
    said = f"`fewest launch --trainer T --seed S {' '.join(options)}`".replace(" `", "`")
    print(f"{said} for {arguments.seeds} seeds on {len(os.sched_getaffinity(0))} cores, {platform.machine()}\n")
    columns = (
        "trials per second: median",
        "seconds to ≤ 3 epochs: median, worst",
        f"trials per second ÷ {trainers[-1]}'s",
    )
    print(f"| trainer | {' | '.join(columns)} |")
    print("|---|---|---|---|")
    for trainer in trainers:
        rates, firsts = ([each[trainer][what] for each in found] for what in ("rate", "first"))
        known = [first for first in firsts if first is not None]
        reached = f"{statistics.median(known):.1f}, {max(known):.1f}" if known else "–"
        missed = f" ({len(firsts) - len(known)} without)" if len(known) < len(firsts) else ""
        ratios = [each[trainer]["rate"] / each[trainers[-1]]["rate"] for each in found]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {trainer} | {statistics.median(rates):.1f} | {reached}{missed} | {spread} |")


if __name__ == "__main__":
    main()
