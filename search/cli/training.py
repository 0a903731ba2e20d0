"""Commands that train one configuration."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from objectives.configuration import Configuration
from objectives.convergence import Trial
from search import files
from search.cli import output
from search.cli.options import (
    STORAGE,
    STUDY,
    Classes,
    Data,
    Device,
    Hold,
    Inputs,
    Label,
    MaxEpochs,
    Objective,
    Output,
    Seed,
    Sigma,
    Storage,
    StudyName,
    Target,
    available,
    remark,
)
from search.cli.output import Format
from search.errors import Failure, UsageError
from search.query import ranking
from search.query.ranking import among
from search.spec import parsing as options
from search.spec.space import preset as preset_of
from search.spec.study_spec import DEFAULT_CLASSES, derive, refuse_of_waves, validated
from storage import studies
from storage.store import Store

app = typer.Typer()


@app.command(
    epilog="Examples: `fewest train --preset question --classes 64 --max-epochs 3000` · "
    "`fewest train --set width=512 activation=sine optimizer=adam lr=0.01 gain=100 first_lr_ratio=0.001` · "
    "`fewest train --study default --save winner.pt` · "
    "`fewest train --data iris.csv --label species --preset answer`"
)
def train(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="More settings, after --set.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="question or answer: the page's two models.")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with one object of parameters.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of each parameter.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write parameters and trained weights here, for torch.load.")
    ] = None,
    objective: Objective = None,
    data: Data = None,
    label: Label = None,
    classes: Classes = None,
    inputs: Inputs = None,
    sigma: Sigma = None,
    target: Target = None,
    hold: Hold = None,
    max_epochs: MaxEpochs = None,
    device: Device = "auto",
    seed: Seed = None,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Train one configuration, of a preset, a file or settings, else the study's best, and say when it converged."""
    settings = [*(set_ or ()), *(more or ())]
    if sum(map(bool, (preset, config, settings))) > 1:
        raise UsageError("`--preset`, `--config` and `--set` exclude each other; give one")
    if objective and not (config or settings):
        raise UsageError("`--objective` needs `--config` or `--set`; a study has its own")
    wanted: dict[str, Any] = {
        "inputs": inputs,
        "sigma": sigma,
        "target": target,
        "hold": hold,
        "max_epochs": max_epochs,
        "seed": seed,
    }
    if preset or config or settings:
        spec, samples = options.study_spec(classes, data, label=label, **wanted)
        default = spec.class_counts[0] if spec.data else DEFAULT_CLASSES
        if preset:
            counted = options.value("classes", classes) if classes else default
            try:
                configuration = preset_of(preset, counted, spec.training)
            except ValueError as error:
                raise UsageError(str(error)) from None
        else:
            own = options.constructor(objective)
            configuration = options.configuration(classes, config, settings, default, own)
        spec.check(configuration)
    elif data or label:
        raise UsageError(
            f"`{'--data' if data else '--label'}` needs `--preset`, `--config` or `--set`; a study has data of its own"
        )
    else:
        store = Store.open(storage)
        record = store.read(studies.find, study)
        found = store.read(ranking.best, record, among(options.value("classes", classes) if classes else None), 1)
        if not found:
            raise Failure(f"nothing has converged in study {study!r} yet; give `--preset`, `--config` or `--set`")
        given = {name: value for name, value in wanted.items() if value is not None}
        spec = validated(json.loads(record.spec) | given)
        if spec.data:
            refuse_of_waves(given)
        from search.spec.dataset import stored

        samples = stored(spec, store)
        configuration = Configuration.of(found[0]["params"])
    if save:
        files.check(save, "--save")

    place = available(device)[0]
    remark(spec, samples if data else None)
    from search.train.single import train as train_one

    trial = Trial(0, configuration, derive(spec.seed, "trial"), derive(spec.seed, "data"), spec.max_epochs)
    with output.err.status("training") as shown:
        outcome = train_one(spec, samples, trial, place, save, shown.update)
    kept = {name: value for name, value in vars(outcome).items() if name not in ("curve", "reason")}
    where = {"seed": spec.seed, "device": place, "params": configuration.params}
    answer = {"converged": outcome.converged, **kept, **where}
    if format is Format.TABLE:
        output.line(configuration.in_words())
    output.record(answer, format)
