"""A SQLite file is for the processes of one machine: what would work on it from another is refused."""

import pytest
import sqlalchemy as sa

from search.train.processes import this_process
from storage import leases, studies
from storage.leases import Process, SingleMachineOnly
from storage.schema import runs, workers
from storage.store import Store
from tests.search.train.test_worker import made
from tests.storage.test_ledger import expire, register, rows
from tests.support.command import QUICK, Fewest

FAR = Process("another-boot/1", 1)


@pytest.mark.parametrize(
    "arguments", [["worker"], ["worker", "--study", "s"], ["launch", *QUICK], ["confirm"], ["ladder"]]
)
def test_no_command_works_on_the_file_of_another_machines_worker(
    fewest: Fewest, sqlite: Store, arguments: list[str]
) -> None:
    """One line names that worker; no study is made, no worker registered and no trial taken."""
    made(sqlite, 5)
    register(sqlite, "far:1", FAR)
    refused = fewest(*arguments, "--storage", "sqlite:///store.db")
    last = refused.stderr.splitlines()[-1]
    assert refused.returncode == 2 and refused.stdout == "" and "Traceback" not in refused.stderr
    assert "a SQLite file is for one machine, and worker far:1 of another one works on it; name a Postgres" in last
    assert len(rows(sqlite, workers)) == 1 and not rows(sqlite, runs)
    assert [record.name for record, _ in sqlite.read(studies.open_ones)] == ["s"]


def test_only_living_workers_of_other_machines_matter(sqlite: Store) -> None:
    """One that has gone, one in another container here and one that did not say where it is keep nobody out."""
    here = this_process()
    far = register(sqlite, "far", FAR)
    expire(sqlite, far)
    register(sqlite, "container", Process(f"{here.machine.partition('/')[0]}/another", 1))
    register(sqlite, "somewhere")
    assert register(sqlite, "here", here)
    sqlite.write(leases.renew, far)
    with pytest.raises(SingleMachineOnly, match="worker far of another one"):
        register(sqlite, "here too", here)


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_postgres_is_for_many_machines(store: Store) -> None:
    """Workers of several live side by side."""
    register(store, "far", FAR)
    register(store, "here", this_process())
    alive = sa.select(sa.func.count()).select_from(workers)
    assert store.read(sa.Connection.scalar, alive) == 2
