"""The search space: parameters and their conditions, as Optuna distributions, and the page's two models in it.

A dimension is a range (of whole or real numbers, on a log scale or not) or a tuple of choices; one choice fixes the
parameter. The only condition: `width_2` exists where `hidden_layers` is 2. A user module is searched over
how it is trained and what its constructor takes; `objective`, its import path, is then a parameter with one choice.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, FiniteFloat, Tag, TypeAdapter

from objectives.configuration import Configuration
from objectives.parameters import ARCHITECTURE, PARAMETERS, Params, check, unknown
from objectives.user_code.loader import Constructor

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial


#: The page's two models, by what each has for so many classes: what its asker could not train, and the simpler one of
#: its answer.
PRESETS: Mapping[str, Callable[[int], Params]] = {
    "question": lambda classes: {"hidden_layers": 2, "width": classes, "width_2": 2 * classes, "optimizer": "rmsprop"},
    "answer": lambda classes: {"width": 8 * classes, "optimizer": "adam", "scaling": "fixed"},
}
MOST_CHOICES = 1000  # of a study's parameter; the store has them in every trial


#: Of a field that is as the parameter has it unless it is given, which no default in a schema can say.
_AS_THE_PARAMETER: Any = Field(default=False, json_schema_extra=lambda schema: schema.__delitem__("default"))


class Range(BaseModel, frozen=True, extra="forbid", strict=True):
    """All numbers from `low` to `high`, both included; unless given, `log` (scale) and `whole` are the parameter's."""

    kind: Literal["range"] = "range"
    low: FiniteFloat
    high: FiniteFloat
    log: bool = _AS_THE_PARAMETER
    whole: bool = _AS_THE_PARAMETER

    def at(self, u: float) -> int | float:
        """The value at a fraction of the range, `u` in [0, 1); every whole number has an equal part of it."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        return self.nearest(low * (high / low) ** u if self.log else low + (high - low) * u)

    def fraction(self, value: float) -> float:
        """Where in the range a value is, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def nearest(self, value: float) -> int | float:
        """The value of the range that is nearest."""
        kept = min(max(value, self.low), self.high)
        return math.floor(kept + 0.5) if self.whole else kept


def _scalar(value: Any) -> Any:
    """The value, if it is one that JSON has, too."""
    check("values", value)
    return value


class Choices(BaseModel, frozen=True, extra="forbid"):
    """One of `values`; one alone fixes the parameter."""

    kind: Literal["choices"] = "choices"
    values: tuple[Annotated[bool | str | int | float, BeforeValidator(_scalar)], ...] = Field(
        json_schema_extra={"minItems": 1, "maxItems": MOST_CHOICES}
    )

    def at(self, u: float) -> bool | str | int | float:
        """The value at a fraction of the choices, `u` in [0, 1)."""
        return self.values[int(u * len(self.values))]


def _kind(given: Any) -> str | None:
    """Which of the two a dimension is, of which JSON need not say it."""
    if not isinstance(given, Mapping):
        return getattr(given, "kind", None)
    return "choices" if "values" in given else "range" if {"low", "high"} & given.keys() else None


_READS = 'A dimension reads {"low": LOW, "high": HIGH} or {"values": [A, B, …]}'
Dimension = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(_kind, custom_error_type="dimension", custom_error_message=_READS),
]
DIMENSION: TypeAdapter[Range | Choices] = TypeAdapter(Dimension)


def defaults(most_classes: int, training: int | None = None) -> dict[str, Range | Choices]:
    """The default space but for `classes`, of waves or of so many training samples; the page's models lie in it."""
    space: dict[str, Range | Choices] = {}
    for name, parameter in PARAMETERS.items():
        if name == "classes" or parameter.scope == ("data" if training is None else "waves"):
            continue
        low, high = parameter.default_range(most_classes, training or 0)
        number = Range(low=low, high=high, log=parameter.log, whole=parameter.kind is int)
        space[name] = Choices(values=parameter.choices) if parameter.choices else number
    return space


def of_own(constructor: Constructor, space: Mapping[str, Range | Choices]) -> dict[str, Range | Choices]:
    """What of a space is left with that user module in place of our network, and its import path."""
    kept = {name: of for name, of in space.items() if name not in ARCHITECTURE or name in constructor.parameters}
    return {"objective": Choices(values=(constructor.path,)), **kept}


def suggest(space: Mapping[str, Range | Choices], trial: "BaseTrial") -> Params:
    """Draw every parameter of one configuration from an Optuna trial."""
    params: Params = {}
    for name, dimension in space.items():
        if name == "width_2" and params.get("hidden_layers") == 1:
            continue
        if isinstance(dimension, Choices):
            params[name] = trial.suggest_categorical(name, dimension.values)
        elif dimension.whole:
            params[name] = trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
        else:
            params[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    return params


def distributions(space: Mapping[str, Range | Choices], params: Mapping[str, Any]) -> "dict[str, BaseDistribution]":
    """The Optuna distributions that `suggest` draws the parameters of one configuration from."""
    from optuna.trial import FixedTrial

    fixed = FixedTrial(dict(params))
    suggest(space, fixed)
    return fixed.distributions


def consistent(params: Params) -> Params:
    """Without parameters that the others leave no place for."""
    absent = "width_2" if params.get("hidden_layers") == 1 else None
    return {name: value for name, value in params.items() if name != absent}


def fitted(space: Mapping[str, Range | Choices], params: Mapping[str, Any]) -> Params:
    """Parameters moved into the space: numbers to the nearest of their range; what is no choice of it is left out."""
    fitting: Params = {}
    for name, dimension in space.items():
        value = params.get(name)
        if isinstance(dimension, Choices):
            if value in dimension.values:
                fitting[name] = value
        elif isinstance(value, int | float):
            fitting[name] = dimension.nearest(value)
    return consistent(fitting)


def carried(space: Mapping[str, Range | Choices], params: Mapping[str, Any], classes: int) -> Params:
    """What is to other class counts as these parameters are to theirs.

    The gain follows the distance between classes, so that neighbours stay as far apart; widths go with the root of the
    count. Three configurations that need 1, 1 and 11 epochs for 256 classes need 2, 2 and 4 for 16 so carried, 1, 2 and
    5 for 64, and 1, 7 and 18 for 1,024; with a gain in proportion to the count 4, 3 and 4 for 16, 1, 2 and 8 for 64.
    """
    from objectives.data.waves import span

    wider, finer = (classes / params["classes"]) ** 0.5, span(classes) / span(params["classes"])
    factors = {"width": wider, "width_2": wider, "gain": finer}
    scaled = [name for name in factors if name in params and isinstance(space.get(name), Range)]
    grown = {name: params[name] * factors[name] for name in scaled}
    return fitted(space, {**params, **grown, "classes": classes})


def preset(name: str, classes: int, training: int | None = None) -> Configuration:
    """One of PRESETS; on a data set of so many training samples it learns in batches of 32."""
    if name not in PRESETS:
        raise ValueError(unknown("preset", name, PRESETS))
    batch_size = training and min(32, training)
    own = PRESETS[name](classes)
    return Configuration(classes=classes, activation="sigmoid", lr=1e-3, batch_size=batch_size, **own)
