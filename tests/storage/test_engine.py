"""Stores are opened, refused and redacted as a user needs it."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.engine import StorageError, StorageMisuse, connect, parse, reading, redacted, writing
from storage.ledger import Ledger


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@db.example/fewest", "postgresql://ann:***@db.example/fewest"),
        ("postgresql://db.example/fewest?password=s3cret", "postgresql://db.example/fewest"),
        ("sqlite:///fewest.db", "sqlite:///fewest.db"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    """Neither a password nor a query, which may hold one, is shown."""
    assert redacted(url) == redacted(parse(url)) == shown


@pytest.mark.parametrize("url", ["", "fewest.db", "sqlite://", "sqlite:///:memory:", "mysql://h/d", "oracle://h/d"])
def test_unsupported_urls_are_refused(url: str) -> None:
    """Anything but a SQLite file or Postgres is refused in one line that says what to use."""
    with pytest.raises(StorageMisuse, match="sqlite:///"):
        parse(url)


def test_faults_keep_the_password_out() -> None:
    """A server that is not there is one line without the password."""
    with pytest.raises(StorageError) as fault:
        Ledger.open("postgresql://ann:s3cret@127.0.0.1:1/fewest")
    assert "s3cret" not in str(fault.value) and "\n" not in str(fault.value) and "127.0.0.1" in str(fault.value)


def test_a_file_that_is_not_a_database_is_left_alone(tmp_path: Path) -> None:
    """Rubbish in the file is refused, and stays as it was."""
    file = tmp_path / "notes.txt"
    file.write_text("these are my notes, please keep them " * 10)
    with pytest.raises(StorageMisuse, match="not a SQLite database"):
        Ledger.open(f"sqlite:///{file}", create=True)
    assert file.read_text().startswith("these are my notes")


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A SQLite database with other tables is refused without changing a byte."""
    file = tmp_path / "other.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StorageMisuse, match="not a fewest store"):
        Ledger.open(f"sqlite:///{file}", create=True)
    assert file.read_bytes() == before


def test_missing_files_and_directories_are_named(tmp_path: Path) -> None:
    """Reading never creates a file; writing never creates a directory."""
    with pytest.raises(StorageMisuse, match=r"there is no .*none\.db"):
        connect(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(StorageMisuse, match="no directory"):
        connect(f"sqlite:///{tmp_path}/none/store.db", create=True)
    with pytest.raises(StorageMisuse, match="is a directory"):
        connect(f"sqlite:///{tmp_path}", create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_version_is_refused(ledger: Ledger, url: str) -> None:
    """A store that a later fewest wrote is not touched."""
    with writing(ledger.engine) as connection:
        connection.execute(sa.text("UPDATE fewest_version SET version = 99"))
    with pytest.raises(StorageMisuse, match="version 99"):
        Ledger.open(url)


def test_sqlite_is_made_safe_for_many_processes(tmp_path: Path) -> None:
    """WAL stays with the file, and a write waits for another's instead of failing."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/store.db", create=True)
    with reading(ledger.engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    ledger.engine.dispose()
