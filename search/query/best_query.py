"""BestQuery: which configurations are asked for and what counts, checked against a study, and as SQL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, func

from objectives.parameters import unknown
from search.errors import UsageError
from search.spec.space import Choices, Dimension, Range
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec
from storage.schema import runs


class By(StrEnum):
    """What a configuration costs."""

    EPOCHS = "epochs"
    SECONDS = "seconds"  # of training, on the device that it had
    WEIGHTS = "weights"  # how many numbers its network learns


@dataclass(frozen=True)
class BestQuery:
    """Which configurations are asked for, and what counts."""

    #: Where each of these parameters must lie.
    where: Mapping[str, Dimension] = field(default_factory=dict)
    #: What the least of is best.
    by: By = By.EPOCHS
    #: Accuracy that counts as learned, and evaluations in a row that must reach it; None for the study's own.
    target: float | None = None
    hold: int | None = None

    def __post_init__(self) -> None:
        if self.target is not None and not 0 < self.target <= 1:
            raise UsageError(f"`target` must be in (0, 1], got {self.target}")
        if self.hold is not None and self.hold < 1:
            raise UsageError(f"`hold` must be 1 or more, got {self.hold}")

    @property
    def rescores(self) -> bool:
        """Whether the trials are judged anew."""
        return self.target is not None or self.hold is not None

    def admits(self, params: Mapping[str, Any]) -> bool:
        """Whether these parameters lie where they must."""
        return all(name in params and _lies(dimension, params[name]) for name, dimension in self.where.items())

    def check(self, study: StoredStudy, *names: str) -> None:
        """UsageError for a parameter, among `names` too, or a choice that the study lacks."""
        spec = study.spec
        for name in (*self.where, *names):
            if name not in spec.space:
                raise UsageError(f"study {study.name!r}: {unknown('parameter', name, spec.space)}")
        if self.by is By.WEIGHTS and spec.objective:
            raise UsageError(f"study {study.name!r} is of {spec.objective}, whose weights nobody has counted")
        for name, asked in self.where.items():
            wrong = _mismatch(name, asked, spec.space[name])
            if wrong:
                raise UsageError(f"study {study.name!r}: {wrong}")

    def conditions(self, connection: Connection, spec: StudySpec) -> list[ColumnElement[bool]]:
        """What the runs asked for must meet."""
        clauses: list[ColumnElement[bool]] = []
        for name, asked in self.where.items():
            column, searched = parameter(connection, spec, name), spec.space[name]
            if isinstance(asked, Range):
                clauses.append(sa.cast(column, sa.Double).between(asked.low, asked.high))
            elif isinstance(searched, Range) or name == "classes":
                clauses.append(column.in_(asked.values))
            else:
                clauses.append(column.in_([json.dumps(each) for each in searched.values if each in asked.values]))
        return clauses


EVERYTHING = BestQuery()


def for_classes(classes: int | None) -> BestQuery:
    """The configurations for one class count, or for any."""
    return BestQuery({"classes": Choices(values=(classes,))}) if classes else EVERYTHING


def _mismatch(name: str, asked: Dimension, searched: Dimension) -> str | None:
    """Why a parameter cannot lie where it is asked to, if so."""
    if isinstance(asked, Range):
        if isinstance(searched, Choices) and any(isinstance(value, bool | str) for value in searched.values):
            return f"`{name}` is one of {', '.join(map(str, searched.values))}"
        return None if asked.low <= asked.high else f"the range of `{name}` is empty: {asked.low:g} to {asked.high:g}"
    for value in asked.values:
        if isinstance(searched, Choices) and value not in searched.values:
            return unknown(f"`{name}`", value, map(str, searched.values))
        if isinstance(searched, Range) and isinstance(value, bool | str):
            return f"`{name}` is a number, got {value!r}"
    return None


def _lies(dimension: Dimension, value: Any) -> bool:
    return value in dimension.values if isinstance(dimension, Choices) else dimension.low <= value <= dimension.high


def parameter(connection: Connection, spec: StudySpec, name: str) -> ColumnElement[Any]:
    """A parameter in a row of `fewest_runs`: a number, or of choices its JSON text; null where it is absent."""
    if name == "classes":
        return runs.c.classes
    if connection.dialect.name == "postgresql":
        text: ColumnElement[Any] = sa.cast(sa.cast(runs.c.params, sa.JSON).op("->")(name), sa.Text)
    else:
        text = runs.c.params.op("->")(f'$."{name}"')
    return sa.cast(text, sa.Double) if isinstance(spec.space[name], Range) else text


def read_parameter(dimension: Dimension, stored: Any) -> Any:
    """What `parameter` selects, as in the parameters."""
    if isinstance(stored, str):
        return json.loads(stored)
    whole = isinstance(dimension, Range) and dimension.whole
    return int(stored) if whole and stored is not None else stored


def weight_count(connection: Connection, spec: StudySpec) -> ColumnElement[Any]:
    """How many numbers each network learns: `Configuration.weights` in SQL."""
    width, width_2 = (sa.cast(parameter(connection, spec, name), sa.Double) for name in ("width", "width_2"))
    last = func.coalesce(width_2, width)
    return (spec.inputs + 1) * width + func.coalesce((width + 1) * width_2, 0) + (last + 1) * runs.c.classes
