"""Every command in a README works: the long ones in their order in an empty directory, the rest on a short search."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.support.command import command
from tests.support.service import served

ROOT = Path(__file__).parents[1]
FIRST = ROOT / "README.md"
READMES = [
    FIRST,
    *sorted(path for part in ("objectives", "search", "storage", "tests") for path in (ROOT / part).rglob("README.md")),
]
TEXT = "\n".join(path.read_text() for path in READMES)
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.M | re.S)]
COMMANDS = list(dict.fromkeys(line for block in BLOCKS for line in block))
SERVICE = next(block for block in BLOCKS if any("fewest serve" in line for line in block))
ASKING = next(block for block in BLOCKS if any("curl" in line for line in block))  # in another terminal
ALONE = [line for line in COMMANDS if line not in (*SERVICE, *ASKING)]
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


#: How those begin that take long; they are started as users do.
LONG = (
    "fewest launch",
    "fewest best --study small",
    "fewest ladder",
    "fewest train --preset",
    "fewest export",
    "python ",
)
LINES = [line.removeprefix(".venv/bin/") for line in ALONE if re.match(r"\.venv/bin/(fewest|python \w+\.py)", line)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all long commands: the later ones begin with what the first one found, or read its data."""
    directory = tmp_path_factory.mktemp("readme")
    x, y = load_digits(return_X_y=True)
    np.savez(directory / "digits.npz", X=x, y=y)
    columns = ",".join([*(f"pixel {i}" for i in range(64)), "digit"])
    np.savetxt(directory / "digits.csv", np.column_stack([x, y]), "%g", ",", header=columns, comments="")
    (directory / "mynet.py").write_text(NET)
    return directory


@pytest.fixture(scope="module")
def launched(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a finished study, as the first command leaves one."""
    directory = tmp_path_factory.mktemp("launched")
    shutil.copy(searched / "fewest.db", directory)
    return directory


def ended_well(done: subprocess.CompletedProcess[str]) -> None:
    """The command says something and no error."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() + done.stderr.strip() and "error" not in done.stderr


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith(LONG)])
def test_command(line: str, launched: Path) -> None:
    """It ends well where a search has been."""
    ended_well(command(launched, *shlex.split(line)[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in LINES if line.startswith(LONG)])
def test_long_command(line: str, directory: Path) -> None:
    """It ends well in the directory of those before it."""
    name, *arguments = shlex.split(line)
    done = subprocess.run([BIN / name, *arguments], cwd=directory, capture_output=True, text=True, timeout=300)
    ended_well(done)
    if line == "fewest launch":
        assert "Winner for 256 classes" in done.stdout and "The question's model: not learned" in done.stdout


@pytest.mark.slow
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
def test_example(code: str, launched: Path) -> None:
    """The Python in it runs where a search has been, and prints something."""
    done = subprocess.run([BIN / "python", "-c", code], cwd=launched, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "converged" in done.stdout


def test_the_first_screen_leads_everywhere() -> None:
    """The first README is short, and links every other one; no link of any leads nowhere."""
    assert len(FIRST.read_text().splitlines()) <= 150
    links = {path: re.findall(r"\]\((?!http)([^)#]+)", path.read_text()) for path in READMES}
    for path, targets in links.items():
        assert all((path.parent / target).exists() for target in targets), path
    linked = {(ROOT / target).resolve() for target in links[FIRST]}
    assert {path.resolve() for path in READMES[1:]} <= linked


def test_set_up_is_two_commands_and_ci_runs_the_one_for_tests() -> None:
    """Installing for use and for tests are one line each; CI does nothing else than the second and the slow tests."""
    run, test = (line for line in COMMANDS if "pip install" in line)
    assert run == "python3 -m venv .venv && .venv/bin/pip install ."
    ci = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert ci.replace(" -q ", " ") == f"{test} && .venv/bin/pytest -m slow"
