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
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec, derive
from storage.studies import StudyRecord


def read(text: str) -> StudySpec:
    """The spec of a study that is stored as this JSON."""
    return StoredStudy.of(StudyRecord(1, "s", text, 10)).spec


def test_json_round_trip() -> None:
    """What a worker reads from the store is the spec that was launched."""
    spec = StudySpec.of(classes=options.class_counts("16..1024"), sigma=0.5, hold=1, sampler="gp", seed=9)
    assert StudySpec.model_validate_json(spec.model_dump_json()) == read(spec.model_dump_json()) == spec


def test_a_partial_spec_is_completed_by_the_defaults_and_the_table_of_parameters() -> None:
    """Fields that are missing, the rest of the space, and whether a range is whole and on a log scale."""
    space = {
        "classes": {"values": [32]},
        "activation": {"values": ["tanh", "relu"]},
        "lr": {"low": 0.01, "high": 1},
        "width": {"low": 8, "high": 64, "log": False},
        "gain": {"values": [1, 100]},
    }
    spec = StudySpec.of(target=0.95, space=space)
    assert spec.space["activation"] == Choices(values=("tanh", "relu"))
    assert spec.space["lr"] == Range(low=0.01, high=1, log=True, whole=False)
    assert spec.space["width"] == Range(low=8, high=64, log=False, whole=True)
    assert spec.space == StudySpec.of(options.class_counts("32")).space | {name: spec.space[name] for name in space}
    assert (spec.target, spec.hold, spec.class_counts) == (0.95, StudySpec.of().hold, (32,))
    assert isinstance(spec.space["gain"], Choices) and all(
        isinstance(gain, float) for gain in spec.space["gain"].values
    )


def test_a_range_of_a_user_module_is_whole_if_both_ends_are() -> None:
    """And on a log scale if it begins above 0, unless it says otherwise."""
    own = options.constructor("tests.support.user_modules:Raises")
    for where, expected in (
        ({"low": 2, "high": 9}, Range(low=2, high=9, log=True, whole=True)),
        ({"low": 2, "high": 9.0}, Range(low=2, high=9, log=True, whole=False)),
        ({"low": 0, "high": 9, "whole": False}, Range(low=0, high=9, log=False, whole=False)),
        ({"low": 2, "high": 9, "log": False}, Range(low=2, high=9, log=False, whole=True)),
    ):
        assert StudySpec.of(space={"where": where}, own=own).space["where"] == expected
    with pytest.raises(UsageError, match="the range of `where` is not of whole numbers"):
        StudySpec.of(space={"where": {"low": 0.5, "high": 2, "whole": True}}, own=own)


@given(st.data())
def test_what_a_complete_spec_says_makes_it_again(data: st.DataObject) -> None:
    """Its JSON, or as much of its JSON as differs from the defaults, is a spec that is completed to the same."""
    low, high = sorted((data.draw(st.floats(1e-12, 1e6)), data.draw(st.floats(1e-12, 1e6))))
    differs = {"lr": {"low": low, "high": high}, "optimizer": {"values": ["sgd"]}}
    spec = StudySpec.of(space=differs, target=data.draw(st.floats(0.1, 1)), seed=data.draw(st.integers(0, 2**63 - 1)))
    fields = json.loads(spec.model_dump_json())
    assert StudySpec.of(**fields) == StudySpec.of(**fields | {"space": differs}) == spec


@pytest.mark.parametrize(
    ("fields", "message"),
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
        ({"seed": 1 << 63}, "`seed` must be from 0 to"),
        ({"target": "0.9"}, "`target`: Input should be a valid number"),
        ({"hold": True}, "`hold`: Input should be a valid integer"),
        ({"sampler": "magic"}, "unknown `sampler` 'magic'"),
        ({"sampler": "a b:C"}, "or a sampler's import path MODULE:CLASS"),
        ({"space": {"classes": Range(low=8, high=16, log=True, whole=True)}}, "`classes` must be choices"),
        ({"nonsense": 1}, "`nonsense`: "),
        ({"space": {"depth": Choices(values=(1,))}}, "unknown parameter 'depth'"),
        ({"space": {"lr": Choices(values=())}}, "`lr` needs one or more"),
        ({"space": {"lr": Range(low=0.0, high=1, log=True, whole=False)}}, "`lr` must be a number from"),
        ({"space": {"lr": 0.1}}, '`space.lr`: A dimension reads {"low": LOW, "high": HIGH} or {"values": [A, B, …]}'),
        ({"space": {"lr": {"log": True}}}, "`space.lr`: A dimension reads"),
        ({"space": {"lr": {"low": 0.1}}}, "`space.lr.range.high`: Field required"),
        ({"space": {"lr": {"low": "0.1", "high": 1}}}, "`space.lr.range.low`: Input should be a valid number"),
        ({"space": {"lr": {"low": True, "high": 1}}}, "`space.lr.range.low`: Input should be a valid number"),
        ({"space": {"lr": {"low": 0.1, "high": math.inf}}}, "`space.lr.range.high`: Input should be a finite number"),
        (
            {"space": {"width": {"low": math.nan, "high": 9}}},
            "`space.width.range.low`: Input should be a finite number",
        ),
        ({"space": {"width": {"low": 1, "high": 10**400}}}, "`space.width.range.high`: Input should be a valid number"),
        ({"space": {"lr": {"low": 0.1, "high": 1, "step": 2}}}, "`space.lr.range.step`: Extra inputs"),
        ({"space": {"lr": {"low": 0.1, "high": 1, "log": 1}}}, "`space.lr.range.log`: Input should be a valid boolean"),
        ({"space": {"lr": {"low": 1, "high": 2, "whole": True}}}, "the range of `lr` is not of whole numbers"),
        ({"space": {"width": {"low": 1, "high": 2, "whole": False}}}, "the range of `width` is of whole numbers"),
        ({"space": {"width": {"low": 1, "high": 2.5}}}, "`width` must be a whole number"),
        ({"space": {"lr": {"low": 1, "high": 0.1}}}, "the range of `lr` is empty: 1 to 0.1"),
        ({"space": {"optimizer": {"low": 1, "high": 2}}}, "unknown `optimizer` 1.0"),
        ({"space": {"lr": {"values": [math.nan]}}}, "`space.lr.choices.values.0`: `values` must be a finite number"),
        ({"space": {"lr": {"values": [[0.1]]}}}, "`space.lr.choices.values.0`: `values` must be a finite number"),
        ({"space": {"lr": {"values": "0.1"}}}, "`space.lr.choices.values`: Input should be a valid tuple"),
        ({"space": {"lr": {"values": [0.1], "kind": "range"}}}, "`space.lr.choices.kind`: Input should be 'choices'"),
        ({"space": {"width": {"values": [10**400]}}}, "`width` must be a whole number"),
        ({"space": {"width": {"values": list(range(1, 1002))}}}, "`width` has 1001 choices, more than 1000"),
        ({"space": {"classes": {"low": 2, "high": 16}}}, "`classes` must be choices"),
        ({"space": {"objective": {"values": ["os:system"]}}}, "unknown parameter 'objective'"),
    ],
)
def test_impossible_specs_are_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    """Each wrong field is named with what it may be."""
    with pytest.raises(UsageError) as refused:
        StudySpec.of(**fields)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 0.9}, "`target` 0.99, not 0.9"),
        ({"classes": options.class_counts("8")}, "`classes` 256, not 8"),
        ({"space": options.dimensions(["activation=sine"], [], [])}, "`activation` sigmoid,tanh"),
        ({"space": options.dimensions([], ["lr=0.1:0.5"], [])}, "`lr` 0.0001:1, not 0.1:0.5"),
    ],
)
def test_the_difference_of_two_specs_names_the_field(change: dict[str, Any], message: str) -> None:
    """The first field that differs is told with both values."""
    assert (StudySpec.of().difference(StudySpec.of(**change)) or "").startswith(message)
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
    assert read(json.dumps(spec)) == StudySpec.of()
    spec["space"]["classes"] = {"kind": "range", "low": 16, "high": 1024, "log": True, "whole": True}
    with pytest.raises(UsageError, match=r"another version of fewest .*: `classes` must be choices$"):
        read(json.dumps(spec))


def test_where_a_study_began_is_no_difference() -> None:
    """The same launch goes on, even if the study that it learned from has gone on too."""
    assert StudySpec.of(start=({"lr": 0.5},)).difference(StudySpec.of()) is None


@given(st.integers(0, 2**63 - 1), st.text(), st.text())
def test_derived_seeds_are_63_bits_and_differ_by_purpose(seed: int, one: str, other: str) -> None:
    """Seeds of two purposes differ, and fit a signed 64-bit column."""
    assert 0 <= derive(seed, one) < 2**63
    assert (derive(seed, one) == derive(seed, other)) == (one == other)
