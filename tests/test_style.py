"""The code passes strict typing and the linter, so that a review can be about something else."""

import subprocess
import sys
from pathlib import Path

import pytest

MYPY = pytest.param(["mypy"], marks=pytest.mark.slow)


@pytest.mark.parametrize("tool", [MYPY, ["ruff", "check", "."], ["ruff", "format", "--check", "."]])
def test_no_complaints(tool: list[str]) -> None:
    """The tool, with the settings of pyproject.toml, finds nothing."""
    done = subprocess.run([sys.executable, "-m", *tool], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
