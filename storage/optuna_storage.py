"""Optuna's own storage on the store's connections, as Optuna's samplers and optuna-dashboard use it.

It reads and writes Optuna's tables as `optuna.load_study` does. But on SQLite its writes take the write lock at their
start and wait for their turn, and its reads do not hold up the workers; deleting a study of ours deletes its runs and
curves, too; and nobody can add a trial to one past its budget.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from storage import studies
from storage.database import StorageMisuse
from storage.store import Store

_read_only = ContextVar("_read_only", default=False)


def optuna_storage(store: Store) -> BaseStorage:
    """Optuna's storage on a store, cached as Optuna does it. It uses the store's connections: close the store last."""
    return optuna.storages.get_storage(_Storage(store))


@contextmanager
def _reading() -> Iterator[None]:
    """Transactions in it take no write lock."""
    token = _read_only.set(True)
    try:
        yield
    finally:
        _read_only.reset(token)


class _Storage(RDBStorage):
    def __init__(self, store: Store) -> None:
        self._store = store
        url = store.engine.url.render_as_string(hide_password=False)
        super().__init__(url, {"pool": store.engine.pool}, skip_table_creation=True)
        if store.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "begin", _begin)

    def __reduce__(self) -> Any:
        return _reopened, (self.url,)

    # A dashboard calls these all the time. All others take the write lock: a lock that is upgraded halfway fails.
    get_all_studies = _reading()(RDBStorage.get_all_studies)
    get_trial = _reading()(RDBStorage.get_trial)
    _get_trials = _reading()(RDBStorage._get_trials)

    def delete_study(self, study_id: int) -> None:
        super().delete_study(study_id)
        self._store.write(studies.forget, study_id)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if self._store.read(studies.is_ours, study_id):
            raise StorageMisuse("trials of a fewest study are made by its workers; `fewest launch` asks for more")
        return super()._create_new_trial(study_id, template_trial)


def _reopened(url: str) -> _Storage:
    return _Storage(Store.open(url))


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN" if _read_only.get() else "BEGIN IMMEDIATE")
