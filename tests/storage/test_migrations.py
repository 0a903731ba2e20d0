"""A store that an older fewest made is brought up to date, whole or not at all."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from search.query import runs as query
from search.spec import stored_study
from storage import migrations, schema
from storage.database import StorageError, StorageMisuse, connect, now
from storage.schema import RunKind, runs, workers
from storage.store import Store
from tests.search.ask.test_study import another, work
from tests.storage.test_ledger import rows

#: What a study of 16 trials and its ladder left there, reduced to some runs of every kind and state.
VERSION_5 = Path(__file__).parent / "version_5.sql"
SQLITE = {"SERIAL NOT NULL": "INTEGER NOT NULL", "BYTEA": "BLOB", r"'\x": "X'"}
KINDS = {
    "6": (RunKind.TRIAL, None),
    "7": (RunKind.TRIAL, None),
    "6#1": (RunKind.REPLICATE, None),
    "question@8": (RunKind.REFERENCE, "question"),
    "ladder:8:adam@30#1": (RunKind.LADDER, "adam"),
    "ladder:8:winner-6@30#1": (RunKind.LADDER, "winner-6"),
    "ladder:8:sgd+normalised@30#1": (RunKind.LADDER, "sgd+normalised"),
    "12": (RunKind.TRIAL, None),
    "13": (RunKind.TRIAL, None),
    "14": (RunKind.TRIAL, None),
}


@pytest.fixture
def old(store: Store, url: str) -> str:
    """The URL of a store as version 5 left it."""
    script = VERSION_5.read_text()
    for postgres, sqlite in SQLITE.items() if url.startswith("sqlite") else ():
        script = script.replace(postgres, sqlite)

    def make(connection: sa.Connection) -> None:
        schema.ours.drop_all(connection)
        for statement in script.split(";\n"):
            if statement:
                connection.exec_driver_sql(statement)

    store.write(make)
    return url


def content(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of our tables, whatever their columns are."""
    engine = connect(url)
    with engine.connect() as connection:
        tables = [name for name in sa.inspect(connection).get_table_names() if name.startswith("fewest_")]
        found = {name: connection.exec_driver_sql(f"SELECT * FROM {name}").mappings().all() for name in tables}
    engine.dispose()
    return {name: sorted(map(dict, of), key=lambda row: list(row.values())[:2]) for name, of in found.items()}


def test_an_old_store_becomes_what_a_new_one_is(old: str) -> None:
    """The tables, columns and indexes of now."""
    store = Store.open(old)
    see = sa.inspect(store.engine)
    for table in schema.ours.sorted_tables:
        assert {column["name"] for column in see.get_columns(table.name)} == set(table.columns.keys())
        found = {index["name"]: index["column_names"] for index in see.get_indexes(table.name) if not index["unique"]}
        assert found == {str(index.name): [column.name for column in index.columns] for index in table.indexes}
    store.close()


def test_nothing_of_an_old_store_is_lost(old: str) -> None:
    """Every column of every row is what it was, by its name of now; the curve and the lost attempts are among them."""
    before = content(old)
    Store.open(old).close()
    after = content(old)
    for name in ("fewest_studies", "fewest_runs"):
        before[name] = [{"outcome_seq" if key == "told" else key: row[key] for key in row} for row in before[name]]
    new = {"kind", "label"}
    after["fewest_runs"] = [{key: row[key] for key in row if key not in new} for row in after["fewest_runs"]]
    assert before.pop("fewest_version") == [{"version": 5}] and after.pop("fewest_version") == [{"version": 6}]
    assert after == before
    assert [len(after[f"fewest_{name}"]) for name in ("studies", "runs", "attempts", "curves")] == [1, 10, 5, 1]


def test_an_old_run_has_its_kind_and_label(old: str) -> None:
    """As its name, trial and replicate told them: of the ladder the label may be any model, a winner too."""
    store = Store.open(old)
    assert {run.name: (run.kind, run.label) for run in rows(store, runs)} == KINDS
    study = store.read(stored_study.find, "default")
    again = store.read(query.recorded, study, runs.c.name == "6")[0]
    assert (again.curve.epochs, again.curve.accuracy[-1]) == ([0, 1, 2, 3], 1.0)
    store.close()


def test_an_old_study_goes_on(old: str) -> None:
    """What waits or was lost is tried again on its own seeds, then the rest of the budget, and the ladder is left."""
    store = Store.open(old)
    seeds = {run.name: run.seed for run in rows(store, runs)}
    ladder = [run for run in rows(store, runs) if run.kind == RunKind.LADDER]
    study = store.read(stored_study.find, "default")
    done = work(another(store, study))
    assert {run.name: run.attempt for run in done if run.kind is RunKind.TRIAL} == {"12": 3, "14": 2, "15": 1}
    assert all(run.seed == seeds.get(run.name, run.seed) for run in done)
    assert {"6#2", "6#5"} <= {run.name for run in done} and not {"6#1", "question@8"} & {run.name for run in done}
    state = store.read(query.status, study)
    assert (state.done, state.failed, state.waiting, state.running) == (5, 1, 0, 0)
    assert [run for run in rows(store, runs) if run.kind == RunKind.LADDER] == ladder
    store.close()


def test_an_old_store_in_use_is_left_alone(old: str) -> None:
    """Workers of the older version would write rows of the older kind."""
    engine = connect(old)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.update(workers).values(expires=now() + 60))
    engine.dispose()
    before = content(old)
    with pytest.raises(StorageMisuse, match="stop them"):
        Store.open(old)
    assert content(old) == before


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(4, "begin a new store"), (7, "update it with `pip install --upgrade fewest`")],
)
def test_a_store_of_no_version_that_is_known_is_refused(old: str, version: int, remedy: str) -> None:
    """One line says which it is, which are known and what to do, and nothing is changed."""
    engine = connect(old)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.update(schema.version).values(version=version))
    engine.dispose()
    before = content(old)
    with pytest.raises(StorageMisuse) as refused:
        Store.open(old)
    said = f"the store has version {version}, and this fewest knows versions 5 to 6; {remedy}"
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert content(old) == before


def test_an_upgrade_that_fails_leaves_the_old_store(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its statements are one transaction."""
    before = content(old)
    monkeypatch.setattr(migrations, "STEPS", {5: (*migrations.STEPS[5], "DROP INDEX fewest_of_nobody")})
    with pytest.raises(StorageError):
        Store.open(old)
    assert content(old) == before
