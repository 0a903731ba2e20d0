"""Files that a person names, which may be anything: read if they are and fit into memory, written whole or not."""

import difflib
import os
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import psutil

from search.errors import UsageError

MARGIN = 3  # times what the data take: the file's numbers, those in 32 bits, and what the store gets
MOST_NAMES = 12  # that are listed


def opened(path: Path) -> BinaryIO:
    """The file at a path, open for reading; UsageError for what is none, such as a pipe, which may never answer."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UsageError(f"cannot read {shown(str(path))}: it is a device, a pipe or a socket; name a file")
        return path.open("rb")
    except OSError as error:
        others = [other.name for other in path.parent.glob("*")]
        near = difflib.get_close_matches(path.name, others, n=1) if isinstance(error, FileNotFoundError) else []
        hint = f"; did you mean {shown(str(path.with_name(near[0])))}?" if near else ""
        raise UsageError(f"cannot read {shown(str(path))}: {error.strerror or error}{hint}") from None


def require_memory(size: int) -> None:
    """UsageError unless data of so many bytes fit into the memory that is free, with what is made of them."""
    needed, free = size * MARGIN, psutil.virtual_memory().available
    if needed > free:
        sizes = f"its data need {_gib(needed)} and {_gib(free)} of memory are free"
        raise UsageError(f"{sizes}; take fewer samples or features")


def shown(text: str, most: int = 120) -> str:
    """A text that may hold anything as a part of a line: escaped if it must be, cut if it is long."""
    line = text if text.isprintable() else ascii(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def listed(names: Collection[str]) -> str:
    """The first of some names, and how many more there are."""
    first = ", ".join(shown(name, 40) for name in islice(names, MOST_NAMES))
    return f"{first} and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else first or "nothing"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.3g} GiB"


def check(path: Path, option: str) -> None:
    """UsageError, before any work is done for it, if no file can be written there."""
    if (path.exists() and not path.is_file()) or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}; `{option}` names a file in a directory that you may write to")


def write(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file, or leave it as it is; OSError says in one line why. `mode` is subject to the umask."""
    part = path.with_name(path.name + ".part")  # so that a full disk leaves no half of a file
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
