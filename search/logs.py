"""What a worker or the service logs, on stderr: lines for people, or JSON objects, one a line, for programs.

A process says once what all of its lines are about, so that what is logged below, of a store that is away or of a
device that fails, has it too.
"""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum

from search.cli.output import Notices

FIELDS = "study", "trial", "attempt", "worker", "caller", "request"
_about: dict[str, str] = {}  # of the whole process: a thread that it starts speaks of the same

log = logging.getLogger("fewest")


class Log(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def set_up(form: Log, level: int = logging.INFO, **fields: str | None) -> None:
    """Log what is at least of that level, from now on, and with it those of FIELDS that all of it is about."""
    _about.clear()
    _about.update({name: value for name, value in fields.items() if value is not None})
    handler: logging.Handler = Notices()
    handler.setFormatter(_Text())
    if form is Log.JSON:
        handler = logging.StreamHandler()
        handler.setFormatter(_Json())
        logging.captureWarnings(True)
        sys.excepthook = lambda *fault: log.critical("uncaught", exc_info=fault)
        threading.excepthook = lambda fault: log.critical("uncaught", exc_info=fault[:3])  # type: ignore[arg-type]
    logging.basicConfig(handlers=[handler], force=True)
    log.setLevel(level)


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Within, all lines are about that, too; and after an exception, which ends the process with a last line."""
    _about.update(fields)
    yield
    for name in fields:
        del _about[name]


class _Text(logging.Formatter):
    """The message, after its level if it tells of something wrong."""

    def format(self, record: logging.LogRecord) -> str:
        said = super().format(record)
        return f"{record.levelname.lower()}: {said}" if record.levelno >= logging.WARNING else said


class _Json(logging.Formatter):
    """`time` (UTC), `level`, `message`, and of FIELDS what there is to say."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": time, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        found = _about | vars(record)
        return json.dumps(told | {name: found[name] for name in FIELDS if name in found})
