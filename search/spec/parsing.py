"""What people type for parameters, dimensions and class counts, as values; UsageError says what is wrong with it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.configuration import ARCHITECTURE, CHOICES, REAL, WHOLE, Configuration, check, known, unknown
from objectives.user_code.loader import Constructor, UserCodeError
from search.errors import UsageError
from search.spec.space import Choices, Range, defaults
from search.spec.study_spec import DEFAULT_CLASSES, StudySpec

if TYPE_CHECKING:
    from objectives.data.samples import Samples

PARAMETERS = ("classes", *defaults(2), "batch_size")


def study_name(name: str) -> str:
    """A study's name; UsageError if none may have it."""
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise UsageError("a study's name is 1 to 200 printable characters")
    return name


def served_name(name: str) -> str:
    """The name of a service's study, which is a part of its path; UsageError if none may have it."""
    if "/" in name or name in (".", ".."):
        raise UsageError("the name of a service's study has no slash and is neither . nor ..")
    return study_name(name)


def constructor(path: str | None) -> Constructor | None:
    """That of a module of a person's own; UsageError if there is none of that import path."""
    if path is None:
        return None
    value("objective", path)
    try:
        return Constructor.of(path)
    except UserCodeError as error:
        raise UsageError(f"`objective` {error}") from None


def study_spec(
    classes: str | None,
    data: Path | None,
    searched: Mapping[str, Range | Choices] | None = None,
    label: str | None = None,
    own: Constructor | None = None,
    **fields: Any,
) -> "tuple[StudySpec, Samples | None]":
    """The spec of these options, of which those that are None have their defaults, and the data of the file.

    `label`: the column of a CSV file that says what each sample is.
    """
    reference = samples = None
    if label is not None and not data:
        raise UsageError(f"`--label {label}` names a column of the CSV file given with `--data`")
    if data:
        from search.spec.dataset import read  # which loads NumPy

        reference, samples = read(data, label)
    given = {name: value for name, value in fields.items() if value is not None}
    counts = class_counts(classes) if classes else None
    return StudySpec.of(counts, dict(searched or {}), reference, own, **given), samples


def class_counts(text: str) -> Choices:
    """`256`, `16,64,256`, or `16..1024`: the lowest, doubled until the highest, so that each count is tried often."""
    if ".." in text:
        low, high = (value("classes", end) for end in text.split("..", 1))
        if low > high:
            raise UsageError(f"`--classes {text}`: the range is empty")
        doublings = takewhile(lambda classes: classes < high, (low << n for n in count()))
        return Choices(values=(*doublings, high))
    return Choices(values=tuple(value("classes", part) for part in text.split(",")))


def dimensions(
    fix: Iterable[str], ranges: Iterable[str], choices: Iterable[str], own: Constructor | None = None
) -> dict[str, Range | Choices]:
    """The dimensions of `--fix name=value`, `--range name=low:high` and `--choices name=a,b`, of any network."""
    found: dict[str, Range | Choices] = {}
    for option, texts in (("--fix", fix), ("--range", ranges), ("--choices", choices)):
        for text in texts:
            name, given = _pair(option, text, own)
            if name == "classes":
                raise UsageError(f"`{option} {text}`: class counts are set with `--classes`")
            if name in found:
                raise UsageError(f"`{option} {text}`: `{name}` is given twice")
            if option == "--fix":
                found[name] = Choices(values=(value(name, given),))
            elif option == "--choices":
                found[name] = Choices(values=tuple(value(name, part) for part in given.split(",")))
            else:
                low, colon, high = given.partition(":")
                if not colon or name in CHOICES:
                    what = "is a number's, not of choices" if name in CHOICES else f"reads {name}=LOW:HIGH"
                    raise UsageError(f"`--range {text}`: a range {what}")
                found[name] = _range(name, low, high)
    return found


def where(texts: Iterable[str]) -> dict[str, Range | Choices]:
    """Where parameters must lie: of `NAME=VALUE`, `NAME=A,B,…` or, for numbers, `NAME=LOW:HIGH`."""
    found: dict[str, Range | Choices] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        low, colon, high = map(_own_value, given.partition(":"))
        if name in found:
            raise UsageError(f"`--where {text}`: `{name}` is given twice; several values read {name}=A,B")
        if not equals or not given:
            raise UsageError(f"`--where {text}` must read --where NAME=VALUE, NAME=A,B or NAME=LOW:HIGH")
        if colon and not isinstance(low, str) and not isinstance(high, str):
            found[name] = Range(low=low, high=high, log=False, whole=False)
        else:
            found[name] = Choices(values=tuple(map(_own_value, map(str.strip, given.split(",")))))
    return found


def typed(dimension: Range | Choices) -> str:
    """What `where`, or `dimensions`, reads as this dimension, to the bit."""
    if isinstance(dimension, Range):
        return f"{dimension.low:.17g}:{dimension.high:.17g}"
    return ",".join(f"{each:.17g}" if isinstance(each, float) else str(each) for each in dimension.values)


def configuration(
    classes: str | None,
    config: Path | None,
    settings: Iterable[str],
    default: int = DEFAULT_CLASSES,
    own: Constructor | None = None,
) -> Configuration:
    """The one configuration of a JSON file or of `name=value` settings; `default` classes unless it says how many."""
    params: dict[str, Any] = {} if config is None else _read(config)
    if own:
        params["objective"] = own.path
    for text in settings:
        name, given = _pair("--set", text, own)
        params[name] = value(name, given)
    if params.get("width_2") is not None:
        params.setdefault("hidden_layers", 2)
    asked = value("classes", classes) if classes else None
    if params.setdefault("classes", asked or default) != (asked or params["classes"]):
        raise UsageError(f"`--classes {classes}` contradicts `classes` {params['classes']} of the configuration")
    try:
        return Configuration.of(params)
    except ValueError as error:
        raise UsageError(f"{config}: {error}" if config else str(error)) from None


def value(name: str, text: str) -> Any:
    """The value of a parameter from its text."""
    if name != "objective" and not known(name):
        return _own_value(text.strip())
    try:
        found = int(text) if name in WHOLE else float(text) if name in REAL else text.strip()
    except ValueError:
        found = text
    try:
        check(name, found)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return found


def _range(name: str, low: str, high: str) -> Range:
    """A range of ours; one of a person's own is whole if both ends are, and logarithmic if it begins above 0."""
    ends = value(name, low), value(name, high)
    if known(name):
        return Range(low=ends[0], high=ends[1], log=name != "hidden_layers", whole=name in WHOLE)
    if not all(type(end) in (int, float) for end in ends):
        raise UsageError(f"`--range {name}={low}:{high}`: a range is from a number to a number")
    return Range(low=ends[0], high=ends[1], log=ends[0] > 0, whole=all(type(end) is int for end in ends))


def _own_value(text: str) -> bool | int | float | str:
    """A parameter's of a person's own, whose type only the text shows."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        with suppress(ValueError):
            found = number(text)
            return found if math.isfinite(found) else text
    return text


def _pair(option: str, text: str, own: Constructor | None) -> tuple[str, str]:
    name, equals, given = text.partition("=")
    if not equals or not given:
        raise UsageError(f"`{option} {text}` must read {option} NAME=VALUE")
    there: Sequence[str] = PARAMETERS
    if own:
        there = [*(name for name in there if name not in ARCHITECTURE or name in own.parameters), *own.extra_parameters]
    if name not in there:
        raise UsageError(f"`{option} {text}`: {unknown('parameter', name, there)}")
    return name, given


def _read(path: Path) -> dict[str, Any]:
    try:
        params = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(params, dict):
        raise UsageError(f'{path} must hold one JSON object of parameters, such as {{"width": 64, …}}')
    record = params.get("params")  # an answer of `best`, `trials` or `train` is as good
    return record if isinstance(record, dict) else params
