"""What a worker or the service logs, on stderr: lines for people, or JSON objects, one a line, for programs."""

import json
import logging
from datetime import UTC, datetime
from enum import StrEnum

from search.output import Notices

FIELDS = "study", "trial", "worker", "attempt"


class Log(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def set_up(form: Log, level: int = logging.INFO) -> None:
    """Log what is at least of that level."""
    handler: logging.Handler = Notices()
    if form is Log.JSON:
        handler = logging.StreamHandler()
        handler.setFormatter(_Json())
    logging.basicConfig(format="%(message)s", handlers=[handler], force=True)
    logging.getLogger("fewest").setLevel(level)


class _Json(logging.Formatter):
    """`time` (UTC), `level`, `message`, and of FIELDS what there is to say."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": time, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told | {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None})
