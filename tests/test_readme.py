"""Every command in the README works, in its order, in an empty directory."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.support.service import served

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)]
COMMANDS = [line for block in BLOCKS for line in block]
SERVICE = next(block for block in BLOCKS if any("fewest serve" in line for line in block))
ASKING = next(block for block in BLOCKS if any("curl" in line for line in block))  # in another terminal
ALONE = [line for block in BLOCKS if block not in (SERVICE, ASKING) for line in block]
BIN = Path(sys.executable).parent
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, width, kernel=3):
        super().__init__()
        self.conv = nn.Conv2d(1, width, kernel, padding=kernel // 2)
        self.last = nn.Linear(16 * width, classes)

    def forward(self, x):
        hidden = nn.functional.max_pool2d(self.conv(x.view(-1, 1, 8, 8)).relu(), 2)
        return self.last(hidden.flatten(1))
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all commands: the later ones ask about what the first one launched, or read its data."""
    directory = tmp_path_factory.mktemp("readme")
    x, y = load_digits(return_X_y=True)
    np.savez(directory / "digits.npz", X=x, y=y)
    columns = ",".join([*(f"pixel {i}" for i in range(64)), "digit"])
    np.savetxt(directory / "digits.csv", np.column_stack([x, y]), "%g", ",", header=columns, comments="")
    (directory / "mynet.py").write_text(NET)
    return directory


@pytest.mark.parametrize("line", [line for line in ALONE if re.match(r"\.venv/bin/(fewest|python \w+\.py)", line)])
def test_command(line: str, directory: Path) -> None:
    """The command ends well and says something and no error."""
    name, *arguments = shlex.split(line.removeprefix(".venv/bin/"))
    done = subprocess.run([BIN / name, *arguments], cwd=directory, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() + done.stderr.strip() and "error" not in done.stderr
    if line.endswith("fewest launch"):
        assert "Winner for 256 classes" in done.stdout and "The question's model: not learned" in done.stdout


def test_the_service_answers_what_it_is_asked_from_another_terminal(directory: Path) -> None:
    """Token, service and two workers; then a study by curl, followed to its end, and its best by curl."""
    *before, serving = SERVICE
    assert "workers 2" in serving

    def run(*lines: str) -> str:
        script = "\n".join(lines).replace(".venv/bin/", f"{BIN}/").replace("127.0.0.1:8080", address)
        command = ["bash", "-eu", "-o", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stdout

    address = "none yet"
    run(*before)
    _, *options = shlex.split(serving.removeprefix(".venv/bin/fewest "))
    with served(directory, *options) as service:
        address = service.url.removeprefix("http://")
        said = run(*ASKING)
    assert '{"created":true,"study":"served"}' in said
    assert "Winner for 32 classes" in said and '"best":[{"rank":1' in said and "40 of 40 trials done" in said


@pytest.mark.parametrize("code", PYTHON)
def test_example(code: str, directory: Path) -> None:
    """The Python in it runs where the first command was run, and prints something."""
    done = subprocess.run([BIN / "python", "-c", code], cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "converged" in done.stdout


def test_set_up_is_two_commands_and_ci_runs_the_one_for_tests() -> None:
    """Installing for use and for tests are one line each; CI does nothing else than the second."""
    run, test = (line for line in COMMANDS if "pip install" in line)
    assert run == "python3 -m venv .venv && .venv/bin/pip install ."
    ci = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert ci.replace(" -q ", " ") == test
