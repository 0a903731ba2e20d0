"""The options that commands share, in groups that mean the same everywhere, and what they name: trials and devices."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer import Argument, Option

from objectives.devices import devices
from objectives.trainers.trainer import TrainerKind
from objectives.user_code.loader import Constructor
from search.cli import output
from search.cli.output import Format
from search.client import STORAGE, STUDY, open_studies
from search.errors import Failure, UsageError
from search.logs import Log
from search.query import ranking, runs
from search.query.best_query import for_classes
from search.query.records import RunRecord
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
    return Option(help=f"{field.description}  [default: {field.default}]")


def at_least(least: int, help: str, **more: Any) -> Any:
    """An option for a whole number from `least` on."""
    return Option(min=least, max=MAX_INTEGER, help=help, **more)


def study_name(name: str | None) -> str | None:
    """The name of a study as it is given, or None; UsageError if no study may have it."""
    return None if name is None else stored_study.study_name(name)


STORE = "sqlite:///FILE or postgresql://HOST/NAME"
Storage = Annotated[str, Option(envvar="FEWEST_STORAGE", help=STORE)]
Output = Annotated[Format, Option("--format", help="table for people, json or csv for programs")]
Device = Annotated[str, Option(help="auto, cpu, cuda or cuda:N")]
LogForm = Annotated[
    Log,
    Option("--log", help="Log on stderr as text, or as JSON: an object a line, with its `study`, `trial`, `worker`…"),
]
Trainer = Annotated[
    TrainerKind,
    Option(help="array: many trials as one computation; solo: one by one; auto: each where it trains faster"),
]
Trials = Annotated[list[int] | None, Argument(min=0, max=MAX_INTEGER, metavar="[TRIAL]...", help="Trials by number.")]
OfClasses = Annotated[int | None, at_least(2, "Only the best of this class count.")]


@dataclass(frozen=True)
class SpecOptions:
    """The settings and the data of a study, or of one training: each None unless it is given."""

    objective: Annotated[
        str | None,
        Option(help="A torch module in place of our network, MODULE:CLASS of a file here or of what is installed."),
    ] = None
    data: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="What to learn instead of waves: an npz file of X (samples × features) and y (a label each), or a CSV "
            "file: a line of column names, then one per sample, of numbers and a label (text or a whole number).",
        ),
    ] = None
    label: Annotated[
        str | None, Option(metavar="COLUMN", help="Which column of a CSV file, by its name there, is the label.")
    ] = None
    classes: Annotated[
        str | None,
        Option(help=f"Class counts: 256, or 16,64,256, or 16..1024 in doublings.  [default: {DEFAULT_CLASSES}]"),
    ] = None
    inputs: Annotated[int | None, of_spec("inputs")] = None
    sigma: Annotated[float | None, of_spec("sigma")] = None
    target: Annotated[float | None, of_spec("target")] = None
    hold: Annotated[int | None, of_spec("hold")] = None
    max_epochs: Annotated[int | None, of_spec("max_epochs")] = None
    seed: Annotated[int | None, of_spec("seed")] = None

    @property
    def fields(self) -> Mapping[str, Any]:
        """The plain fields of a spec that are given."""
        names = "inputs", "sigma", "target", "hold", "max_epochs", "seed"
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def class_count(self) -> int | None:
        """The one class count that is given; UsageError for several."""
        return parsing.value("classes", self.classes) if self.classes else None

    def read(
        self, searched: Mapping[str, Range | Choices] | None = None, own: Constructor | None = None, **more: Any
    ) -> "tuple[StudySpec, Samples | None]":
        """The spec, with the constructor of a user module, and the data of the file; UsageError for what is wrong."""
        return parsing.study_spec(self.classes, self.data, searched, self.label, own, **self.fields, **more)


@dataclass(frozen=True)
class WorkerOptions:
    """How many workers of this machine, and on what."""

    workers: Annotated[int | None, at_least(1, "Worker processes.  [default: one per GPU, else per core]")] = None
    device: Device = "auto"

    def devices(self) -> list[str]:
        """The device of each worker; UsageError for one that this machine lacks."""
        return spread(available(self.device), self.workers)


@dataclass(frozen=True)
class StudyPlace:
    """Which study of which store."""

    storage: Storage = STORAGE
    study: Annotated[str, Option(callback=study_name, help="Name of the study in the storage.")] = STUDY

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
class AnyStudyPlace(StudyPlace):
    """Which study of which store or service."""

    storage: Annotated[
        str,
        Option(envvar="FEWEST_STORAGE", help=f"{STORE}, or a service: http://HOST:PORT (token in FEWEST_TOKEN)"),
    ] = STORAGE

    def ask(self) -> Studies:
        """The studies of that store or service."""
        return open_studies(self.storage)


@dataclass(frozen=True)
class AnyStudyOptions(AnyStudyPlace):
    """The same, and how to print what is found."""

    format: Output = Format.TABLE


class Commands(typer.Typer):
    """Commands in which a parameter annotated with a group of options stands for all of its fields.

    The last paragraph of a docstring stands below the options in the help if it begins with `Example`.
    """

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Command], Command]:
        """As typer's."""

        def decorate(function: Command) -> Command:
            text, example, rest = (inspect.getdoc(function) or "").partition("\n\nExample")
            below = f"{settings.pop('epilog', '')}\n\n{example.strip()}{rest}".strip() or None
            super(Commands, self).command(name, help=text, epilog=below, **settings)(_ungrouped(function))
            return function

        return decorate


def _ungrouped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with an option for each field of its groups, after its own."""
    own = dict(inspect.signature(function).parameters)
    groups = {name: own.pop(name).annotation for name in list(own) if is_dataclass(own[name].annotation)}
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}
    every = [*own.values(), *chain.from_iterable(options.values() for options in fields.values())]
    parameters = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in every]

    @wraps(function)
    def run(**given: Any) -> Any:
        made = {name: group(**{field: given.pop(field) for field in fields[name]}) for name, group in groups.items()}
        return function(**given, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in parameters}
    return run


def remark(spec: StudySpec, samples: "Samples | None") -> None:
    """Print on stderr what may surprise in user data."""
    if spec.data and samples:
        from search.spec.dataset import remarks

        for message in remarks(samples):
            output.notice(f"{spec.data.name}: {message}")


def available(asked: str) -> list[str]:
    """The devices of that name; UsageError for one that this machine lacks."""
    try:
        return devices(asked)
    except ValueError as error:
        raise UsageError(str(error)) from None


def spread(places: Sequence[str], workers: int | None) -> list[str]:
    """The device of each of so many workers, by default one each."""
    return [places[i % len(places)] for i in range(workers or len(places))]


def pick(
    store: Store, study: StoredStudy, so: str, numbers: Sequence[int], classes: int | None, top: int = 1
) -> list[RunRecord]:
    """The trials of these numbers, else the `top` best, of a class count if one is named; each has converged.

    UsageError for numbers and a class count. Failure, which says what follows (`so`), without such a trial.
    """
    if numbers and classes:
        raise UsageError("`--classes` chooses the best, and trials are named; leave one out")
    numbers = numbers or [row.trial for row in store.read(ranking.best, study, for_classes(classes), top)]
    picked = [store.read(runs.trial, study, number) for number in numbers]
    for row in picked:
        if not row.converged:
            fact = f"trial {row.trial} of study {study.name!r} has not converged"
            raise Failure(f"{fact}, {so}; `fewest best` shows what has")
    if not picked:
        counted = f" for {classes} classes" if classes else ""
        raise Failure(f"nothing has converged in study {study.name!r} yet{counted}, {so}")
    return picked
