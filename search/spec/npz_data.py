"""The arrays `X` and `y` of an npz file, which may be made to harm: no pickle is loaded, and sizes are seen first.

An npz file is a zip archive with one member per array, each with a header that says its shape and type. What the
member unpacks to is believed no more than that: as many bytes are read as the header says, if they fit into memory.
"""

import io
import math
import warnings
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from search.errors import UsageError
from search.files import listed, require_memory, shown

MUST = {"X": "it must be samples × features of numbers", "y": "it must be one label a sample, strings or whole numbers"}
BEGINS = b"PK\3\4", b"PK\5\6"  # how one begins, and an empty one
HEADER_BYTES = 1 << 14  # a plain array's header is 128; longer ones are NumPy's records, which are no numbers


def arrays(file: BinaryIO) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays; UsageError says in one line what is wrong with which."""
    return _array(file, "X"), _array(file, "y")


def _array(file: BinaryIO, name: str) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(file) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd headers; what they say is checked
            return _member(archive, name)
    except (OSError, MemoryError, UsageError):
        raise
    except Exception as error:  # of a dozen kinds, from zipfile, zlib, lzma, tokenize and NumPy
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"`{name}` cannot be read: {shown(reason)}") from None


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    members = {member.removesuffix(".npy"): member for member in archive.namelist()}
    if name not in members:
        raise UsageError(f"there is no `{name}` in it, only {listed(members)}; {MUST[name]}")
    with archive.open(members[name]) as member:
        header = member.read(HEADER_BYTES)
    if not header.startswith(npy.MAGIC_PREFIX):
        raise UsageError(f"`{name}` is not an array; {MUST[name]}")
    shape, dtype = _shape_and_type(header)
    if dtype.hasobject:
        raise UsageError(f"`{name}` holds objects, so it is ragged or of mixed types; {MUST[name]}")
    require_memory(math.prod(shape) * max(dtype.itemsize, np.dtype(np.float32).itemsize))
    with archive.open(members[name]) as member:
        return np.asarray(npy.read_array(member, allow_pickle=False))


def _shape_and_type(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the type that the beginning of an array's file says it has."""
    file = io.BytesIO(header)
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0  # 3.0 only names more
    shape, _, dtype = read(file)
    return shape, dtype
