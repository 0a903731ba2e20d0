"""What may be asked of the studies of one store, for the shell, Python and HTTP alike: each answer is plain data.

`search.serve.remote` asks the same of a service, by the same names.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from search.errors import Conflict
from search.query import ranking
from search.query import runs as query
from search.query.ranking import Wanted
from search.spec.study_spec import StudySpec, parsed
from storage import studies
from storage.store import BRIEF_SECONDS, Store
from storage.studies import StudyRecord

if TYPE_CHECKING:
    from objectives.data.samples import Samples

DEFAULT_TRIALS = 600  # with 400, one study in twenty ended too early; measured by tests/bench/seeds.py

Record = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a launch asks for, besides the spec."""

    #: Trials in all.
    trials: int = DEFAULT_TRIALS
    #: Seconds after which no new trial is begun.
    timeout: float | None = None
    #: Attempts after the first, if workers die; None leaves what the study has.
    retries: int | None = None
    #: No new trial once a configuration of so few epochs is confirmed.
    until_epochs: int | None = None
    #: The study whose best a new one begins with.
    source: str | None = None


class Studies(Protocol):
    """The studies of one store, here or behind a service."""

    def close(self) -> None:
        """Close the connections to it."""

    def launch(self, name: str, spec: StudySpec, order: Order) -> bool:
        """Make the study unless it is there, and let it go on; whether it was made. Conflict if it has another spec."""

    def listed(self, after: int = 0, limit: int | None = None) -> list[Record]:
        """The studies in the order of their ids, from the one after `after`."""

    def spec(self, name: str) -> Record:
        """The study's spec, as JSON."""

    def status(self, name: str) -> Record:
        """How far the study is: `query.status`."""

    def best(self, name: str, wanted: Wanted, per: str | None, top: int) -> Record:
        """`best`: the best configurations, or of each value of `per`; `ended`: how the trials asked of did."""

    def trials(self, name: str, limit: int | None, after: int) -> list[Record]:
        """The study's trials in order, from the one after number `after`."""

    def conclusion(self, name: str) -> Record:
        """`confirmed`: every confirmed configuration; `question`: the page's model; `by_classes`; and `status`."""

    def stop(self, name: str) -> None:
        """Ask every worker of the study to finish what it runs and leave."""

    def delete(self, name: str) -> None:
        """Delete the study and all that was found; its workers leave."""

    def workers(self) -> list[Record]:
        """The living workers: `query.living`."""


class LocalStudies:
    """Those of a store that is open here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self) -> None:
        self._store.close()

    def launch(self, name: str, spec: StudySpec, order: Order, samples: "Samples | None" = None) -> bool:
        """As in `Studies`; a new study takes its data along."""
        known = self._store.read(studies.look_up, name)
        content = None
        if not known:
            spec = self._begun(spec, order.source)
            content = _packed(samples)
        record = known or self._store.write(
            studies.create, name, spec.model_dump_json(), order.trials, spec.directions, content
        )
        difference = parsed(record.spec).difference(spec)
        if difference:
            raise Conflict(f"study {name!r} has {difference}; name another with `--study`")
        self._store.write(
            studies.reopen, record.study_id, order.trials, order.timeout, order.retries, order.until_epochs
        )
        return not known

    def listed(self, after: int = 0, limit: int | None = None) -> list[Record]:
        return self._store.read(query.listed, after, limit)

    def spec(self, name: str) -> Record:
        spec: Record = parsed(self._record(name).spec).model_dump(mode="json")
        return spec

    def status(self, name: str) -> Record:
        return self._store.read(query.status, self._record(name))

    def best(self, name: str, wanted: Wanted, per: str | None, top: int) -> Record:
        record = self._record(name)
        found = (
            self._store.read(ranking.best_per, record, per, wanted)[:top]
            if per
            else self._store.read(ranking.best, record, wanted, top)
        )
        return {"best": found, "ended": self._store.read(ranking.tally, record, wanted)}

    def trials(self, name: str, limit: int | None, after: int) -> list[Record]:
        return self._store.read(query.trials, self._record(name), limit, after)

    def conclusion(self, name: str) -> Record:
        record = self._record(name)
        return {
            "confirmed": self._store.read(ranking.confirmed, record),
            "question": self._store.read(query.reference, record),
            "by_classes": self._store.read(query.by_classes, record),
            "status": self._store.read(query.status, record),
        }

    def stop(self, name: str) -> None:
        self._store.write(studies.stop, self._record(name).study_id)

    def delete(self, name: str) -> None:
        record = self._record(name)
        from storage.optuna_storage import optuna_storage  # which loads Optuna

        with suppress(KeyError):  # somebody else was first
            optuna_storage(self._store).delete_study(record.study_id)

    def workers(self) -> list[Record]:
        return self._store.read(query.living)

    def _record(self, name: str) -> StudyRecord:
        return self._store.read(studies.find, name)

    def _begun(self, spec: StudySpec, source: str | None) -> StudySpec:
        """The spec of a new study, which begins with the best of another one if that is named."""
        if source is None:
            return spec
        begun = self._store.read(ranking.start, self._record(source), spec)
        if not begun:
            raise Conflict(f"nothing has converged in study {source!r} yet, so there is nothing to begin with")
        return spec.model_copy(update={"start": tuple(begun)})


def _packed(samples: "Samples | None") -> tuple[str, bytes] | None:
    if samples is None:
        return None
    from search.spec.dataset import packed  # which loads NumPy

    return samples.digest, packed(samples)


def is_service(url: str) -> bool:
    """Whether a storage URL is that of a service."""
    return url.startswith(("http://", "https://"))


def opened(url: str, token: str | None = None, patience: float = BRIEF_SECONDS) -> Studies:
    """The studies at a storage URL; StorageMisuse if there is no store. What is asked waits `patience` for it."""
    if is_service(url):
        from search.serve.remote import RemoteStudies  # which loads httpx

        return RemoteStudies(url, token, patience)
    return LocalStudies(Store.open(url, patience=patience))
