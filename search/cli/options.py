"""What the commands share: the options that mean the same everywhere, and the devices that they name."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objectives.devices import devices
from objectives.trainers.trainer import TrainerKind
from search.cli import output
from search.cli.output import Format
from search.client import STORAGE as STORAGE
from search.client import STUDY as STUDY
from search.errors import UsageError
from search.logs import Log
from search.spec import parsing as options
from search.spec.study_spec import DEFAULT_CLASSES, SAMPLERS, StudySpec

if TYPE_CHECKING:
    from objectives.data.samples import Samples


def of_spec(name: str, about: str) -> Any:
    """An option for one field of the spec: None unless given, so that a stored spec can supply it."""
    return typer.Option(help=f"{about}  [default: {StudySpec.model_fields[name].default}]")


def study_name(name: str | None) -> str | None:
    """The name of a study as it is given; BadParameter if no study may have it."""
    try:
        return None if name is None else options.study_name(name)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


MOST = (1 << 31) - 1  # what every database's integer holds

Storage = Annotated[str, typer.Option(envvar="FEWEST_STORAGE", help="sqlite:///FILE or postgresql://HOST/NAME")]
AnyStorage = Annotated[
    str,
    typer.Option(
        envvar="FEWEST_STORAGE",
        help="sqlite:///FILE, postgresql://HOST/NAME, or a service: http://HOST:PORT (its token in FEWEST_TOKEN)",
    ),
]
StudyName = Annotated[str, typer.Option(callback=study_name, help="Name of the study in the storage.")]
Output = Annotated[Format, typer.Option("--format", help="table for people, json or csv for programs")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
LogForm = Annotated[
    Log,
    typer.Option(
        "--log", help="Log on stderr as text, or as JSON: an object a line, with its `study`, `trial`, `worker`…"
    ),
]
Trainer = Annotated[
    TrainerKind,
    typer.Option(help="array: many trials as one computation; solo: one by one; auto: each where it trains faster"),
]
Classes = Annotated[
    str | None,
    typer.Option(help=f"Class counts: 256, or 16,64,256, or 16..1024 in doublings.  [default: {DEFAULT_CLASSES}]"),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What to learn instead of waves: an npz file of X (samples × features) and y (a label each), or a CSV "
        "file: a line of column names, then one per sample, of numbers and a label (text or a whole number).",
    ),
]
Label = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Which column of a CSV file, by its name there, is the label.")
]
Objective = Annotated[
    str | None,
    typer.Option(
        help="A torch module of your own in place of our network, MODULE:CLASS of a file here or of what is installed."
    ),
]
Inputs = Annotated[int | None, of_spec("inputs", "Inputs of a sample.")]
Sigma = Annotated[float | None, of_spec("sigma", "Standard deviation of the noise on each input.")]
Target = Annotated[float | None, of_spec("target", "Accuracy that counts as learned.")]
Hold = Annotated[int | None, of_spec("hold", "Evaluations in a row that must reach the target.")]
MaxEpochs = Annotated[int | None, of_spec("max_epochs", "Most epochs of a trial.")]
Seed = Annotated[int | None, of_spec("seed", "Seed of the sampler, the initial weights and the data.")]
Sampler = Annotated[str | None, of_spec("sampler", f"{', '.join(SAMPLERS)}, or MODULE:CLASS of any Optuna sampler.")]


def fail(message: str, code: int) -> int:
    """Say in one line what failed; the exit status to leave with."""
    logging.getLogger("fewest").error("%s", message)
    return code


def remark(spec: StudySpec, samples: "Samples | None") -> None:
    """Say on stderr what may surprise in user data."""
    if spec.data and samples:
        from search.spec.dataset import remarks

        for said in remarks(samples):
            output.notice(f"{spec.data.name}: {said}")


def available(asked: str) -> list[str]:
    """The device of each worker; UsageError for what is not there."""
    try:
        return devices(asked)
    except ValueError as error:
        raise UsageError(str(error)) from None
