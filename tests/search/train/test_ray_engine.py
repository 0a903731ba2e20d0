"""A Ray cluster of two nodes on this machine's loopback, without our code: one is lost in mid-study, and N is exact."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from search.spec import stored_study
from storage.schema import RunState, runs, workers
from storage.store import Store
from tests.search.train.test_engine import SLOW
from tests.support.command import FEWEST, Fewest
from tests.support.nodes import LOOPBACK
from tests.support.swarm import checked, work

POSTGRES_ONLY = pytest.mark.parametrize("url", ["postgres"], indirect=True)  # which several machines can share
PASSWORD = "s3cret"  # which the server, that trusts everybody, does not look at

#: A module of one's own, whose trials a signal finds running where Ray has put it.
DISTANT = """
import time
from torch import nn

class Net(nn.Linear):
    def __init__(self, inputs, classes):
        super().__init__(inputs, classes)

    def forward(self, x):
        time.sleep(0.01 * ("py_modules" in __file__))
        return super().forward(x)
"""
OWN = ["--objective", "distant:Net", "--classes", "8", "--inputs", "16", "--max-epochs", "10", "--fix", "lr=1e-5"]


@dataclass(frozen=True)
class Nodes:
    """A running cluster."""

    address: str
    #: Processes of the raylets, the head's first.
    raylets: tuple[int, ...]
    #: Directory of all that Ray writes.
    session: Path


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two nodes of two CPUs each that have what we depend on, but not us; nothing of Ray's is left behind."""
    venv = tmp_path_factory.mktemp("node")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = sysconfig.get_path("purelib", vars={"base": str(venv)})
    ours = {file.parts[0] for file in metadata.files("fewest") or ()}
    for installed in Path(sysconfig.get_path("purelib")).iterdir():
        if installed.name not in ours:
            Path(site, installed.name).symlink_to(installed)
    command = [venv / "bin" / "python", "-P", Path(__file__).parents[2] / "support" / "nodes.py", "2", "2"]
    assert subprocess.run([*command[:2], "-c", "import search"], cwd=venv, capture_output=True).returncode == 1
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=venv, text=True, **pipes) as cluster:
        assert cluster.stdout
        said = json.loads(cluster.stdout.readline())
        theirs = psutil.Process(cluster.pid).children(recursive=True)
        yield Nodes(said["address"], tuple(said["raylets"]), Path(said["session"]))
        assert cluster.stdin
        cluster.stdin.close()
        cluster.wait(30)
    assert not psutil.wait_procs(theirs, timeout=10)[1]


def ray(nodes: Nodes, url: str, cwd: Path, *options: str) -> subprocess.Popen[str]:
    """A launch on these nodes."""
    return subprocess.Popen(
        [FEWEST, "launch", "--engine", "ray", "--address", nodes.address, "--study", "swarm", *options],
        cwd=cwd,
        env=os.environ | LOOPBACK | {"FEWEST_STORAGE": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def busy(store: Store) -> set[int]:
    """Processes of the workers with a trial."""
    held = sa.select(workers.c.process).join(runs, runs.c.worker_id == workers.c.worker_id)
    return set(store.read(lambda connection: connection.scalars(held.where(runs.c.state == RunState.RUNNING)).all()))


def caught(url: str, launched: subprocess.Popen[str], found: Callable[[set[int]], bool]) -> None:
    """Wait until the workers that train are as wanted."""
    store = None
    while launched.poll() is None:
        time.sleep(0.1)
        with suppress(Exception):  # it is still being made
            store = store or Store.open(url)
            if found(busy(store)):
                return store.close()
    raise AssertionError(f"the launch has ended: {launched.communicate()[1]}")


def of(raylet: int) -> list[psutil.Process]:
    """The processes of a node."""
    return [psutil.Process(raylet), *psutil.Process(raylet).children(recursive=True)]


def shown() -> str:
    """The command lines of all processes."""
    return subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True).stdout


def states(url: str) -> list[str]:
    """Those of the study's runs."""
    store = Store.open(url)
    found = store.read(lambda connection: list(connection.scalars(sa.select(runs.c.state))))
    store.close()
    return found


def books(url: str, trials: int) -> Counter[str]:
    """How many attempts ended in which way; asserts that every trial has one outcome."""
    store = Store.open(url)
    record = store.read(stored_study.find, "swarm")
    store.close()
    return checked(url, record, trials)


def test_without_ray_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    """Exit status 1, and nothing is stored."""
    blocked = "import sys; sys.modules['ray'] = None; from search.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "launch", "--engine", "ray"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: `--engine ray` needs Ray; pip install 'fewest[ray]'\n"
    assert not list(tmp_path.iterdir())


def test_an_address_without_a_cluster_is_told_at_once(fewest: Fewest) -> None:
    """Exit status 1 and one line, long before Ray would give up."""
    began = time.monotonic()
    done = fewest("launch", "--engine", "ray", "--address", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "") and time.monotonic() - began < 30
    assert done.stderr == "error: no Ray cluster listens at 127.0.0.1:1: Connection refused\n"


@pytest.mark.slow
def test_sqlite_is_refused_where_the_cluster_is_of_several_machines(nodes: Nodes, tmp_path: Path) -> None:
    """Exit status 2 and one line with the reason, and no file is made."""
    process = ray(nodes, "sqlite:///store.db", tmp_path, "--trials", "1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("error: a SQLite file is of one machine") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@POSTGRES_ONLY
def test_ctrl_c_drains_the_nodes_and_any_worker_goes_on(
    nodes: Nodes, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of one's own is trained where it is not; SIGINT: exit 130, what ran is told, the rest is done here."""
    (tmp_path / "distant.py").write_text(DISTANT)
    with ray(nodes, url, tmp_path, "--workers", "2", "--trials", "8", *OWN) as process:
        caught(url, process, bool)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "nothing is lost" in err
    found = states(url)
    assert len(found) < 8 and set(found) == {RunState.DONE}
    monkeypatch.syspath_prepend(tmp_path)
    work(url)
    assert books(url, 8) == {"done": 8}


@pytest.mark.slow
@POSTGRES_ONLY
def test_ctrl_c_reaches_workers_that_have_only_begun(nodes: Nodes, url: str, tmp_path: Path) -> None:
    """They leave before they take a trial, although their node was told to ignore it."""
    with ray(nodes, url, tmp_path, "--workers", "1", "--trials", "8", *SLOW) as process:
        while "search.cli.main worker --device cpu --study swarm" not in shown() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert RunState.DONE not in states(url)


@pytest.mark.slow
@POSTGRES_ONLY
def test_a_lost_node_costs_no_trial_and_repeats_none(nodes: Nodes, url: str, tmp_path: Path) -> None:
    """SIGKILL to a node and all its workers in mid-trial: they start again on the other node, and N is exact.

    The password of the storage URL is then in no command line, and in nothing that Ray has written.
    """
    url, lost = url.replace("postgres:@", f"postgres:{PASSWORD}@"), nodes.raylets[1]
    with ray(nodes, url, tmp_path, "--workers", "2", "--trials", "3", "--format", "json", *SLOW) as process:
        caught(url, process, lambda found: bool(found & {each.pid for each in of(lost)}))
        lines = shown()
        for each in of(lost):
            each.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert json.loads(out)["status"]["done"] == 3
    assert books(url, 3)["expired"] >= 1
    written = [file for file in nodes.session.rglob("*") if file.is_file()]
    assert "search.cli.main worker" in lines and PASSWORD not in lines
    assert written and not [file for file in written if PASSWORD.encode() in file.read_bytes()]
