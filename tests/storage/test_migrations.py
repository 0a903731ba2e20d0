"""A store that an older fewest made is brought up to date, whole or not at all."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import schema, studies
from storage.database import StorageMisuse, connect, now
from storage.schema import attempts, workers
from storage.store import Store
from tests.storage.test_ledger import finish, look, register, rows, take


@pytest.fixture
def old(store: Store, url: str) -> str:
    """The URL of a store as version 1 left it: one trial told, one running in its second attempt."""
    kinds = {"SERIAL NOT NULL": "INTEGER NOT NULL", "BYTEA": "BLOB"} if url.startswith("sqlite") else {}
    script = (Path(__file__).parent / "version_1.sql").read_text()
    for postgres, sqlite in kinds.items():
        script = script.replace(postgres, sqlite)

    def make(connection: sa.Connection) -> None:
        schema.ours.drop_all(connection)
        for statement in script.strip().split("\n"):
            connection.exec_driver_sql(statement)

    store.write(make)
    return url


def test_an_old_store_becomes_what_a_new_one_is(old: str) -> None:
    """The tables, columns and indexes of now; what was told stays, and what ran goes on."""
    store = Store.open(old)
    see = sa.inspect(store.engine)
    for table in schema.ours.sorted_tables:
        assert {column["name"] for column in see.get_columns(table.name)} == set(table.columns.keys())
        found = {index["name"]: index["column_names"] for index in see.get_indexes(table.name) if not index["unique"]}
        assert found == {str(index.name): [column.name for column in index.columns] for index in table.indexes}
    study = store.read(studies.find, "old")
    assert (study.study_id, study.budget) == (1, 5)
    assert [(a.run_id, a.attempt, a.end) for a in rows(store, attempts)] == [(2, 1, "expired")]
    assert [row.name for row in look(store, study).outcomes] == ["0"]
    run = take(store, study, register(store, "new"))
    assert run and (run.name, run.attempt, run.seed) == ("1", 3, 101) and finish(store, run)
    assert [(a.attempt, a.started) for a in rows(store, attempts)] == [(1, 2.0), (2, 5.0)]
    store.write(sa.Connection.execute, sa.insert(schema.data).values(digest="abc", content=b"\x00\xff1"))
    assert store.read(studies.content, "abc") == b"\x00\xff1"
    store.close()


def test_an_old_store_in_use_is_left_alone(old: str) -> None:
    """Workers of the older version would write rows of the older kind."""
    engine = connect(old)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.update(workers).values(expires=now() + 60))
    before = sa.inspect(engine).get_columns("fewest_runs")
    with pytest.raises(StorageMisuse, match="stop them"):
        Store.open(old)
    assert len(sa.inspect(engine).get_columns("fewest_runs")) == len(before)
    engine.dispose()
