"""StudySpec: all that describes a study, kept in the store as JSON, so that a worker needs only the storage URL."""

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from objectives.configuration import IMPORT_PATH, WHOLE, Configuration, check, known, unknown
from objectives.user_code.loader import Constructor
from search.errors import UsageError
from search.spec.space import Choices, Dimension, Range, defaults, of_own

SAMPLERS = ("tpe", "random", "gp", "qmc", "cmaes")
DEFAULT_CLASSES = 256


class DataRef(BaseModel):
    """A labelled data set in the store. Two are equal if what is in them is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The file it came from, for people.
    name: str
    #: SHA-256 of what is in it.
    digest: str
    samples: int
    features: int
    classes: int
    #: Samples of the training part.
    training: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataRef) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"{self.name} ({self.samples} × {self.features} in {self.classes} classes, {self.digest:.8})"


class StudySpec(BaseModel):
    """A study: its data, its space, what counts as converged, and how it searches. UsageError names a wrong field."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)

    #: What to learn instead of waves.
    data: DataRef | None = None
    #: Inputs of a sample.
    inputs: int = 225
    #: Standard deviation of the noise on each input of a wave.
    sigma: float = 1e-4
    #: Accuracy that counts as having learned.
    target: float = 0.99
    #: Evaluations in a row that must reach it.
    hold: int = 3
    #: Most epochs of any trial.
    max_epochs: int = 300
    #: One of SAMPLERS, or the import path MODULE:CLASS of an Optuna sampler.
    sampler: str = "tpe"
    #: Seed of the sampler, the initial weights and the data.
    seed: int = 0
    #: Dimension of each parameter by name; `objective` is among them if that is a module of a person's own.
    space: dict[str, Dimension]
    #: Parameters of configurations to begin with, as far as they are given and fit into the space.
    start: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="after")
    def _validate(self) -> Self:
        _require(1 <= self.inputs <= 1 << 20, "inputs", "from 1 to 1048576", self.inputs)
        _require(0 <= self.sigma < math.inf, "sigma", "a number, 0 or more", self.sigma)
        _require(0 < self.target <= 1, "target", "in (0, 1]", self.target)
        _require(1 <= self.hold <= 1000, "hold", "from 1 to 1000", self.hold)
        _require(1 <= self.max_epochs <= 10_000_000, "max-epochs", "from 1 to 10000000", self.max_epochs)
        _require(0 <= self.seed < 1 << 63, "seed", "from 0 to 2^63 − 1", self.seed)
        if self.sampler not in SAMPLERS and not IMPORT_PATH.fullmatch(self.sampler):
            raise UsageError(f"{unknown('`sampler`', self.sampler, SAMPLERS)}, or a sampler's import path MODULE:CLASS")
        for name, dimension in self.space.items():
            if not (self.objective or known(name)):
                raise UsageError(unknown("parameter", name, self.space))
            _check_dimension(name, dimension)
        if not isinstance(self.space["classes"], Choices):
            raise UsageError("`classes` must be choices")
        return self

    @classmethod
    def of(
        cls,
        classes: Choices | None = None,
        dimensions: dict[str, Range | Choices] | None = None,
        data: DataRef | None = None,
        own: Constructor | None = None,  # of a module in place of our network
        **fields: Any,
    ) -> "StudySpec":
        """A spec over the default space with some dimensions replaced; UsageError names what is wrong."""
        if data:
            refuse_of_waves([*fields, *(["classes"] if classes else ())])
            classes, fields = Choices(values=(data.classes,)), {**fields, "data": data, "inputs": data.features}
        classes = classes or Choices(values=(DEFAULT_CLASSES,))
        _check_dimension("classes", classes)
        most = max(map(int, classes.values))
        space: dict[str, Range | Choices] = {"classes": classes, **defaults(most, data.training if data else None)}
        space, theirs = (of_own(own, space), own.extra_parameters) if own else (space, ())
        for name, dimension in (dimensions or {}).items():
            if name in ("batch_size", "batch_sampling") and name not in space:
                raise UsageError(f"`{name}` is for {'waves' if data else 'data of your own, given with `--data`'}")
            if name not in (*space, *theirs):
                raise UsageError(unknown("parameter", name, [*space, *theirs]))
            space[name] = dimension
        lacking = own.missing(space) if own else []
        if own and lacking:
            raise UsageError(
                f"`objective` {own.path} needs `{lacking[0]}`; give it with `--fix`, `--range` or `--choices`"
            )
        return validated({"space": space, **fields})

    @property
    def class_counts(self) -> tuple[int, ...]:
        """The class counts that are searched, fewest first."""
        classes = self.space["classes"]
        assert isinstance(classes, Choices)
        return tuple(sorted(map(int, classes.values)))

    @property
    def objective(self) -> str | None:
        """Import path of a module of a person's own; None for our network."""
        found = self.space.get("objective")
        return str(found.values[0]) if isinstance(found, Choices) else None

    @property
    def training(self) -> int | None:
        """Samples that an epoch learns; None for waves, of which it learns one batch."""
        return self.data.training if self.data else None

    @property
    def directions(self) -> tuple[str, ...]:
        """Optuna's directions: fewest epochs, and most classes if they are searched."""
        return ("MINIMIZE", "MAXIMIZE") if len(self.class_counts) > 1 else ("MINIMIZE",)

    def difference(self, other: "StudySpec") -> str | None:
        """The first field in which two specs differ and both values, in words; None if they are equal.

        Where a study began is no difference.
        """
        aside = ("space", "start")
        mine, theirs = (
            {name: of for name, of in spec if name not in aside} | {"objective": None} | spec.space
            for spec in (self, other)
        )
        for name in mine | theirs:  # another module has other parameters
            if mine.get(name) != theirs.get(name):
                return f"`{name}` {in_words(mine.get(name))}, not {in_words(theirs.get(name))}"
        return None

    def check(self, configuration: Configuration) -> None:
        """UsageError unless the configuration can be trained on this study's data."""
        if self.data is None:
            if configuration.batch_size:
                raise UsageError("`batch_size` is for data of your own, given with `--data`")
            return
        if configuration.classes != self.data.classes:
            raise UsageError(f"`classes` is {configuration.classes}, but {self.data.name} has {self.data.classes}")
        if not configuration.batch_size:
            raise UsageError("the configuration lacks `batch_size`, which data of your own need")


def refuse_of_waves(given: Iterable[str]) -> None:
    """UsageError if one of these fields is of waves alone."""
    for name in ("classes", "inputs", "sigma"):
        if name in given:
            raise UsageError(f"`--{name}` is for waves; data of your own have theirs")


def validated(fields: dict[str, Any]) -> StudySpec:
    """The spec with these fields; UsageError in one line if one is wrong."""
    try:
        return StudySpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"`{where}`: {message}" if where else message) from None


def parsed(text: str) -> StudySpec:
    """The spec of a study in the store; UsageError if another version made it and this one cannot serve it."""
    try:
        return validated(json.loads(text))
    except UsageError as error:
        raise UsageError(f"the study was made by another version of fewest and cannot go on: {error}") from None


def derive(seed: int, *purpose: object) -> int:
    """A seed of 63 bits for one purpose, from the study's seed and the purpose's name."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _require(holds: bool, name: str, must: str, got: Any) -> None:
    if not holds:
        raise UsageError(f"`{name}` must be {must}, got {got}")


def _check_dimension(name: str, dimension: Range | Choices) -> None:
    """Every value that the dimension allows is one that a configuration accepts."""
    try:
        if isinstance(dimension, Choices):
            if not dimension.values or len(set(dimension.values)) < len(dimension.values):
                raise ValueError(f"`{name}` needs one or more different choices")
            for value in dimension.values:
                check(name, value)
            return
        if not dimension.low <= dimension.high:
            raise ValueError(f"the range of `{name}` is empty: {dimension.low:g} to {dimension.high:g}")
        for end in (dimension.low, dimension.high):
            check(name, int(end) if name in WHOLE and end == int(end) else end)
        if dimension.log and dimension.low <= 0:
            raise ValueError(f"the range of `{name}` is on a log scale and must begin above 0, got {dimension.low:g}")
    except ValueError as error:
        raise UsageError(str(error)) from None


def in_words(value: Any) -> str:
    """A field of a spec, or a dimension as its option is typed."""
    if isinstance(value, Choices):
        return ",".join(map(str, value.values))
    return f"{value.low:g}:{value.high:g}" if isinstance(value, Range) else "none" if value is None else str(value)
