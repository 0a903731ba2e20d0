"""What one caller may take of the service: requests per second, bytes of a body, and time to send and to receive."""

import asyncio
import ipaddress
import math
import time
from asyncio import Transport
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from search.serve.refusals import Refused

RATE = 50.0  # requests per second of one caller; a dashboard's page takes ten at once, and then one in ten seconds
MOST_BODY = 1 << 20  # bytes
MOST_DROPPED = 16 * MOST_BODY
MOST_CALLERS = 10_000  # whose requests are counted
MOST_CONNECTIONS = 256
BODY_SECONDS = 30.0  # for a whole body to come
IDLE_SECONDS = (
    10  # of a connection between requests: who asks should end it first (httpx does after 5), or meets the end
)
STALLED_SECONDS = 15.0  # within which a connection begins a request or takes something of its answer, or is cut


class Buckets:
    """A token bucket for each caller: `burst` at once, then `rate` per second. The longest unused are forgotten."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # in the bucket, at that time

    def take(self, caller: str) -> float:
        """0 if there was one to take, else the seconds until there is."""
        now = self._clock()
        left, then = self._left.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        taken = left >= 1
        self._left[caller] = left - taken, now
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if taken else math.ceil((1 - left) / self._rate)


def address(scope: Scope) -> str:
    """Who is at the other end of the connection; of IPv6 the half that a network gives out, not the host's own."""
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


class RateLimit:
    """Refuses a caller who asks for more than `rate` requests per second over a while."""

    def __init__(self, app: ASGIApp, rate: float) -> None:
        self._app = app
        self._buckets = Buckets(rate, max(20.0, 2 * rate))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait = self._buckets.take(scope["caller"])
        if wait:
            raise Refused(f"too many requests; try again in {wait:.0f} s", 429, {"Retry-After": f"{wait:.0f}"})
        await self._app(scope, receive, send)


class BodyLimit:
    """Takes a body in whole before the application sees it, so that no slow or endless one holds a thread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return await self._app(scope, receive, send)
        announced = int(headers.get("content-length", "0"))  # h11 has seen that it is a number
        if announced > MOST_BODY and "expect" in headers:  # the caller waits for an answer before it sends
            raise _too_large()
        try:
            body = await asyncio.wait_for(_whole(receive), BODY_SECONDS)
        except TimeoutError:
            raise Refused(f"the body took longer than {BODY_SECONDS:.0f} s", 408, {"Connection": "close"}) from None
        if body is None:
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, replayed, send)


async def _whole(receive: Receive) -> bytes | None:
    """A body; None if the caller has left. Refused for one that is too large.

    Of that one some more is read and dropped: who is cut off while it sends does not see the answer.
    """
    body, size, more = bytearray(), 0, True
    while more and size <= MOST_DROPPED:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size, more = size + len(part), message.get("more_body", False)
        if size <= MOST_BODY:
            body += part
    if size > MOST_BODY:
        raise _too_large()
    return bytes(body)


def _too_large() -> Refused:
    return Refused(f"the body is larger than {MOST_BODY >> 20} MiB", 413, {"Connection": "close"})


class Impatient(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for ever for a request's first bytes, and for its answer to be read."""

    _drained = False  # since the last look

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(STALLED_SECONDS, self._look, None, 0)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._drained = True

    def _look(self, before: RequestResponseCycle | None, unread: int) -> None:
        """Cut a connection on which, since the last look, no request has begun and nothing of an answer was taken."""
        if self not in self.connections:
            return
        left = self.transport.get_write_buffer_size()
        idle = self.cycle is before and (self.cycle is None or self.cycle.response_complete)
        if (left >= unread > 0 and not self._drained) or (idle and not left):
            return self.transport.abort()
        self._drained = False
        self.loop.call_later(STALLED_SECONDS, self._look, self.cycle, left)


def uvicorn_options() -> dict[str, Any]:
    """What uvicorn is to keep to."""
    return {
        "http": Impatient,
        "ws": "none",
        "limit_concurrency": MOST_CONNECTIONS,
        "timeout_keep_alive": IDLE_SECONDS,
    }
