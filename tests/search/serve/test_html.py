"""The pages of the service's own, as a browser shows them; the log-in page is looked at with the dashboard."""

from pathlib import Path

from search.serve.tokens import Role, add
from tests.support.browser import browser, needs_a_browser
from tests.support.service import served

HOST = "fewest.example"  # on localhost Swagger UI would never ask a public host for a badge


@needs_a_browser
def test_swagger_ui_shows_an_operation_and_asks_no_other_host(tmp_path: Path) -> None:
    """Behind a token, with its parameters, the records that it takes, and an answer to what is tried out."""
    secret = add(tmp_path / "tokens", "rita", Role.READ)
    with (
        served(tmp_path, "--tokens", "tokens") as service,
        browser(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as it,
    ):
        url = service.url.replace("127.0.0.1", HOST)
        page = it.new_page()
        page.set_default_timeout(20_000)
        requests, complaints = list[str](), list[str]()
        page.goto(f"{url}/docs")
        assert page.url == f"{url}/login?next=/docs"
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Log in").click()
        page.locator("#operations-default-trials_v1_studies__name__trials_get .opblock-summary").click()
        page.get_by_text("The study's name, without a slash.").wait_for()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_placeholder("name").fill("nothing")
        page.get_by_role("button", name="Execute").click()
        page.get_by_text("no study 'nothing'").first.wait_for()
        assert len(requests) > 4 and all(each.startswith((f"{url}/", "data:", "blob:")) for each in requests), requests
        assert [each for each in complaints if "404" not in each] == []


def test_the_api_document_and_swagger_ui_are_behind_the_token(tmp_path: Path) -> None:
    """Readable by whoever may read, and by nobody else; the page's policy lets no other host take part."""
    secret = add(tmp_path / "tokens", "rita", Role.READ)
    with served(tmp_path, "--tokens", "tokens") as service, service.client() as nobody, service.client(secret) as rita:
        for path in ("/docs", "/docs/files/swagger-ui-bundle.js", "/openapi.json"):
            assert nobody.get(path).status_code == 401 and rita.get(path).status_code == 200
        assert rita.get("/docs/files/../../__init__.py").status_code == rita.get("/docs/files/none").status_code == 404
        assert rita.get("/openapi.json").json()["info"]["title"] == "fewest"
        page = rita.get("/docs")
        assert "//" not in page.text and "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert 'status="200"' in rita.get("/metrics").text
