"""Stores are opened, refused and redacted as a user needs it."""

import sqlite3
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from storage import database as engine
from storage.database import StorageError, StorageMisuse, connect, parse, redacted
from storage.store import Store
from tests.support.mounts import mounted


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
        Store.open("postgresql://ann:s3cret@127.0.0.1:1/fewest")
    assert "s3cret" not in str(fault.value) and "\n" not in str(fault.value) and "127.0.0.1" in str(fault.value)


def test_a_file_that_is_not_a_database_is_left_alone(tmp_path: Path) -> None:
    """Rubbish in the file is refused, and stays as it was."""
    file = tmp_path / "notes.txt"
    file.write_text("these are my notes, please keep them " * 10)
    with pytest.raises(StorageMisuse, match="not a SQLite database"):
        Store.open(f"sqlite:///{file}", create=True)
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
        Store.open(f"sqlite:///{file}", create=True)
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


def test_a_store_of_a_later_version_is_refused(store: Store, url: str) -> None:
    """A store that a later fewest wrote is not touched."""
    store.write(sa.Connection.execute, sa.text("UPDATE fewest_version SET version = 99"))
    with pytest.raises(StorageMisuse, match="version 99"):
        Store.open(url)


def test_sqlite_is_made_safe_for_many_processes(tmp_path: Path) -> None:
    """WAL stays with the file, and a write waits for another's instead of failing."""
    store = Store.open(f"sqlite:///{tmp_path}/store.db", create=True)
    assert store.read(sa.Connection.scalar, sa.text("PRAGMA journal_mode")) == "wal"
    assert store.read(sa.Connection.scalar, sa.text("PRAGMA busy_timeout")) == 30_000
    store.close()


def test_a_password_with_an_at_sign_is_not_taken_for_the_host() -> None:
    """The rest of such a password would be shown as the host; the error says how to write it."""
    with pytest.raises(StorageMisuse, match="%40") as fault:
        parse("postgresql://ann:s3@cret@db.example/fewest")
    assert "cret" not in str(fault.value)


class Mount(NamedTuple):
    """What `psutil` tells of a mount, as far as it matters."""

    mountpoint: str
    fstype: str


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite loses data there; a mount nearer to the file decides, not one above it."""
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), kind)]
    monkeypatch.setattr(engine.psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(StorageMisuse, match=f"network file system .{kind}"):
        connect(f"sqlite:///{tmp_path}/store.db", create=True)
    mounts[1] = Mount(str(tmp_path), "ext4")
    mounts[0] = Mount("/", kind)
    connect(f"sqlite:///{tmp_path}/store.db", create=True).dispose()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_or_replaced_is_noticed(replaced: bool, tmp_path: Path) -> None:
    """What is written to a removed file is lost unnoticed, and what is written to another's is a mess."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store.open(url, create=True)
    store.read(sa.Connection.scalar, sa.text("SELECT 1"))
    for file in tmp_path.iterdir():
        file.unlink()
    if replaced:
        Store.open(url, create=True).close()
    with pytest.raises(StorageMisuse, match="removed or replaced"):
        store.write(sa.Connection.scalar, sa.text("SELECT 1"))
    store.close()


def test_rubbish_in_the_query_is_one_line() -> None:
    """What only the driver can judge is refused like the rest."""
    with pytest.raises(StorageMisuse, match="port"):
        connect("postgresql://ann:s3cret@/fewest?host=127.0.0.1&port=abc")


def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    """A file system that cannot be written to is one clear line, for a new store and for an old one."""
    where = tmp_path / "mounted"
    with mounted(where, "size=1m"):
        Store.open(f"sqlite:///{where}/store.db", create=True).close()
        subprocess.run(["mount", "-o", "remount,ro", where], check=True)
        for name, create in (("store.db", False), ("new.db", True)):
            with pytest.raises(StorageMisuse, match="read-only for you"):
                Store.open(f"sqlite:///{where}/{name}", create=create)
