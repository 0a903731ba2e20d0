"""Answers that are shared by all who ask the same: how little they cost, how old they may be, and who gets them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from search.serve import coalescing, tokens
from search.serve.app import Settings, create_app
from search.serve.tokens import Role, Tokens
from storage.optuna_storage import optuna_storage
from storage.store import Store
from tests.search.ask.test_study import another, begun, played, work

BEST = "/v1/studies/s/best"


def asked(store: Store, body: Callable[[httpx.AsyncClient], Awaitable[None]], known: Tokens | None = None) -> None:
    """Run a body with a client of the service on a store."""

    async def run() -> None:
        transport = httpx.ASGITransport(create_app(store, Settings(known, rate=100_000)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await body(client)

    asyncio.run(run())


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are shared for longer than a test takes."""
    monkeypatch.setattr(coalescing, "COALESCE_SECONDS", 60.0)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("name", ["s", "none"])
def test_many_who_ask_at_once_cost_the_reads_of_one(sqlite: Store, name: str) -> None:
    """200 get the same answer, also that there is no such study, and are all counted; another question is another."""
    work(begun(sqlite, 20)[1])
    statements: list[str] = []
    sa.event.listen(sqlite.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))

    async def body(client: httpx.AsyncClient) -> None:
        one = await client.get(f"/v1/studies/{name}/best?top=10")
        alone = len(statements)
        assert one.status_code == (200 if name == "s" else 404) and alone > 0
        answers = await asyncio.gather(*(client.get(f"/v1/studies/{name}/best") for _ in range(200)))
        assert {(each.status_code, each.text) for each in answers} == {(one.status_code, one.text)}
        assert len(statements) == 2 * alone
        counted = f'route="/v1/studies/{{name}}/best",status="{one.status_code}"}} 201.0'
        assert counted in (await client.get("/metrics")).text

    asked(sqlite, body)


def test_an_outcome_is_seen_when_the_time_is_over(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told to the store, or deleted there, is not in the answer that is shared, and is in the next."""
    monkeypatch.setattr(coalescing, "COALESCE_SECONDS", 0.5)
    record, study = begun(sqlite, 20)

    async def body(client: httpx.AsyncClient) -> None:
        assert (await client.get(BEST)).json()["ended"]["trials"] == 0
        run = study.ask()
        assert run and study.tell(run, *played(study, run))
        await asyncio.sleep(0.5)
        assert (await client.get(BEST)).json()["ended"]["trials"] == 1
        optuna_storage(sqlite).delete_study(record.study_id)
        await asyncio.sleep(0.5)
        assert (await client.get(BEST)).status_code == 404

    asked(sqlite, body)


@pytest.mark.usefixtures("long")
def test_who_changes_something_sees_it_at_once(sqlite: Store) -> None:
    """A study that is stopped or deleted through the service is so in the next answer, and what workers tell is not."""
    record = begun(sqlite, 20)[0]

    async def body(client: httpx.AsyncClient) -> None:
        assert not (await client.get("/v1/studies/s")).json()["status"]["stopping"]
        work(another(sqlite, record))
        assert (await client.get("/v1/studies/s")).json()["status"]["done"] == 0
        await client.post("/v1/studies/s/stop")
        status = (await client.get("/v1/studies/s")).json()["status"]
        assert status["stopping"] and status["done"] == 20
        await client.delete("/v1/studies/s")
        assert (await client.get("/v1/studies/s")).status_code == 404

    asked(sqlite, body)


@pytest.mark.usefixtures("long")
def test_nobody_gets_an_answer_who_may_not_ask(sqlite: Store, tmp_path: Path) -> None:
    """Without a token, or with one that was revoked since, whatever others have just been told."""
    work(begun(sqlite, 5)[1])
    file = tmp_path / "tokens"
    rita, will = tokens.add(file, "rita", Role.READ), tokens.add(file, "will", Role.WRITE)

    async def body(client: httpx.AsyncClient) -> None:
        async def get(secret: str) -> httpx.Response:
            return await client.get(BEST, headers={"Authorization": f"Bearer {secret}"})

        assert (await get(rita)).text == (await get(will)).text
        assert (await client.get(BEST)).status_code == 401
        tokens.revoke(file, "rita")
        assert (await get(rita)).status_code == 401 and (await get(will)).status_code == 200

    asked(sqlite, body, Tokens(file))


@pytest.mark.usefixtures("long")
def test_the_first_to_ask_may_leave_before_the_others(sqlite: Store) -> None:
    """They get their answer."""
    begun(sqlite, 5)

    async def body(client: httpx.AsyncClient) -> None:
        first, *others = (asyncio.create_task(client.get(BEST)) for _ in range(5))
        await asyncio.sleep(0)
        first.cancel()
        assert [answer.status_code for answer in await asyncio.gather(*others)] == [200] * 4
        assert first.cancelled()

    asked(sqlite, body)
