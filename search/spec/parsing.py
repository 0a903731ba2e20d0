"""What people type for parameters, dimensions and class counts, as values; UsageError says what is wrong with it."""

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.configuration import Configuration
from objectives.parameters import ARCHITECTURE, PARAMETERS, Params, check, unknown
from objectives.user_code.loader import Constructor, UserCodeError
from search.errors import UsageError
from search.spec.dimensions import complete
from search.spec.space import Choices, Range
from search.spec.study_spec import DEFAULT_CLASSES, StudySpec

if TYPE_CHECKING:
    from objectives.data.samples import Samples


def constructor(path: str | None) -> Constructor | None:
    """The constructor of a user module; UsageError if there is none of that import path."""
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
    if data:
        from search.spec.dataset import read  # which loads NumPy

        reference, samples = read(data, label)
    elif label is not None:
        raise UsageError(f"`--label {label}` names a column of the CSV file given with `--data`")
    given = {name: value for name, value in fields.items() if value is not None}
    return StudySpec.of(class_counts(classes) if classes else None, searched, reference, own, **given), samples


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
    searched: dict[str, Range | Choices] = {}
    for option, texts in (("--fix", fix), ("--range", ranges), ("--choices", choices)):
        for text in texts:
            name, given = _pair(option, text, own)
            if name == "classes":
                raise UsageError(f"`{option} {text}`: class counts are set with `--classes`")
            if name in searched:
                raise UsageError(f"`{option} {text}`: `{name}` is given twice")
            if option == "--range":
                searched[name] = _range(text, name, given)
            else:
                parts = [given] if option == "--fix" else given.split(",")
                searched[name] = Choices(values=tuple(value(name, part) for part in parts))
    return searched


def where(texts: Iterable[str]) -> dict[str, Range | Choices]:
    """Where parameters must lie: of `NAME=VALUE`, `NAME=A,B,…` or, for numbers, `NAME=LOW:HIGH`."""
    narrowed: dict[str, Range | Choices] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        low, colon, high = map(_untyped, given.partition(":"))
        if name in narrowed:
            raise UsageError(f"`--where {text}`: `{name}` is given twice; several values read {name}=A,B")
        if not equals or not given:
            raise UsageError(f"`--where {text}` must read --where NAME=VALUE, NAME=A,B or NAME=LOW:HIGH")
        if colon and all(type(end) in (int, float) for end in (low, high)):
            narrowed[name] = Range(low=float(low), high=float(high))
        else:
            narrowed[name] = Choices(values=tuple(map(_untyped, map(str.strip, given.split(",")))))
    return narrowed


def configuration(
    classes: str | None,
    config: Path | None,
    settings: Iterable[str],
    default: int = DEFAULT_CLASSES,
    own: Constructor | None = None,
) -> Configuration:
    """The one configuration of a JSON file or of `name=value` settings; `default` classes unless it says how many."""
    params: Params = {} if config is None else _read(config)
    if own:
        params["objective"] = own.path
    for text in settings:
        name, given = _pair("--set", text, own)
        params[name] = value(name, given)
    if params.get("width_2") is not None:
        params.setdefault("hidden_layers", 2)
    option = value("classes", classes) if classes else None
    if params.setdefault("classes", option or default) != (option or params["classes"]):
        raise UsageError(f"`--classes {classes}` contradicts `classes` {params['classes']} of the configuration")
    try:
        return Configuration.of(params)
    except ValueError as error:
        raise UsageError(f"{config}: {error}" if config else str(error)) from None


def value(name: str, text: str) -> Any:
    """The value of a parameter from its text."""
    if name not in PARAMETERS and name != "objective":
        return _untyped(text.strip())
    read = PARAMETERS[name].read(text) if name in PARAMETERS else text.strip()
    try:
        check(name, read)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return read


def _range(text: str, name: str, given: str) -> Range | Choices:
    low, colon, high = given.partition(":")
    choice = name in PARAMETERS and PARAMETERS[name].kind is str
    if not colon or choice:
        rule = "is a number's, not of choices" if choice else f"reads {name}=LOW:HIGH"
        raise UsageError(f"`--range {text}`: a range {rule}")
    ends = value(name, low), value(name, high)
    if not all(type(end) in (int, float) for end in ends):
        raise UsageError(f"`--range {text}`: a range is from a number to a number")
    return complete(name, {"low": ends[0], "high": ends[1]})


def _untyped(text: str) -> bool | int | float | str:
    """The value of a parameter of a user module, whose type only the text shows."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        with suppress(ValueError, OverflowError):
            read = number(text)
            return read if math.isfinite(read) else text
    return text


def _pair(option: str, text: str, own: Constructor | None) -> tuple[str, str]:
    name, equals, given = text.partition("=")
    if not equals or not given:
        raise UsageError(f"`{option} {text}` must read {option} NAME=VALUE")
    names = list(PARAMETERS)
    if own:
        names = [*(name for name in names if name not in ARCHITECTURE or name in own.parameters), *own.extra_parameters]
    if name not in names:
        raise UsageError(f"`{option} {text}`: {unknown('parameter', name, names)}")
    return name, given


def _read(path: Path) -> Params:
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
