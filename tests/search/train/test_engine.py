"""Real worker processes, interrupted, killed and stopped in the middle of a study: the budget stays exact."""

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import sqlalchemy as sa

from search.query import runs as query
from search.query.records import Status
from search.spec import stored_study
from storage.database import now
from storage.schema import RunState, attempts, runs, workers
from storage.store import Store
from tests.support.command import FEWEST, QUICK, command
from tests.support.forkserver import Process

#: Trials long enough to be caught running: a tenth of a second and more for each epoch, and nothing converges.
SLOW = ["--classes", "512", "--inputs", "225", "--max-epochs", "12", "--fix", "activation=sigmoid", "--fix", "gain=1"]
SLOW += ["--fix", "width=2048", "--fix", "hidden_layers=1"]

SQLITE_ONLY = pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # the store makes no difference, the time does


@contextmanager
def launched(url: str, cwd: Path, *options: str, cold: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A running `fewest launch`, killed if the test fails before it ends; `cold`: as users start it."""
    process = (subprocess.Popen if cold else Process)(
        [FEWEST, "launch", "--format", "json", *options],
        cwd=cwd,
        env=os.environ | {"FEWEST_STORAGE": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(url: str, enough: Callable[[Store, Status], bool]) -> None:
    """Until the study's status is as wanted; a minute at most."""
    until = time.monotonic() + 60
    store = None
    while time.monotonic() < until:
        time.sleep(0.05)
        try:
            store = store or Store.open(url)
            if enough(store, status(store)):
                store.close()
                return
        except Exception:  # the store is still being made
            if store:
                store.close()
            store = None
    raise AssertionError("the study did not get there in a minute")


def status(store: Store) -> Status:
    """What `fewest status` says of the default study."""
    return store.read(query.status, store.read(stored_study.find, "default"))


def rows(store: Store, table: sa.Table) -> list[Any]:
    """All rows of a table."""
    return store.read(lambda connection: list(connection.execute(sa.select(table))))


def finished(url: str, cwd: Path, trials: int, *options: str) -> dict[str, Any]:
    """Run the launch to its end; its answer. Checks that the ledger and Optuna agree on exactly so many trials."""
    with launched(url, cwd, "--trials", str(trials), *options) as process:
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    store = Store.open(url)
    done = [row for row in rows(store, runs) if row.trial_id is not None]
    lost = rows(store, attempts)
    store.close()
    assert sorted(row.trial for row in done) == list(range(trials))
    assert {row.state for row in done} == {RunState.DONE}
    assert all(row.attempt == 1 + sum(attempt.run_id == row.run_id for attempt in lost) for row in done)
    storage = optuna.storages.RDBStorage(url)
    states = [trial.state.name for trial in optuna.load_study(study_name="default", storage=storage).trials]
    storage.remove_session()
    storage.engine.dispose()
    assert states == ["COMPLETE"] * trials
    return dict(json.loads(out))


def worker_pids(store: Store) -> list[int]:
    """Processes of the workers whose lease lives."""
    living = sa.select(workers).where(workers.c.expires > now())
    return [worker.process for worker in store.read(lambda connection: connection.execute(living).all())]


@SQLITE_ONLY
def test_ctrl_c_drains_and_the_same_command_finishes_exactly(url: str, tmp_path: Path) -> None:
    """SIGINT after some trials: exit 130, what ran is told or released, and a second launch ends with exactly N."""
    with launched(url, tmp_path, "--trials", "40", *QUICK) as process:
        wait_for(url, lambda _, state: state.done >= 3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "nothing is lost" in err
    store = Store.open(url)
    state = status(store)
    store.close()
    assert state.running == state.waiting == 0 and 3 <= state.done < 40
    assert finished(url, tmp_path, 40, *QUICK)["status"]["done"] == 40


@SQLITE_ONLY
def test_it_is_interrupted_even_if_a_script_has_begun_it(url: str, tmp_path: Path) -> None:
    """Where SIGINT is ignored at the start, as by `&` in a script: its workers hear of it, however young they are."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with launched(url, tmp_path, "--trials", "1000", *SLOW, cold=True) as process:
        signal.signal(signal.SIGINT, before)
        assert process.stderr and process.stderr.readline().startswith("0 of 1000 trials")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "nothing is lost" in err


@SQLITE_ONLY
def test_a_second_ctrl_c_leaves_at_once_and_releases_what_ran(url: str, tmp_path: Path) -> None:
    """Two SIGINTs: running trials wait for the next launch, without blame and without waiting for a lease."""
    with launched(url, tmp_path, "--trials", "4", *SLOW) as process:
        wait_for(url, lambda _, state: state.running >= 1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    store = Store.open(url)
    state = status(store)
    faults = [run.faults for run in rows(store, runs)]
    store.close()
    assert state.running == 0 and state.done + state.waiting <= 4 and not any(faults)
    finished(url, tmp_path, 4, *SLOW)


@SQLITE_ONLY
def test_killed_workers_are_replaced_and_their_trials_tried_again(url: str, tmp_path: Path) -> None:
    """SIGKILL to every worker in mid-trial: the launch goes on with new ones, and N is exact."""
    with launched(url, tmp_path, "--trials", "4", *SLOW) as process:
        killed: list[int] = []

        def kill(store: Store, state: Status) -> bool:
            if state.running >= 1:
                killed.extend(pid for pid in worker_pids(store))
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            return bool(killed)

        wait_for(url, kill)
        process.communicate(timeout=200)
    assert process.returncode == 0
    store = Store.open(url)
    ends = [attempt.end for attempt in rows(store, attempts)]
    store.close()
    assert "expired" in ends
    finished(url, tmp_path, 4, *SLOW)


@SQLITE_ONLY
def test_a_killed_launch_leaves_no_worker_behind_and_is_resumed(url: str, tmp_path: Path) -> None:
    """SIGKILL to the launch itself: its workers drain, and the next launch ends with exactly N."""
    with launched(url, tmp_path, "--trials", "30", *QUICK, cold=True) as process:
        wait_for(url, lambda _, state: state.done >= 2)
        process.kill()
        process.communicate()
    wait_for(url, lambda store, _: not worker_pids(store))
    finished(url, tmp_path, 30, *QUICK)


@SQLITE_ONLY
def test_stop_ends_a_running_study_for_all_its_workers(url: str, tmp_path: Path) -> None:
    """`fewest stop` from elsewhere: the launch ends, and goes on when it is launched again."""
    with launched(url, tmp_path, "--trials", "3000", *QUICK) as process:
        wait_for(url, lambda _, state: state.done >= 3)
        assert command(tmp_path, "stop", "--storage", url).returncode == 0
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped with" in err


@pytest.mark.parametrize("url", ["postgres"], indirect=True)  # where making the tables is the harder race
def test_two_launches_at_once_share_one_budget(url: str, tmp_path: Path) -> None:
    """The same command twice at the same time, on an empty store: N trials between them, one answer from both."""
    options = ["--trials", "30", "--workers", "1", *QUICK]
    with launched(url, tmp_path, *options) as one, launched(url, tmp_path, *options) as two:
        answers = [json.loads(process.communicate(timeout=100)[0]) for process in (one, two)]
    assert answers[0]["winner"] == answers[1]["winner"]
    finished(url, tmp_path, 30, *QUICK)


def test_the_storage_url_is_not_in_the_process_list(tmp_path: Path) -> None:
    """A password in the URL reaches the workers, but no command line."""
    url = f"sqlite:///{tmp_path}/s3cret.db"
    with launched(url, tmp_path, "--trials", "3000", *QUICK, cold=True) as process:
        wait_for(url, lambda _, state: state.done >= 1)
        store = Store.open(url)
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in worker_pids(store)]
        store.close()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert lines and all("worker" in text and "s3cret" not in text for text in lines)


def test_workers_that_cannot_work_end_the_launch_in_one_line(tmp_path: Path) -> None:
    """A store that breaks under the workers is reported once, with exit status 1."""
    url = f"sqlite:///{tmp_path}/store.db"
    with launched(url, tmp_path, "--trials", "3000", *QUICK) as process:
        wait_for(url, lambda _, state: state.done >= 1)
        store = Store.open(url)
        store.write(sa.Connection.execute, sa.text("DROP TABLE fewest_curves"))
        store.close()
        out, err = process.communicate(timeout=100)
    errors = [text for text in err.splitlines() if text.startswith("error: ")]
    assert (process.returncode, out, len(errors)) == (1, "", 1)
    assert "fewest_curves" in errors[0] and "Traceback" not in err


def test_progress_is_live_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the bar, the counts and the incumbent in words are redrawn; stdout stays clean."""
    parent, child = pty.openpty()
    process = Process(
        [FEWEST, "launch", "--trials", "25", "--format", "json", *QUICK],
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "150"},
        stdout=subprocess.PIPE,
        stderr=child,
        text=True,
    )
    os.close(child)
    shown = b""
    try:
        while part := os.read(parent, 1 << 16):
            shown += part
    except OSError:  # the terminal closes with its last process
        pass
    out, _ = process.communicate(timeout=60)
    os.close(parent)
    text = shown.decode()
    assert json.loads(out)["status"]["done"] == 25
    assert "of 25 trials" in text and "fewest " in text and "━" in text and "Traceback" not in text


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    """No test leaves a worker process behind."""
    yield
    running = [process for process in psutil.process_iter() if _directory(process) == str(tmp_path)]
    _, left = psutil.wait_procs(running, timeout=3)  # one whose launch was killed sees that within a step
    for process in left:
        process.kill()
    assert not left


def _directory(process: psutil.Process) -> str:
    """Where a process runs; empty if it is gone, or is somebody else's."""
    try:
        return process.cwd()
    except psutil.Error:
        return ""
