"""What the shell can ask, in Python: the same answers as plain records.

from search import client

client.best(per="activation", storage="sqlite:///fewest.db")
client.frame(client.trials())
client.connect("http://127.0.0.1:8080").status(study="mine")
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from search.errors import UsageError
from search.query.ranking import By, Wanted
from search.query.studies import Studies, opened
from search.spec.space import Choices, Dimension, Range
from storage.store import BRIEF_SECONDS

if TYPE_CHECKING:
    import pandas

STORAGE, STUDY = "sqlite:///fewest.db", "default"

#: A value, several of them in a list, or the lowest and the highest in a tuple.
Within = str | float | list[str | float] | tuple[float, float]


class Client:
    """The studies of one store or service; every method takes the study's name. Close it, or use it in a `with`."""

    def __init__(self, studies: Studies) -> None:
        self._studies = studies

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._studies.close()

    def best(
        self,
        *,
        per: str | None = None,
        where: Mapping[str, Within] | None = None,
        by: str = "epochs",
        target: float | None = None,
        hold: int | None = None,
        top: int = 10,
        study: str = STUDY,
    ) -> list[dict[str, Any]]:
        """The best configurations, or with `per` the best of each value of a parameter; see `fewest best --help`.

        `where` narrows: {"activation": "tanh"}, {"optimizer": ["adam", "sgd"]}, {"lr": (0.01, 0.1)}. `by` is epochs,
        seconds or weights. Another `target` (accuracy in (0, 1]) or `hold` (evaluations in a row) judges the recorded
        curves anew.

        A record has `rank` (equal for ties), `trial`, `classes`, `epochs` (to convergence), `replicates` and how many
        of them converged, `replicate_epochs`, `confirmed`, `accuracy`, `loss` (nats), `seconds` (of training),
        `weights` and `params`; with `per` as in `ranking.best_per`. UsageError for bad arguments, StorageMisuse for a
        store or study that is not there.
        """
        if by not in list(By):
            raise UsageError(f"`by` must be one of {', '.join(By)}, got {by!r}")
        try:
            asked = {name: _dimension(name, within) for name, within in (where or {}).items()}
        except ValidationError:
            raise UsageError(f"`where` takes values, lists of values or tuples (low, high), got {where!r}") from None
        found: list[dict[str, Any]] = self._studies.best(study, Wanted(asked, By(by), target, hold), per, top)["best"]
        return found

    def trials(self, *, limit: int | None = None, after: int = -1, study: str = STUDY) -> list[dict[str, Any]]:
        """The study's trials in order of their numbers, finished or not: `limit` of them after `after`."""
        return self._studies.trials(study, limit, after)

    def status(self, *, study: str = STUDY) -> dict[str, Any]:
        """How far a study is: its trials by state, its workers, and the incumbent."""
        return self._studies.status(study)

    @staticmethod
    def frame(records: Sequence[Mapping[str, Any]]) -> "pandas.DataFrame":
        """Records of `best` or `trials` as a pandas frame, a column for each parameter; ImportError without pandas."""
        import pandas

        rows = (
            {name: value for name, value in row.items() if name != "params"} | (row["params"] or {}) for row in records
        )
        return pandas.DataFrame(list(rows))


def connect(storage: str | None = None, token: str | None = None, patience: float = BRIEF_SECONDS) -> Client:
    """The studies of a store or, at an http(s) URL, of a service.

    `storage` is FEWEST_STORAGE or sqlite:///fewest.db by default, `token` that of FEWEST_TOKEN. While the database or
    the service is busy or away, each question is asked again for `patience` seconds, at growing intervals up to 2 s;
    then it is a StorageError. So with 60 a program outlives a restart of either.
    """
    return Client(opened(storage or os.environ.get("FEWEST_STORAGE") or STORAGE, token, patience))


def best(*, storage: str | None = None, **asked: Any) -> list[dict[str, Any]]:
    """`Client.best` of the store at `storage`."""
    with connect(storage) as client:
        return client.best(**asked)


def trials(*, storage: str | None = None, **asked: Any) -> list[dict[str, Any]]:
    """`Client.trials` of the store at `storage`."""
    with connect(storage) as client:
        return client.trials(**asked)


def status(*, storage: str | None = None, **asked: Any) -> dict[str, Any]:
    """`Client.status` of the store at `storage`."""
    with connect(storage) as client:
        return client.status(**asked)


frame = Client.frame


def _dimension(name: str, within: Within) -> Dimension:
    if isinstance(within, tuple):
        if len(within) != 2:
            raise UsageError(
                f"`where`: {name!r} takes a value, a list of values or a tuple (low, high), got {within!r}"
            )
        return Range(low=within[0], high=within[1], log=False, whole=False)
    return Choices(values=tuple(within) if isinstance(within, list) else (within,))
