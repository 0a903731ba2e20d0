"""One way to a database: URL checks, SQLite made safe for many processes, Postgres by psycopg 3, errors in one line.

SQLite runs in WAL mode (set once, when the store is created) with a busy timeout, and every write takes the write
lock at its start (BEGIN IMMEDIATE), since a lock that is upgraded halfway fails at once instead of waiting.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

BUSY_SECONDS = 30  # how long a write waits for other processes' writes
CONNECT_SECONDS = 10  # how long a server may take to answer


class StorageError(Exception):
    """The store cannot be used: what happened, to which store, what to do."""


class StorageMisuse(StorageError):
    """The store that was named is not one to use here; nothing was changed in it."""


def parse(url: str) -> URL:
    """The URL of a supported database, with its driver chosen; StorageMisuse for any other."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise StorageMisuse("the storage is not a URL; try sqlite:///fewest.db or postgresql://HOST/NAME") from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.host:
            raise StorageMisuse(f"SQLite has no host {parsed.host!r}; try sqlite:///fewest.db, with three slashes")
        if not parsed.database or parsed.database == ":memory:":
            raise StorageMisuse("an in-memory SQLite cannot be shared by workers; try sqlite:///fewest.db")
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StorageMisuse(f"no support for {parsed.drivername!r} storage; use sqlite:///FILE or postgresql://HOST/NAME")


def redacted(url: str | URL) -> str:
    """The URL as people may see it: no password, and no query, which can hold one too."""
    return (
        sa.make_url(url)
        .set(query={})
        .render_as_string(hide_password=True)
        .replace("+pysqlite", "")
        .replace("+psycopg", "")
    )


def connect(url: str, *, create: bool = False) -> sa.Engine:
    """An engine on the store. Unless `create`, a SQLite file must exist already. No connection is made yet."""
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        try:
            _check_file(Path(parsed.database or ""), create)
        except (OSError, ValueError) as error:
            raise StorageMisuse(f"{redacted(parsed)} does not name a file: {error}") from None
        engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    patience = {"connect_timeout": CONNECT_SECONDS}
    return sa.create_engine(parsed, connect_args=patience, pool_pre_ping=True, pool_size=2, max_overflow=2)


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A read transaction; faults become a StorageError."""
    with _one_line(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A write transaction, committed whole or not at all; faults become a StorageError."""
    with _one_line(engine), engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def now(engine: sa.Engine) -> sa.ColumnElement[float]:
    """The database's clock, in seconds since 1970."""
    if engine.dialect.name == "sqlite":
        return (sa.func.julianday("now", type_=sa.Double) - 2440587.5) * 86400.0
    return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Double)


@contextmanager
def _one_line(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        cause = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        if "file is not a database" in cause or "malformed" in cause:
            raise StorageMisuse(f"{redacted(engine.url)} is not a SQLite database, or is damaged ({cause})") from error
        if "readonly" in cause or "unable to open" in cause:
            raise StorageMisuse(f"{redacted(engine.url)} cannot be written ({cause}); check its permissions") from error
        if "disk" in cause and "full" in cause:
            raise StorageError(
                f"no space left for {redacted(engine.url)}; make room and run the same command again"
            ) from error
        raise StorageError(f"{redacted(engine.url)}: {cause}") from error
    except SQLAlchemyError as error:
        raise StorageError(f"{redacted(engine.url)}: {str(error).splitlines()[0]}") from error


def _check_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StorageMisuse(f"{path} is a directory; name a file, such as sqlite:///{path}/fewest.db")
    if not path.parent.is_dir():
        raise StorageMisuse(f"there is no directory {path.parent} for {path.name}; make it first")
    if not path.exists():
        if not create:
            raise StorageMisuse(f"there is no {path}; `fewest launch` makes one, `--storage` names another")
        if not os.access(path.parent, os.W_OK):
            raise StorageMisuse(f"{path.parent} is read-only for you; name a file elsewhere with `--storage`")
    elif create and not os.access(path, os.W_OK):
        raise StorageMisuse(f"{path} is read-only for you; check its permissions")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver leaves transactions to `_begin_sqlite`
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
