"""A store: opened, checked and upgraded once; then every read or write is one transaction, retried on transient faults.

The functions of `studies`, `leases`, `ledger` and of the queries take an open connection as their first argument and
are the body of one transaction: `store.write(ledger.finish, run, …)`. A body may run again after a lost connection,
even if its commit had reached the database unseen, so each recognises its own earlier work and leaves it as it is.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from storage import migrations, schema
from storage.backoff import Backoff
from storage.database import StorageError, StorageMisuse, connect, explain, redacted, transient

BRIEF_SECONDS = 5.0  # patience of a command that answers a query
OUTAGE_SECONDS = 300.0  # patience of a process that must outlive a restart of the database

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Store:
    """The studies of one database."""

    engine: sa.Engine
    #: Seconds for which a transaction is retried while the database is busy or away.
    patience: float = BRIEF_SECONDS
    #: When the database last came back, by this process's monotonic clock.
    _recovered: float = field(default=float("-inf"), init=False)

    @classmethod
    def open(
        cls, url: str, *, create: bool = False, patience: float = BRIEF_SECONDS, wait: float = 0.0, kept: int = 1
    ) -> Self:
        """The store at a URL; with `create`, its tables are made where it is empty. An older store is upgraded.

        `wait` is the patience of opening itself, in seconds; `kept` is as of `connect`. StorageMisuse for a store that
        is not ours, or is newer.
        """
        store = cls(connect(url, create=create, kept=kept), wait)
        try:
            store._prepare(create)
        except BaseException:
            store.close()
            raise
        store.patience = patience
        return store

    def close(self) -> None:
        """Close the store's connections."""
        self.engine.dispose()

    def read(self, body: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of one read transaction; StorageError if it fails for longer than the patience."""
        return self._transact(False, lambda connection: body(connection, *args, **kwargs))

    def write(self, body: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of one write transaction, committed whole or not at all; StorageError as of `read`."""
        return self._transact(True, lambda connection: body(connection, *args, **kwargs))

    def steady(self, seconds: float) -> bool:
        """Whether the database has answered without a break for the last so many seconds."""
        return time.monotonic() - self._recovered > seconds

    def _transact(self, writes: bool, body: Callable[[sa.Connection], R]) -> R:
        # One statement sees one state of Postgres, in a transaction or not; autocommit saves two round trips.
        autocommit = not writes and self.engine.dialect.name == "postgresql"
        options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if autocommit else {"writes": writes}
        backoff, failed = Backoff(lambda: self.patience), False
        while True:
            try:
                with self.engine.connect().execution_options(**options) as connection, connection.begin():
                    result = body(connection)
            except SQLAlchemyError as error:
                fault, failed = explain(error, self.engine.url), True
                if not transient(error) or not backoff.pause(fault):
                    raise fault from error
            else:
                if failed:
                    self._recovered = time.monotonic()
                return result

    def _prepare(self, create: bool) -> None:
        """Check that the tables are ours, make them if asked, and upgrade an older version."""
        where = redacted(self.engine.url)
        existing = self.read(lambda connection: set(sa.inspect(connection).get_table_names()))
        if existing and schema.version.name not in existing:
            raise StorageMisuse(f"{where} holds other tables and is not a fewest store; name another")
        if create:
            self._create_tables()
        elif not existing:
            raise StorageMisuse(f"{where} is empty; `fewest launch` fills it")
        version = sa.select(sa.func.max(schema.version.c.version))
        if self.read(sa.Connection.scalar, version) != schema.VERSION:
            self.write(migrations.upgrade)

    def _create_tables(self) -> None:
        """Create ours, then Optuna's: a store with only ours was interrupted at its creation, and is completed here."""
        if self.engine.dialect.name == "sqlite":
            with closing(self.engine.raw_connection()) as raw:
                raw.cursor().execute("PRAGMA journal_mode=WAL")  # stays with the file
        self.write(_create_ours)
        if not self.read(_optuna_is_complete):
            _create_optunas(self.engine)


def _create_ours(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x6665776573)))
    if not sa.inspect(connection).has_table(schema.version.name):
        schema.ours.create_all(connection)
        connection.execute(sa.insert(schema.version).values(version=schema.VERSION))


def _optuna_is_complete(connection: sa.Connection) -> bool:
    stamped = sa.text("SELECT count(*) FROM alembic_version")  # the last thing that Optuna writes
    return sa.inspect(connection).has_table("alembic_version") and bool(connection.scalar(stamped))


def _create_optunas(engine: sa.Engine) -> None:
    import optuna

    backoff = Backoff(lambda: BRIEF_SECONDS)
    while True:  # concurrent first creations collide inside Optuna; one of them wins
        try:
            return optuna.storages.RDBStorage(engine.url.render_as_string(hide_password=False)).engine.dispose()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            fault = f"could not create Optuna's tables in {redacted(engine.url)}: {str(error).splitlines()[0]}"
            if not backoff.pause(fault):
                raise StorageError(fault) from error
