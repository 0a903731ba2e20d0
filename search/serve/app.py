"""The service: one ASGI application of what programs ask (`/v1`, `/metrics`) and what people look at (the dashboard).

A request passes, from the outside in: what is measured, the one place where faults become answers, who asks, the
request rate, who may come in, the body's size, and whether the same was just answered. Then `/v1` and its like go to
FastAPI, and all else to optuna-dashboard.
"""

import logging
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.errors import Conflict, UsageError
from search.query.studies import LocalStudies
from search.serve import html as plain_page
from search.serve import limits
from search.serve.api_docs import manual
from search.serve.auth import Access, Caller
from search.serve.coalescing import SHARED_SECONDS, Shared
from search.serve.dashboard import Board
from search.serve.limits import BodyLimit, RateLimit
from search.serve.login import router as login
from search.serve.metrics import Metrics
from search.serve.refusals import Refused
from search.serve.routes import router
from search.serve.tokens import Role, Tokens
from storage.database import NameTaken, NotFound, StorageError
from storage.store import Store

DRAIN_SECONDS = 10  # for requests that run when the service is told to stop
_HERE = frozenset({"v1", "metrics", "login", "logout", "docs", "openapi.json"})  # first parts of paths not the board's
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none, browsers would not name the origin of a form
    "Cross-Origin-Resource-Policy": "same-origin",
}
_REFUSALS = {
    400: "The body cannot be read.",
    401: "A token is needed.",
    403: "The token, or where the request comes from, does not allow it.",
    404: "There is no such study.",
    405: "The path has no such method.",
    409: "It contradicts what the store has.",
    413: "The body is too large.",
    422: "Something in the request is wrong.",
    429: "Too many requests; `Retry-After` says when to try again.",
    503: "The store is away.",
}
log = logging.getLogger("fewest")


class Detail(BaseModel):
    """Why a request was refused."""

    detail: str


@dataclass(frozen=True)
class Settings:
    """How the service is to be reached."""

    #: None if it needs none, for this machine alone.
    tokens: Tokens | None = None
    #: What everybody may do where no token is needed.
    anonymous: Role = Role.WRITE
    #: The dashboard edits notes and deletes studies, for those who may write.
    dashboard_write: bool = False
    #: Requests per second of one caller.
    rate: float = limits.RATE


def create_app(store: Store, settings: Settings) -> ASGIApp:
    """The service on a store."""
    metrics, board = Metrics(store), Board(store, settings.dashboard_write)
    api = _api(metrics, LocalStudies(store), settings.tokens)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await (api if _is_here(scope) else board)(scope, receive, send)

    inside = Access(BodyLimit(Shared(dispatch)), settings.tokens, settings.anonymous)
    return metrics.measured(_Answers(Caller(RateLimit(inside, settings.rate), settings.tokens)), _route)


def serve(app: ASGIApp, listening: socket.socket, certificate: Path | None = None, key: Path | None = None) -> None:
    """Answer what comes in on a socket until SIGTERM or SIGINT, which is handed on to whoever handled it before."""
    options = limits.uvicorn_options()
    if "FORWARDED_ALLOW_IPS" not in os.environ:  # else anybody here could say that they are somewhere else
        options["proxy_headers"] = False
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level="error",  # not a line for each request that is no HTTP
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        **options,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _api(metrics: Metrics, studies: LocalStudies, tokens: Tokens | None) -> FastAPI:
    api = FastAPI(
        title="fewest",
        description='Send `Authorization: Bearer TOKEN` where a token is needed. Errors are {"detail": "one line"}. '
        f"An answer may be {SHARED_SECONDS:g} seconds old, but for what this service has changed itself.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={RequestValidationError: _invalid},
        responses={number: {"description": about, "model": Detail} for number, about in _REFUSALS.items()},
    )
    api.include_router(router(studies))
    if tokens:
        api.include_router(login(tokens))

    @api.get("/metrics", include_in_schema=False)
    def scrape() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @api.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return plain_page.answer("fewest: the API", manual(api.openapi()))

    # Without its outermost layer, which would answer faults before `_Answers` can.
    api.middleware_stack = cast(ServerErrorMiddleware, api.build_middleware_stack()).app
    return api


class _Answers:
    """Makes an answer of every fault, in one line without a path, a secret or a traceback, which the log keeps."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def prepared(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _secure(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            await self._app(scope, receive, prepared)
        except Exception as error:
            if started:  # only a cut connection can tell the caller now
                raise
            status, detail, headers = _told(error)
            said = {"detail": detail} | ({} if _is_here(scope) else {"reason": detail})  # which the dashboard shows
            await JSONResponse(said, status, headers)(scope, receive, prepared)


def _told(error: Exception) -> tuple[int, str, dict[str, str]]:
    """Status, line and headers that tell of an error."""
    if isinstance(error, Refused):
        return error.status, str(error), error.headers
    if isinstance(error, NotFound):
        return 404, error.message, {}
    if isinstance(error, Conflict | NameTaken):
        return 409, str(error), {}
    if isinstance(error, UsageError):
        return 422, str(error), {}
    number = secrets.token_hex(4)
    about = {"request": number}
    if isinstance(error, StorageError):
        log.error("request %s: %s", number, error, extra=about)
        return 503, f"the store does not answer as it should; the service's log has more under {number}", {}
    log.error("request %s: %s", number, type(error).__name__, exc_info=error, extra=about)
    return 500, f"internal error; the service's log has more under {number}", {}


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    """Which part of a request is wrong, and how: the first, and how many more."""
    wrong = error.errors()
    where = ".".join(map(str, wrong[0]["loc"]))
    said = wrong[0]["msg"].removeprefix("Value error, ").splitlines()[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return JSONResponse({"detail": f"{where}: {said}{more}"}, 422)


def _secure(headers: MutableHeaders, path: str) -> None:
    del headers["Date"]  # the dashboard's; uvicorn has set one
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith("/static/"):  # all else is of this moment and this caller
        headers.setdefault("Cache-Control", "no-store")


def _is_here(scope: Scope) -> bool:
    return scope["path"].removeprefix("/").partition("/")[0] in _HERE


def _route(scope: Scope) -> str:
    if not _is_here(scope):
        return "dashboard"
    return getattr(scope.get("route"), "path", "none")
