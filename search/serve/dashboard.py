"""optuna-dashboard as a part of the service: to look at, or with notes and deletions if that was asked for.

Its pages cannot be told to be read-only, so that what would write is refused here; they show the reason. Of its other
writes none suits a study of ours: a renamed one is a copy without our runs, and a trial that is told is its worker's.
"""

import logging
import re
from typing import Any

from a2wsgi import WSGIMiddleware
from optuna.exceptions import StorageInternalError
from optuna_dashboard import wsgi  # type: ignore[import-untyped]
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from search.logs import log
from search.serve.auth import SAFE_METHODS
from storage.database import StorageError
from storage.optuna_storage import optuna_storage
from storage.store import Store

_WRITES = re.compile(r"PUT /api/studies/\d+(/\d+)?/note|DELETE /api/studies/\d+", re.ASCII)
READ_ONLY = "this dashboard only shows; `fewest serve --dashboard-write` lets it write"
UNSUITED = "the dashboard edits notes and deletes studies; all else that writes is for `fewest launch` and its workers"


class Dashboard:
    """The dashboard of a store, as an ASGI application."""

    def __init__(self, store: Store, write: bool = False) -> None:
        dashboard: Any = wsgi(optuna_storage(store))
        dashboard.catchall = False  # faults are ours to answer and to log
        logging.getLogger("optuna_dashboard._bottle_util").addFilter(_first_line)
        # Answers are kept whole until they are read: no slow reader of a long one holds a thread.
        self._app, self._write = WSGIMiddleware(dashboard, send_queue_size=0), write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in SAFE_METHODS:
            if not self._write:
                raise HTTPException(403, READ_ONLY)
            if not _WRITES.fullmatch(f"{scope['method']} {scope['path']}"):
                raise HTTPException(403, UNSUITED)
        if not any(name == b"accept-encoding" for name, _ in scope["headers"]):  # which it takes for granted
            scope["headers"] = [*scope["headers"], (b"accept-encoding", b"identity")]
        try:
            await self._app(scope, receive, send)  # type: ignore[arg-type]
        except (StorageInternalError, SQLAlchemyError) as error:
            raise StorageError(str(error).splitlines()[0]) from error
        if scope["method"] not in SAFE_METHODS:
            sent = scope["caller"], scope["method"], scope["path"]
            log.info("%s has sent the dashboard %s %s", *sent, extra={"caller": scope["caller"]})


def _first_line(record: logging.LogRecord) -> bool:
    """What it logs of a fault, without the traceback."""
    record.msg, record.args = record.getMessage().splitlines()[0], ()
    return True
