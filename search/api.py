"""What the shell can ask, in Python: the same answers as plain records.

import search

search.best(per="activation", storage="sqlite:///fewest.db")
search.frame(search.trials())
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search import query, ranking
from search.ranking import By, Wanted
from search.space import Choices, Dimension, Range
from search.spec import SpecError
from storage import studies
from storage.store import Store
from storage.studies import StudyRecord

if TYPE_CHECKING:
    import pandas

STORAGE, STUDY = "sqlite:///fewest.db", "default"

#: A value, several of them in a list, or the lowest and the highest in a tuple.
Within = str | float | list[str | float] | tuple[float, float]


def best(
    *,
    per: str | None = None,
    where: Mapping[str, Within] | None = None,
    by: str = "epochs",
    target: float | None = None,
    hold: int | None = None,
    top: int = 10,
    study: str = STUDY,
    storage: str | None = None,
) -> list[dict[str, Any]]:
    """The best configurations, or with `per` the best of each value of a parameter; see `fewest best --help`.

    `where` narrows: {"activation": "tanh"}, {"optimizer": ["adam", "sgd"]}, {"lr": (0.01, 0.1)}. `by` is epochs,
    seconds or weights. Another `target` (accuracy in (0, 1]) or `hold` (evaluations in a row) judges the recorded
    curves anew. `storage` is FEWEST_STORAGE or sqlite:///fewest.db by default.

    A record has `rank` (equal for ties), `trial`, `classes`, `epochs` (to convergence), `replicates` and how many of
    them converged, `replicate_epochs`, `confirmed`, `accuracy`, `loss` (nats), `seconds` (of training), `weights` and
    `params`; with `per` as in `search.ranking.best_per`. SpecError for bad arguments, StorageMisuse for a store or
    study that is not there.
    """
    if by not in list(By):
        raise SpecError(f"`by` must be one of {', '.join(By)}, got {by!r}")
    try:
        asked = {name: _dimension(name, within) for name, within in (where or {}).items()}
    except ValidationError:
        raise SpecError(f"`where` takes values, lists of values or tuples (low, high), got {where!r}") from None
    wanted = Wanted(asked, By(by), target, hold)
    with _opened(storage, study) as (store, record):
        if per:
            return store.read(ranking.best_per, record, per, wanted)[:top]
        return store.read(ranking.best, record, wanted, top)


def trials(
    *, limit: int | None = None, after: int = -1, study: str = STUDY, storage: str | None = None
) -> list[dict[str, Any]]:
    """The study's trials in order of their numbers, finished or not: at most `limit`, from the one after `after`."""
    with _opened(storage, study) as (store, record):
        return store.read(query.trials, record, limit, after)


def status(*, study: str = STUDY, storage: str | None = None) -> dict[str, Any]:
    """How far a study is: its trials by state, its workers, and the incumbent."""
    with _opened(storage, study) as (store, record):
        return store.read(query.status, record)


def frame(records: Sequence[Mapping[str, Any]]) -> "pandas.DataFrame":
    """Records of `best` or `trials` as a pandas frame with a column for each parameter; ImportError without pandas."""
    import pandas

    return pandas.DataFrame(
        [{name: value for name, value in row.items() if name != "params"} | (row["params"] or {}) for row in records]
    )


@contextmanager
def _opened(storage: str | None, study: str) -> Iterator[tuple[Store, StudyRecord]]:
    store = Store.open(storage or os.environ.get("FEWEST_STORAGE") or STORAGE)
    try:
        yield store, store.read(studies.find, study)
    finally:
        store.close()


def _dimension(name: str, within: Within) -> Dimension:
    if isinstance(within, tuple):
        if len(within) != 2:
            raise SpecError(f"`where`: {name!r} takes a value, a list of values or a tuple (low, high), got {within!r}")
        return Range(low=within[0], high=within[1], log=False, whole=False)
    return Choices(values=tuple(within) if isinstance(within, list) else (within,))
