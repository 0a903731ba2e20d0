"""StudySpec: all that describes a study, kept in the store as JSON, so that a worker needs only the storage URL."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from objectives.configuration import Configuration
from objectives.parameters import IMPORT_PATH, PARAMETERS, Params, unknown
from objectives.user_code.loader import Constructor
from search.errors import UsageError
from search.spec.dimensions import Given, check_dimension, complete, in_a_line
from search.spec.space import Choices, Dimension, Range, defaults, of_own

Sampler = Literal["tpe", "random", "gp", "qmc", "cmaes"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
DEFAULT_CLASSES = 256
_OUT_OF_BOUNDS = "greater_than", "greater_than_equal", "less_than_equal", "finite_number"  # pydantic's types of errors


class DataRef(BaseModel, frozen=True, extra="forbid"):
    """A labelled data set in the store. Two are equal if what is in them is."""

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


class StudySettings(BaseModel, frozen=True, extra="forbid", strict=True):
    """What counts as converged, and how a study searches: the fields that anybody may set, also over HTTP."""

    inputs: int = Field(225, ge=1, le=1 << 20, description="Inputs of a sample.")
    sigma: FiniteFloat = Field(1e-4, ge=0, description="Standard deviation of the noise on each input of a wave.")
    target: float = Field(0.99, gt=0, le=1, description="Accuracy that counts as learned.")
    hold: int = Field(3, ge=1, le=1000, description="Evaluations in a row that must reach the target.")
    max_epochs: int = Field(300, ge=1, le=10_000_000, description="Most epochs of a trial.")
    sampler: str = Field("tpe", description=f"{', '.join(SAMPLERS)}, or MODULE:CLASS of any Optuna sampler.")
    seed: int = Field(0, ge=0, le=(1 << 63) - 1, description="Seed of the sampler, the initial weights and the data.")


class StudySpec(StudySettings, frozen=True):
    """A study: its settings, its data and its whole space. UsageError names a wrong field.

    Its JSON is the format of the store, and what `of` completes is that of HTTP.
    """

    #: What to learn instead of waves.
    data: DataRef | None = None
    #: Dimension of each parameter by name; `objective` is among them if that is a user module.
    space: dict[str, Dimension]
    #: Parameters of configurations to begin with, as far as they are given and fit into the space.
    start: tuple[Params, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _validate(self) -> Self:
        if self.sampler not in SAMPLERS and not IMPORT_PATH.fullmatch(self.sampler):
            raise UsageError(f"{unknown('`sampler`', self.sampler, SAMPLERS)}, or a sampler's import path MODULE:CLASS")
        for name, dimension in self.space.items():
            if not (self.objective or name in PARAMETERS):
                raise UsageError(unknown("parameter", name, self.space))
            check_dimension(name, dimension)
        return self

    @classmethod
    def of(
        cls,
        classes: Choices | None = None,
        space: Mapping[str, Given] | None = None,
        data: DataRef | None = None,
        own: Constructor | None = None,  # of a module in place of our network
        **fields: Any,
    ) -> "StudySpec":
        """The spec with these fields, over the default space but for these dimensions; UsageError names what is wrong.

        `classes` may be one of the dimensions as well.
        """
        given = {**(space or {}), **({"classes": classes} if classes else {})}
        if data:
            refuse_of_waves([*fields, *given])
            given["classes"] = Choices(values=(data.classes,))
            fields |= {"data": data, "inputs": data.features}
        dimensions = {name: complete(name, dimension) for name, dimension in given.items()}
        counts = dimensions.setdefault("classes", Choices(values=(DEFAULT_CLASSES,)))
        assert isinstance(counts, Choices)
        whole = {"classes": counts, **defaults(max(map(int, counts.values)), data.training if data else None)}
        whole = of_own(own, whole) if own else whole
        allowed = [*whole, *(own.extra_parameters if own else ())]
        for name in dimensions:
            if name not in allowed:
                raise UsageError(_foreign(name, allowed))
        whole |= dimensions
        if own and (missing := own.missing(whole)):
            hint = "give it with `--fix`, `--range` or `--choices`"
            raise UsageError(f"`objective` {own.path} needs `{missing[0]}`; {hint}")
        return validated({"space": whole, **fields})

    @property
    def class_counts(self) -> tuple[int, ...]:
        """The class counts that are searched, fewest first."""
        classes = self.space["classes"]
        assert isinstance(classes, Choices)
        return tuple(sorted(map(int, classes.values)))

    @property
    def objective(self) -> str | None:
        """Import path of a user module; None for our network."""
        objective = self.space.get("objective")
        return str(objective.values[0]) if isinstance(objective, Choices) else None

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
        own, theirs = (
            {"data": None, **dict(spec), "space": None, "start": None, "objective": None, **spec.space}
            for spec in (self, other)
        )
        for name in own | theirs:  # another module has other parameters
            if own.get(name) != theirs.get(name):
                return f"`{name}` {in_words(own.get(name))}, not {in_words(theirs.get(name))}"
        return None

    def check(self, configuration: Configuration) -> None:
        """UsageError unless the configuration can be trained on this study's data."""
        if not self.data and configuration.batch_size:
            raise UsageError("`batch_size` is for data of your own, given with `--data`")
        if self.data and configuration.classes != self.data.classes:
            raise UsageError(f"`classes` is {configuration.classes}, but {self.data.name} has {self.data.classes}")
        if self.data and not configuration.batch_size:
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
        if len(first["loc"]) == 1 and first["type"] in _OUT_OF_BOUNDS:
            name = str(first["loc"][0])
            raise UsageError(f"`{name.replace('_', '-')}` must be {_bounds(name)}, got {first['input']}") from None
        raise UsageError(in_a_line(error)) from None


def derive(seed: int, *purpose: object) -> int:
    """A seed of 63 bits for one purpose, from the study's seed and the purpose's name."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _bounds(name: str) -> str:
    """What a number of the spec may be."""
    limits = StudySpec.model_json_schema()["properties"][name]
    if "exclusiveMinimum" in limits:
        return f"in ({limits['exclusiveMinimum']}, {limits['maximum']}]"
    least, most = limits["minimum"], limits.get("maximum")
    return f"from {least} to {most}" if most else f"a number, {least} or more"


def _foreign(name: str, allowed: Iterable[str]) -> str:
    """Why a parameter is none of a study that has the `allowed` ones."""
    scope = PARAMETERS[name].scope if name in PARAMETERS else "always"
    if scope in ("waves", "data"):
        return f"`{name}` is for {'waves' if scope == 'waves' else 'data of your own, given with `--data`'}"
    return unknown("parameter", name, allowed)


def in_words(value: Any) -> str:
    """A field of a spec, or a dimension as its option is typed."""
    if isinstance(value, Choices):
        return ",".join(map(str, value.values))
    return f"{value.low:g}:{value.high:g}" if isinstance(value, Range) else "none" if value is None else str(value)
