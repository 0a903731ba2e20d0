"""Every benchmark that the README names runs."""

import subprocess
import sys

import pytest

from tests.test_readme import COMMANDS, ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "short", "said"),
    [
        ("seeds", "--seeds 1 --trials 30 --classes 8 --inputs 16 --max-epochs 30", "of 1 winners converge within"),
        ("time_to_best", "--seeds 1 --contenders ours,sha --seconds 5 --equal-time --case noisy", "| sha |"),
        ("class_counts", "--classes 8,16 --trials 30 --scale 0.01", "| 16 | > 30 (accuracy"),
        ("in_flight", "--seeds 1 --trials 20 --at 10,20", "| 16 | 1 |"),
        ("kill --kills 100", "--kills 1 --trials 20 --each 5", "| Postgres | 16 | 80 |"),
        ("storage", "--sizes 0 --trials 3 --rounds 1", "| Postgres | 0 |"),
        ("workers", "--workers 2 --seconds 0.1 --wall 2", "| 600 s |"),
        ("load", "--clients 4 --workers 2 --seconds 0.02 --pairs 1 --wall 2", "requests, 0 errors"),
        ("queries", "--trials 200 --times 1", "| Postgres | a look |"),
        ("history", "--sizes 20 --trials 15 --seeds 1", "| trap |"),
        ("training", "--rounds 1 --cases mixed", "| mixed | eager, fused, unread |"),
        ("advice", "--misses 3 --trials 20 --classes 8 --inputs 16 --max-epochs 20", "the first advice helped in"),
        ("trainers", "--seeds 1 --trainers auto --trials 15 --classes 8 --inputs 16", "| auto |"),
    ],
)
def test_a_benchmark_runs(name: str, short: str, said: str) -> None:
    """Each of the README's benchmarks prints its table, here a short form of it."""
    assert f".venv/bin/python -m tests.bench.{name}" in COMMANDS
    command = [sys.executable, "-m", f"tests.bench.{name.split()[0]}", *short.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
