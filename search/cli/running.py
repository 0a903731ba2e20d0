"""Commands of a search that has begun: worker, confirm, stop."""

import logging
import os
import signal
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from objectives.trainers.trainer import TrainerKind
from search.ask.purpose import Purpose
from search.cli import output
from search.cli.options import (
    MAX_INTEGER,
    AnyStudyPlace,
    Commands,
    Device,
    LogForm,
    OfClasses,
    Storage,
    StudyOptions,
    Trainer,
    Trials,
    Workers,
    available,
    fail,
    spread,
    study_name,
)
from search.cli.output import Format
from search.cli.progress import View
from search.client import STORAGE
from search.errors import Failure, UsageError
from search.logs import Log, set_up
from search.query import ranking, runs
from search.query.best_query import BestQuery, for_classes
from search.query.records import BestAnswer, BestRecord
from search.spec import parsing, stored_study
from search.spec.stored_study import StoredStudy
from search.train.engine import LocalEngine
from search.train.processes import GRACE_SECONDS, handling, worker_name
from storage import ledger, studies
from storage.store import OUTAGE_SECONDS, Store

app = Commands()


@app.command(
    epilog="Examples: `fewest worker --storage postgresql://HOST/NAME`, once for each core or GPU of each machine that "
    "reaches it · `fewest worker --device cuda:1` · `fewest worker --study default` · "
    "in a batch job: `FEWEST_STORAGE=postgresql://HOST/NAME fewest worker --exit-idle --grace 25 --log json`"
)
def worker(
    device: Device = "auto",
    trainer: Trainer = TrainerKind.AUTO,
    purpose: Annotated[
        Purpose,
        typer.Option(
            help="search: begin trials, and run what the answer needs; confirm: of the `--study`, run what waits and "
            "begin nothing; ladder: run what waits of its `fewest ladder`, which others leave alone"
        ),
    ] = Purpose.SEARCH,
    exit_idle: Annotated[
        bool, typer.Option("--exit-idle", help="Leave when no study has anything to do, instead of waiting.")
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0, max=1e6, help="Seconds after SIGTERM until what still trains is released.")
    ] = GRACE_SECONDS,
    log: LogForm = Log.TEXT,
    storage: Storage = STORAGE,
    study: Annotated[
        str | None, typer.Option(callback=study_name, help="Serve this study alone, until it has no more to do.")
    ] = None,
) -> None:
    """Train for every open study, and wait for new ones: one process on one device. More may join or leave at any time.

    On a SQLite file they must be of one machine; on Postgres they may be of many. Each goes where the fewest workers
    are, and draws the figures of a study that it has found over. Ctrl-C or SIGTERM lets running trials finish; a second
    one, or the end of the grace after SIGTERM, releases them to other workers at once (exit status 130, or 143).
    """
    parent = os.environ.get("FEWEST_PARENT")
    set_up(log, logging.WARNING if parent else logging.INFO, worker=worker_name(os.getpid()), study=study)
    if not study and purpose is not Purpose.SEARCH:
        raise UsageError(f"`--purpose {purpose}` is for one study; name it with `--study`")
    who = int(parent) if parent else None
    with handling(_interrupted):  # until it serves, and has something to finish
        store = Store.open(storage, patience=OUTAGE_SECONDS, wait=OUTAGE_SECONDS if parent else 0)
        opened = store.read(stored_study.find, study) if study else None
        if opened:
            parsing.constructor(opened.spec.objective)  # it must be here, too
        place = available(device)[0]

        from search.train.standing_worker import StandingWorker
        from search.train.worker import DEVICE_FAILED, Worker, WorkerAborted

        serving: dict[str, Any] = {"device": place, "parent": who, "kind": trainer, "grace": grace}
        output_of = f"study {study!r}" if study else "every open study"
        logging.getLogger("fewest").info("serving %s on %s", output_of, place)
        try:
            if opened:
                Worker(store, opened, purpose=purpose, **serving).work()
            else:
                standing = StandingWorker(
                    store,
                    lambda of, elsewhere: Worker(store, of, elsewhere=elsewhere, **serving),
                    partial(_draw, store),
                    exit_idle,
                )
                standing.work(lambda: who not in (None, os.getppid()))
        except WorkerAborted as left:
            raise typer.Exit(left.status) from None
        except RuntimeError as error:
            fault = f"{place}: {type(error).__name__}: {str(error).splitlines()[0]}"
            raise typer.Exit(fail(fault, DEVICE_FAILED)) from None
    logging.getLogger("fewest").info("nothing more to do for this worker")


def _draw(store: Store, study: StoredStudy) -> None:
    """Put our figures on the page of a study that is over: nobody waits at its end who would ask for a report."""
    try:
        from search.answer.report.pictures import show_whole  # which loads Plotly

        show_whole(store, study)
    except Exception as error:  # of Plotly, of the dashboard, of the store: none is a reason to end a worker
        fault = f"{type(error).__name__}: {error}"
        logging.getLogger("fewest").warning("study %r has no figures in the dashboard: %s", study.name, fault)


def _interrupted(number: int) -> None:
    """Leave at once: an exception could be lost among the imports of a worker that begins."""
    os._exit(fail("interrupted", 130 if number == signal.SIGINT else 143))


@app.command(
    epilog="Examples: `fewest confirm` · `fewest confirm --top 3 --seeds 20` · `fewest confirm 12 40 --seeds 10`"
)
def confirm(
    at: StudyOptions,
    which: Trials = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many of the best, if no trial is named.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, max=30, help="Fresh seeds that each is to have been run on.")] = 5,
    classes: OfClasses = None,
    workers: Workers = None,
    device: Device = "auto",
) -> None:
    """Re-run the best configurations on fresh seeds, without another trial, and rank them by what comes out."""
    from search.ask.study import replicate

    places, query = available(device), for_classes(classes)
    store, opened = at.open(OUTAGE_SECONDS)
    chosen = _chosen(store, opened, which, query, top)
    due = [
        replicate(opened.spec, row.trial, k, row.params, row.epochs)
        for row in chosen
        for k in range(row.replicates + 1, seeds + 1)
    ]
    store.write(studies.resume, opened.study_id)
    store.write(ledger.add, opened.study_id, due)
    engine = LocalEngine(store, opened, at.storage, spread(places, workers), "--purpose", Purpose.CONFIRM)
    with View(output.err) as view:
        if not engine.run(view.show):
            output.notice("stopped; nothing is lost, and the same command goes on")
            raise typer.Exit(130)
    numbers = {row.trial for row in chosen}
    again = [row for row in store.read(ranking.best, opened, query, MAX_INTEGER) if row.trial in numbers]
    if at.format is not Format.TABLE:
        return output.records(again, at.format)
    output.best_table(BestAnswer(again, store.read(ranking.tally, opened, query)))


def _chosen(
    store: Store, study: StoredStudy, which: Sequence[int] | None, query: BestQuery, top: int
) -> Sequence[BestRecord]:
    """The trials of these numbers, else the best; Failure if one has not converged."""
    best = {row.trial: row for row in store.read(ranking.best, study, query, MAX_INTEGER if which else top)}
    missing = [number for number in which or () if number not in best]
    if missing:
        store.read(runs.trial, study, missing[0])  # which says if there is none
        subject = f"trial {missing[0]} of study {study.name!r}"
    elif not best:
        subject = f"nothing has converged in {study.name!r}"
    if missing or not best:
        fact = f"{subject} has not converged" if missing else subject
        raise Failure(f"{fact}, so there is nothing to confirm; `fewest best` shows what has")
    return [best[number] for number in which] if which else list(best.values())


@app.command()
def stop(at: AnyStudyPlace) -> None:
    """Ask all workers of a study, wherever they run, to finish what they train and leave. `launch` goes on later."""
    at.ask().stop(at.study)
    output.notice(f"study {at.study!r} is stopping; `fewest status` shows what still runs")
