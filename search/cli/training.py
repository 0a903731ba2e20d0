"""Commands that train one configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from objectives.configuration import Configuration
from objectives.convergence import Trial
from search import files
from search.cli import output
from search.cli.options import Commands, Device, SpecOptions, StudyOptions, available, remark
from search.cli.output import Format
from search.errors import Failure, UsageError
from search.query import ranking
from search.query.best_query import for_classes
from search.spec import parsing
from search.spec.space import preset as preset_of
from search.spec.study_spec import DEFAULT_CLASSES, StudySpec, derive, refuse_of_waves, validated

if TYPE_CHECKING:
    from objectives.data.samples import Samples

app = Commands()

#: What to train, and on what.
Asked = tuple[StudySpec, "Samples | None", Configuration]


@app.command(
    epilog="Examples: `fewest train --preset question --classes 64 --max-epochs 3000` · "
    "`fewest train --set width=512 activation=sine optimizer=adam lr=0.01 gain=100 first_lr_ratio=0.001` · "
    "`fewest train --study default --save winner.pt` · "
    "`fewest train --data iris.csv --label species --preset answer`"
)
def train(
    asked: SpecOptions,
    at: StudyOptions,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="More settings, after --set.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="question or answer: the page's two models.")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with one object of parameters.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of each parameter.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write parameters and trained weights here, for torch.load.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Train one configuration, of a preset, a file or settings, else the study's best, and say when it converged."""
    settings = [*(set_ or ()), *(more or ())]
    if sum(map(bool, (preset, config, settings))) > 1:
        raise UsageError("`--preset`, `--config` and `--set` exclude each other; give one")
    if asked.objective and not (config or settings):
        raise UsageError("`--objective` needs `--config` or `--set`; a study has its own")
    if preset:
        spec, samples, configuration = _preset(asked, preset)
    elif config or settings:
        spec, samples, configuration = _configured(asked, config, settings)
    else:
        spec, samples, configuration = _best(asked, at)
    if save:
        files.check(save, "--save")

    place = available(device)[0]
    remark(spec, samples if asked.data else None)
    from search.train.single import train as train_one

    trial = Trial(0, configuration, derive(spec.seed, "trial"), derive(spec.seed, "data"), spec.max_epochs)
    with output.err.status("training") as shown:
        outcome = train_one(spec, samples, trial, place, save, shown.update)
    kept = {name: value for name, value in vars(outcome).items() if name not in ("curve", "reason")}
    where = {"seed": spec.seed, "device": place, "params": configuration.params}
    if at.format is Format.TABLE:
        output.line(configuration.in_words())
    output.record({"converged": outcome.converged, **kept, **where}, at.format)


def _preset(asked: SpecOptions, name: str) -> Asked:
    """One of the page's models."""
    spec, samples = asked.read()
    default = spec.class_counts[0] if spec.data else DEFAULT_CLASSES
    classes = parsing.value("classes", asked.classes) if asked.classes else default
    try:
        return spec, samples, preset_of(name, classes, spec.training)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _configured(asked: SpecOptions, config: Path | None, settings: list[str]) -> Asked:
    """The configuration of a file or of settings."""
    spec, samples = asked.read()
    default = spec.class_counts[0] if spec.data else DEFAULT_CLASSES
    own = parsing.constructor(asked.objective)
    configuration = parsing.configuration(asked.classes, config, settings, default, own)
    spec.check(configuration)
    return spec, samples, configuration


def _best(asked: SpecOptions, at: StudyOptions) -> Asked:
    """The best of a study, on its own data."""
    if asked.data or asked.label:
        option = "--data" if asked.data else "--label"
        raise UsageError(f"`{option}` needs `--preset`, `--config` or `--set`; a study has data of its own")
    store, study = at.open()
    classes = parsing.value("classes", asked.classes) if asked.classes else None
    best = store.read(ranking.best, study, for_classes(classes), 1)
    if not best:
        raise Failure(f"nothing has converged in study {study.name!r} yet; give `--preset`, `--config` or `--set`")
    spec = validated({**study.spec.model_dump(), **asked.fields})
    if spec.data:
        refuse_of_waves(asked.fields)
    from search.spec.dataset import stored

    return spec, stored(spec, store), Configuration.of(best[0].params)
