"""User data: from a file, which may hold anything, to samples, and from the store."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from objectives.data.samples import Samples
from objectives.data.waves import Floats, Labels
from search.errors import UsageError
from search.files import listed, opened, require_memory, shown
from search.spec import csv_data, npz_data
from search.spec.study_spec import DataRef, StudySpec
from storage import studies
from storage.store import Store

MOST_BYTES = 256 << 20  # compressed: in the store it is one value, of which databases hold a gigabyte at most
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,307})(\.\d*)?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)  # 007 is a text


def read(path: Path, label: str | None = None) -> tuple[DataRef, Samples]:
    """The `X` and `y` of an npz file, or a CSV file with that column as its label. The same data are the same of both.

    UsageError says in one line what is wrong with it. Pickles are never loaded.
    """
    name = shown(str(path))
    with opened(path) as file:
        try:
            samples = _samples(*_contents(file, path.suffix.lower() == ".npz", label))
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
        except MemoryError:
            raise UsageError(f"{name} does not fit into memory; take fewer samples or features") from None
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    n, features = samples.x.shape
    sizes = {"samples": n, "features": features, "classes": len(samples.names), "training": samples.training}
    return DataRef(name=shown(path.name), digest=samples.digest, **sizes), samples


def remarks(samples: Samples) -> Iterator[str]:
    """What is no mistake but may surprise: features that tell nothing apart, and what numbers the classes get."""
    classes, constant = len(samples.names), int(_constant(samples.x).sum())
    if constant:
        yield f"{constant} of {samples.inputs} features {'is' if constant == 1 else 'are'} constant"
    numbers = all(name.lstrip("-").isdecimal() for name in samples.names)
    if numbers and samples.names != tuple(map(str, range(classes))):
        yield f"the labels {listed(samples.names)} are classes 0 to {classes - 1}, in this order"


def packed(samples: Samples) -> bytes:
    """The samples as the store keeps them; UsageError if they are too many for that."""
    content = samples.packed()
    if len(content) > MOST_BYTES:
        size = f"{len(content) >> 20} MiB compressed, more than {MOST_BYTES >> 20}"
        raise UsageError(f"the data are too large for the store: {size}; take fewer samples")
    return content


def stored(spec: StudySpec, store: Store) -> Samples | None:
    """The data of a study, None for waves."""
    return Samples.unpacked(store.read(studies.content, spec.data.digest)) if spec.data else None


def _contents(file: BinaryIO, npz_named: bool, label: str | None) -> tuple[Floats, Sequence[Any], Labels]:
    """Inputs, the values that labels have, and which of them each sample has."""
    begins, size = file.read(4), file.seek(0, 2)
    file.seek(0)
    if not size:
        raise UsageError("it is empty")
    require_memory(size)
    if begins in npz_data.BEGINS:
        if label is not None:
            raise UsageError("`--label` is for CSV; an npz file has its labels in `y`")
        x, y = npz_data.arrays(file)
        return _inputs(x), *_distinct(y)
    if npz_named:
        raise UsageError('it is not an npz file; make one with numpy.savez("FILE.npz", X=…, y=…)')
    return csv_data.columns(file, label)


def _samples(inputs: Floats, values: Sequence[Any], codes: Labels) -> Samples:
    labels, names = _classes(values, codes)
    if len(labels) != len(inputs):
        raise UsageError(f"`X` has {len(inputs)} samples and `y` has {len(labels)} labels")
    counts = np.bincount(labels)
    if len(counts) < 2:
        raise UsageError(f"it has one class only, {shown(names[0])!r}; there must be two or more")
    if counts.min() < 2:
        one = shown(names[int(counts.argmin())])
        raise UsageError(f"class {one!r} has one sample only; each must have two or more")
    if _constant(inputs).all():
        raise UsageError("every feature is constant, so there is nothing to tell the classes apart by")
    return Samples(inputs, labels, names)


def _inputs(x: NDArray[Any]) -> Floats:
    _require("X", x, "biuf", 2)
    with np.errstate(all="ignore"):
        inputs = np.ascontiguousarray(x, dtype=np.float32)
    wrong = ~np.isfinite(inputs)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UsageError(f"`X[{row}, {column}]` is {x[row, column]}; every input must be finite in 32 bits")
    return inputs


def _constant(x: Floats) -> NDArray[np.bool_]:  # (features,)
    return np.asarray((x == x[0]).all(axis=0))


def _distinct(y: NDArray[Any]) -> tuple[list[Any], Labels]:
    """The values of `y`, and which of them each sample has."""
    _require("y", y, "biufUS", 1)
    if y.dtype.kind == "f":
        wrong = ~(np.isfinite(y) & (y == np.floor(y)))
        if wrong.any():
            raise UsageError(f"`y[{wrong.argmax()}]` is {y[wrong.argmax()]}; {npz_data.MUST['y']}")
    distinct, codes = np.unique(y, return_inverse=True)
    try:
        return [_text(value) if y.dtype.kind in "US" else value for value in distinct.tolist()], codes.astype(np.int64)
    except (ValueError, SystemError):  # the latter of NumPy for what no code point is
        raise UsageError("`y` holds text that is not Unicode; labels are text in UTF-8, or whole numbers") from None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value.encode().decode()  # no half of a character


def _classes(values: Sequence[Any], codes: Labels) -> tuple[Labels, tuple[str, ...]]:
    """Labels as 0 … C−1 and their names, both in sorted order: of numbers, also written as text, else of text."""
    if "" in values:
        raise UsageError("a label is empty; every sample needs one")
    if all(_NUMBER.fullmatch(str(value)) for value in values):
        values = [_whole(value) for value in values]
    ordered = sorted(set(values))
    place = {value: number for number, value in enumerate(ordered)}
    return np.array([place[value] for value in values])[codes], tuple(map(str, ordered))


def _whole(value: Any) -> int:
    """The whole number of a label; UsageError if it is another one."""
    text = str(value)
    if text.lstrip("+-").isdecimal():
        return int(text)
    if not float(text).is_integer():
        raise UsageError(f"the label {text} is not a whole number; labels are text or whole numbers")
    return int(float(text))


def _require(name: str, array: NDArray[Any], kinds: str, dimensions: int) -> None:
    """UsageError unless the array is of one of NumPy's kinds of types, has so many dimensions, and is not empty."""
    if array.dtype.kind not in kinds or array.ndim != dimensions:
        kind = shown(str(array.dtype), 40)
        raise UsageError(f"`{name}` is of shape {array.shape} and type {kind}; {npz_data.MUST[name]}")
    if not array.size:
        raise UsageError(f"`{name}` is empty, of shape {array.shape}; {npz_data.MUST[name]}")
