"""The service: one ASGI application of what programs ask (`/v1`, `/metrics`) and what people look at (the dashboard).

A request passes, from the outside in: the one place where requests are counted and faults become responses, the
caller's identity, the request rate, authorization, the body's size, and coalescing. Then `/v1` and its like go to
FastAPI, and all else to optuna-dashboard.
"""

import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
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
from search.logs import log
from search.query.studies import LocalStudies
from search.serve import limits
from search.serve.auth import Authorization, Identification
from search.serve.coalescing import COALESCE_SECONDS, Coalescing
from search.serve.dashboard import Dashboard
from search.serve.html import html_response
from search.serve.limits import BodyLimit
from search.serve.login import router as login
from search.serve.metrics import Metrics
from search.serve.routes import routes
from search.serve.tokens import Role, Tokens
from storage.database import NameTaken, NotFound, StorageError
from storage.store import Store

SHUTDOWN_SECONDS = 10  # for requests that run when the service is told to stop
DOCS_FILES = "/docs/files"  # of Swagger UI: FastAPI's own page loads them from a public host, out of a cluster's reach
_DOCS_POLICY = "script-src 'self' {nonce}; style-src 'self'; img-src data:; connect-src 'self'"
_CACHEABLE = "/static/", f"{DOCS_FILES}/"  # all else is of this moment and this caller
_API_PATHS = frozenset({"v1", "metrics", "login", "logout", "docs", "openapi.json"})  # first parts; others: dashboard
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none, browsers would not name the origin of a form
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STATUSES = {NotFound: 404, Conflict: 409, NameTaken: 409, UsageError: 422}  # the first that an error is of
_ERRORS = 400, 401, 403, 404, 405, 409, 413, 422, 429, 503


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
    studies = LocalStudies(store)
    metrics, dashboard = Metrics(studies), Dashboard(store, settings.dashboard_write)
    api = _api(metrics, studies, settings.tokens)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await (api if _is_api(scope) else dashboard)(scope, receive, send)

    inside = Authorization(BodyLimit(Coalescing(dispatch)), None if settings.tokens else settings.anonymous)
    return _Responses(Identification(inside, settings.tokens, settings.rate), metrics)


def serve(app: ASGIApp, listening: socket.socket, certificate: Path | None = None, key: Path | None = None) -> None:
    """Answer what comes in on a socket until SIGTERM or SIGINT, which is handed on to whoever handled it before."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level="error",  # not a line for each request that is no HTTP
        server_header=False,
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,  # else anybody here could say that they are somewhere else
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        **limits.UVICORN_OPTIONS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _api(metrics: Metrics, studies: LocalStudies, tokens: Tokens | None) -> FastAPI:
    api = FastAPI(
        title="fewest",
        description='Send `Authorization: Bearer TOKEN` where a token is needed. Errors are {"detail": "one line"}. '
        "After a 429 `Retry-After` says when to try again; a 503 is of a store that is away. "
        f"An answer may be {COALESCE_SECONDS:g} seconds old, but for what this service has changed itself.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={RequestValidationError: _invalid},
        responses={status: {"description": HTTPStatus(status).phrase, "model": Detail} for status in _ERRORS},
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
        return html_response("docs.html.jinja", _DOCS_POLICY, files=DOCS_FILES)

    api.mount(DOCS_FILES, StaticFiles(packages=[("fastapi_offline", "static")]))
    # Without its outermost layer, which would answer faults before `_Responses` can.
    api.middleware_stack = cast(ServerErrorMiddleware, api.build_middleware_stack()).app
    return api


class _Responses:
    """Counts every request, and answers every fault in one line without a path, a secret or a traceback.

    The log keeps what the answer leaves out.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0

        async def send_secured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _secure(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            await self._app(scope, receive, send_secured)
        except Exception as error:
            if status:  # only a cut connection can tell the caller now
                raise
            code, detail, headers = _response_to(error)
            content = {"detail": detail} | ({} if _is_api(scope) else {"reason": detail})  # which the dashboard shows
            await JSONResponse(content, code, headers)(scope, receive, send_secured)
        finally:
            self._metrics.count(_route(scope), scope["method"], status, time.perf_counter() - began)


def _response_to(error: Exception) -> tuple[int, str, Mapping[str, str]]:
    """Status, line and headers that tell of an error."""
    if isinstance(error, HTTPException):
        return error.status_code, error.detail, error.headers or {}
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return status, error.message if isinstance(error, NotFound) else str(error), {}
    number, away = secrets.token_hex(4), isinstance(error, StorageError)
    message, trace = (error, None) if away else (type(error).__name__, error)
    log.error("request %s: %s", number, message, exc_info=trace, extra={"request": number})
    status, fault = (503, "the store does not answer as it should") if away else (500, "internal error")
    return status, f"{fault}; the service's log has more under {number}", {}


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    """Which part of a request is wrong, and how: the first, and how many more."""
    first, *others = error.errors()
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ").splitlines()[0]
    more = f" (and {len(others)} more)" if others else ""
    return JSONResponse({"detail": f"{place}: {message}{more}"}, 422)


def _secure(headers: MutableHeaders, path: str) -> None:
    del headers["Date"]  # the dashboard's; uvicorn has set one
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith(_CACHEABLE):
        headers.setdefault("Cache-Control", "no-store")


def _is_api(scope: Scope) -> bool:
    return scope["path"].removeprefix("/").partition("/")[0] in _API_PATHS


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none") if _is_api(scope) else "dashboard"
