"""What may be asked of the studies of one store, for the shell, Python and HTTP alike: each answer is a record.

`search.serve.remote` asks the same of a service, by the same names.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection

from search.errors import Conflict
from search.query import ranking, runs
from search.query.best_query import BestQuery
from search.query.records import BestAnswer, Conclusion, Status, StudySummary, TrialRecord, WorkerRecord
from search.spec import stored_study
from search.spec.study_spec import StudySpec
from storage import studies
from storage.store import Store

if TYPE_CHECKING:
    from objectives.data.samples import Samples

DEFAULT_TRIALS = 600  # with 400, one study in twenty ended too early; measured by tests/bench/seeds.py


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

    def listed(self, after: int = 0, limit: int | None = None) -> Sequence[StudySummary]:
        """The studies in the order of their ids, from the one after `after`."""

    def spec(self, name: str) -> StudySpec:
        """The study's spec."""

    def status(self, name: str) -> Status:
        """How far the study is."""

    def best(self, name: str, query: BestQuery, per: str | None, top: int) -> BestAnswer:
        """The best configurations, or of each value of `per`."""

    def trials(self, name: str, limit: int | None, after: int) -> Sequence[TrialRecord]:
        """The study's trials in order, from the one after number `after`."""

    def conclusion(self, name: str) -> Conclusion:
        """What a launch ends with."""

    def stop(self, name: str) -> None:
        """Ask every worker of the study to finish what it runs and leave."""

    def delete(self, name: str) -> None:
        """Delete the study and all that was found; its workers leave."""

    def workers(self) -> Sequence[WorkerRecord]:
        """The living workers."""


class LocalStudies:
    """Those of a store that is open here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self) -> None:
        self._store.close()

    def launch(self, name: str, spec: StudySpec, order: Order, samples: "Samples | None" = None) -> bool:
        """As in `Studies`; a new study takes its data along."""
        known = self._store.read(studies.look_up, name)
        begun = spec if known else self._begun(spec, order.source)
        content = None if known else _packed(samples)
        study = self._store.write(stored_study.create, name, begun, order.trials, content)
        difference = study.spec.difference(spec)
        if difference:
            raise Conflict(f"study {name!r} has {difference}; name another with `--study`")
        wanted = order.trials, order.timeout, order.retries, order.until_epochs
        self._store.write(studies.reopen, study.study_id, *wanted)
        return not known

    def listed(self, after: int = 0, limit: int | None = None) -> Sequence[StudySummary]:
        return self._store.read(runs.listed, after, limit)

    def spec(self, name: str) -> StudySpec:
        return self.study(name).spec

    def status(self, name: str) -> Status:
        return self._store.read(runs.status, self._record(name))

    def best(self, name: str, query: BestQuery, per: str | None, top: int) -> BestAnswer:
        study = self.study(name)
        ended = self._store.read(ranking.tally, study, query)
        if per:
            return BestAnswer(self._store.read(ranking.best_per, study, per, query)[:top], ended)
        return BestAnswer(self._store.read(ranking.best, study, query, top), ended)

    def trials(self, name: str, limit: int | None, after: int) -> Sequence[TrialRecord]:
        return self._store.read(runs.trials, self._record(name), limit, after)

    def conclusion(self, name: str) -> Conclusion:
        return self._store.read(conclusion, self.study(name))

    def study(self, name: str) -> stored_study.StoredStudy:
        """The study of that name, opened; NotFound names those there are."""
        return self._store.read(stored_study.find, name)

    def stop(self, name: str) -> None:
        self._store.write(studies.stop, self._record(name).study_id)

    def delete(self, name: str) -> None:
        record = self._record(name)
        from storage.optuna_storage import optuna_storage  # which loads Optuna

        with suppress(KeyError):  # somebody else was first
            optuna_storage(self._store).delete_study(record.study_id)

    def workers(self) -> Sequence[WorkerRecord]:
        return self._store.read(runs.living)

    def _record(self, name: str) -> studies.StudyRecord:
        return self._store.read(studies.find, name)

    def _begun(self, spec: StudySpec, source: str | None) -> StudySpec:
        """The spec of a new study, which begins with the best of another one if that is named."""
        if source is None:
            return spec
        begun = self._store.read(ranking.start, self.study(source), spec)
        if not begun:
            raise Conflict(f"nothing has converged in study {source!r} yet, so there is nothing to begin with")
        return spec.model_copy(update={"start": tuple(begun)})


def conclusion(connection: Connection, study: stored_study.StoredStudy) -> Conclusion:
    """What a launch ends with."""
    return Conclusion(
        confirmed=ranking.confirmed(connection, study),
        question=runs.reference(connection, study),
        by_classes=runs.by_classes(connection, study),
        status=runs.status(connection, study),
    )


def _packed(samples: "Samples | None") -> tuple[str, bytes] | None:
    if samples is None:
        return None
    from search.spec.dataset import packed  # which loads NumPy

    return samples.digest, packed(samples)
