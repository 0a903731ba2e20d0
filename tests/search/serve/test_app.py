"""The service around what it is asked: where it listens, what it lets through and measures, and how it ends."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn

from search.query import runs as query
from search.serve import limits
from search.serve.limits import MAX_CALLERS, Buckets, address
from search.serve.tokens import Role, add
from search.spec import parsing as options
from search.spec import stored_study
from search.spec.study_spec import StudySpec
from storage.store import Store
from tests.search.ask.test_study import begun, work
from tests.search.train.test_standing_worker import until
from tests.support.command import command
from tests.support.service import Served, served

MIB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service for this machine, on a store that it has made."""
    with served(tmp_path_factory.mktemp("service"), "--dashboard-write") as service:
        yield service


def logged(service: Served) -> list[dict[str, Any]]:
    """The lines of its log, each a JSON object."""
    return [json.loads(line) for line in service.said().splitlines()]


def test_it_says_where_it_is_and_for_whom(service: Served) -> None:
    """One line on stderr; the store is there."""
    assert service.said().splitlines()[0].startswith(f"serving sqlite:///fewest.db at {service.url}: the dashboard")
    assert "no token is needed" in service.said() and (service.directory / "fewest.db").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--host 0.0.0.0", 2, "`--host 0.0.0.0` lets others in, so it needs `--tokens`"),
        ("--host ::", 2, "lets others in"),
        ("--tokens none", 2, "cannot read none"),
        ("--tls-cert c", 2, "need each other"),
        ("--tls-cert c --tls-key none", 2, "cannot read none"),
        ("--tls-cert c --tls-key c", 2, "cannot use c with c"),
        ("--host localhost --port {port}", 1, "Address already in use"),
        ("--host no.such.host.invalid --tokens t", 1, "cannot listen at no.such.host.invalid:8080"),
        ("--storage mysql://h/n", 2, "no support for 'mysql' storage"),
    ],
)
def test_what_cannot_be_served_is_one_line(options: str, code: int, said: str, service: Served, tmp_path: Path) -> None:
    """And the right exit status."""
    for name in ("c", "t"):
        (tmp_path / name).write_text("")
    port = service.url.rsplit(":", 1)[1]
    done = command(tmp_path, "serve", *options.format(port=port).split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1) and said in done.stderr


def test_every_answer_is_safe_to_look_at(service: Served) -> None:
    """Pages are in no frame, types are not guessed, and nothing but the dashboard's script is kept."""
    with service.client() as client:
        files = "/static/bundle.js", "/docs/files/swagger-ui.css"
        for path in ("/dashboard", "/api/studies", "/v1/nothing", "/metrics", "/docs", *files):
            headers = client.get(path).headers
            assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
            assert (headers.get("Cache-Control") == "no-store") is (path not in files)
            assert "server" not in headers


def test_a_program_gets_json_of_whatever_is_wrong(service: Served) -> None:
    """A path or a method that is none."""
    with service.client() as client:
        assert client.get("/v1/nothing").json() == {"detail": "Not Found"}
        assert client.post("/metrics").json() == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize("host", ["evil.org", "evil.org:80", "localhost.evil.org", "127.0.0.1@evil.org", "[", ""])
def test_another_name_for_this_machine_is_refused(host: str, service: Served) -> None:
    """A page whose name was made to lead here reads nothing."""
    with service.client(headers={"Host": host}) as client:
        answer = client.get("/api/studies")
    assert answer.status_code == 403 and "a name of its own machine" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "headers", "passes"),
    [
        ("PUT", {"Origin": "https://evil.org"}, False),
        ("PUT", {"Origin": "null"}, False),
        ("PUT", {"Origin": "{url}"}, True),
        ("PUT", {"Origin": "http://localhost:1"}, False),
        ("PUT", {}, True),
        ("PUT", {"Sec-Fetch-Site": "cross-site"}, False),
        ("PUT", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}, False),
        ("PUT", {"Sec-Fetch-Site": "same-origin"}, True),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, True),
    ],
)
def test_a_page_of_another_origin_sends_nothing(
    method: str, headers: dict[str, str], passes: bool, service: Served
) -> None:
    """It may lead here, but neither write nor embed."""
    with service.client(headers={name: value.format(url=service.url) for name, value in headers.items()}) as client:
        answer = client.request(method, "/api/studies/1/note", json={})
    assert (answer.status_code != 403) is passes and ("another origin" in answer.text) is not passes


def test_a_large_body_is_refused_with_or_without_its_length(service: Served) -> None:
    """In chunks it is as large as announced; one byte less than too large is read."""
    with service.client() as client:
        assert client.post("/v1/nothing", content=b"x" * MIB).status_code == 404
        for content in (b"x" * (MIB + 1), b"x" * (12 * MIB), (b"x" * 4096 for _ in range(3000))):
            answer = client.post("/v1/nothing", content=content)
            assert answer.status_code == 413 and answer.json() == {"detail": "the body is larger than 1 MiB"}


def test_what_is_no_http_is_refused(service: Served) -> None:
    """Headers without end, a body that is not what it says, a second length: 400, and the service goes on."""
    port = int(service.url.rsplit(":", 1)[1])
    host = b"Host: localhost\r\n"
    for request in (
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 100_000,
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"POST /v1/x HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/x HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/x HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n",
    ):
        with closing(socket.create_connection(("127.0.0.1", port))) as connection:
            connection.sendall(request)
            assert connection.recv(12) == b"HTTP/1.1 400", request[:80]
    assert httpx.get(f"{service.url}/api/studies").status_code == 200


def test_those_who_do_not_read_their_answers_hold_up_nobody(service: Served) -> None:
    """Beside more of them than the dashboard has threads."""
    began, port = time.monotonic(), int(service.url.rsplit(":", 1)[1])
    with ExitStack() as connections, service.client() as client:
        for _ in range(15):
            connection = connections.enter_context(closing(socket.socket()))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /static/bundle.js HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: x\r\n\r\n")
            connection.recv(1)
        assert client.get("/api/studies").status_code == 200 and time.monotonic() - began < 10


def test_an_answer_is_sent_without_waiting_for_its_first_packet_to_be_acknowledged(service: Served) -> None:
    """Which takes 40 ms at least, each time."""
    took = []
    with service.client() as client:
        for _ in range(20):
            began = time.monotonic()
            client.get("/v1/health")
            took.append(time.monotonic() - began)
    assert sorted(took)[5] < 0.03, took


def test_prometheus_finds_studies_and_requests(service: Served) -> None:
    """Trials by state as `status` counts them, and requests by template and by methods that there are."""
    store = Store.open(f"sqlite:///{service.directory}/fewest.db")
    _, study = begun(store, 20)
    work(study)
    store.close()
    with service.client() as client:
        client.request("BREW", "/v1/coffee")
        client.get("/v1/x" * 20)
        client.get("/api/studies/7")
        found = client.get("/metrics")
    lines = found.text.splitlines()
    states = [float(line.split()[-1]) for line in lines if line.startswith('fewest_trials{state="')]
    assert len(states) == 5 and sum(states) == 20 and 'fewest_budget_trials{study="s"} 20.0' in lines
    assert "fewest_store_up 1.0" in lines and any('incumbent_epochs{study="s"}' in line for line in lines)
    assert 'fewest_http_requests_total{method="other",route="none",status="404"} 1.0' in lines
    assert any('fewest_http_seconds_bucket{le="0.1",method="GET",route="dashboard"}' in line for line in lines)
    assert "/v1/x" not in found.text and "BREW" not in found.text
    assert found.headers["Content-Type"].startswith("text/plain")


def test_a_store_that_vanishes_is_no_secret_and_no_traceback(tmp_path: Path) -> None:
    """Every answer says that there is a fault, none where the store was; the log does, in a line each."""
    with served(tmp_path) as service, service.client() as client:
        assert client.get("/api/studies").status_code == 200
        for file in tmp_path.glob("fewest.db*"):
            file.unlink()
        answers = [client.get(path) for path in ("/api/studies", "/csv/1", "/api/studies/1?after=x", "/metrics")]
        assert [answer.status_code for answer in answers] == [500, 503, 500, 200]
        assert "fewest_store_up 0.0" in answers[3].text and "under " in answers[1].json()["detail"]
        for answer in answers:
            assert not any(word in answer.text for word in ("fewest.db", str(tmp_path), "Traceback", ".py"))
        number = answers[1].json()["detail"].split()[-1]
    said = service.said().splitlines()
    assert any(number in line and "has been removed" in line for line in said), said
    assert not any("Traceback" in line or line.startswith(" ") for line in said), said


def test_what_runs_is_finished_before_it_ends(tmp_path: Path) -> None:
    """After SIGTERM a request that has begun gets its answer, and no new connection is taken; exit status 0."""
    with served(tmp_path) as service:
        port = int(service.url.rsplit(":", 1)[1])
        with closing(socket.create_connection(("127.0.0.1", port))) as begun:
            begun.sendall(b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
            time.sleep(0.2)
            service.process.terminate()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    time.sleep(0.05)
                except ConnectionRefusedError:
                    break
            else:
                pytest.fail("it still takes connections")
            begun.sendall(b"}")
            assert begun.recv(12) == b"HTTP/1.1 404"
        assert service.process.wait(10) == 0


def test_its_workers_are_replaced_and_leave_with_it(tmp_path: Path) -> None:
    """A worker that is killed is followed by another, and SIGTERM leaves none; a trial that ran is not lost.

    The log has each, in the form that was asked for.
    """
    store = Store.open(f"sqlite:///{tmp_path}/fewest.db", create=True)
    spec = StudySpec.of(classes=options.class_counts("8"), max_epochs=20)
    study = store.write(stored_study.create, "default", spec, 100_000)
    with served(tmp_path, "--workers", "1", "--log", "json", cold=True) as service:
        this = psutil.Process(service.process.pid)
        first = _until(lambda: this.children())[0]
        os.kill(first.pid, signal.SIGKILL)
        second = _until(lambda: [child for child in this.children() if child.pid != first.pid])[0]
        assert second.cmdline()[-5:] == ["worker", "--device", "cpu", "--log", "json"]
        _until(lambda: store.read(query.status, study).done > 5)
        service.process.terminate()
        assert service.process.wait(30) == 0 and not second.is_running()
    status = store.read(query.status, study)
    assert status.running == status.waiting == 0
    told = [(line["worker"].split(":")[1], line["message"].split(" on cpu ")[1]) for line in logged(service)[1:-1]]
    assert told == [
        (str(first.pid), "has started"),
        (str(first.pid), "has ended: exit status -9"),
        (str(second.pid), "has started"),
        (str(second.pid), "has left: exit status 0"),
    ]
    store.close()


def test_its_log_says_who_did_what(tmp_path: Path) -> None:
    """Each line is a JSON object with the study and the caller, by the token's name; those that are refused, too."""
    secret, new = add(tmp_path / "tokens", "will", Role.WRITE), {"name": "s", "trials": 7}
    with served(tmp_path, "--tokens", "tokens", "--log", "json") as service:
        with service.client(secret) as will, service.client("wrong") as nobody:
            assert [will.post("/v1/studies", json=new).status_code for _ in range(2)] == [201, 200]
            assert will.post("/v1/studies/s/stop").status_code == will.delete("/v1/studies/s").status_code == 200
            assert will.post("/v1/studies/s/stop").status_code == 404
            assert nobody.get("/v1/studies").status_code == 401
            for token, status in ((secret, 303), ("wrong", 401)):
                assert nobody.post("/login", data={"token": token}).status_code == status
        service.process.terminate()
        assert service.process.wait(30) == 0
        began, *told, ended = logged(service)
    assert began["message"].startswith(f"serving sqlite:///fewest.db at {service.url}")
    assert ended["message"] == f"the service at {service.url} has ended"
    assert [(line["level"], line["caller"], line.get("study"), line["message"]) for line in told] == [
        ("info", "token will", "s", "token will has created study 's'"),
        ("info", "token will", "s", "token will has asked for 7 trials of study 's'"),
        ("info", "token will", "s", "token will has stopped study 's'"),
        ("info", "token will", "s", "token will has deleted study 's'"),
        ("warning", "127.0.0.1", None, "what 127.0.0.1 brings is no token of this service"),
        ("info", "token will", None, "token will has logged in from 127.0.0.1"),
        ("warning", "127.0.0.1", None, "a log-in from 127.0.0.1 is refused"),
    ]
    assert secret not in service.said()


def _until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def test_buckets_fill_at_their_rate_and_are_bounded() -> None:
    """A burst, then one for each 1/rate of a second; who was longest away is forgotten."""
    now = [0.0]
    buckets = Buckets(rate=2, burst=3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 1] and buckets.take("b") == 0
    now[0] += 0.5
    assert [buckets.take("a") for _ in range(2)] == [0, 1]
    for number in range(MAX_CALLERS):
        buckets.take(str(number))
    assert len(buckets._left) == MAX_CALLERS and buckets.take("a") == 0


def test_callers_by_address() -> None:
    """One host of IPv6 has more addresses than anybody counts, so that its network is the caller."""
    assert address({"client": ("10.0.0.7", 1)}) == "10.0.0.7" and address({}) == "unknown"
    assert address({"client": ("2001:db8::1", 1)}) == address({"client": ("2001:db8::ffff:2", 1)}) == "2001:db8::/64"


def test_connections_that_send_or_take_nothing_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a request, within its headers, or with an answer that nobody reads; one that is read slowly goes on."""
    monkeypatch.setattr(limits, "STALL_TIMEOUT_SECONDS", 0.4)

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"x" * (64 * MIB)})  # type: ignore[operator]

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, **limits.UVICORN_OPTIONS))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for sent, slowly in ((b"", False), (request[:-4], False), (request, False), (request, True)):
            with closing(socket.create_connection(listening.getsockname())) as connection:
                connection.settimeout(5)
                connection.sendall(sent)
                received = 0
                with suppress(ConnectionResetError):
                    if not slowly:
                        time.sleep(1)
                        until(lambda: not server.server_state.connections)
                    for _ in range(32 * slowly):
                        time.sleep(0.03)
                        received += len(connection.recv(2 * MIB, socket.MSG_WAITALL))
                    while part := connection.recv(MIB):
                        received += len(part)
                assert (received > 64 * MIB) is slowly, (sent, received)
    finally:
        server.should_exit = True
        thread.join()


def test_static_files_are_for_clients_that_take_any_encoding(service: Served) -> None:
    """Also for one that does not say which, which the dashboard takes for granted."""
    with service.client() as client:
        del client.headers["Accept-Encoding"]
        assert client.get("/static/bundle.js").status_code == 200
