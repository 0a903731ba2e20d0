"""What people type becomes dimensions and configurations, or one line that says what is wrong."""

import json
from pathlib import Path

import pytest

from search.errors import UsageError
from search.spec import parsing as options
from search.spec.space import Choices, Range


def test_class_counts() -> None:
    """One, several, or a range in doublings up to its end."""
    assert options.class_counts("256") == Choices(values=(256,))
    assert options.class_counts("16,64,256") == Choices(values=(16, 64, 256))
    assert options.class_counts("16..1024") == Choices(values=(16, 32, 64, 128, 256, 512, 1024))
    assert options.class_counts("10..50") == Choices(values=(10, 20, 40, 50))
    with pytest.raises(UsageError, match="the range is empty"):
        options.class_counts("64..16")


def test_dimensions() -> None:
    """Fixed, narrowed and chosen parameters, with the types of their parameter."""
    dimensions = options.dimensions(["activation=tanh"], ["lr=1e-4:1", "width=8:64"], ["optimizer=adam,sgd"])
    assert dimensions == {
        "activation": Choices(values=("tanh",)),
        "lr": Range(low=1e-4, high=1, log=True, whole=False),
        "width": Range(low=8, high=64, log=True, whole=True),
        "optimizer": Choices(values=("adam", "sgd")),
    }


@pytest.mark.parametrize(
    ("fix", "ranges", "choices", "message"),
    [
        (["widht=3"], [], [], "did you mean 'width'"),
        (["width"], [], [], "must read --fix NAME=VALUE"),
        (["width=x"], [], [], "`width` must be a whole number"),
        (["lr=nan"], [], [], "`lr` must be a number"),
        ([], ["lr=1"], [], "reads lr=LOW:HIGH"),
        ([], ["activation=a:b"], [], "not of choices"),
        ([], [], ["optimizer=adam,sdg"], "did you mean 'sgd'"),
        (["lr=1"], ["lr=0.1:1"], [], "given twice"),
        (["classes=3"], [], [], "`--classes`"),
    ],
)
def test_wrong_dimensions(fix: list[str], ranges: list[str], choices: list[str], message: str) -> None:
    """Each mistake is named with the option it is in."""
    with pytest.raises(UsageError, match=message):
        options.dimensions(fix, ranges, choices)


def test_configuration_of_settings_and_of_a_file(tmp_path: Path) -> None:
    """Settings and a JSON file make the same configuration; a second width implies two layers."""
    settings = ["width=4", "width_2=3", "activation=sine", "optimizer=sgd", "lr=0.1"]
    made = options.configuration("8", None, settings)
    file = tmp_path / "c.json"
    file.write_text(json.dumps(made.params))
    assert options.configuration(None, file, []) == made and made.widths == (4, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "is not JSON"),
        ("[1]", "one JSON object"),
        ('{"lr": NaN}', "`lr`|lacks"),
        ('{"classes": 9, "width": 1, "activation": "sine", "optimizer": "sgd", "lr": NaN}', "contradicts|`lr` must be"),
        ('{"classes": 9}', "`--classes 8` contradicts `classes` 9"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    """A bad file is named with its fault."""
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        options.configuration("8" if "9}" in text else None, file, [])
    with pytest.raises(UsageError, match="No such file"):
        options.configuration(None, tmp_path / "none.json", [])
