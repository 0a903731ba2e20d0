"""What one caller may take of the service: requests per second, bytes of a body, and time to send and to receive."""

import asyncio
import ipaddress
import math
import time
from asyncio import Transport
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

RATE = 50.0  # requests per second of one caller; a dashboard's page takes ten at once, and then one in ten seconds
MAX_BODY_BYTES = 1 << 20
MAX_DRAINED_BYTES = 16 * MAX_BODY_BYTES  # of a body that is too large
MAX_CALLERS = 10_000  # whose requests are counted
MAX_CONNECTIONS = 256
BODY_TIMEOUT_SECONDS = 30.0  # for a whole body to come
# Of a connection between requests: the client should end it first (httpx does after 5), or it meets the end.
KEEP_ALIVE_SECONDS = 10
STALL_TIMEOUT_SECONDS = 15.0  # within which a connection begins a request or takes something of its answer, or is cut


class Buckets:
    """A token bucket for each caller: `burst` at once, then `rate` per second. The longest unused are forgotten."""

    # The library `limits` lost: it knows windows and no buckets, and its store in memory forgets no caller (20,000
    # addresses were 20,000 entries still after their windows had ended).

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: dict[str, tuple[float, float]] = {}  # in the bucket, at that time; the longest unused first

    def take(self, caller: str) -> float:
        """0 if there was one to take, else the seconds until there is."""
        now = self._clock()
        left, then = self._left.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        taken = left >= 1
        self._left[caller] = left - taken, now
        if len(self._left) > MAX_CALLERS:
            del self._left[next(iter(self._left))]
        return 0.0 if taken else math.ceil((1 - left) / self._rate)


def address(scope: Scope) -> str:
    """Who is at the other end of the connection; of IPv6 the half that a network gives out, not the host's own."""
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)


class BodyLimit:
    """Receives a whole body before the application sees it, so that no slow or endless one holds a thread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return await self._app(scope, receive, send)
        announced = int(headers.get("content-length", "0"))  # h11 has seen that it is a number
        if announced > MAX_BODY_BYTES and "expect" in headers:  # the caller waits for an answer before it sends
            raise _too_large()
        try:
            body = await asyncio.wait_for(_whole(Request(scope, receive)), BODY_TIMEOUT_SECONDS)
        except TimeoutError:
            message = f"the body took longer than {BODY_TIMEOUT_SECONDS:.0f} s"
            raise HTTPException(408, message, {"Connection": "close"}) from None
        except ClientDisconnect:
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, replayed, send)


async def _whole(request: Request) -> bytes:
    """A request's body; HTTPException if it is too large, ClientDisconnect if the caller has left.

    Some more of a body that is too large is read and dropped: a caller who is cut off while it sends does not see the
    answer.
    """
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY_BYTES:
            body += part
        elif size > MAX_DRAINED_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise _too_large()
    return bytes(body)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is larger than {MAX_BODY_BYTES >> 20} MiB", {"Connection": "close"})


class StallTimeoutProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, whose connections are cut when they stall.

    uvicorn's own timeouts do not do: that between requests begins after the first answer, so that it waits for ever for
    a request's first bytes, as it does for its answer to be read.
    """

    _drained = False  # since the last check

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(STALL_TIMEOUT_SECONDS, self._check, None, 0)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._drained = True

    def _check(self, cycle_before: RequestResponseCycle | None, unsent_before: int) -> None:
        """Cut a connection on which, since the last check, no request has begun and nothing of an answer was taken."""
        if self not in self.connections:
            return
        unsent = self.transport.get_write_buffer_size()
        idle = self.cycle is cycle_before and (self.cycle is None or self.cycle.response_complete)
        if (unsent >= unsent_before > 0 and not self._drained) or (idle and not unsent):
            return self.transport.abort()
        self._drained = False
        self.loop.call_later(STALL_TIMEOUT_SECONDS, self._check, self.cycle, unsent)


#: Under which uvicorn keeps these limits.
UVICORN_OPTIONS: dict[str, Any] = {
    "http": StallTimeoutProtocol,
    "ws": "none",
    "limit_concurrency": MAX_CONNECTIONS,
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
}
