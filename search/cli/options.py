"""What the commands share: options that mean the same everywhere, in groups, and the devices that they name."""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from objectives.devices import devices
from objectives.trainers.trainer import TrainerKind
from objectives.user_code.loader import Constructor
from search.cli import output
from search.cli.output import Format
from search.client import STORAGE, STUDY, open_studies
from search.errors import UsageError
from search.logs import Log
from search.query.studies import Studies
from search.spec import parsing, stored_study
from search.spec.space import Choices, Range
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import DEFAULT_CLASSES, StudySpec
from search.train.processes import require_one_machine
from storage.store import BRIEF_SECONDS, Store

if TYPE_CHECKING:
    from objectives.data.samples import Samples

Command = TypeVar("Command", bound=Callable[..., Any])
MAX_INTEGER = (1 << 31) - 1  # what every database's integer holds


def of_spec(name: str) -> Any:
    """An option for one field of the spec: None unless given, so that a stored spec can supply it."""
    field = StudySpec.model_fields[name]
    return typer.Option(help=f"{field.description}  [default: {field.default}]")


def study_name(name: str | None) -> str | None:
    """The name of a study as it is given; BadParameter if no study may have it."""
    try:
        return None if name is None else stored_study.study_name(name)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


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
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes.  [default: one per GPU, else per core]")]
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
Sampler = Annotated[str | None, of_spec("sampler")]
Trials = Annotated[
    list[int] | None, typer.Argument(min=0, max=MAX_INTEGER, metavar="[TRIAL]...", help="Trials by number.")
]
OfClasses = Annotated[int | None, typer.Option(min=2, max=MAX_INTEGER, help="Only the best of this class count.")]


@dataclass(frozen=True)
class SpecOptions:
    """What a study, or one training, is about: each None unless it is said."""

    objective: Annotated[
        str | None,
        typer.Option(
            help="A torch module of your own in place of our network, MODULE:CLASS of a file here or of what is "
            "installed."
        ),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What to learn instead of waves: an npz file of X (samples × features) and y (a label each), or a CSV "
            "file: a line of column names, then one per sample, of numbers and a label (text or a whole number).",
        ),
    ] = None
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Which column of a CSV file, by its name there, is the label.")
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(help=f"Class counts: 256, or 16,64,256, or 16..1024 in doublings.  [default: {DEFAULT_CLASSES}]"),
    ] = None
    inputs: Annotated[int | None, of_spec("inputs")] = None
    sigma: Annotated[float | None, of_spec("sigma")] = None
    target: Annotated[float | None, of_spec("target")] = None
    hold: Annotated[int | None, of_spec("hold")] = None
    max_epochs: Annotated[int | None, of_spec("max_epochs")] = None
    seed: Annotated[int | None, of_spec("seed")] = None

    @property
    def fields(self) -> Mapping[str, Any]:
        """Those that are plain fields of a spec, and are said."""
        names = "inputs", "sigma", "target", "hold", "max_epochs", "seed"
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def read(
        self,
        searched: Mapping[str, Range | Choices] | None = None,
        own: Constructor | None = None,  # of a user module
        **more: Any,
    ) -> "tuple[StudySpec, Samples | None]":
        """The spec, and the data of the file; UsageError for what is wrong."""
        return parsing.study_spec(self.classes, self.data, searched, self.label, own, **self.fields, **more)


@dataclass(frozen=True)
class StudyPlace:
    """Which study of which store."""

    storage: Storage = STORAGE
    study: StudyName = STUDY

    def open(self, patience: float = BRIEF_SECONDS) -> tuple[Store, StoredStudy]:
        """The store, and the study in it; NotFound if there is none of that name."""
        store = Store.open(self.storage, patience=patience)
        if patience > BRIEF_SECONDS:  # for a command that runs workers here
            require_one_machine(store)
        return store, store.read(stored_study.find, self.study)


@dataclass(frozen=True)
class StudyOptions(StudyPlace):
    """The same, and how to print what is found."""

    format: Output = Format.TABLE


@dataclass(frozen=True)
class AnyStudyPlace:
    """Which study of which store or service."""

    storage: AnyStorage = STORAGE
    study: StudyName = STUDY

    def ask(self) -> Studies:
        """The studies there."""
        return open_studies(self.storage)


@dataclass(frozen=True)
class AnyStudyOptions(AnyStudyPlace):
    """The same, and how to print what is found."""

    format: Output = Format.TABLE


class Commands(typer.Typer):
    """Commands in which a parameter annotated with a group of options stands for all of its fields."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Command], Command]:
        """As typer's."""
        register = super().command(name, **settings)

        def decorate(function: Command) -> Command:
            register(_ungrouped(function))
            return function

        return decorate


def _ungrouped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with an option for each field of its groups, after its own."""
    by_name = inspect.Parameter.KEYWORD_ONLY
    groups: dict[str, Any] = {name: kind for name, kind in get_type_hints(function).items() if is_dataclass(kind)}
    own = inspect.signature(function).parameters.items()
    parameters = [parameter.replace(kind=by_name) for name, parameter in own if name not in groups]
    for kind in groups.values():
        hints = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(each.name, by_name, default=each.default, annotation=hints[each.name])
            for each in fields(kind)
        ]

    @wraps(function)
    def run(**given: Any) -> Any:
        made = {
            name: kind(**{each.name: given.pop(each.name) for each in fields(kind)}) for name, kind in groups.items()
        }
        return function(**given, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def fail(message: str, code: int) -> int:
    """Say in one line what failed; the exit status to leave with."""
    logging.getLogger("fewest").error("%s", message)
    return code


def remark(spec: StudySpec, samples: "Samples | None") -> None:
    """Say on stderr what may surprise in user data."""
    if spec.data and samples:
        from search.spec.dataset import remarks

        for message in remarks(samples):
            output.notice(f"{spec.data.name}: {message}")


def available(asked: str) -> list[str]:
    """The devices that are asked for; UsageError for what is not there."""
    try:
        return devices(asked)
    except ValueError as error:
        raise UsageError(str(error)) from None


def spread(places: Sequence[str], workers: int | None) -> list[str]:
    """The device of each of so many workers, by default one each."""
    return [places[i % len(places)] for i in range(workers or len(places))]
