"""Connections to a database: URL checks, SQLite made safe for many processes, Postgres by psycopg 3, one-line faults.

SQLite runs in WAL mode (set once, when the store is created) with a busy timeout, and every write takes the write
lock at its start (BEGIN IMMEDIATE), since a lock that is upgraded halfway fails at once instead of waiting.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

LOCK_TIMEOUT_SECONDS = 30  # a SQLite write waits so long for other processes' writes
CONNECT_TIMEOUT_SECONDS = 10  # a server may take so long to answer
PING_IDLE_SECONDS = 1.0  # a connection idle for longer is pinged before it is used
SILENCE_TIMEOUT_SECONDS = 20  # a connection on which nothing comes back for so long is given up
KEEPALIVE_SECONDS = SILENCE_TIMEOUT_SECONDS // 4  # between two of the three probes before that
SPARE_CONNECTIONS = 3  # opened beside the kept ones while all of those are in use
FULL_DISK_BYTES = 1 << 20  # with less free space than this, SQLite's failed write means a full disk
#: File systems over a network: SQLite's shared memory and locks do not reach from host to host.
NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "afpfs", "ncpfs", "ceph", "lustre", "gpfs", "beegfs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph"),
}


class StorageError(Exception):
    """The store cannot be used; the message says what happened, to which store, and what to do."""


class StorageMisuse(StorageError):
    """The named store is not one to use here; nothing in it has changed."""


class NotFound(StorageMisuse):
    """The store has no such study, or the study no such trial; `message` leaves the store's URL out."""

    def __init__(self, missing: str, hint: str, where: str = "") -> None:
        self.message = f"{missing}; {hint}"
        super().__init__(f"{missing} in {where}; {hint}" if where else self.message)


class NameTaken(StorageMisuse):
    """Plain Optuna has made a study of that name."""


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
        if sqlite3.sqlite_version_info < (3, 38):
            raise StorageError(f"this Python has SQLite {sqlite3.sqlite_version}, and 3.38 or later is needed")
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if "@" in (parsed.host or ""):  # the rest of a password, which must not be shown
            raise StorageMisuse("the storage URL has more than one @; write %40 for one inside the password")
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("http", "https"):
        raise StorageMisuse(
            "a service is asked by launch, status, best, trials and stop; this needs the database itself"
        )
    raise StorageMisuse(f"no support for {parsed.drivername!r} storage; use sqlite:///FILE or postgresql://HOST/NAME")


def redacted(url: str | URL) -> str:
    """The URL without its password, and without its query, which can hold one too."""
    text = sa.make_url(url).set(query={}).render_as_string(hide_password=True)
    return text.replace("+pysqlite", "").replace("+psycopg", "")


def connect(url: str, *, create: bool = False, kept: int = 1) -> sa.Engine:
    """An engine on the store, which connects at its first use. Unless `create`, a SQLite file must exist already.

    `kept`: how many connections to Postgres stay open between transactions. A server has about a hundred for everyone.
    StorageMisuse for a URL, or a file, that cannot be used.
    """
    parsed = parse(url)
    return _sqlite(parsed, create) if parsed.get_backend_name() == "sqlite" else _postgres(parsed, kept)


def _sqlite(url: URL, create: bool) -> sa.Engine:
    try:
        _check_file(Path(url.database or ""), create)
    except (OSError, ValueError) as error:
        raise StorageMisuse(f"{redacted(url)} does not name a file: {error}") from None
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_TIMEOUT_SECONDS})
    sa.event.listen(engine, "checkout", _SameFile(Path(url.database or "").absolute()))
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgres(url: URL, kept: int) -> sa.Engine:
    keepalives = {"keepalives_idle": KEEPALIVE_SECONDS, "keepalives_interval": KEEPALIVE_SECONDS, "keepalives_count": 3}
    timeouts = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "tcp_user_timeout": SILENCE_TIMEOUT_SECONDS * 1000}  # ms
    limits = {"pool_size": kept, "max_overflow": SPARE_CONNECTIONS}
    try:
        engine = sa.create_engine(url, connect_args=keepalives | timeouts, **limits)
    except ArgumentError as error:
        raise StorageMisuse(f"{redacted(url)}: {error}") from None
    sa.event.listen(engine, "connect", _prepare_postgres)
    sa.event.listen(engine, "checkin", lambda _, record: record.info.update(used=time.monotonic()))
    sa.event.listen(engine, "checkout", partial(_ping_idle, engine))
    return engine


class now(FunctionElement[float]):
    """The database's clock, in seconds since 1970."""

    type = sa.Double()
    inherit_cache = True


@compiles(now)
def _now(_: Any, compiler: Any, **__: Any) -> str:
    if compiler.dialect.name == "sqlite":
        return "((julianday('now') - 2440587.5) * 86400.0)"
    return "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"


@contextmanager
def pipelined(connection: sa.Connection) -> Iterator[None]:
    """Send statements without waiting for each one's result: on Postgres in one round trip."""
    driver = connection.connection.driver_connection
    with driver.pipeline() if isinstance(driver, psycopg.Connection) else nullcontext():
        yield


def transient(error: SQLAlchemyError) -> bool:
    """Whether the same transaction may succeed later: another transaction held a lock, or the server is away."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, sa.exc.TimeoutError)  # of the pool
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    lost = isinstance(error.orig, psycopg.OperationalError) and not isinstance(error.orig, psycopg.errors.DiskFull)
    return lost or error.connection_invalidated


def explain(error: SQLAlchemyError, url: URL) -> StorageError:
    """The fault in one line, without any secret of the URL."""
    message = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    cause = message.splitlines()[0] if message else type(error).__name__
    for secret in (url.password, *(value for name, value in url.query.items() if "password" in name)):
        cause = cause.replace(str(secret), "***") if secret else cause
    if cause == "database is locked":
        cause += " by another program; wait for it, or stop it"
    where = redacted(url)
    if _disk_full(error, cause, url):
        return StorageError(f"no space left for {where}; make room and run the same command again")
    if "file is not a database" in cause or "malformed" in cause:
        return StorageMisuse(f"{where} is not a SQLite database, or is damaged ({cause})")
    if "readonly" in cause or "unable to open" in cause:
        return StorageMisuse(f"{where} cannot be written ({cause}); check its permissions")
    return StorageError(f"{where}: {cause}")


def _disk_full(error: SQLAlchemyError, cause: str, url: URL) -> bool:
    if not isinstance(error, DBAPIError) or not isinstance(error.orig, sqlite3.Error):
        return "No space left" in cause
    disk = psutil.disk_usage(str(Path(url.database or "").absolute().parent))
    nearly_full = disk.total > 0 and disk.free < FULL_DISK_BYTES
    return "disk is full" in cause or (nearly_full and ("I/O error" in cause or "unable to open" in cause))


def _check_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StorageMisuse(f"{path} is a directory; name a file, such as sqlite:///{path}/fewest.db")
    if not path.parent.is_dir():
        raise StorageMisuse(f"there is no directory {path.parent} for {path.name}; make it first")
    if not path.exists() and not create:
        raise StorageMisuse(f"there is no {path}; `fewest launch` makes one, `--storage` names another")
    for place in (path.absolute().parent, path):  # SQLite writes beside its file, even to read it
        if place.exists() and not os.access(place, os.W_OK):
            raise StorageMisuse(f"{place} is read-only for you; name a file elsewhere with `--storage`")
    kinds = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    kind = next((kinds[str(place)] for place in path.resolve().parents if str(place) in kinds), "")
    if kind in NETWORK_FILE_SYSTEMS:
        raise StorageMisuse(
            f"{path} is on a network file system ({kind}), where SQLite loses data; "
            "name a file on a local disk, or a Postgres"
        )


def _prepare_postgres(connection: Any, _: Any) -> None:
    """Make the server, too, give a silent client up: by default a client that is cut off keeps its locks for hours."""
    timeout, pause = SILENCE_TIMEOUT_SECONDS, KEEPALIVE_SECONDS
    connection.execute(
        f"SET idle_in_transaction_session_timeout = '{timeout}s'; SET tcp_user_timeout = '{timeout}s';"
        f"SET tcp_keepalives_idle = {pause}; SET tcp_keepalives_interval = {pause}; SET tcp_keepalives_count = 3"
    )
    connection.commit()


def _ping_idle(engine: sa.Engine, connection: Any, record: Any, _: Any) -> None:
    """SQLAlchemy's pre-ping, but not for a connection that was just used: a ping is a tenth of an ask and a tell."""
    if time.monotonic() - record.info.get("used", time.monotonic()) < PING_IDLE_SECONDS:
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DisconnectionError from error  # the pool makes another


class _SameFile:
    """A check that a SQLite file is still the one that was opened: writes to a removed file are lost unnoticed."""

    def __init__(self, path: Path) -> None:
        self._path, self._opened = path, _identity(path)

    def __call__(self, *_: Any) -> None:
        current = _identity(self._path)
        self._opened = self._opened or current  # the first write makes the file
        if current != self._opened:
            raise StorageMisuse(f"{self._path} has been removed or replaced while in use; what was in it is gone")


def _identity(path: Path) -> tuple[int, int] | None:
    """Of an existing file."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver leaves transactions to `_begin_sqlite`
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
