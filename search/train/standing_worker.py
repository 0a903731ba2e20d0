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
from search.spec.stored_study import StoredStudy
from search.train.processes import handling
from search.train.worker import Worker
from storage import studies
from storage.database import StorageMisuse
from storage.leases import SingleMachineOnly
from storage.store import Store
from storage.studies import StudyRecord

#: Makes the worker of a study, which asks now and then whether it is needed elsewhere.
OfStudy = Callable[[StoredStudy, Callable[[], bool]], Worker]

SLICE_SECONDS = 5.0  # between two questions whether another study needs this worker more
IDLE_SECONDS = 1.0  # between two questions whether there is anything to do again

log = logging.getLogger("fewest")


class StandingWorker:
    """One process's part in serving the studies of a store."""

    def __init__(
        self, store: Store, worker: OfStudy, concluded: Callable[[StoredStudy], None], exit_idle: bool = False
    ) -> None:
        """`worker` makes the worker that serves a study until its second argument says that it is needed elsewhere.

        `concluded` is called with a study of which this process was the first to find that nothing is left to do.
        """
        self._store, self._worker, self._concluded, self._exit_idle = store, worker, concluded, exit_idle
        self._refused: dict[int, str] = {}  # specs that cannot be served here, by study
        self._last: int | None = None
        self._leaving = False

    def work(self, abandoned: Callable[[], bool]) -> None:
        """Serve until told to leave, `abandoned`, or with `exit_idle` idle; WorkerAborted as of `Worker.work`."""
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
                study = StoredStudy.of(record)
                options.constructor(study.spec.objective)  # it must be here, too
                self._work(study)
            except UsageError as error:
                self._refused[record.study_id] = record.spec_json
                log.warning("leaving study %r alone: %s", record.name, error)
            except SingleMachineOnly:  # of no study here
                raise
            except StorageMisuse as error:  # of this study: a store that is gone says so again, to `_neediest`
                log.warning("study %r: %s", record.name, error)
                time.sleep(IDLE_SECONDS)

    def _work(self, study: StoredStudy) -> None:
        self._last, asked = study.study_id, time.monotonic()

        def elsewhere() -> bool:
            nonlocal asked
            if time.monotonic() - asked < SLICE_SECONDS:
                return False
            asked = time.monotonic()
            return self._needed_more(study.study_id)

        log.info("serving study %r", study.name)
        worker = self._worker(study, elsewhere)
        worker.work()
        self._leaving |= worker.told_to_leave
        if worker.concluded:
            self._concluded(study)

    def _neediest(self) -> StudyRecord | None:
        """An open study with the fewest workers, another than the last if there is one."""
        ranked = [(count, record.study_id == self._last, random.random(), record) for record, count in self._open()]
        return min(ranked)[-1] if ranked else None

    def _needed_more(self, here: int) -> bool:
        """Whether another study has no worker, or at least two fewer than this one."""
        counts = {record.study_id: count for record, count in self._open()}
        own = max(1, counts.pop(here, 1))
        return any(count == 0 or count <= own - 2 for count in counts.values())

    def _open(self) -> list[tuple[StudyRecord, int]]:
        known = self._store.read(studies.open_ones)
        return [(record, count) for record, count in known if self._refused.get(record.study_id) != record.spec_json]

    def _leave(self, _: int) -> None:
        self._leaving = True
