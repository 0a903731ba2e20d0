"""Code of a person's own, named by its import path MODULE:NAME: how it is found, and how its mistakes are told.

It is imported from where Python finds modules, and last of all from the directory where the command is run, so that a
file there stands in for no module of ours or of Python's. What it prints goes to stderr, since answers go to stdout. No
torch here, so that an option's mistake is told at once.
"""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

from objectives.configuration import ARCHITECTURE, known

#: What the trainer gives besides the parameters of the configuration.
GIVEN = ("inputs", "classes")


class OwnCodeError(ValueError):
    """What is wrong with a person's own code, in one line that names it."""


def imported(path: str) -> Any:
    """What MODULE:NAME names."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@contextmanager
def guarded(path: str, ours: Callable[[Exception], bool] = lambda error: False) -> Iterator[None]:
    """While code of that path runs: what it raises becomes an OwnCodeError, but for errors that are `ours`."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except OwnCodeError:
        raise
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        if isinstance(error, Exception) and ours(error):
            raise
        raise OwnCodeError(f"{path}: {in_a_line(error)}{_where(path, error.__traceback__)}") from error


def in_a_line(error: BaseException) -> str:
    """The kind of an error, and the first line of what it says if it says anything."""
    said = (line.removeprefix("Value error, ") for line in str(error).splitlines()[:1])  # as pydantic begins
    return ": ".join((type(error).__name__, *said))


def _where(path: str, trace: TracebackType | None) -> str:
    """The last line of the person's own file that led to an error."""
    file = path.partition(":")[0].rpartition(".")[2] + ".py"
    lines = [frame.lineno for frame in traceback.extract_tb(trace) if os.path.basename(frame.filename) == file]
    return f" ({file}, line {lines[-1]})" if lines else ""


@dataclass(frozen=True)
class Constructor:
    """What constructs a person's own module."""

    path: str
    call: Callable[..., Any]
    #: Whether each parameter must be given, by name, of those that can be given by name.
    takes: Mapping[str, bool]

    @classmethod
    def of(cls, path: str) -> "Constructor":
        """That of an import path; OwnCodeError if there is none, or if it takes what is ours to give to the trainer."""
        with guarded(path):
            call = imported(path)
            parameters = inspect.signature(call).parameters.values()
        named = (each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY))
        takes = {each.name: each.default is each.empty for each in named}
        for name in takes:
            if name == "objective" or (known(name) and name not in (*GIVEN, *ARCHITECTURE)):
                raise OwnCodeError(f"{path} takes `{name}`, which is a parameter of its training; rename it")
            if not name.isascii():
                raise OwnCodeError(f"{path} takes `{name}`; rename it, since the store takes ASCII names alone")
        return cls(path, call, takes)

    @cached_property
    def own(self) -> tuple[str, ...]:
        """Names of its parameters that are none of ours."""
        return tuple(name for name in self.takes if name not in (*GIVEN, *ARCHITECTURE))

    def lacks(self, given: Iterable[str]) -> list[str]:
        """The parameters that it must be given and is not."""
        there = {*GIVEN, *given}
        return [name for name, must in self.takes.items() if must and name not in there]
