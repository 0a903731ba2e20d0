"""A spec is validated once, survives JSON, and says in which field two differ."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import UsageError
from search.spec import parsing as options
from search.spec.space import Choices, Range
from search.spec.study_spec import StudySpec, derive, parsed


def test_json_round_trip() -> None:
    """What a worker reads from the store is the spec that was launched."""
    spec = StudySpec.of(classes=options.class_counts("16..1024"), sigma=0.5, hold=1, sampler="gp", seed=9)
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target": 0}, "`target` must be in (0, 1], got 0"),
        ({"target": 1.01}, "`target` must be in (0, 1], got 1.01"),
        ({"target": math.nan}, "`target` must be in (0, 1], got nan"),
        ({"hold": 0}, "`hold` must be"),
        ({"sigma": -1}, "`sigma` must be"),
        ({"sigma": math.inf}, "`sigma` must be"),
        ({"inputs": 0}, "`inputs` must be"),
        ({"max_epochs": 0}, "`max-epochs` must be"),
        ({"seed": -1}, "`seed` must be"),
        ({"sampler": "magic"}, "unknown `sampler` 'magic'"),
        ({"sampler": "a b:C"}, "or a sampler's import path MODULE:CLASS"),
        ({"dimensions": {"classes": Range(low=8, high=16, log=True, whole=True)}}, "`classes` must be choices"),
        ({"nonsense": 1}, "`nonsense`: "),
        ({"dimensions": {"depth": Choices(values=(1,))}}, "unknown parameter 'depth'"),
        ({"dimensions": {"lr": Choices(values=())}}, "`lr` needs one or more"),
        ({"dimensions": {"lr": Range(low=0.0, high=1, log=True, whole=False)}}, "`lr` must be a number from"),
    ],
)
def test_impossible_specs_are_refused_in_one_line(fields: dict[str, Any], said: str) -> None:
    """Each wrong field is named with what it may be."""
    with pytest.raises(UsageError) as refused:
        StudySpec.of(**fields)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": 0.9}, "`target` 0.99, not 0.9"),
        ({"classes": options.class_counts("8")}, "`classes` 256, not 8"),
        ({"dimensions": options.dimensions(["activation=sine"], [], [])}, "`activation` sigmoid,tanh"),
        ({"dimensions": options.dimensions([], ["lr=0.1:0.5"], [])}, "`lr` 0.0001:1, not 0.1:0.5"),
    ],
)
def test_the_difference_of_two_specs_names_the_field(change: dict[str, Any], said: str) -> None:
    """The first field that differs is told with both values."""
    assert (StudySpec.of().difference(StudySpec.of(**change)) or "").startswith(said)
    assert StudySpec.of().difference(StudySpec.of()) is None


def test_several_class_counts_have_two_directions() -> None:
    """Fewest epochs, and most classes where the class count is searched."""
    assert StudySpec.of().directions == ("MINIMIZE",)
    for text in ("64,16", "16..64"):
        spec = StudySpec.of(classes=options.class_counts(text))
        assert spec.directions == ("MINIMIZE", "MAXIMIZE") and spec.class_counts[0] == 16


def test_a_stored_spec_of_before_is_read_or_refused_in_one_line() -> None:
    """Fields that it lacks have their defaults; a range of class counts, as older versions had, is no longer served."""
    spec = json.loads(StudySpec.of().model_dump_json(exclude={"data", "start"}))
    assert parsed(json.dumps(spec)) == StudySpec.of()
    spec["space"]["classes"] = {"kind": "range", "low": 16, "high": 1024, "log": True, "whole": True}
    with pytest.raises(UsageError, match=r"another version of fewest .*: `classes` must be choices$"):
        parsed(json.dumps(spec))


def test_where_a_study_began_is_no_difference() -> None:
    """The same launch goes on, even if the study that it learned from has gone on too."""
    assert StudySpec.of(start=({"lr": 0.5},)).difference(StudySpec.of()) is None


@given(st.integers(0, 2**63 - 1), st.text(), st.text())
def test_derived_seeds_are_63_bits_and_differ_by_purpose(seed: int, one: str, other: str) -> None:
    """Seeds of two purposes differ, and fit a signed 64-bit column."""
    assert 0 <= derive(seed, one) < 2**63
    assert (derive(seed, one) == derive(seed, other)) == (one == other)
