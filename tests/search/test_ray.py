"""A Ray cluster of two nodes on this machine's loopback: one is lost in mid-study, and the budget stays exact."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from storage import studies
from storage.schema import RunState, runs, workers
from storage.store import Store
from tests.conftest import FEWEST
from tests.nodes import LOOPBACK
from tests.search.test_launch import SLOW
from tests.swarm import checked

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Nodes:
    """A running cluster."""

    address: str
    #: Processes of the raylets, the head's first.
    raylets: tuple[int, ...]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes of four CPUs each; nothing of Ray's is left behind."""
    command = [sys.executable, "-m", "tests.nodes", "2", "4"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as cluster:
        assert cluster.stdout
        said = json.loads(cluster.stdout.readline())
        theirs = psutil.Process(cluster.pid).children(recursive=True)
        yield Nodes(said["address"], tuple(said["raylets"]))
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


def trains(store: Store, processes: list[psutil.Process]) -> bool:
    """Whether one of these processes is a worker with a trial."""
    held = sa.select(workers.c.process).join(runs, runs.c.worker_id == workers.c.worker_id)
    busy = store.read(lambda connection: connection.scalars(held.where(runs.c.state == RunState.RUNNING)).all())
    return bool({process.pid for process in processes} & set(busy))


def caught(url: str, raylet: psutil.Process, launched: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a node as soon as a worker there trains."""
    while launched.poll() is None:
        found = [raylet, *raylet.children(recursive=True)]
        try:
            store = Store.open(url)
        except Exception:  # it is still being made
            continue
        try:
            if trains(store, found):
                return found
        finally:
            store.close()
    raise AssertionError(f"the launch has ended: {launched.communicate()[1]}")


def test_sqlite_is_refused_where_the_cluster_is_of_several_machines(nodes: Nodes, tmp_path: Path) -> None:
    """Exit status 2 and one line with the reason, and no file is made."""
    process = ray(nodes, "sqlite:///store.db", tmp_path, "--trials", "1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("error: a SQLite file is of one machine") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_lost_node_costs_no_trial_and_repeats_none(nodes: Nodes, url: str, tmp_path: Path) -> None:
    """SIGKILL to a node and all its workers in mid-trial: they start again on the other node, and N is exact."""
    with ray(nodes, url, tmp_path, "--workers", "4", "--trials", "8", "--format", "json", *SLOW) as process:
        lost = caught(url, psutil.Process(nodes.raylets[1]), process)
        for each in lost:
            each.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert json.loads(out)["status"]["done"] == 8
    store = Store.open(url)
    record = store.read(studies.find, "swarm")
    store.close()
    assert checked(url, record, 8)["expired"] >= 1
