"""How soon is a fast configuration known and confirmed, and how fast is it after a while: `fewest` and other tools.

`python -m tests.bench.time_to_best [--seeds 10] [--first-seed 0] [--seconds 120] [--contenders ours,plain,sha,…]
[--case default]` prints, as Markdown, the seconds until a configuration of at most 3 epochs is known, and until it is
confirmed: it has converged on 5 of 5 fresh seeds too, on most of them in as few. With `--equal-time` everybody searches
for all the seconds, and the table has the fewest epochs known by then. `--case` is one or more of CASES, with commas.

The clock runs from the start of a contender's first process, imports and all; start-up is the part of it before the
first trial. For each seed the contenders take turns in a rotating order; a seed that does not get there in time counts
as longer than that. They are in contenders.py; `pip install '.[bench]'` has what they need, and one that is not
installed is left out. Every row goes to stderr as a line of JSON.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import typer

from search.cli import main as cli
from search.spec import parsing as options
from search.spec.study_spec import StudySpec

ENOUGH_EPOCHS = 3
POLL_SECONDS = 0.05
#: Whom to compare, and the package that it takes.
CONTENDERS = {"ours": "search", "plain": "optuna", "sha": "optuna", "hyperband": "optuna"}
CONTENDERS |= {"ray": "ray", "keras": "keras_tuner"}
#: Options of `fewest launch`.
CASES = {
    "default": "",
    "local-free": "--choices activation=sigmoid,tanh,relu,gelu,silu",
    "1024": "--classes 1024",
    "noisy": "--sigma 1e-3",
    "raw": "--fix scaling=none --fix gain=1",
    "digits": "--data {digits} --target 0.97",
}
#: What contenders.py writes to `events.jsonl`, from our own store.
OUR_EVENTS = f"""
SELECT 'begin' AS kind, min(started) AS time, NULL AS epochs, NULL AS gap FROM fewest_runs HAVING time
UNION ALL SELECT 'best', finished, CASE WHEN converged THEN epochs END, gap FROM fewest_runs
WHERE kind = 'trial' AND finished IS NOT NULL
UNION ALL SELECT 'confirmed', max(again.finished), own.epochs, NULL FROM fewest_runs AS own JOIN fewest_runs AS again
ON again.trial = own.trial AND own.kind = 'trial' AND again.kind = 'replicate'
WHERE own.converged AND own.epochs <= {ENOUGH_EPOCHS} GROUP BY own.trial
HAVING sum(again.converged) = 5 AND sum(again.epochs <= {ENOUGH_EPOCHS}) >= 3"""


@dataclass(frozen=True)
class Row:
    """What one contender came to with one seed; seconds from its start, infinite for what it did not get to."""

    contender: str
    seed: int
    startup: float
    known: float
    confirmed: float
    #: Fewest found; infinite if nothing converged.
    epochs: float
    #: Least of the trials that missed.
    gap: float

    @classmethod
    def of(cls, contender: str, seed: int, events: Sequence[dict[str, Any]]) -> "Row":
        best = [event for event in events if event["kind"] == "best"]
        hits = [event for event in best if event["epochs"] is not None]
        return cls(
            contender,
            seed,
            startup=least(event["time"] for event in events if event["kind"] == "begin"),
            known=least(event["time"] for event in hits if event["epochs"] <= ENOUGH_EPOCHS),
            confirmed=least(event["time"] for event in events if event["kind"] == "confirmed"),
            epochs=least(event["epochs"] for event in hits),
            gap=least(event["gap"] for event in best if event["epochs"] is None),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--case", default="default")
    parser.add_argument("--equal-time", action="store_true")
    asked = parser.parse_args()
    names = [name for name in asked.contenders.split(",") if importlib.util.find_spec(CONTENDERS[name])]
    for name in set(asked.contenders.split(",")) - set(names):
        print(f"{name} is left out: {CONTENDERS[name]} is not installed", file=sys.stderr)
    print(f"{asked.seeds} seeds, {asked.seconds:g} s, {len(os.sched_getaffinity(0))} cores, {platform.machine()}")
    for case in asked.case.split(","):
        rows: dict[str, list[Row]] = {name: [] for name in names}
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            turn = seed % len(names)
            for name in names[turn:] + names[:turn]:
                row = raced(case, name, seed, asked.seconds, 0 if asked.equal_time else ENOUGH_EPOCHS)
                rows[name].append(row)
                raw = {name: None if value == math.inf else value for name, value in vars(row).items()}
                print(json.dumps({"case": case, **raw}), file=sys.stderr, flush=True)
        shown = f"fewest launch {CASES[case]}".format(digits="digits.npz").strip()
        print(f"\nCase {case}: `{shown}`\n")
        print("\n".join(equal_time(rows) if asked.equal_time else time_to_best(rows, asked.seconds)), flush=True)


def raced(case: str, contender: str, seed: int, seconds: float, enough: int) -> Row:
    """Run a contender until it has confirmed a configuration of at most `enough` epochs, or all the seconds for 0."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        directory = Path(name)
        chosen = launch_options(case, directory)
        if contender == "ours":
            command = [str(Path(sys.executable).parent / "fewest"), "launch", *chosen, "--seed", str(seed)]
            command += ["--trials", "1000000", "--timeout", str(seconds)]
            command += ["--until-epochs", str(enough)] if enough else []
        else:  # -P: tests/bench/storage.py must not stand in for our package of that name
            command = [sys.executable, "-P", str(Path(__file__).absolute().with_name("contenders.py"))]
            command += [contender, spec(chosen).model_dump_json(), str(seed), str(enough)]
        began = time.time()
        run(command, directory, began + seconds)
        found = our_events(directory) if contender == "ours" else map(json.loads, written(directory).splitlines())
        events = [event | {"time": event["time"] - began} for event in found]
    return Row.of(contender, seed, [event for event in events if event["time"] <= seconds])


def launch_options(case: str, directory: Path) -> list[str]:
    """The options of a case, and the files that they name."""
    digits = directory / "digits.npz"
    if "{digits}" in CASES[case]:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        np.savez(digits, X=x, y=y)
    return CASES[case].format(digits=digits).split()


def spec(chosen: Sequence[str]) -> StudySpec:
    """The spec that `fewest launch` makes of these options."""
    given = typer.main.get_command(cli.app).commands["launch"].make_context("launch", list(chosen)).params
    searched = options.dimensions(given["fix"] or (), given["range_"] or (), given["choices"] or ())
    wanted = {name: given[name] for name in ("inputs", "sigma", "target", "hold", "max_epochs")}
    return options.study_spec(given["classes"], given["data"], searched, **wanted)[0]


def run(command: Sequence[str], directory: Path, until: float) -> None:
    """Run a command until it ends, has confirmed something or its time is over; then kill all that it has started."""
    with (directory / "said").open("w+b") as said:
        process = psutil.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        while time.time() < until and process.poll() is None:
            if '"confirmed"' in written(directory):
                break
            time.sleep(POLL_SECONDS)
        if process.poll():
            sys.exit(f"{' '.join(command)}\nended with status {process.poll()}:\n{(directory / 'said').read_text()}")
        family = [process, *process.children(recursive=True)] if process.is_running() else []
        for member in family:  # parents first: some start another child for one that dies
            member.kill()
        psutil.wait_procs(family)


def written(directory: Path) -> str:
    """What a contender has written so far."""
    events = directory / "events.jsonl"
    return events.read_text() if events.exists() else ""


def our_events(directory: Path) -> list[dict[str, Any]]:
    """What it would have written of us."""
    with closing(sqlite3.connect(directory / "fewest.db")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(OUR_EVENTS)]


def time_to_best(rows: dict[str, list[Row]], seconds: float) -> list[str]:
    """The table of seconds until a configuration was known and confirmed."""
    goals = {f"≤ {ENOUGH_EPOCHS} epochs known": "known", "confirmed 5 of 5": "confirmed"}
    heads = " | ".join(f"{goal}: median s, worst, seeds" for goal in goals)
    late, medians, ratios = f">{seconds:g}", {}, []
    lines = [f"| contender | {heads} | start-up: median s |", "|---|---|---|---|"]
    for name, own in rows.items():
        cells = []
        for field in goals.values():
            times = [getattr(row, field) for row in own]
            medians[name, field] = median(times)
            reached = f"{sum(map(math.isfinite, times))}/{len(own)}"
            cells.append(f"{said(median(times), late)}, {said(max(times), late)}, {reached}")
        lines.append(f"| {name} | {' | '.join(cells)} | {said(median(row.startup for row in own), late)} |")
    others = [name for name in rows if name != "ours"]
    for goal, field in goals.items() if others and len(others) < len(rows) else ():
        best = min(others, key=lambda name: medians[name, field])
        bound = "" if math.isfinite(medians[best, field]) else "< "
        ratios.append(f"{goal} {bound}{medians['ours', field] / min(medians[best, field], seconds):.2f} ({best})")
    return [*lines, "", f"Our median ÷ the best contender's: {', '.join(ratios)}"] if ratios else lines


def equal_time(rows: dict[str, list[Row]]) -> list[str]:
    """The table of the fewest epochs known when the time was over."""
    lines = ["| contender | fewest epochs by seed | median | seeds that converged | least gap |", "|---|" + "---|" * 4]
    for name, own in rows.items():
        epochs = [row.epochs for row in own]
        found = sum(map(math.isfinite, epochs))
        gap = "" if found else said(min(row.gap for row in own), "", 3)
        each = " ".join(said(count, "–", 0) for count in epochs)
        lines.append(f"| {name} | {each} | {said(median(epochs), '–')} | {found}/{len(own)} | {gap} |")
    return lines


def said(value: float, never: str, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else never


def least(values: Iterable[float]) -> float:
    return min(values, default=math.inf)


if __name__ == "__main__":
    main()
