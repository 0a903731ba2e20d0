"""The `fewest` command in three ways: in this process, as a process that a forkserver forks, and started cold.

In this process it costs what it does and nothing else; workers that it starts are forked. A process that is forked is
for what is killed, signalled or served. Cold is what users have: for few tests, since it takes seconds.
"""

import io
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import PIPE
from typing import Protocol

import pytest
import sqlalchemy as sa

from search.cli import main as cli
from search.train import engine
from tests.support.forkserver import Process

FEWEST = str(Path(sys.executable).parent / "fewest")
#: A study whose trials take milliseconds, in a part of the space where some of 20 converge.
QUICK = ["--classes", "8", "--inputs", "16", "--max-epochs", "30", "--range", "gain=30:300", "--range", "lr=1e-3:1"]
QUICK += ["--choices", "activation=sine,gaussian"]


class Fewest(Protocol):
    """The command in a directory of the test's own."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]: ...


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of this process, without what would set options of the command."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FEWEST_")} | dict(extra or {})


def command(cwd: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, in a directory, with stdout and stderr apart; its workers are forked."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with _as_it_was(cwd), _closed(), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["fewest", *arguments])
        patch.setattr(sys.modules["__main__"], "__package__", None, raising=False)  # a help names what was started
        patch.setattr(engine, "Popen", Process)
        _set_environment(environment(extra))
        status = _status()
    return subprocess.CompletedProcess(arguments, status, _written(out), _written(err))


def _status() -> int:
    """The exit status of the command; a traceback would keep what it leaves open to its end."""
    try:
        cli.main()
    except SystemExit as left:
        return int(left.code or 0)
    raise AssertionError("the command did not exit")


@contextmanager
def _as_it_was(cwd: Path) -> Iterator[None]:
    """What a process takes with it when it ends is restored: log handlers, signals, environment, a user's modules."""
    root, fewest = logging.getLogger(), logging.getLogger("fewest")
    handlers, levels, loaded = root.handlers[:], (root.level, fewest.level), set(sys.modules)
    hooks, paths, variables = (sys.excepthook, threading.excepthook), sys.path[:], dict(os.environ)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    root.handlers.clear()  # pytest's own, which would be closed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # its end closes what a process has open
            yield
    finally:
        root.handlers[:], root.level, fewest.level = handlers, *levels
        logging.captureWarnings(False)
        (sys.excepthook, threading.excepthook), sys.path[:] = hooks, paths
        _set_environment(variables)
        for number, was in signals.items():
            signal.signal(number, was)
        for name in set(sys.modules) - loaded:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(f"{cwd}/"):
                del sys.modules[name]


@contextmanager
def _closed() -> Iterator[None]:
    """What is opened of databases within is closed, as by a process that ends: a file is then whole without its WAL."""
    opened: list[sa.engine.interfaces.DBAPIConnection] = []

    def note(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        opened.append(connection)

    sa.event.listen(sa.Pool, "connect", note)
    try:
        yield
    finally:
        sa.event.remove(sa.Pool, "connect", note)
        for connection in opened:
            connection.close()


def _set_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _written(stream: io.TextIOWrapper) -> str:
    """All of it, with line ends as `subprocess` reads them."""
    stream.flush()
    stream.seek(0)
    return stream.read()


def forked(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, which has loaded nothing of this one's."""
    with Process(["fewest", *arguments], cwd=cwd, env=environment(), stdout=PIPE, stderr=PIPE, text=True) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def cold(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command, as users do."""
    return subprocess.run([FEWEST, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300)
