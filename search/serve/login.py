"""The log-in page: a token is given once, and a session stays in a cookie that no script can read."""

import time
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from search.logs import log
from search.serve.auth import cookie_name, local_path
from search.serve.html import html_response
from search.serve.limits import Buckets, address
from search.serve.tokens import SESSION_SECONDS, Tokens, seal


def router(tokens: Tokens) -> APIRouter:
    """`/login` and `/logout`."""
    routes, attempts = APIRouter(include_in_schema=False), Buckets(rate=0.1, burst=5)

    @routes.get("/login")
    async def show(next: str = "/") -> Response:
        return _page(next)

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        form = parse_qs((await request.body()).decode(errors="replace"))
        target, secret = (form.get(name, [""])[0].strip() for name in ("next", "token"))
        caller = address(request.scope)
        if wait := attempts.take(caller):
            return _page(target, f"Too many attempts. Try again in {wait:.0f} s.", 429, {"Retry-After": f"{wait:.0f}"})
        token = tokens.of(secret)
        if token is None:
            log.warning("a log-in from %s is refused", caller, extra={"caller": caller})
            return _page(target, "That is no token of this service.", 401)
        log.info("token %s has logged in from %s", token.name, caller, extra={"caller": f"token {token.name}"})
        return _redirect(request, local_path(target), seal(token, int(time.time()) + SESSION_SECONDS), SESSION_SECONDS)

    @routes.get("/logout")
    async def log_out(request: Request) -> Response:
        return _redirect(request, "/login", "", 0)

    return routes


def _redirect(request: Request, target: str, session: str, seconds: int) -> RedirectResponse:
    """Lead the browser to a path, with a session in its cookie for so many seconds."""
    redirect, secure = RedirectResponse(target, 303), request.url.scheme == "https"
    name = cookie_name(request.scope)
    redirect.set_cookie(name, session, max_age=seconds, httponly=True, samesite="strict", secure=secure)
    return redirect


def _page(target: str, alert: str = "", status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    policy = "style-src {nonce}"
    return html_response("login.html.jinja", policy, status, headers, next=local_path(target), alert=alert)
