"""Many who ask the same at once cost the store and the service's CPU as much as one: they get one answer.

What is answered to a GET under `/v1` is given to all who ask the same within `SHARED_SECONDS`, also while it is still
being looked up. So no answer is older than that when it is asked for, and whoever has changed something through this
service sees it at once. Nothing is kept longer. None of these answers depends on who asks, and whether one may ask at
all is decided before. ETags lost: while workers write they change as often, and each needs a read.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.serve.auth import SAFE

SHARED_SECONDS = 0.5


class Shared:
    """An application whose answers are shared."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._asked: dict[tuple[str, bytes], tuple[Scope, asyncio.Task[list[Message]]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in SAFE:
            return await self._app(scope, receive, self._forgetting(send))
        if scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
            return await self._app(scope, receive, send)
        key = scope["path"], scope["query_string"]
        if key not in self._asked:
            self._asked[key] = scope, asyncio.create_task(self._answer(scope, receive))
            asyncio.get_running_loop().call_later(SHARED_SECONDS, self._asked.pop, key, None)
        first, answer = self._asked[key]
        try:
            for message in await asyncio.shield(answer):  # the first to ask may leave before the others
                await send(dict(message))
        finally:
            scope["route"] = first.get("route")  # by which requests are counted

    async def _answer(self, scope: Scope, receive: Receive) -> list[Message]:
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, keep)
        return sent

    def _forgetting(self, send: Send) -> Send:
        async def forget(message: Message) -> None:
            self._asked.clear()  # before the one who has changed something can ask what came of it
            await send(message)

        return forget
