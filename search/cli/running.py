"""Commands of a search that has begun: worker, confirm, stop."""

import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Annotated

from typer import Exit, Option

from objectives.trainers.trainer import TrainerKind
from search.ask.purpose import Purpose
from search.cli import options, output
from search.cli.output import Format, fail
from search.cli.progress import run_waiting
from search.client import STORAGE
from search.errors import UsageError
from search.logs import Log, set_up
from search.query import ranking
from search.query.best_query import for_classes
from search.query.records import BestAnswer
from search.spec import parsing, stored_study
from search.spec.stored_study import StoredStudy
from search.train.processes import GRACE_SECONDS, handling, worker_name
from storage import ledger, studies
from storage.store import OUTAGE_SECONDS, Store

app = options.Commands()
log = logging.getLogger("fewest")


@app.command()
def worker(
    device: options.Device = "auto",
    trainer: options.Trainer = TrainerKind.AUTO,
    purpose: Annotated[
        Purpose,
        Option(
            help="search: begin trials, and run what the answer needs; confirm: of the `--study`, run what waits and "
            "begin nothing; ladder: run what waits of its `fewest ladder`, which others leave alone"
        ),
    ] = Purpose.SEARCH,
    exit_idle: Annotated[
        bool, Option("--exit-idle", help="Leave when no study has anything to do, instead of waiting.")
    ] = False,
    grace: Annotated[
        float, Option(min=0, max=1e6, help="Seconds after SIGTERM until what still trains is released.")
    ] = GRACE_SECONDS,
    log_form: options.LogForm = Log.TEXT,
    storage: options.Storage = STORAGE,
    study: Annotated[
        str | None, Option(callback=options.study_name, help="Serve this study alone, until it has no more to do.")
    ] = None,
) -> None:
    """Train for every open study, and wait for new ones: one process on one device. More may join or leave at any time.

    On a SQLite file they must be of one machine; on Postgres they may be of many. Each goes where the fewest workers
    are, and draws the figures of a study that it has found over. Ctrl-C or SIGTERM lets running trials finish; a second
    one, or the end of the grace after SIGTERM, releases them to other workers at once (exit status 130, or 143).

    Examples: `fewest worker --storage postgresql://HOST/NAME`, once for each core or GPU of each machine that reaches
    it · `fewest worker --device cuda:1` · `fewest worker --study default` ·
    in a batch job: `FEWEST_STORAGE=postgresql://HOST/NAME fewest worker --exit-idle --grace 25 --log json`
    """
    parent = int(os.environ.get("FEWEST_PARENT", 0)) or None
    set_up(log_form, logging.WARNING if parent else logging.INFO, worker=worker_name(os.getpid()), study=study)
    if not study and purpose is not Purpose.SEARCH:
        raise UsageError(f"`--purpose {purpose}` is for one study; name it with `--study`")
    with handling(_interrupted):  # until it serves, and has something to finish
        store = Store.open(storage, patience=OUTAGE_SECONDS, wait=OUTAGE_SECONDS if parent else 0)
        opened = store.read(stored_study.find, study) if study else None
        if opened:
            parsing.constructor(opened.spec.objective)  # it must be here, too
        place = options.available(device)[0]

        from search.train.standing_worker import StandingWorker
        from search.train.worker import DEVICE_FAILED, Worker, WorkerAborted

        log.info("serving %s on %s", f"study {study!r}" if study else "every open study", place)

        def serving(known: StoredStudy, elsewhere: Callable[[], bool] = lambda: False) -> Worker:
            return Worker(store, known, place, parent, trainer, purpose=purpose, grace=grace, elsewhere=elsewhere)

        try:
            if opened:
                serving(opened).work()
            else:
                standing = StandingWorker(store, serving, partial(_draw, store), exit_idle)
                standing.work(lambda: parent not in (None, os.getppid()))
        except WorkerAborted as left:
            raise Exit(left.status) from None
        except RuntimeError as error:
            fault = f"{place}: {type(error).__name__}: {str(error).splitlines()[0]}"
            raise Exit(fail(fault, DEVICE_FAILED)) from None
    log.info("nothing more to do for this worker")


def _draw(store: Store, study: StoredStudy) -> None:
    """Put our figures on the page of a study that is over: nobody waits at its end who would ask for a report."""
    try:
        from search.answer.report.pictures import show_whole  # which loads Plotly

        show_whole(store, study)
    except Exception as error:  # of Plotly, of the dashboard, of the store: none is a reason to end a worker
        log.warning("study %r has no figures in the dashboard: %s: %s", study.name, type(error).__name__, error)


def _interrupted(number: int) -> None:
    """Leave at once: an exception could be lost among the imports of a worker that begins."""
    os._exit(fail("interrupted", 130 if number == signal.SIGINT else 143))


@app.command()
def confirm(
    at: options.StudyOptions,
    on: options.WorkerOptions,
    which: options.Trials = None,
    top: Annotated[int, Option(min=1, max=1000, help="How many of the best, if no trial is named.")] = 5,
    seeds: Annotated[int, Option(min=1, max=30, help="Fresh seeds that each is to have been run on.")] = 5,
    classes: options.OfClasses = None,
) -> None:
    """Re-run the best configurations on fresh seeds, without another trial, and rank them by what comes out.

    Examples: `fewest confirm` · `fewest confirm --top 3 --seeds 20` · `fewest confirm 12 40 --seeds 10`
    """
    from search.ask.study import replicate  # which loads Optuna

    devices, query = on.devices(), for_classes(classes)
    store, opened = at.open(OUTAGE_SECONDS)
    picked = options.pick(store, opened, "so there is nothing to confirm", which or (), classes, top)
    spec, numbers = opened.spec, [row.trial for row in picked]
    due = [replicate(spec, row.trial or 0, k, row.params, row.spent) for row in picked for k in range(1, seeds + 1)]
    store.write(studies.resume, opened.study_id)
    store.write(ledger.add, opened.study_id, due)  # which leaves those that exist as they are
    run_waiting(store, opened, at.storage, devices, Purpose.CONFIRM)
    best = [row for row in store.read(ranking.best, opened, query, options.MAX_INTEGER) if row.trial in numbers]
    if at.format is not Format.TABLE:
        return output.records(best, at.format)
    output.best_table(BestAnswer(best, store.read(ranking.tally, opened, query)))


@app.command()
def stop(at: options.AnyStudyPlace) -> None:
    """Ask all workers of a study, wherever they run, to finish what they train and leave. `launch` goes on later."""
    at.ask().stop(at.study)
    output.notice(f"study {at.study!r} is stopping; `fewest status` shows what still runs")
