"""Who comes in: a token in the request or a session in the browser, and what its role may do.

Without tokens the service is for this machine alone. Then a page from elsewhere must not reach it through somebody's
browser: the Host must be a name of this machine (a foreign name may be made to lead here), and with tokens as without,
what another origin's page sends is refused unless it merely leads here.
"""

import ipaddress
import logging
import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from search.serve.limits import address
from search.serve.tokens import Role, Token, Tokens

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing
PUBLIC_PATHS = frozenset({"/v1/health", "/login", "/logout"})  # they need no token

log = logging.getLogger("fewest")


class Identification:
    """Sets the scope's `caller`, as the request rate and the log know them: `token NAME`, or their address."""

    def __init__(self, app: ASGIApp, tokens: Tokens | None) -> None:
        self._app, self._tokens = app, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = self._tokens and caller_of(self._tokens, scope)
        scope["caller"] = f"token {token.name}" if token else address(scope)
        await self._app(scope, receive, send)


class Authorization:
    """Lets through what may come in; HTTPException, or a redirect to the log-in page, for all else."""

    def __init__(self, app: ASGIApp, tokens: Tokens | None, anonymous: Role) -> None:
        """Without `tokens` everybody may do what `anonymous` may."""
        self._app, self._tokens, self._anonymous = app, tokens, anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        _refuse_other_origins(scope["method"], headers)
        if self._tokens is None:
            _refuse_other_hosts(headers)
            _refuse_unless(self._anonymous, scope["method"])
        elif scope["path"] not in PUBLIC_PATHS:
            token = caller_of(self._tokens, scope)
            if token is None:
                if _is_a_page(scope, headers):
                    return await _to_login(scope)(scope, receive, send)
                if "authorization" in headers:
                    where = address(scope)
                    log.warning("what %s brings is no token of this service", where, extra={"caller": where})
                raise HTTPException(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})
            _refuse_unless(token.role, scope["method"])
        await self._app(scope, receive, send)


def caller_of(tokens: Tokens, scope: Scope) -> Token | None:
    """Whose token or session a request brings; a session does not stand in for a token that is wrong."""
    headers = Headers(scope=scope)
    authorization = headers.get("authorization")
    if authorization is not None:
        kind, _, secret = authorization.partition(" ")
        return tokens.of(secret.strip()) if kind.lower() == "bearer" else None
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(cookie_name(scope))
    except CookieError:
        return None
    return tokens.of_session(cookie.value) if cookie else None


def cookie_name(scope: Scope) -> str:
    """Under TLS a name that browsers take from no other host and over no plain connection."""
    return "__Host-fewest" if scope["scheme"] == "https" else "fewest"


def local_path(path: str) -> str:
    """The path if it leads to this service, else `/`: browsers read `//`, `/\\` and `/<tab>/` as another host."""
    return path if re.fullmatch(r"/(?!/)[^\\\x00-\x20\x7f]*", path) else "/"


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine and no other."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _refuse_other_hosts(headers: Headers) -> None:
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        host = ""
    if not is_loopback(host):
        raise HTTPException(403, "without tokens this service is asked by a name of its own machine, such as localhost")


def _refuse_other_origins(method: str, headers: Headers) -> None:
    """Browsers say where a request comes from: all of them on loopback and over TLS, else only for what may write."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        follows = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
        same = site in ("same-origin", "none") or follows
    else:
        same = method in SAFE_METHODS or origin is None or urlsplit(origin).netloc == headers.get("host")
    if not same:
        raise HTTPException(403, "this was sent by a page of another origin")


def _refuse_unless(role: Role, method: str) -> None:
    if role is not Role.WRITE and method not in SAFE_METHODS:
        raise HTTPException(403, "this may only be read; a token of the role `write` changes it")


def _is_a_page(scope: Scope, headers: Headers) -> bool:
    programs = scope["path"].startswith("/v1/")
    return scope["method"] in SAFE_METHODS and not programs and "text/html" in headers.get("accept", "")


def _to_login(scope: Scope) -> RedirectResponse:
    query = scope["query_string"].decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"/login?next={quote(wanted, safe='/')}", 303, {"Cache-Control": "no-store"})
