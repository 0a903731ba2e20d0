"""Commands of a search that has begun: worker, confirm, stop."""

import logging
import os
import signal
from typing import Annotated, Any

import typer

from objectives.trainers.trainer import TrainerKind
from search.cli import output
from search.cli.options import (
    MOST,
    STORAGE,
    STUDY,
    AnyStorage,
    Device,
    LogForm,
    Output,
    Storage,
    StudyName,
    Trainer,
    available,
    fail,
    study_name,
)
from search.cli.output import Format
from search.cli.progress import View
from search.errors import Failure, UsageError
from search.logs import Log, set_up
from search.query import ranking
from search.query import runs as query
from search.query.ranking import among
from search.query.studies import opened
from search.spec import parsing as options
from search.spec.study_spec import parsed
from search.train.engine import LocalEngine
from search.train.processes import GRACE_SECONDS, handling, only_here, worker_name
from storage import ledger, studies
from storage.store import OUTAGE_SECONDS, Store

app = typer.Typer()


@app.command(
    epilog="Examples: `fewest worker --storage postgresql://HOST/NAME`, once for each core or GPU of each machine that "
    "reaches it · `fewest worker --device cuda:1` · `fewest worker --study default` · "
    "in a batch job: `FEWEST_STORAGE=postgresql://HOST/NAME fewest worker --exit-idle --grace 25 --log json`"
)
def worker(
    device: Device = "auto",
    trainer: Trainer = TrainerKind.AUTO,
    only_waiting: Annotated[
        bool, typer.Option("--only-waiting", help="Run what waits of the `--study`, and begin no trial.")
    ] = False,
    ladder: Annotated[
        bool,
        typer.Option("--ladder", help="Of the `--study`, run what waits of `fewest ladder`, which others leave alone."),
    ] = False,
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
    if not study and (only_waiting or ladder):
        raise UsageError("`--only-waiting` and `--ladder` are for one study; name it with `--study`")
    who = int(parent) if parent else None
    with handling(_interrupted):  # until it serves, and has something to finish
        store = Store.open(storage, patience=OUTAGE_SECONDS, wait=OUTAGE_SECONDS if parent else 0)
        record = store.read(studies.find, study) if study else None
        if record:
            options.constructor(parsed(record.spec).objective)  # it must be here, too
        place = available(device)[0]

        from search.train.standing_worker import Pool
        from search.train.worker import DEVICE_FAILED, Left, Worker

        serving: dict[str, Any] = {"device": place, "parent": who, "kind": trainer, "grace": grace}
        output_of = f"study {study!r}" if study else "every open study"
        logging.getLogger("fewest").info("serving %s on %s", output_of, place)
        try:
            if record:
                Worker(store, record, only_waiting=only_waiting, ladder=ladder, **serving).work()
            else:
                pool = Pool(store, lambda of, elsewhere: Worker(store, of, elsewhere=elsewhere, **serving), exit_idle)
                pool.work(lambda: who not in (None, os.getppid()))
        except Left as left:
            raise typer.Exit(left.status) from None
        except RuntimeError as error:
            said = f"{place}: {type(error).__name__}: {str(error).splitlines()[0]}"
            raise typer.Exit(fail(said, DEVICE_FAILED)) from None
    logging.getLogger("fewest").info("nothing more to do for this worker")


def _interrupted(number: int) -> None:
    """Leave at once: an exception could be lost among the imports of a worker that begins."""
    os._exit(fail("interrupted", 130 if number == signal.SIGINT else 143))


@app.command(
    epilog="Examples: `fewest confirm` · `fewest confirm --top 3 --seeds 20` · `fewest confirm 12 40 --seeds 10`"
)
def confirm(
    which: Annotated[
        list[int] | None, typer.Argument(min=0, max=MOST, metavar="[TRIAL]...", help="Trials to re-run.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many of the best, if no trial is named.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, max=30, help="Fresh seeds that each is to have been run on.")] = 5,
    classes: Annotated[int | None, typer.Option(min=2, max=MOST, help="Only the best of this class count.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.  [default: as `launch`]")] = None,
    device: Device = "auto",
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Re-run the best configurations on fresh seeds, without another trial, and rank them by what comes out."""
    there = available(device)
    store = Store.open(storage, patience=OUTAGE_SECONDS)
    only_here(store)
    record = store.read(studies.find, study)
    asked = {row["trial"]: row for row in store.read(ranking.best, record, among(classes), top if not which else MOST)}
    missing = [number for number in which or () if number not in asked]
    if missing:
        store.read(query.trial, record, missing[0])  # which says if there is none
    if missing or not asked:
        said = (
            f"trial {missing[0]} of study {study!r} has not converged"
            if missing
            else f"nothing has converged in {study!r}"
        )
        raise Failure(f"{said}, so there is nothing to confirm; `fewest best` shows what has")
    from search.ask.study import replicate

    spec = parsed(record.spec)
    rows = [asked[number] for number in which] if which else list(asked.values())
    new = [
        replicate(spec, row["trial"], k, row["params"], row["epochs"])
        for row in rows
        for k in range(row["replicates"] + 1, seeds + 1)
    ]
    store.write(studies.resume, record.study_id)
    store.write(ledger.add, record.study_id, new)
    places = [there[i % len(there)] for i in range(workers or len(there))]
    engine = LocalEngine(store, record, storage, places, "--only-waiting")
    with View(output.err) as view:
        if not engine.run(view.show):
            output.notice("stopped; nothing is lost, and the same command goes on")
            raise typer.Exit(130)
    named = {row["trial"] for row in rows}
    found = [row for row in store.read(ranking.best, record, among(classes), MOST) if row["trial"] in named]
    if format is not Format.TABLE:
        return output.records(found, format)
    output.best_table(found, store.read(ranking.tally, record, among(classes)))


@app.command()
def stop(storage: AnyStorage = STORAGE, study: StudyName = STUDY) -> None:
    """Ask all workers of a study, wherever they run, to finish what they train and leave. `launch` goes on later."""
    opened(storage).stop(study)
    output.notice(f"study {study!r} is stopping; `fewest status` shows what still runs")
