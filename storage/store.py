"""Opening a store: it is ours, of this version, and has all tables; an empty one gets them if that is asked for."""

import time
from contextlib import closing

import sqlalchemy as sa

from storage import schema
from storage.engine import StorageError, StorageMisuse, connect, reading, redacted, writing


def open_store(url: str, *, create: bool) -> sa.Engine:
    """An engine on the store at a URL; StorageMisuse for one that is not ours, or of another version."""
    engine = connect(url, create=create)
    try:
        _check(engine, create)
    except StorageError:
        engine.dispose()
        raise
    return engine


def _check(engine: sa.Engine, create: bool) -> None:
    """See that the store is ours and of this version; make its tables if it is empty and `create` says so."""
    where = redacted(engine.url)
    with reading(engine) as connection:
        found = set(sa.inspect(connection).get_table_names())
        if found and schema.version.name not in found:
            raise StorageMisuse(f"{where} holds other tables and is not a fewest store; name another")
        version = connection.scalar(sa.select(sa.func.max(schema.version.c.version))) if found else None
    if version not in (None, schema.VERSION):
        raise StorageMisuse(f"{where} has store version {version}, this fewest reads {schema.VERSION}")
    if create:
        _create_tables(engine)
    elif version is None:
        raise StorageMisuse(f"{where} is empty; `fewest launch` fills it")


def _create_tables(engine: sa.Engine) -> None:
    """Ours, then Optuna's: a store with only ours is one whose creation was interrupted, and is completed here."""
    if engine.dialect.name == "sqlite":
        with closing(engine.raw_connection()) as raw:
            raw.cursor().execute("PRAGMA journal_mode=WAL")  # stays with the file
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x6665776573)))
        schema.ours.create_all(connection)
        if connection.scalar(sa.select(sa.func.count()).select_from(schema.version)) == 0:
            connection.execute(sa.insert(schema.version).values(version=schema.VERSION))
    stamped = sa.text("SELECT count(*) FROM alembic_version")  # the last thing that Optuna writes
    with reading(engine) as connection:
        if sa.inspect(connection).has_table("alembic_version") and connection.scalar(stamped):
            return
    import optuna

    for patience in range(20):  # concurrent first creations collide inside Optuna; one of them wins
        try:
            made = optuna.storages.RDBStorage(engine.url.render_as_string(hide_password=False))
            made.engine.dispose()
            return
        except (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if patience == 19:
                said = str(error).splitlines()[0]
                raise StorageError(f"could not create Optuna's tables in {redacted(engine.url)}: {said}") from error
            time.sleep(0.1)
