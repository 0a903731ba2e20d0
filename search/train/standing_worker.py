"""A standing worker: serves every open study of a store, fairly, one at a time.

It goes where the fewest workers are, and moves on when a study has no more to do, or when another one needs it more:
then it takes no new trial and finishes what it runs. A study that this version, or this machine, cannot serve is named
once and left to others.
"""

import logging
import random
import time
from collections.abc import Callable

from search import logs
from search.errors import UsageError
from search.spec import parsing as options
from search.spec.study_spec import parsed
from search.train.processes import handling
from search.train.worker import Worker
from storage import studies
from storage.database import StorageMisuse
from storage.leases import SingleMachineOnly
from storage.store import Store
from storage.studies import StudyRecord

SLICE_SECONDS = 5.0  # between two questions whether another study needs this worker more
IDLE_SECONDS = 1.0  # between two questions whether there is anything to do again

log = logging.getLogger("fewest")


class Pool:
    """One process's part in serving the studies of a store."""

    def __init__(
        self, store: Store, worker: Callable[[StudyRecord, Callable[[], bool]], Worker], exit_idle: bool = False
    ) -> None:
        """`worker` makes the worker that serves a study until its second argument says that it is needed elsewhere."""
        self._store, self._worker, self._exit_idle = store, worker, exit_idle
        self._refused: dict[int, str] = {}  # specs that cannot be served here, by study
        self._last: int | None = None
        self._leaving = False

    def work(self, abandoned: Callable[[], bool]) -> None:
        """Serve until told to leave, `abandoned`, or with `exit_idle` until nothing is left; Left as of `Worker`."""
        with handling(self._leave):
            while not self._leaving and not abandoned():
                record = self._neediest()
                if record:
                    self._serve(record)
                elif self._exit_idle:
                    return
                else:
                    time.sleep(IDLE_SECONDS)

    def _serve(self, record: StudyRecord) -> None:
        with logs.about(study=record.name):
            try:
                options.constructor(parsed(record.spec).objective)  # it must be here, too
                self._work(record)
            except UsageError as error:
                self._refused[record.study_id] = record.spec
                log.warning("leaving study %r alone: %s", record.name, error)
            except SingleMachineOnly:  # of no study here
                raise
            except StorageMisuse as error:  # of this study: a store that is gone says so again, to `_neediest`
                log.warning("study %r: %s", record.name, error)
                time.sleep(IDLE_SECONDS)

    def _work(self, record: StudyRecord) -> None:
        self._last, asked = record.study_id, time.monotonic()

        def elsewhere() -> bool:
            nonlocal asked
            if time.monotonic() - asked < SLICE_SECONDS:
                return False
            asked = time.monotonic()
            return self._needed_more(record.study_id)

        log.info("serving study %r", record.name)
        worker = self._worker(record, elsewhere)
        worker.work()
        self._leaving |= worker.told_to_leave
        if worker.concluded:
            self._draw(record)

    def _draw(self, record: StudyRecord) -> None:
        """Put our figures on the study's page: here, since nobody waits at its end who would ask for a report."""
        try:
            from search.answer.report.pictures import show_whole  # which loads Plotly

            show_whole(self._store, record)
        except Exception as error:  # of Plotly, of the dashboard, of the store: none is a reason to end a worker
            log.warning("study %r has no figures in the dashboard: %s", record.name, f"{type(error).__name__}: {error}")

    def _neediest(self) -> StudyRecord | None:
        """An open study with the fewest workers, another than the last if there is one."""
        found = [(count, record.study_id == self._last, random.random(), record) for record, count in self._open()]
        return min(found)[-1] if found else None

    def _needed_more(self, here: int) -> bool:
        """Whether another study has no worker, or at least two fewer than this one."""
        counts = {record.study_id: count for record, count in self._open()}
        mine = max(1, counts.pop(here, 1))
        return any(count == 0 or count <= mine - 2 for count in counts.values())

    def _open(self) -> list[tuple[StudyRecord, int]]:
        found = self._store.read(studies.open_ones)
        return [(record, count) for record, count in found if self._refused.get(record.study_id) != record.spec]

    def _leave(self, _: int) -> None:
        self._leaving = True
