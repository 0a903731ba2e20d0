"""What people type for parameters, dimensions and class counts, as values; SpecError says what is wrong with it."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.configuration import CHOICES, REAL, WHOLE, Configuration, check, unknown
from search.space import Choices, Range, defaults
from search.spec import DEFAULT_CLASSES, SpecError, StudySpec

if TYPE_CHECKING:
    from objectives.samples import Samples

PARAMETERS = ("classes", *defaults(2), "batch_size")


def study_spec(
    classes: str | None,
    data: Path | None,
    searched: Mapping[str, Range | Choices] | None = None,
    label: str | None = None,
    **fields: Any,
) -> "tuple[StudySpec, Samples | None]":
    """The spec of these options, of which those that are None have their defaults, and the data of the file.

    `label`: the column of a CSV file that says what each sample is.
    """
    reference = samples = None
    if label is not None and not data:
        raise SpecError(f"`--label {label}` names a column of the CSV file given with `--data`")
    if data:
        from search.data import read  # which loads NumPy

        reference, samples = read(data, label)
    given = {name: value for name, value in fields.items() if value is not None}
    counts = class_counts(classes) if classes else None
    return StudySpec.of(counts, dict(searched or {}), reference, **given), samples


def class_counts(text: str) -> Choices:
    """`256`, `16,64,256`, or `16..1024`: the lowest, doubled until the highest, so that each count is tried often."""
    if ".." in text:
        low, high = (value("classes", end) for end in text.split("..", 1))
        if low > high:
            raise SpecError(f"`--classes {text}`: the range is empty")
        doublings = takewhile(lambda classes: classes < high, (low << n for n in count()))
        return Choices(values=(*doublings, high))
    return Choices(values=tuple(value("classes", part) for part in text.split(",")))


def dimensions(fix: Iterable[str], ranges: Iterable[str], choices: Iterable[str]) -> dict[str, Range | Choices]:
    """The dimensions of `--fix name=value`, `--range name=low:high` and `--choices name=a,b`."""
    found: dict[str, Range | Choices] = {}
    for option, texts in (("--fix", fix), ("--range", ranges), ("--choices", choices)):
        for text in texts:
            name, given = _pair(option, text)
            if name == "classes":
                raise SpecError(f"`{option} {text}`: class counts are set with `--classes`")
            if name in found:
                raise SpecError(f"`{option} {text}`: `{name}` is given twice")
            if option == "--fix":
                found[name] = Choices(values=(value(name, given),))
            elif option == "--choices":
                found[name] = Choices(values=tuple(value(name, part) for part in given.split(",")))
            else:
                low, colon, high = given.partition(":")
                if not colon or name in CHOICES:
                    what = "is a number's, not of choices" if name in CHOICES else f"reads {name}=LOW:HIGH"
                    raise SpecError(f"`--range {text}`: a range {what}")
                found[name] = _range(name, low, high)
    return found


def where(texts: Iterable[str]) -> dict[str, Range | Choices]:
    """Where parameters must lie: of `NAME=VALUE`, `NAME=A,B,…` or, for numbers, `NAME=LOW:HIGH`."""
    found: dict[str, Range | Choices] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        low, colon, high = map(_number, given.partition(":"))
        if not equals or not given:
            raise SpecError(f"`--where {text}` must read --where NAME=VALUE, NAME=A,B or NAME=LOW:HIGH")
        if colon and not isinstance(low, str) and not isinstance(high, str):
            found[name] = Range(low=low, high=high, log=False, whole=False)
        else:
            found[name] = Choices(values=tuple(map(_number, given.split(","))))
    return found


def _number(text: str) -> int | float | str:
    """The number that a text reads as, else the text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text.strip()


def configuration(
    classes: str | None, config: Path | None, settings: Iterable[str], default: int = DEFAULT_CLASSES
) -> Configuration:
    """The one configuration of a JSON file or of `name=value` settings; `default` classes unless it says how many."""
    params: dict[str, Any] = {} if config is None else _read(config)
    for text in settings:
        name, given = _pair("--set", text)
        params[name] = value(name, given)
    if params.get("width_2") is not None:
        params.setdefault("hidden_layers", 2)
    asked = value("classes", classes) if classes else None
    if params.setdefault("classes", asked or default) != (asked or params["classes"]):
        raise SpecError(f"`--classes {classes}` contradicts `classes` {params['classes']} of the configuration")
    try:
        return Configuration.of(params)
    except ValueError as error:
        raise SpecError(f"{config}: {error}" if config else str(error)) from None


def value(name: str, text: str) -> Any:
    """The value of a parameter from its text."""
    try:
        found = int(text) if name in WHOLE else float(text) if name in REAL else text.strip()
    except ValueError:
        found = text
    try:
        check(name, found)
    except ValueError as error:
        raise SpecError(str(error)) from None
    return found


def _range(name: str, low: str, high: str) -> Range:
    log = name != "hidden_layers"
    return Range(low=value(name, low), high=value(name, high), log=log, whole=name in WHOLE)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, given = text.partition("=")
    if not equals or not given:
        raise SpecError(f"`{option} {text}` must read {option} NAME=VALUE")
    if name not in PARAMETERS:
        raise SpecError(f"`{option} {text}`: {unknown('parameter', name, PARAMETERS)}")
    return name, given


def _read(path: Path) -> dict[str, Any]:
    try:
        params = json.loads(path.read_text())
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"{path} is not JSON: {error}") from None
    if not isinstance(params, dict):
        raise SpecError(f'{path} must hold one JSON object of parameters, such as {{"width": 64, …}}')
    record = params.get("params")  # an answer of `best`, `trials` or `train` is as good
    return record if isinstance(record, dict) else params
