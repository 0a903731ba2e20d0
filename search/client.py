"""What the shell can ask, in Python: the same answers, as records.

from search.client import connect

with connect("sqlite:///fewest.db") as studies:
    for row in studies.best(study="mine"):
        print(row.epochs, row.params)
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from search.errors import UsageError
from search.query.best_query import BestQuery, By
from search.query.records import BestRecord, Status, TrialRecord, ValueRecord, plain
from search.query.studies import LocalStudies, Studies
from search.spec.space import DIMENSION, Choices, Range
from storage.store import BRIEF_SECONDS, Store

if TYPE_CHECKING:
    import pandas

STORAGE, STUDY = "sqlite:///fewest.db", "default"

#: A value, several of them in a list, the lowest and the highest in a tuple, or what JSON has for these: a mapping of
#: `values`, or of `low` and `high`.
Within = str | float | list[str | float] | tuple[float, float] | Mapping[str, Any]


class Question(TypedDict, total=False):
    """Which configurations are asked for, and what counts."""

    #: Where parameters must lie: {"activation": "tanh"}, {"optimizer": ["adam", "sgd"]}, {"lr": (0.01, 0.1)}, which the
    #: service reads as {"lr": {"low": 0.01, "high": 0.1}} and {"optimizer": {"values": ["adam", "sgd"]}}.
    where: Mapping[str, Within] | None
    #: What the least of is best: epochs (the default), seconds or weights.
    by: str
    #: Another accuracy, in (0, 1], that counts as learned: the recorded curves are judged anew.
    target: float | None
    #: Another number of evaluations in a row that must reach it.
    hold: int | None


class Client:
    """The studies of one store or service; every method takes the study's name. Close it, or use it in a `with`."""

    def __init__(self, studies: Studies) -> None:
        self._studies = studies

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._studies.close()

    def best(self, *, top: int = 10, study: str = STUDY, **question: Unpack[Question]) -> Sequence[BestRecord]:
        """The best configurations; see `fewest best --help`.

        UsageError for bad arguments, StorageMisuse for a store or study that is not there.
        """
        answer = self._studies.best(study, _query(**question), None, top)
        return [row for row in answer.best if isinstance(row, BestRecord)]

    def best_per(
        self, parameter: str, *, top: int = 10, study: str = STUDY, **question: Unpack[Question]
    ) -> Sequence[ValueRecord]:
        """The best configuration of each value of a parameter, and how all trials of that value ended; as `best`."""
        answer = self._studies.best(study, _query(**question), parameter, top)
        return [row for row in answer.best if isinstance(row, ValueRecord)]

    def trials(self, *, limit: int | None = None, after: int = -1, study: str = STUDY) -> Sequence[TrialRecord]:
        """The study's trials in order of their numbers, finished or not: `limit` of them after `after`."""
        return self._studies.trials(study, limit, after)

    def status(self, *, study: str = STUDY) -> Status:
        """How far a study is: its trials by state, its workers, and the incumbent."""
        return self._studies.status(study)

    @staticmethod
    def frame(records: Sequence[BestRecord | TrialRecord | ValueRecord]) -> "pandas.DataFrame":
        """Records as a pandas frame, a column for each parameter; ImportError without pandas."""
        import pandas

        rows = [record.flat() if isinstance(record, ValueRecord) else plain(record) for record in records]
        return pandas.DataFrame([row | (row.pop("params") or {}) for row in rows])


def connect(storage: str | None = None, token: str | None = None, patience: float = BRIEF_SECONDS) -> Client:
    """The studies of a store or, at an http(s) URL, of a service.

    `storage` is FEWEST_STORAGE or sqlite:///fewest.db by default, `token` that of FEWEST_TOKEN. While the database or
    the service is busy or away, each question is asked again for `patience` seconds, at growing intervals up to 2 s;
    then it is a StorageError. So with 60 a program outlives a restart of either.
    """
    return Client(open_studies(storage or os.environ.get("FEWEST_STORAGE") or STORAGE, token, patience))


def open_studies(url: str, token: str | None = None, patience: float = BRIEF_SECONDS) -> Studies:
    """The studies at a storage URL; StorageMisuse if there is no store. Questions wait `patience` seconds for it."""
    if is_service(url):
        from search.serve.remote import RemoteStudies  # which loads httpx

        return RemoteStudies(url, token, patience)
    return LocalStudies(Store.open(url, patience=patience))


def is_service(url: str) -> bool:
    """Whether a storage URL is that of a service."""
    return url.startswith(("http://", "https://"))


def _query(
    where: Mapping[str, Within] | None = None, by: str = By.EPOCHS, target: float | None = None, hold: int | None = None
) -> BestQuery:
    if by not in list(By):
        raise UsageError(f"`by` must be one of {', '.join(By)}, got {by!r}")
    dimensions = {name: _dimension(name, within) for name, within in (where or {}).items()}
    return BestQuery(dimensions, By(by), target, hold)


def _dimension(name: str, within: Within) -> Range | Choices:
    try:
        if isinstance(within, tuple):
            return DIMENSION.validate_python(dict(zip(("low", "high"), within, strict=True)))
        values = {"values": within if isinstance(within, list) else [within]}
        return DIMENSION.validate_python(within if isinstance(within, Mapping) else values)
    except ValueError:  # pydantic's errors are such
        takes = "takes a value, a list of values or a tuple (low, high)"
        raise UsageError(f"`where`: {name!r} {takes}, got {within!r}") from None
