"""What is away is tried again at growing intervals, until patience is over."""

import itertools
import logging
import threading
import time

import pytest

from storage import backoff
from storage.backoff import Backoff, doubling
from storage.database import StorageError, connect
from storage.store import Store


def test_pauses_double_up_to_the_longest() -> None:
    """And stay there."""
    assert list(itertools.islice(doubling(1.0, 6.0), 5)) == [1.0, 2.0, 4.0, 6.0, 6.0]


def test_without_patience_there_is_one_try(caplog: pytest.LogCaptureFixture) -> None:
    """No pause and no note."""
    began = time.monotonic()
    assert not Backoff(lambda: 0.0).pause("away") and time.monotonic() - began < 0.04 and not caplog.records


def test_notes_come_at_growing_intervals(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is at least twice as late as the one before, and says how long it will go on."""
    monkeypatch.setattr(backoff, "FIRST_NOTE_SECONDS", 0.1)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE_SECONDS", 0.05)
    tries, began = Backoff(lambda: 1.0), time.time()
    with caplog.at_level(logging.WARNING, "fewest"):
        while tries.pause("away"):
            pass
    noted = [record.created - began for record in caplog.records]
    assert 2 <= len(noted) <= 4 and noted[0] >= 0.1
    assert all(later >= 1.9 * sooner for sooner, later in itertools.pairwise(noted))
    assert caplog.messages[0] == "away; trying again for 1 s"


def test_patience_that_is_lost_ends_the_wait() -> None:
    """With the pause that is being slept: of a transaction on a database that is away, and not before."""
    store = Store(connect("postgresql://ann@127.0.0.1:1/fewest"), patience=300.0)
    began = time.monotonic()
    lost = threading.Timer(0.5, setattr, (store, "patience", 0.0))
    lost.start()
    with pytest.raises(StorageError):
        store.read(lambda connection: None)
    assert 0.5 <= time.monotonic() - began < 0.5 + backoff.LONGEST_PAUSE_SECONDS + 2
    lost.join()
    store.close()
