"""Commands that take a result at its word: train it again, or write it down as a script."""

import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objectives.convergence import Progress
from search import files
from search.answer.export.script import Framework
from search.cli import output
from search.cli.options import MOST, STORAGE, STUDY, Output, Storage, StudyName, available
from search.cli.output import Format
from search.errors import Failure, UsageError
from search.query import ranking
from search.query import runs as query
from search.query.ranking import among
from search.spec import parsing as options
from search.spec.study_spec import StudySpec, parsed
from storage import studies
from storage.store import Store
from storage.studies import StudyRecord

if TYPE_CHECKING:
    from objectives.data.samples import Samples

app = typer.Typer()


@app.command(
    epilog="Examples: `fewest replay` · `fewest replay 12 52` · `fewest replay --sample 100 --format json` · "
    "`fewest replay 12 --device cpu`"
)
def replay(
    which: Annotated[
        list[int] | None, typer.Argument(min=0, max=MOST, metavar="[TRIAL]...", help="Trials by number.")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, max=MOST, help="How many at random, always the same, if no trial is named.")
    ] = 20,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N.  [default: as recorded, where there is such a one]")
    ] = None,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Train recorded trials again, each alone, and compare epochs and every evaluation with the record.

    Exit status 1 if any comes out otherwise. On the same kind of hardware with the same versions none does; where
    these have changed, that is said.
    """
    place = available(device)[0] if device else None
    store = Store.open(storage)
    record = store.read(studies.find, study)
    spec = parsed(record.spec)
    options.constructor(spec.objective)  # it must be here, too
    found = [store.read(query.trial, record, number) for number in which or _sample(store, record, spec.seed, sample)]

    from search.spec.dataset import stored
    from search.train.replay import Replay, check

    for recorded in found:
        check(recorded)
    again, rows = Replay(spec, stored(spec, store), place), list[dict[str, Any]]()
    with output.err.status("training") as shown:

        def show(progress: Progress) -> None:
            shown.update(f"trial {progress.trial.key}, {len(rows) + 1} of {len(found)}: epoch {progress.epoch}")

        for recorded in found:
            rows.append(again(recorded, show))
    _say_what_changed(rows)
    output.replayed(rows, format)
    if not all(row["same_epochs"] and row["same_curve"] for row in rows):
        raise typer.Exit(1)


@app.command(
    epilog="Examples: `fewest export > winner.py` · `fewest export --as keras --out winner.py` · "
    "`fewest export --trial 12 --out winner.py --weights winner.pt`, then `python winner.py --load winner.pt`"
)
def export(
    trial: Annotated[int | None, typer.Option(min=0, max=MOST, help="A trial by number, in place of the best.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, max=MOST, help="The best of this class count.")] = None,
    as_: Annotated[Framework, typer.Option("--as", help="What the script is for.")] = Framework.TORCH,
    out: Annotated[
        Path | None, typer.Option(help="The script's file; data of your own go beside it.  [default: standard output]")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Write trained weights here, too, as `fewest train --save` does.")
    ] = None,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
) -> None:
    """Write the winner as a short script that trains it without fewest.

    The script is run on one seed after another, until one converges in as many epochs as recorded; that seed is in it,
    and what came out. It draws other numbers than the trial did, so where none of 10 seeds does, it has the nearest.
    """
    if trial is not None and classes:
        raise UsageError("`--classes` chooses the best, and `--trial` a trial; leave one out")
    if weights and as_ is not Framework.TORCH:
        raise UsageError("`--weights` are for torch; leave it out, or `--as keras`")
    store = Store.open(storage)
    record = store.read(studies.find, study)
    spec = parsed(record.spec)
    if spec.objective:
        raise UsageError(f"{spec.objective} is your own code already; `fewest train --save` keeps its trained weights")
    recorded = _converged(store, record, trial, classes)
    if spec.data and not out:
        raise UsageError("`--out` is needed, since the script's data go into a file beside it")

    from search.answer.export.export import data_beside, export
    from search.spec.dataset import stored

    beside = data_beside(out, as_) if out and spec.data else None
    _check_files([("--out", out), ("--out", beside), ("--weights", weights)])
    samples = stored(spec, store)
    with output.err.status("running the script"):
        found = export(study, spec, samples, recorded, as_, weights is not None, output.notice)
    output.notice(found.said)
    if weights:
        _train_weights(spec, samples, recorded, weights)
    if beside and found.data:
        files.write(beside, found.data)
    if out:
        files.write(out, found.text.encode())
    else:
        sys.stdout.write(found.text)


def _converged(store: Store, record: StudyRecord, number: int | None, classes: int | None) -> dict[str, Any]:
    """A trial by number, or the best, as recorded; Failure if it has not converged."""
    if number is None:
        best = store.read(ranking.best, record, among(classes), 1)
        if not best:
            said = f"nothing has converged in study {record.name!r} yet{f' for {classes} classes' if classes else ''}"
            raise Failure(f"{said}, so there is nothing to export")
        number = best[0]["trial"]
    recorded = store.read(query.trial, record, number)
    if not recorded["converged"]:
        said = f"trial {number} of study {record.name!r} has not converged"
        raise Failure(f"{said}, so there is nothing to export; `fewest best` shows what has")
    return recorded


def _check_files(named: Sequence[tuple[str, Path | None]]) -> None:
    """UsageError unless each can be written, and no two are one."""
    there = [(option, path) for option, path in named if path]
    for option, path in there:
        files.check(path, option)
    if len({path.absolute() for _, path in there}) < len(there):
        raise UsageError("`--out` and `--weights` name the same file")


def _train_weights(spec: StudySpec, samples: "Samples | None", recorded: dict[str, Any], save: Path) -> None:
    """Train the trial as recorded, and keep its weights."""
    from search.train.single import train
    from search.train.trainers import as_recorded

    with output.err.status("training") as shown:
        outcome = train(spec, samples, as_recorded(recorded), available("auto")[0], save, shown.update)
    came = output.epochs(outcome.epochs) if outcome.converged else "not converged"
    known = output.epochs(recorded["epochs"])
    output.notice(f"{save}: {came}, {'as' if came == known else f'and {known}'} recorded")


def _sample(store: Store, record: StudyRecord, seed: int, n: int) -> list[int]:
    """Numbers of trials that have an outcome, the same for the same study and `n`."""
    numbers = store.read(query.finished, record)
    if not numbers:
        raise Failure(f"no trial of study {record.name!r} has an outcome yet, so there is none to train again")
    return sorted(random.Random(seed).sample(numbers, min(n, len(numbers))))


def _say_what_changed(rows: Sequence[dict[str, Any]]) -> None:
    unnamed = sum(row["trainer"] is None for row in rows)
    if unnamed:
        output.notice(f"{unnamed} recorded without the name of the trainer: taken for auto")
    for change, n in Counter(change for row in rows for change in row["changed"]).items():
        output.notice(f"{n} of {len(rows)} recorded with {change}")
