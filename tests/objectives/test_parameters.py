"""One table says what each parameter is; what people read about them agrees with it."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.configuration import Configuration
from objectives.parameters import PARAMETERS, Parameter, check

README = (Path(__file__).parents[2] / "search/spec/README.md").read_text()
NUMBERS = [each for each in PARAMETERS.values() if not each.choices]


def test_a_configuration_has_the_parameters_of_the_table() -> None:
    """Those and no other; what may be left out has a default."""
    own = {field.name for field in fields(Configuration)} - {"objective", "arguments"}
    assert own == PARAMETERS.keys() == {each.name for each in PARAMETERS.values()}
    required = {name: each.choices[0] if each.choices else 2 for name, each in PARAMETERS.items() if each.required}
    assert Configuration.of(required).params.items() >= required.items()


@pytest.mark.parametrize("parameter", NUMBERS, ids=lambda each: each.name)
def test_numbers_have_limits(parameter: Parameter) -> None:
    """Both are possible and nothing outside is, nor what is no number."""
    low, high = parameter.values
    for value in (low, high):
        check(parameter.name, value)
    impossible: list[Any] = [low - 1, high * 10, 10**400, float("inf"), float("nan"), True, str(high), None]
    for value in impossible:
        with pytest.raises(ValueError, match=f"^`{parameter.name}` must be .* from {low} to {high}, got"):
            check(parameter.name, value)
    assert parameter.nearest(low - 1) == low and parameter.nearest(high + 1) == high


@given(st.integers(2, 1 << 17), st.integers(1, 1 << 20))
def test_default_ranges_are_possible(most_classes: int, training: int) -> None:
    """Of whatever study; they begin above 0, as on a log scale they must."""
    for parameter in NUMBERS[1:]:  # not the class counts, which a study chooses
        low, high = parameter.default_range(most_classes, training)
        for end in (low, high):
            parameter.check(end)
        assert low <= high and low > 0


def test_text_is_read_in_the_parameters_type() -> None:
    """What it cannot say stays text, which the check refuses."""
    assert (PARAMETERS["width"].read("64"), PARAMETERS["lr"].read("1"), PARAMETERS["optimizer"].read(" sgd ")) == (
        64,
        1.0,
        "sgd",
    )
    assert PARAMETERS["width"].read("64.5") == "64.5"
    assert isinstance(PARAMETERS["lr"].typed(1), float) and isinstance(PARAMETERS["width"].typed(1), int)


def test_the_readme_has_every_parameter_with_its_default() -> None:
    """A row of the table there names it, with its choices, or both ends of its range for 256 classes."""
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", README, re.M)
    defaults = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    for name, parameter in PARAMETERS.items():
        numbers = set(map(float, re.findall(r"\d+(?:e-?\d+)?", defaults[name])))
        searched = parameter.default_range(256, 1000) if name != "classes" else (256, 256)
        assert all(choice in defaults[name] for choice in parameter.choices), name
        assert parameter.choices or numbers >= set(searched), name
