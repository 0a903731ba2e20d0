"""The dashboard behind the service: looked at in a browser, written to where that is allowed, and for one person."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import optuna
import pytest

from search.answer.report import report
from search.answer.report.findings import gather
from search.answer.report.pictures import show_in_dashboard
from search.query import runs as query
from search.serve.tokens import Role, add
from search.spec import stored_study
from storage import studies
from storage.optuna_storage import optuna_storage
from storage.store import Store
from tests.search.ask.test_study import begun, work
from tests.support.browser import browser, needs_a_browser
from tests.support.command import FEWEST, command
from tests.support.forkserver import Process
from tests.support.service import Served, served


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Path:
    """The directory of a store with a study `s` of 30 trials, whose figures are on its page."""
    directory = tmp_path_factory.mktemp("reported")
    shutil.copy(empty_sqlite, directory / "fewest.db")
    store = Store.open(f"sqlite:///{directory}/fewest.db")
    record, study = begun(store, 30)
    work(study)
    parts = report.sections(store.read(gather, record))
    show_in_dashboard(store, "s", [exhibit for part in parts for exhibit in part.exhibits])
    store.close()
    return directory


@pytest.fixture(scope="module")
def shown(reported: Path) -> Iterator[tuple[Served, str]]:
    """A service on it that only shows, and a token that may write."""
    secret = add(reported / "tokens", "will", Role.WRITE)
    with served(reported, "--tokens", "tokens") as service:
        yield service, secret


def note(directory: Path) -> dict[str, Any]:
    """The study's note, as it is in the store."""
    from optuna_dashboard._note import get_note_from_system_attrs  # type: ignore[import-untyped]

    store = Store.open(f"sqlite:///{directory}/fewest.db")
    with closing(store):
        study_id = store.read(stored_study.find, "s").study_id
        found: dict[str, Any] = get_note_from_system_attrs(optuna_storage(store).get_study_system_attrs(study_id), None)
    return found


@needs_a_browser
def test_a_person_logs_in_looks_and_cannot_write(shown: tuple[Served, str], reported: Path) -> None:
    """From the log-in page to the list, the study, its trials and our figures; a note is refused, and says why."""
    service, secret = shown
    with browser() as chromium:
        page = chromium.new_context(viewport={"width": 400, "height": 800}).new_page()
        page.set_default_timeout(15_000)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{service.url}/dashboard")
        assert "/login?next=/dashboard" in page.url
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
            assert page.evaluate("getComputedStyle(document.body).backgroundColor === 'rgb(255, 255, 255)'") is (
                scheme == "light"
            )
        page.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        assert "no token of this service" in page.get_by_role("alert").inner_text()
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Log in").click()
        page.set_viewport_size({"width": 1400, "height": 1000})
        page.get_by_text("1. s", exact=True).click()
        page.wait_for_url("**/dashboard/studies/1**")
        page.wait_for_function("document.querySelectorAll('.main-svg').length > 3")
        page.get_by_text("Learning curves").first.wait_for()
        refused = page.evaluate(_WRITE)
        assert refused["status"] == 403 and "only shows" in refused["body"]["reason"]
        page.get_by_role("link", name="Trials (List)").click()
        page.get_by_text("Trial 0 (trial_id=1)").wait_for()
        page.get_by_text("Trial 7", exact=True).wait_for()
        assert page.context.cookies()[0]["httpOnly"] and page.evaluate("document.cookie") == ""
        page.goto(f"{service.url}/logout")
        page.goto(f"{service.url}/dashboard")
        assert "/login?next=/dashboard" in page.url and not faults
    assert note(reported) == {"version": 0, "body": ""}


_WRITE = """async () => {
  const answer = await fetch("/api/studies/1/note", {method: "PUT", body: '{"version": 1, "body": "mine"}',
    headers: {"Content-Type": "application/json"}});
  return {status: answer.status, body: await answer.json()};
}"""


def test_nothing_that_writes_passes_a_dashboard_that_shows(shown: tuple[Served, str]) -> None:
    """Whatever route of the dashboard's, with a token that may write."""
    from optuna_dashboard import wsgi

    service, secret = shown
    writes = [route for route in wsgi(optuna.storages.InMemoryStorage()).routes if route.method not in ("GET", "HEAD")]
    assert len(writes) >= 15
    with service.client(secret) as client:
        for route in writes:
            path = (
                route.rule.replace("<study_id:int>", "1")
                .replace("<trial_id:int>", "1")
                .replace("<", "")
                .replace(">", "")
            )
            assert "only shows" in client.request(route.method, path, json={}).json()["reason"], route.rule


def test_one_who_may_write_edits_notes_and_deletes_and_does_no_harm(reported: Path, tmp_path: Path) -> None:
    """A renamed study would lose its runs, and a trial that is told its worker; a deleted one leaves nothing."""
    shutil.copy(reported / "fewest.db", tmp_path)
    reader, writer = (add(tmp_path / "t", name, Role(name)) for name in ("read", "write"))
    text = {"version": 1, "body": "mine"}
    with served(tmp_path, "--tokens", "t", "--dashboard-write") as service:
        with service.client(reader) as rita:
            assert "role `write`" in rita.put("/api/studies/1/note", json=text).json()["reason"]
        with service.client(writer) as will:
            assert will.put("/api/studies/1/note", json=text).status_code == 204 and note(tmp_path)["body"] == "mine"
            for path in ("/api/studies/1/rename", "/api/trials/1/tell", "/api/studies", "/api/studies/1/note/"):
                refused = will.post(path, json={"study_name": "t", "state": "fail", "directions": ["minimize"]})
                assert refused.status_code == 403 and "edits notes and deletes studies" in refused.json()["reason"]
            store = Store.open(f"sqlite:///{tmp_path}/fewest.db")
            assert store.read(query.status, store.read(stored_study.find, "s")).done == 30
            assert will.delete("/api/studies/1").status_code == 204
            assert will.get("/api/studies").json() == {"study_summaries": []}
            assert store.read(studies.look_up, "s") is None
            store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_one_person_looks_while_workers_write(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """`fewest dashboard` prints the study's address, reads on, refuses to write, and Ctrl-C ends it without a word."""
    url = f"sqlite:///{tmp_path}/fewest.db" if kind == "sqlite" else request.getfixturevalue("postgres_store")
    store = Store.open(url, create=True)
    _, study = begun(store, 400)
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    arguments = [FEWEST, "dashboard", "--study", "s", "--no-browser"]
    with Process(arguments, env=os.environ | {"FEWEST_STORAGE": url}, cwd=tmp_path, **pipes) as dashboard:
        assert dashboard.stdout and dashboard.stderr
        page = dashboard.stdout.readline().strip()
        assert page.endswith("/dashboard/studies/1") and httpx.get(page, timeout=30).status_code == 200
        worker = threading.Thread(target=work, args=[study])
        worker.start()
        seen = set[int]()
        while worker.is_alive() and len(seen) < 2:
            answer = httpx.get(page.replace("/dashboard/", "/api/"), timeout=30)
            assert answer.status_code == 200, answer.text
            seen.add(len(answer.json()["trials"]))
        store.write(studies.stop, 1)
        worker.join()
        assert httpx.put(page.replace("/dashboard/", "/api/") + "/note", json={}).status_code == 403
        assert httpx.post(page.replace("/dashboard/studies/1", "/v1/studies"), json={}).status_code == 403
        dashboard.send_signal(signal.SIGINT)
        assert dashboard.wait(10) == 0 and dashboard.stderr.read() == "" == dashboard.stdout.read()
    assert len(seen) > 1
    store.close()


@pytest.fixture
def postgres_store(postgres: str, empty_postgres: str) -> str:
    """The URL of an empty store on Postgres."""
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE looked_at TEMPLATE {empty_postgres}")  # type: ignore[arg-type]
    return postgres.replace("/postgres?", "/looked_at?")


def test_a_study_that_is_not_there_has_no_page(reported: Path) -> None:
    """One line that names it, and no store is made."""
    done = command(reported, "dashboard", "--study", "t")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and "'t'" in done.stderr
    assert command(reported, "dashboard", "--storage", "sqlite:///other.db").returncode == 2
    assert not (reported / "other.db").exists()
