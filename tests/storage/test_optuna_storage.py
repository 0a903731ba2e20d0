"""Optuna's own contract for a storage, on both databases and on the sampler's mirror, and what ours adds to it."""

import threading
from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from search.ask.sampler_history import BEST, RECENT, SamplerHistory
from storage import ledger, studies
from storage.database import StorageMisuse
from storage.optuna_storage import optuna_storage
from storage.schema import runs
from storage.store import Store
from tests.storage.test_ledger import replicate


class TestOptunaStorage(StorageTestCase):
    """What the dashboard and samplers see, on SQLite and Postgres."""

    @pytest.fixture
    def storage(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseStorage]:
        """The store as Optuna sees it."""
        unpickled: list[Store] = []
        open_store = Store.open
        monkeypatch.setattr(Store, "open", lambda url: unpickled.append(open_store(url)) or unpickled[-1])
        storage = optuna_storage(store)
        yield storage
        storage.remove_session()
        for other in unpickled:
            other.close()

    @pytest.fixture(autouse=True)
    def _quiet(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)


class TestMirror(StorageTestCase):
    """What a sampler sees while a study is short."""

    @pytest.fixture
    def storage(self) -> BaseStorage:
        """An empty mirror."""
        return SamplerHistory()


def test_a_mirror_forgets_all_but_the_best_and_the_latest() -> None:
    """Of a long history those two kinds stay, in order of their numbers, beside what runs."""
    mirror = SamplerHistory()
    study = optuna.create_study(storage=mirror)
    running = study.ask()
    for value in range(600):
        study.tell(study.ask(), value * 7 % 600)  # each value once
    seen = mirror.get_all_trials(0)
    numbers = [trial.number for trial in seen]
    assert numbers == sorted(numbers) and running.number in numbers
    values = {trial.value for trial in seen if trial.value is not None}
    assert values == set(range(BEST)) | {value * 7 % 600 for value in range(600 - RECENT, 600)}


def test_a_study_deleted_here_takes_its_runs_along(store: Store) -> None:
    """Nothing of ours is left of it."""
    study = store.write(studies.create, "s", "{}", 5, ["MINIMIZE"])
    store.write(ledger.add, study.study_id, [replicate(1)])
    optuna.delete_study(study_name="s", storage=optuna_storage(store))
    assert store.read(lambda connection: connection.execute(sa.select(runs)).all()) == []


def test_no_trial_is_added_to_a_study_of_ours(store: Store) -> None:
    """Its budget is the ledger's alone."""
    store.write(studies.create, "s", "{}", 5, ["MINIMIZE"])
    with pytest.raises(StorageMisuse, match="made by its workers"):
        optuna.load_study(study_name="s", storage=optuna_storage(store)).ask()


def test_many_threads_write_through_it_at_once(store: Store) -> None:
    """Where plain Optuna's SQLite storage says that the database is locked, each waits for its turn."""
    study = optuna.create_study(study_name="plain", storage=optuna_storage(store))
    errors: list[Exception] = []

    def tell() -> None:
        try:
            for _ in range(5):
                trial = study.ask()
                study.tell(trial, trial.suggest_float("x", 0, 1))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=tell) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(study.trials) == 30
