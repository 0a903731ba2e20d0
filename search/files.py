"""Files that a command writes for a person: whole or not at all."""

import os
from pathlib import Path

from search.spec import SpecError


def check(path: Path, option: str) -> None:
    """SpecError, before any work is done for it, if no file can be written there."""
    taken = path.exists() and not path.is_file()  # a directory, a device
    if taken or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise SpecError(f"cannot write {path}; `{option}` names a file in a directory that you may write to")


def write(path: Path, content: bytes) -> None:
    """Replace a file, or leave it as it is; OSError says in one line why."""
    part = path.with_name(path.name + ".part")  # so that a full disk leaves no half of a file
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
