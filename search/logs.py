"""The log of a worker or the service, on stderr: lines for people, or JSON objects, one a line, for programs.

A process says once what all of its lines are about, so that a line from below, of a store that is away or of a device
that fails, has it too.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pythonjsonlogger.json import JsonFormatter
from rich.console import Console
from rich.text import Text

_about: dict[str, str] = {}  # of the whole process: a thread that it starts speaks of the same

#: The one console on stderr: lines that it prints stand above its live display.
console = Console(stderr=True)
log = logging.getLogger("fewest")


class Log(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def set_up(form: Log, level: int = logging.INFO, **fields: str | None) -> None:
    """Log lines of at least that level from now on, each with the `fields` that all of them are about."""
    _about.clear()
    _about.update({name: value for name, value in fields.items() if value is not None})
    handler: logging.Handler = Notices()
    if form is Log.JSON:
        handler = logging.StreamHandler()
        renamed = {"asctime": "time", "levelname": "level", "exc_info": "exception"}
        handler.setFormatter(_Json(["asctime", "levelname", "message"], rename_fields=renamed))
        logging.captureWarnings(True)
        sys.excepthook = lambda *fault: log.critical("uncaught", exc_info=fault)
        threading.excepthook = lambda fault: log.critical("uncaught", exc_info=fault[:3])  # type: ignore[arg-type]
    logging.basicConfig(format="%(message)s", handlers=[handler], force=True)
    log.setLevel(level)
    # A worker that leaves at once may do so inside of it, and what is wrong with a connection its user is told.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Lines within have those fields, too; so has the last line of a process that an exception ends."""
    _about.update(fields)
    yield
    for name in fields:
        del _about[name]


class Notices(logging.Handler):
    """Log records as lines on stderr, above a live display if there is one, after their level if something is wrong."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        console.print(Text(level + self.format(record)), soft_wrap=True)


class _Json(JsonFormatter):
    """Objects of `time` (UTC), `level`, `message`, what the line is about if that is known, and the `exception`."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {"time": log_data["time"], "level": log_data.pop("level").lower(), **_about, **log_data}
