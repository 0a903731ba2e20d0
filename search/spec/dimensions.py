"""Dimensions as JSON or Python gives them: completed by what is known of the parameter, and checked."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from objectives.parameters import PARAMETERS, check
from search.errors import UsageError
from search.spec.space import DIMENSION, MOST_CHOICES, Choices, Range

#: A dimension, or the mapping of its fields that JSON has.
Given = Range | Choices | Mapping[str, Any]


def complete(name: str, given: Given) -> Range | Choices:
    """A parameter's dimension, with what is not said of it; UsageError in one line if no configuration may have it.

    A range of ours is whole and on a log scale as PARAMETERS has it. One of a user module's parameters is whole if both
    ends are, and on a log scale if it begins above 0.
    """
    known = PARAMETERS.get(name)
    try:
        dimension = DIMENSION.validate_python(given)
        if isinstance(dimension, Range):
            fields = given if isinstance(given, Mapping) else dimension.model_dump(exclude_unset=True)
            whole = known.kind is int if known else all(type(fields[end]) is int for end in ("low", "high"))
            log = known.log if known else dimension.low > 0
            dimension = Range.model_validate({"log": log, "whole": whole, **fields})
        elif known:
            dimension = Choices(values=tuple(map(known.typed, dimension.values)))
        check_dimension(name, dimension)
        return dimension
    except ValidationError as error:
        raise UsageError(in_a_line(error, "space", name)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def check_dimension(name: str, dimension: Range | Choices) -> None:
    """Raise ValueError, in one line, unless every value that the dimension allows is one of the parameter."""
    if isinstance(dimension, Range):
        return _check_range(name, dimension)
    values = dimension.values
    if not values or len(set(values)) < len(values):
        raise ValueError(f"`{name}` needs one or more different choices")
    if len(values) > MOST_CHOICES:
        raise ValueError(f"`{name}` has {len(values)} choices, more than {MOST_CHOICES}")
    for value in values:
        check(name, value)


def _check_range(name: str, of: Range) -> None:
    if name == "classes":
        raise ValueError("`classes` must be choices")
    if not of.low <= of.high:
        raise ValueError(f"the range of `{name}` is empty: {of.low:g} to {of.high:g}")
    known = PARAMETERS.get(name)
    if of.whole != (known.kind is int if known else of.whole and of.low.is_integer() and of.high.is_integer()):
        raise ValueError(f"the range of `{name}` is {'not ' if of.whole else ''}of whole numbers")
    for end in (of.low, of.high):
        check(name, int(end) if of.whole and end == int(end) else end)
    if of.log and of.low <= 0:
        raise ValueError(f"the range of `{name}` is on a log scale and must begin above 0, got {of.low:g}")


def in_a_line(error: ValidationError, *outer: str) -> str:
    """What is first wrong with a spec, or with what is at `outer` in it, and where."""
    first = error.errors()[0]
    place = *outer, *map(str, first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"`{'.'.join(place)}`: {message}" if place else message
