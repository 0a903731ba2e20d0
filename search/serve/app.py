"""The service: one ASGI application of what programs ask (`/v1`, `/metrics`) and what people look at (the dashboard).

A request passes, from the outside in: the metrics, the one place where faults become responses, the caller's
identity, the request rate, authorization, the body's size, and coalescing. Then `/v1` and its like go to FastAPI, and
all else to optuna-dashboard.
"""

import logging
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.errors import Conflict, UsageError
from search.query.studies import LocalStudies
from search.serve import limits
from search.serve.auth import Authorization, Identification
from search.serve.coalescing import COALESCE_SECONDS, Coalescing
from search.serve.dashboard import Dashboard
from search.serve.html import swagger_ui
from search.serve.limits import BodyLimit, RateLimit
from search.serve.login import router as login
from search.serve.metrics import Metrics
from search.serve.routes import routes
from search.serve.tokens import Role, Tokens
from storage.database import NameTaken, NotFound, StorageError
from storage.store import Store

SHUTDOWN_SECONDS = 10  # for requests that run when the service is told to stop
DOCS_FILES = "/docs/files"  # of Swagger UI: FastAPI's own page loads them from a public host, out of a cluster's reach
_CACHEABLE = "/static/", f"{DOCS_FILES}/"  # all else is of this moment and this caller
_API_PATHS = frozenset({"v1", "metrics", "login", "logout", "docs", "openapi.json"})  # first parts; others: dashboard
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none, browsers would not name the origin of a form
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ERRORS = {
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
    metrics, dashboard = Metrics(store), Dashboard(store, settings.dashboard_write)
    api = _api(metrics, LocalStudies(store), settings.tokens)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await (api if _is_api(scope) else dashboard)(scope, receive, send)

    inside = Authorization(BodyLimit(Coalescing(dispatch)), settings.tokens, settings.anonymous)
    return metrics.instrument(
        _ErrorResponses(Identification(RateLimit(inside, settings.rate), settings.tokens)), _route
    )


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
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        **options,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _api(metrics: Metrics, studies: LocalStudies, tokens: Tokens | None) -> FastAPI:
    api = FastAPI(
        title="fewest",
        description='Send `Authorization: Bearer TOKEN` where a token is needed. Errors are {"detail": "one line"}. '
        f"An answer may be {COALESCE_SECONDS:g} seconds old, but for what this service has changed itself.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={RequestValidationError: _invalid},
        responses={number: {"description": about, "model": Detail} for number, about in _ERRORS.items()},
    )
    api.state.studies = studies
    api.include_router(routes)
    if tokens:
        api.include_router(login(tokens))

    @api.get("/metrics", include_in_schema=False)
    def scrape() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @api.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return swagger_ui("fewest: the API", DOCS_FILES)

    api.mount(DOCS_FILES, StaticFiles(packages=[("fastapi_offline", "static")]))
    # Without its outermost layer, which would answer faults before `_ErrorResponses` can.
    api.middleware_stack = cast(ServerErrorMiddleware, api.build_middleware_stack()).app
    return api


class _ErrorResponses:
    """Answers every fault in one line without a path, a secret or a traceback, which the log keeps."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _secure(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            await self._app(scope, receive, send_secured)
        except Exception as error:
            if started:  # only a cut connection can tell the caller now
                raise
            status, detail, headers = _response_to(error)
            content = {"detail": detail} | ({} if _is_api(scope) else {"reason": detail})  # which the dashboard shows
            await JSONResponse(content, status, headers)(scope, receive, send_secured)


def _response_to(error: Exception) -> tuple[int, str, Mapping[str, str]]:
    """Status, line and headers that tell of an error."""
    if isinstance(error, HTTPException):
        return error.status_code, error.detail, error.headers or {}
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
    message = wrong[0]["msg"].removeprefix("Value error, ").splitlines()[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return JSONResponse({"detail": f"{where}: {message}{more}"}, 422)


def _secure(headers: MutableHeaders, path: str) -> None:
    del headers["Date"]  # the dashboard's; uvicorn has set one
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith(_CACHEABLE):
        headers.setdefault("Cache-Control", "no-store")


def _is_api(scope: Scope) -> bool:
    return scope["path"].removeprefix("/").partition("/")[0] in _API_PATHS


def _route(scope: Scope) -> str:
    if not _is_api(scope):
        return "dashboard"
    return getattr(scope.get("route"), "path", "none")
