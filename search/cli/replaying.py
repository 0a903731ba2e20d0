"""Commands that take a result at its word: train it again, or write it down as a script."""

import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from objectives.convergence import Progress
from search import files
from search.answer.export.script import Framework
from search.answer.wording import epochs
from search.cli import output
from search.cli.options import MAX_INTEGER, Commands, OfClasses, StudyOptions, StudyPlace, Trials, available
from search.errors import Failure, UsageError
from search.query import ranking, runs
from search.query.best_query import for_classes
from search.query.records import RunRecord
from search.spec import parsing
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec
from storage.store import Store

if TYPE_CHECKING:
    from objectives.data.samples import Samples
    from search.train.replay import ReplayRecord

app = Commands()


@app.command(
    epilog="Examples: `fewest replay` · `fewest replay 12 52` · `fewest replay --sample 100 --format json` · "
    "`fewest replay 12 --device cpu`"
)
def replay(
    at: StudyOptions,
    which: Trials = None,
    sample: Annotated[
        int, typer.Option(min=1, max=MAX_INTEGER, help="How many at random, always the same, if no trial is named.")
    ] = 20,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N.  [default: as recorded, where there is such a one]")
    ] = None,
) -> None:
    """Train recorded trials again, each alone, and compare epochs and every evaluation with the record.

    Exit status 1 if any comes out otherwise. On the same kind of hardware with the same versions none does; where
    these have changed, that is said.
    """
    place = available(device)[0] if device else None
    store, opened = at.open()
    parsing.constructor(opened.spec.objective)  # it must be here, too
    trials = [store.read(runs.trial, opened, number) for number in which or _sample(store, opened, sample)]

    from search.spec.dataset import stored
    from search.train.replay import Replay, check

    for recorded in trials:
        check(recorded)
    again = Replay(opened.spec, stored(opened.spec, store), place)
    rows: list[ReplayRecord] = []
    with output.err.status("training") as shown:

        def show(progress: Progress) -> None:
            shown.update(f"trial {progress.trial.key}, {len(rows) + 1} of {len(trials)}: epoch {progress.epoch}")

        for recorded in trials:
            rows.append(again(recorded, show))
    _say_what_changed(rows)
    output.replayed(rows, at.format)
    if not all(row.same_epochs and row.same_curve for row in rows):
        raise typer.Exit(1)


@app.command(
    epilog="Examples: `fewest export > winner.py` · `fewest export --as keras --out winner.py` · "
    "`fewest export --trial 12 --out winner.py --weights winner.pt`, then `python winner.py --load winner.pt`"
)
def export(
    at: StudyPlace,
    trial: Annotated[
        int | None, typer.Option(min=0, max=MAX_INTEGER, help="A trial by number, in place of the best.")
    ] = None,
    classes: OfClasses = None,
    as_: Annotated[Framework, typer.Option("--as", help="What the script is for.")] = Framework.TORCH,
    out: Annotated[
        Path | None, typer.Option(help="The script's file; data of your own go beside it.  [default: standard output]")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Write trained weights here, too, as `fewest train --save` does.")
    ] = None,
) -> None:
    """Write the winner as a short script that trains it without fewest.

    The script is run on one seed after another, until one converges in as many epochs as recorded; that seed is in it,
    and what came out. It draws other numbers than the trial did, so where none of 10 seeds does, it has the nearest.
    """
    if trial is not None and classes:
        raise UsageError("`--classes` chooses the best, and `--trial` a trial; leave one out")
    if weights and as_ is not Framework.TORCH:
        raise UsageError("`--weights` are for torch; leave it out, or `--as keras`")
    store, opened = at.open()
    spec = opened.spec
    if spec.objective:
        raise UsageError(f"{spec.objective} is your own code already; `fewest train --save` keeps its trained weights")
    recorded = _converged(store, opened, trial, classes)
    if spec.data and not out:
        raise UsageError("`--out` is needed, since the script's data go into a file beside it")

    from search.answer.export.export import export
    from search.spec.dataset import stored

    beside = as_.data_file(out) if out and spec.data else None
    _check_files([("--out", out), ("--out", beside), ("--weights", weights)])
    samples = stored(spec, store)
    with output.err.status("running the script"):
        exported = export(at.study, spec, samples, recorded, as_, weights is not None, output.notice)
    output.notice(exported.message)
    if weights:
        _train_weights(spec, samples, recorded, weights)
    if beside and exported.data:
        files.write(beside, exported.data)
    if out:
        files.write(out, exported.text.encode())
    else:
        sys.stdout.write(exported.text)


def _converged(store: Store, study: StoredStudy, number: int | None, classes: int | None) -> RunRecord:
    """A trial by number, or the best, as recorded; Failure if it has not converged."""
    if number is None:
        best = store.read(ranking.best, study, for_classes(classes), 1)
        if not best:
            counted = f" for {classes} classes" if classes else ""
            fact = f"nothing has converged in study {study.name!r} yet{counted}"
            raise Failure(f"{fact}, so there is nothing to export")
        number = best[0].trial
    recorded = store.read(runs.trial, study, number)
    if not recorded.converged:
        fact = f"trial {number} of study {study.name!r} has not converged"
        raise Failure(f"{fact}, so there is nothing to export; `fewest best` shows what has")
    return recorded


def _check_files(named: Sequence[tuple[str, Path | None]]) -> None:
    """UsageError unless each can be written, and no two are one."""
    there = [(option, path) for option, path in named if path]
    for option, path in there:
        files.check(path, option)
    if len({path.absolute() for _, path in there}) < len(there):
        raise UsageError("`--out` and `--weights` name the same file")


def _train_weights(spec: StudySpec, samples: "Samples | None", recorded: RunRecord, save: Path) -> None:
    """Train the trial as recorded, and keep its weights."""
    from search.train.single import train
    from search.train.trainers import as_recorded

    with output.err.status("training") as shown:
        outcome = train(spec, samples, as_recorded(recorded), available("auto")[0], save, shown.update)
    came = epochs(outcome.epochs) if outcome.converged else "not converged"
    known = epochs(recorded.epochs)
    output.notice(f"{save}: {came}, {'as' if came == known else f'and {known}'} recorded")


def _sample(store: Store, study: StoredStudy, n: int) -> list[int]:
    """Numbers of trials that have an outcome, the same for the same study and `n`."""
    numbers = store.read(runs.finished, study)
    if not numbers:
        raise Failure(f"no trial of study {study.name!r} has an outcome yet, so there is none to train again")
    return sorted(random.Random(study.spec.seed).sample(numbers, min(n, len(numbers))))


def _say_what_changed(rows: "Sequence[ReplayRecord]") -> None:
    unnamed = sum(row.trainer is None for row in rows)
    if unnamed:
        output.notice(f"{unnamed} recorded without the name of the trainer: taken for auto")
    for change, n in Counter(change for row in rows for change in row.changed).items():
        output.notice(f"{n} of {len(rows)} recorded with {change}")
