"""Commands that train outside a search: train, replay, and export, which tries the script that it writes."""

import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from objectives.configuration import Configuration
from objectives.convergence import Progress, Trial
from search import files
from search.answer.export.script import Framework
from search.answer.wording import epochs
from search.cli import options, output
from search.errors import Failure, UsageError
from search.query import runs
from search.query.records import ReplayRecord, RunRecord
from search.spec import parsing
from search.spec.space import preset as preset_of
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import DEFAULT_CLASSES, StudySpec, derive, refuse_of_waves, validated
from storage.store import Store

if TYPE_CHECKING:
    from objectives.data.samples import Samples

app = options.Commands()

#: What to train, and on what.
Asked = tuple[StudySpec, "Samples | None", Configuration]


@app.command()
def train(
    asked: options.SpecOptions,
    at: options.StudyOptions,
    more: Annotated[list[str] | None, Argument(metavar="[NAME=VALUE]...", help="More settings, after --set.")] = None,
    preset: Annotated[str | None, Option(help="question or answer: the page's two models.")] = None,
    config: Annotated[Path | None, Option(help="JSON file with one object of parameters.")] = None,
    set_: Annotated[list[str] | None, Option("--set", help="NAME=VALUE of each parameter.")] = None,
    save: Annotated[Path | None, Option(help="Write parameters and trained weights here, for torch.load.")] = None,
    device: options.Device = "auto",
) -> None:
    """Train one configuration, of a preset, a file or settings, else the study's best, and say when it converged.

    Examples: `fewest train --preset question --classes 64 --max-epochs 3000` ·
    `fewest train --set width=512 activation=sine optimizer=adam lr=0.01 gain=100 first_lr_ratio=0.001` ·
    `fewest train --study default --save winner.pt` · `fewest train --data iris.csv --label species --preset answer`
    """
    settings = [*(set_ or ()), *(more or ())]
    if sum(map(bool, (preset, config, settings))) > 1:
        raise UsageError("`--preset`, `--config` and `--set` exclude each other; give one")
    if asked.objective and not (config or settings):
        raise UsageError("`--objective` needs `--config` or `--set`; a study has its own")
    if preset or config or settings:
        spec, samples, configuration = _named(asked, preset, config, settings)
    else:
        spec, samples, configuration = _best(asked, at)
    if save:
        files.check(save, "--save")

    place = options.available(device)[0]
    options.remark(spec, samples if asked.data else None)
    from search.train import single

    trial = Trial(0, configuration, derive(spec.seed, "trial"), derive(spec.seed, "data"), spec.max_epochs)
    with output.err.status("training") as shown:
        outcome = single.train(spec, samples, trial, place, save, shown.update)
    kept = {name: value for name, value in vars(outcome).items() if name not in ("curve", "reason")}
    where = {"seed": spec.seed, "device": place, "params": configuration.params}
    if at.format is output.Format.TABLE:
        output.line(configuration.in_words())
    output.record({"converged": outcome.converged, **kept, **where}, at.format)


@app.command()
def replay(
    at: options.StudyOptions,
    which: options.Trials = None,
    sample: Annotated[int, options.at_least(1, "How many at random, always the same, if no trial is named.")] = 20,
    device: Annotated[
        str | None, Option(help="auto, cpu, cuda or cuda:N.  [default: as recorded, where there is such a one]")
    ] = None,
) -> None:
    """Train recorded trials again, each alone, and compare epochs and every evaluation with the record.

    Exit status 1 if any comes out otherwise. On the same kind of hardware with the same versions none does; where
    these have changed, that is said.

    Examples: `fewest replay` · `fewest replay 12 52` · `fewest replay --sample 100 --format json` ·
    `fewest replay 12 --device cpu`
    """
    place = options.available(device)[0] if device else None
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
        raise Exit(1)


@app.command()
def export(
    at: options.StudyPlace,
    trial: Annotated[int | None, options.at_least(0, "A trial by number, in place of the best.")] = None,
    classes: options.OfClasses = None,
    as_: Annotated[Framework, Option("--as", help="What the script is for.")] = Framework.TORCH,
    out: Annotated[
        Path | None, Option(help="The script's file; data of your own go beside it.  [default: standard output]")
    ] = None,
    weights: Annotated[Path | None, Option(help="Write trained weights here, too, as `train --save` does.")] = None,
) -> None:
    """Write the winner as a short script that trains it without fewest.

    The script is run on one seed after another, until one converges in as many epochs as recorded; that seed is in it,
    and what came out. It draws other numbers than the trial did, so where none of 10 seeds does, it has the nearest.

    Examples: `fewest export > winner.py` · `fewest export --as keras --out winner.py` ·
    `fewest export --trial 12 --out winner.py --weights winner.pt`, then `python winner.py --load winner.pt`
    """
    if weights and as_ is not Framework.TORCH:
        raise UsageError("`--weights` are for torch; leave it out, or `--as keras`")
    store, opened = at.open()
    spec = opened.spec
    if spec.objective:
        raise UsageError(f"{spec.objective} is your own code already; `fewest train --save` keeps its trained weights")
    numbers = () if trial is None else (trial,)
    recorded = options.pick(store, opened, "so there is nothing to export", numbers, classes)[0]
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


def _named(asked: options.SpecOptions, preset: str | None, config: Path | None, settings: list[str]) -> Asked:
    """The configuration of a preset, a file or settings."""
    spec, samples = asked.read()
    default = spec.class_counts[0] if spec.data else DEFAULT_CLASSES
    if preset:
        try:
            return spec, samples, preset_of(preset, asked.class_count or default, spec.training)
        except ValueError as error:
            raise UsageError(str(error)) from None
    own = parsing.constructor(asked.objective)
    configuration = parsing.configuration(asked.classes, config, settings, default, own)
    spec.check(configuration)
    return spec, samples, configuration


def _best(asked: options.SpecOptions, at: options.StudyOptions) -> Asked:
    """The best of a study, on its own data."""
    if asked.data or asked.label:
        option = "--data" if asked.data else "--label"
        raise UsageError(f"`{option}` needs `--preset`, `--config` or `--set`; a study has data of its own")
    store, study = at.open()
    (best,) = options.pick(store, study, "so give `--preset`, `--config` or `--set`", (), asked.class_count)
    spec = validated({**study.spec.model_dump(), **asked.fields})
    if spec.data:
        refuse_of_waves(asked.fields)
    from search.spec.dataset import stored

    return spec, stored(spec, store), Configuration.of(best.params)


def _check_files(named: Sequence[tuple[str, Path | None]]) -> None:
    """UsageError unless each can be written, and no two are one."""
    given = [(option, path) for option, path in named if path]
    for option, path in given:
        files.check(path, option)
    if len({path.absolute() for _, path in given}) < len(given):
        raise UsageError("`--out` and `--weights` name the same file")


def _train_weights(spec: StudySpec, samples: "Samples | None", recorded: RunRecord, save: Path) -> None:
    """Train the trial as recorded, and keep its weights."""
    from search.train.single import train
    from search.train.trainers import as_recorded

    with output.err.status("training") as shown:
        outcome = train(spec, samples, as_recorded(recorded), options.available("auto")[0], save, shown.update)
    came = epochs(outcome.epochs) if outcome.converged else "not converged"
    known = epochs(recorded.epochs)
    output.notice(f"{save}: {came}, {'as' if came == known else f'and {known}'} recorded")


def _sample(store: Store, study: StoredStudy, n: int) -> list[int]:
    """Numbers of trials that have an outcome, the same for the same study and `n`."""
    numbers = store.read(runs.finished, study)
    if not numbers:
        raise Failure(f"no trial of study {study.name!r} has an outcome yet, so there is none to train again")
    return sorted(random.Random(study.spec.seed).sample(numbers, min(n, len(numbers))))


def _say_what_changed(rows: Sequence[ReplayRecord]) -> None:
    unnamed = sum(row.trainer is None for row in rows)
    if unnamed:
        output.notice(f"{unnamed} recorded without the name of the trainer: taken for auto")
    for change, n in Counter(change for row in rows for change in row.changed).items():
        output.notice(f"{n} of {len(rows)} recorded with {change}")
