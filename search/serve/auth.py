"""Who comes in: a token in the request or a session in the browser, and what its role may do.

Without tokens the service is for this machine alone. Then a page from elsewhere must not reach it through somebody's
browser: the Host must be a name of this machine (a foreign name may be made to lead here), and with tokens as without,
what another origin's page sends is refused unless it merely leads here.
"""

import ipaddress
import re
from contextlib import suppress
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from search.logs import log
from search.serve.limits import Buckets, address
from search.serve.tokens import Role, Token, Tokens

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing
PUBLIC_PATHS = frozenset({"/v1/health", "/login", "/logout"})  # they need no token


class Identification:
    """Sets the scope's `token`, and its `caller` as the log knows them: `token NAME`, or an address.

    HTTPException for a caller who asks for more than `rate` requests per second over a while.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens | None, rate: float) -> None:
        self._app, self._tokens, self._requests = app, tokens, Buckets(rate, max(20.0, 2 * rate))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = scope["token"] = self._tokens and caller_of(self._tokens, scope)
        caller = scope["caller"] = f"token {token.name}" if token else address(scope)
        if wait := self._requests.take(caller):
            raise HTTPException(429, f"too many requests; try again in {wait:.0f} s", {"Retry-After": f"{wait:.0f}"})
        await self._app(scope, receive, send)


class Authorization:
    """Lets through what may come in; HTTPException, a redirect to the log-in page among them, for all else."""

    def __init__(self, app: ASGIApp, anonymous: Role | None) -> None:
        """Everybody may do what `anonymous` may; None if a token is needed."""
        self._app, self._anonymous = app, anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, method = Headers(scope=scope), scope["method"]
        _refuse_other_origins(method, headers)
        if self._anonymous:
            _refuse_other_hosts(headers)
            _refuse_unless(self._anonymous, method)
        elif scope["path"] not in PUBLIC_PATHS:
            if scope["token"] is None:
                raise _refusal(scope, headers)
            _refuse_unless(scope["token"].role, method)
        await self._app(scope, receive, send)


def caller_of(tokens: Tokens, scope: Scope) -> Token | None:
    """Whose token or session a request brings; a session does not stand in for a token that is wrong."""
    request = HTTPConnection(scope)
    authorization = request.headers.get("authorization")
    if authorization is not None:
        kind, _, secret = authorization.partition(" ")
        return tokens.of(secret.strip()) if kind.lower() == "bearer" else None
    return tokens.of_session(request.cookies.get(cookie_name(scope), ""))


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
    with suppress(ValueError):  # of a Host that is none
        if is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
            return
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


def _refusal(scope: Scope, headers: Headers) -> HTTPException:
    """Leads a browser that asks for a page to the log-in page; 401 for all else that comes without a valid token."""
    path, query = scope["path"], scope["query_string"].decode("latin-1")
    if scope["method"] in SAFE_METHODS and not path.startswith("/v1/") and "text/html" in headers.get("accept", ""):
        target = quote(f"{path}?{query}" if query else path, safe="/")
        return HTTPException(303, headers={"Location": f"/login?next={target}", "Cache-Control": "no-store"})
    if "authorization" in headers:
        caller = scope["caller"]
        log.warning("what %s brings is no token of this service", caller, extra={"caller": caller})
    return HTTPException(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})
