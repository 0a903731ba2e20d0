"""Data of a person's own: from a file, which may hold anything, to samples, and from the store."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.samples import Samples
from objectives.waves import Floats, Labels
from search.spec import DataRef, SpecError, StudySpec
from storage import studies
from storage.store import Store

MOST_BYTES = 256 << 20  # compressed: in the store it is one value, of which databases hold a gigabyte at most
_MUST = {
    "X": "it must be samples × features of numbers",
    "y": "it must be one label a sample, strings or whole numbers",
}
_ZIP = b"PK\3\4", b"PK\5\6"  # how one begins, and an empty one


def read(path: Path) -> tuple[DataRef, Samples]:
    """The `X` and `y` of an npz file; SpecError says in one line what is wrong with it. Pickles are never loaded."""
    try:
        samples = _samples(_array(path, "X"), _array(path, "y"))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from None
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    n, features = samples.x.shape
    sizes = {"samples": n, "features": features, "classes": len(samples.names), "training": samples.training}
    return DataRef(name=path.name, digest=samples.digest, **sizes), samples


def packed(samples: Samples) -> bytes:
    """The samples as the store keeps them; SpecError if they are too many for that."""
    content = samples.packed()
    if len(content) > MOST_BYTES:
        size = f"{len(content) >> 20} MiB compressed, more than {MOST_BYTES >> 20}"
        raise SpecError(f"the data are too large for the store: {size}; take fewer samples")
    return content


def stored(spec: StudySpec, store: Store) -> Samples | None:
    """The data of a study, None for waves."""
    return Samples.unpacked(store.read(studies.content, spec.data.digest)) if spec.data else None


def _array(path: Path, name: str) -> NDArray[Any]:
    with path.open("rb") as file:
        if file.read(4) not in _ZIP:
            raise SpecError('it is not an npz file; make one with numpy.savez("FILE.npz", X=…, y=…)')
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                names, array = arrays.files, arrays[name] if name in arrays.files else None
        except OSError:
            raise
        except Exception as error:  # of a dozen kinds, from zipfile, zlib, tokenize and NumPy
            if "allow_pickle" in str(error):
                raise SpecError(f"`{name}` holds objects, so it is ragged or of mixed types; {_MUST[name]}") from None
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SpecError(f"`{name}` cannot be read: {said}") from None
    if array is None:
        raise SpecError(f"there is no `{name}` in it, only {', '.join(names) or 'nothing'}; {_MUST[name]}")
    if not isinstance(array, np.ndarray):
        raise SpecError(f"`{name}` is not an array; {_MUST[name]}")
    return array


def _samples(x: NDArray[Any], y: NDArray[Any]) -> Samples:
    inputs = _inputs(x)
    labels, names = _labels(y)
    if len(labels) != len(inputs):
        raise SpecError(f"`X` has {len(inputs)} samples and `y` has {len(labels)} labels")
    counts = np.bincount(labels)
    if len(counts) < 2:
        raise SpecError(f"`y` has one class only, {names[0]!r}; there must be two or more")
    if counts.min() < 2:
        raise SpecError(f"class {names[int(counts.argmin())]!r} has one sample only; each must have two or more")
    return Samples(inputs, labels, names)


def _inputs(x: NDArray[Any]) -> Floats:
    if x.dtype.kind not in "biuf" or x.ndim != 2:
        raise SpecError(f"`X` is of shape {x.shape} and type {x.dtype}; {_MUST['X']}")
    if not x.size:
        raise SpecError(f"`X` is empty, of shape {x.shape}; {_MUST['X']}")
    with np.errstate(over="ignore"):
        inputs = np.ascontiguousarray(x, dtype=np.float32)
    wrong = ~np.isfinite(inputs)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise SpecError(f"`X[{row}, {column}]` is {x[row, column]}; every input must be finite in 32 bits")
    return inputs


def _labels(y: NDArray[Any]) -> tuple[Labels, tuple[str, ...]]:
    """Labels as 0 … C−1 and their names, both in sorted order."""
    if y.dtype.kind not in "biufUS" or y.ndim != 1:
        raise SpecError(f"`y` is of shape {y.shape} and type {y.dtype}; {_MUST['y']}")
    if not y.size:
        raise SpecError(f"`y` is empty; {_MUST['y']}")
    if y.dtype.kind == "f":
        wrong = ~(np.isfinite(y) & (y == np.floor(y)))
        if wrong.any():
            raise SpecError(f"`y[{wrong.argmax()}]` is {y[wrong.argmax()]}; {_MUST['y']}")
    classes, labels = np.unique(y, return_inverse=True)
    name = {"f": lambda value: str(int(value)), "S": lambda value: value.decode(errors="replace")}
    return labels.astype(np.int64), tuple(map(name.get(y.dtype.kind, str), classes.tolist()))
