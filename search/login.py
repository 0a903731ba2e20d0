"""The log-in page: a token is given once, and a session stays in a cookie that no script can read."""

import base64
import hashlib
import html
import time
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from search.access import cookie_name, local_path
from search.limits import Buckets, address
from search.tokens import SESSION_SECONDS, Tokens, seal

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 0; display: grid; place-items: center; min-height: 100vh; background: Canvas; color: CanvasText }
main { width: min(22rem, 100vw - 3rem); padding: 1.5rem; box-sizing: border-box }
h1 { font-size: 1.25rem; margin: 0 0 1rem }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit }
input, button { padding: .6rem; margin-top: .5rem; border: 1px solid GrayText; border-radius: .3rem }
button { margin-top: 1rem; font-weight: 600; cursor: pointer }
[role=alert] { margin: 0 0 1rem; padding: .6rem; border-left: .3rem solid #c22 }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in – fewest</title><style>{style}</style></head>
<body><main><h1>fewest</h1>{alert}
<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus{invalid}>
<button>Log in</button>
</form></main></body></html>
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def router(tokens: Tokens) -> APIRouter:
    """`/login` and `/logout`."""
    routes, attempts = APIRouter(include_in_schema=False), Buckets(rate=0.1, burst=5)

    @routes.get("/login")
    async def show(next: str = "/") -> Response:
        return _page(next)

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        form = parse_qs((await request.body()).decode(errors="replace"))
        wanted, secret = (form.get(name, [""])[0].strip() for name in ("next", "token"))
        wait = attempts.take(address(request.scope))
        if wait:
            return _page(wanted, f"Too many attempts. Try again in {wait:.0f} s.", 429, {"Retry-After": f"{wait:.0f}"})
        token = tokens.of(secret)
        if token is None:
            return _page(wanted, "That is no token of this service.", 401)
        answer = RedirectResponse(local_path(wanted), 303)
        session = seal(token, int(time.time()) + SESSION_SECONDS)
        _set_cookie(request, answer, session, SESSION_SECONDS)
        return answer

    @routes.get("/logout")
    async def log_out(request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        _set_cookie(request, answer, "", 0)
        return answer

    return routes


def _set_cookie(request: Request, answer: Response, session: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    name = cookie_name(request.scope)
    answer.set_cookie(name, session, max_age=seconds, httponly=True, samesite="strict", secure=secure)


def _page(wanted: str, alert: str = "", status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    content = _PAGE.format(
        style=_STYLE,
        alert=f'<p role="alert" id="alert">{alert}</p>' if alert else "",
        invalid=' aria-invalid="true" aria-describedby="alert"' if alert else "",
        next=html.escape(local_path(wanted)),
    )
    return HTMLResponse(content, status, {"Content-Security-Policy": _POLICY, **(headers or {})})
