"""Request coalescing: many who ask the same at once cost the store and the CPU as much as one, and get one answer.

The answer to a GET under `/v1` is given to all who ask the same within `COALESCE_SECONDS`, also while it is still
being looked up. So no answer is older than that when it is asked for, and whoever has changed something through this
service sees it at once. Nothing is kept longer. None of these answers depends on who asks, and whether one may ask at
all is decided before. ETags lost: while workers write they change as often, and each needs a read.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.serve.auth import SAFE_METHODS

COALESCE_SECONDS = 0.5


class Coalescing:
    """An application whose equal requests are coalesced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        #: By path and query: the request that was first, and its answer.
        self._answers: dict[tuple[str, bytes], tuple[Scope, asyncio.Task[list[Message]]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in SAFE_METHODS:
            return await self._app(scope, receive, self._clearing(send))
        if scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
            return await self._app(scope, receive, send)
        key = scope["path"], scope["query_string"]
        if key not in self._answers:
            self._answers[key] = scope, asyncio.create_task(self._answer(scope, receive))
            asyncio.get_running_loop().call_later(COALESCE_SECONDS, self._answers.pop, key, None)
        first, answer = self._answers[key]
        try:
            for message in await asyncio.shield(answer):  # the first to ask may leave before the others
                await send(dict(message))
        finally:
            scope["route"] = first.get("route")  # by which requests are counted

    async def _answer(self, scope: Scope, receive: Receive) -> list[Message]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        return messages

    def _clearing(self, send: Send) -> Send:
        async def clear(message: Message) -> None:
            self._answers.clear()  # before the one who has changed something can ask what came of it
            await send(message)

        return clear
