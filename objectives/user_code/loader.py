"""User code, named by its import path MODULE:NAME: finding it, and reporting its errors in one line.

Python imports it from where it finds modules, and last of all from the directory where the command is run, so that a
file there replaces no module of ours or of Python's. What it prints goes to stderr, since answers go to stdout. No
torch here, so that an option's mistake is reported at once.
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

from objectives.parameters import ARCHITECTURE, PARAMETERS

#: Arguments that the trainer adds to the parameters of the configuration.
TRAINER_ARGUMENTS = ("inputs", "classes")


class UserCodeError(ValueError):
    """What is wrong with user code, in one line that names it."""


def load(path: str) -> Any:
    """The object that MODULE:NAME names; whatever error its import raises."""
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.append(directory)
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@contextmanager
def reporting_errors(path: str, unless: Callable[[BaseException], bool] = lambda error: False) -> Iterator[None]:
    """Turn what the user code of that path raises into a UserCodeError, `unless` the error is not its own."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:  # user code may raise anything
        if isinstance(error, UserCodeError) or unless(error):
            raise
        raise UserCodeError(f"{path}: {one_line(error)}{_line_in_file(path, error.__traceback__)}") from error


def one_line(error: BaseException) -> str:
    """The error's type, and the first line of its message if it has one."""
    message = (line.removeprefix("Value error, ") for line in str(error).splitlines()[:1])  # pydantic's prefix
    return ": ".join((type(error).__name__, *message))


def _line_in_file(path: str, trace: TracebackType | None) -> str:
    """The last line of the user's own file that led to an error."""
    file = path.partition(":")[0].rpartition(".")[2] + ".py"
    lines = [frame.lineno for frame in traceback.extract_tb(trace) if os.path.basename(frame.filename) == file]
    return f" ({file}, line {lines[-1]})" if lines else ""


@dataclass(frozen=True)
class Constructor:
    """The callable that constructs a user module."""

    path: str
    call: Callable[..., Any]
    #: Whether each parameter is required, by name, of those that can be given by name.
    parameters: Mapping[str, bool]

    @classmethod
    def of(cls, path: str) -> "Constructor":
        """The constructor at an import path; UserCodeError if there is none, or if it takes a training parameter."""
        with reporting_errors(path):
            call = load(path)
            signature = inspect.signature(call).parameters.values()
        named = (each for each in signature if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY))
        parameters = {each.name: each.default is each.empty for each in named}
        for name in parameters:
            if name == "objective" or (name in PARAMETERS and name not in (*TRAINER_ARGUMENTS, *ARCHITECTURE)):
                raise UserCodeError(f"{path} takes `{name}`, which is a parameter of its training; rename it")
            if not name.isascii():
                raise UserCodeError(f"{path} takes `{name}`; rename it, since the store takes ASCII names alone")
        return cls(path, call, parameters)

    @cached_property
    def extra_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that only this module has."""
        return tuple(name for name in self.parameters if name not in (*TRAINER_ARGUMENTS, *ARCHITECTURE))

    def missing(self, given: Iterable[str]) -> list[str]:
        """The required parameters that are not given."""
        available = {*TRAINER_ARGUMENTS, *given}
        return [name for name, required in self.parameters.items() if required and name not in available]
