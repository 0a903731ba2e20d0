"""The log-in page: a token is given once, and a session stays in a cookie that no script can read."""

import html
import logging
import time
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from search.serve.auth import cookie_name, local_path
from search.serve.html import html_response
from search.serve.limits import Buckets, address
from search.serve.tokens import SESSION_SECONDS, Tokens, seal

_FORM = """<h1>fewest</h1>{alert}
<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus{invalid}>
<button>Log in</button>
</form>"""

log = logging.getLogger("fewest")


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
        where = address(request.scope)
        if wait := attempts.take(where):
            return _page(target, f"Too many attempts. Try again in {wait:.0f} s.", 429, {"Retry-After": f"{wait:.0f}"})
        token = tokens.of(secret)
        if token is None:
            log.warning("a log-in from %s is refused", where, extra={"caller": where})
            return _page(target, "That is no token of this service.", 401)
        log.info("token %s has logged in from %s", token.name, where, extra={"caller": f"token {token.name}"})
        redirect = RedirectResponse(local_path(target), 303)
        session = seal(token, int(time.time()) + SESSION_SECONDS)
        _set_cookie(request, redirect, session, SESSION_SECONDS)
        return redirect

    @routes.get("/logout")
    async def log_out(request: Request) -> Response:
        redirect = RedirectResponse("/login", 303)
        _set_cookie(request, redirect, "", 0)
        return redirect

    return routes


def _set_cookie(request: Request, response: Response, session: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    name = cookie_name(request.scope)
    response.set_cookie(name, session, max_age=seconds, httponly=True, samesite="strict", secure=secure)


def _page(target: str, alert: str = "", status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    body = _FORM.format(
        alert=f'<p role="alert" id="alert">{alert}</p>' if alert else "",
        invalid=' aria-invalid="true" aria-describedby="alert"' if alert else "",
        next=html.escape(local_path(target)),
    )
    return html_response("Log in – fewest", body, status, headers)
