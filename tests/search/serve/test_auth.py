"""Who comes into the service: tokens, roles, sessions in a browser, and what is left outside."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from search.serve.auth import is_loopback
from search.serve.tokens import SESSION_SECONDS, Role, Tokens, add, read, revoke, seal
from tests.support.command import command
from tests.support.service import Served, served

PAGE = {"Accept": "text/html,*/*;q=0.8"}


@dataclass
class Guarded(Served):
    """A service that needs tokens."""

    #: Of somebody who may only read, and of somebody who may write.
    reader: str
    writer: str

    @property
    def tokens(self) -> Path:
        """The file of its tokens."""
        return self.directory / "tokens"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service with two tokens, which anybody may ask five times a second."""
    directory = tmp_path_factory.mktemp("guarded")
    secrets = []
    for name, role in (("rita", "read"), ("will", "write")):
        made = command(directory, "token", name, "--role", role, "--tokens", "tokens")
        assert made.returncode == 0 and made.stderr == ""
        secrets.append(made.stdout.strip())
    with served(directory, "--tokens", "tokens", "--rate", "5") as service:
        yield Guarded(**vars(service), reader=secrets[0], writer=secrets[1])


def logged_in(service: Served, token: str, address: str, wanted: str = "/") -> tuple[httpx.Client, httpx.Response]:
    """A browser after somebody gave a token on the log-in page."""
    client = service.client(address=address)
    return client, client.post("/login", data={"token": token, "next": wanted})


def test_a_token_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    """256 bits in a file for its owner alone; a name is given once, and again after it was revoked."""
    given = command(tmp_path, "token", "ann", "--role", "write", "--tokens", "t")
    secret = given.stdout.removesuffix("\n")
    assert given.returncode == 0 and re.fullmatch(r"[\w-]{43}", secret) and given.stderr == ""
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600 and secret not in (tmp_path / "t").read_text()
    again = command(tmp_path, "token", "ann", "--tokens", "t")
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1) and "--revoke" in again.stderr
    assert command(tmp_path, "token", "bob", "--tokens", "t").returncode == 0
    taken = command(tmp_path, "token", "ann", "--revoke", "--tokens", "t")
    assert (taken.returncode, taken.stdout, taken.stderr) == (0, "", "ann is revoked\n")
    assert [(token.name, token.role) for token in read(tmp_path / "t")] == [("bob", Role.READ)]
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("", ["a b"], "1 to 64 letters"),
        ("", ["ann", "--revoke"], "there is no token ann"),
        ("ann boss 00\n", ["bob"], "line 1 of t is not"),
        ("\0\xff", ["bob"], "line 1 of t is not"),
        (None, ["ann", "--revoke"], "cannot read t"),
        (None, ["ann", "--tokens", "none/t"], "cannot write none/t"),
    ],
)
def test_what_is_no_token_is_misuse(content: str | None, arguments: list[str], said: str, tmp_path: Path) -> None:
    """One line, exit status 2, and the file stays as it was."""
    if content is not None:
        (tmp_path / "t").write_text(content)
    done = command(tmp_path, "token", "--tokens", "t", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and said in done.stderr
    assert content is None or (tmp_path / "t").read_text() == content


def test_a_file_without_a_last_newline_gets_its_token_on_a_line_of_its_own(tmp_path: Path) -> None:
    """What an editor left is completed."""
    file = tmp_path / "t"
    add(file, "ann", Role.READ)
    file.write_text(file.read_text().rstrip("\n"))
    secret = add(file, "bob", Role.WRITE)
    found = Tokens(file).of(secret)
    assert found and found.name == "bob" and [token.name for token in read(file)] == ["ann", "bob"]


@pytest.mark.parametrize("path", ["/v1/anything", "/metrics", "/api/studies", "/dashboard", "/static/bundle.js", "/"])
def test_nothing_is_answered_without_a_token(path: str, guarded: Guarded) -> None:
    """401 and how to do better, whatever is asked for, and with whatever is no token."""
    with guarded.client(address=f"127.1.0.{len(path)}") as client:
        for header in (None, "Bearer wrong", "Bearer", "Basic {}", "Bearer {}x", "{}", "Bearer \xe9"):
            sent = {} if header is None else {"Authorization": header.format(guarded.writer).encode("latin-1")}
            answer = client.get(path, headers=sent)
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer", header
            assert "a valid token is needed" in answer.text


def test_a_reader_reads_and_a_writer_writes(guarded: Guarded) -> None:
    """What changes something is refused to a reader before anybody looks at it; health is for everybody."""
    with guarded.client(guarded.reader) as rita, guarded.client(guarded.writer) as will, guarded.client() as nobody:
        assert rita.get("/metrics").status_code == will.get("/metrics").status_code == 200
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE"):
            refused = rita.request(method, "/v1/studies")
            assert refused.status_code == 403 and "role `write`" in refused.json()["detail"]
            assert will.request(method, "/v1/nothing").status_code in (404, 405)
        assert nobody.get("/v1/health").status_code != 401
        assert nobody.get("/v1/health/../studies").status_code == 401
        assert nobody.get("/v1/health%2f").status_code == 401


def test_a_browser_logs_in_is_led_where_it_wanted_and_logs_out(guarded: Guarded) -> None:
    """The session is a cookie that no script reads and no other site sends; it ends with `/logout`."""
    with guarded.client(address="127.0.1.1") as stranger:
        sent = stranger.get("/dashboard/studies/1?a=b&c=%2F", headers=PAGE)
        assert sent.status_code == 303 and sent.headers["Location"].startswith("/login?next=")
        page = stranger.get(sent.headers["Location"])
        assert page.status_code == 200 and 'value="/dashboard/studies/1?a=b&amp;c=%2F"' in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        wrong = stranger.post("/login", data={"token": "wrong", "next": "/"})
        assert wrong.status_code == 401 and 'role="alert"' in wrong.text and "Set-Cookie" not in wrong.headers
    client, answer = logged_in(guarded, guarded.reader, "127.0.1.1", "/dashboard/studies/1?a=b")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/dashboard/studies/1?a=b")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and f"Max-Age={SESSION_SECONDS}" in cookie
    assert guarded.reader not in cookie
    with closing(client):
        assert client.get("/dashboard", headers=PAGE).status_code == 200
        assert client.put("/api/studies/1/note", json={}).status_code == 403  # a session has the token's role
        assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/logout").headers["Location"] == "/login"
        assert client.get("/dashboard", headers=PAGE).headers["Location"] == "/login?next=/dashboard"


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.org",
        "/\\evil.org",
        "https://evil.org",
        "/\t/evil.org",
        "\\\\evil.org",
        "javascript:alert(1)",
        "",
        "/\n/a",
    ],
)
def test_log_in_leads_to_no_other_site(wanted: str, guarded: Guarded) -> None:
    """Anything but a path of this service is the start page, in the form as after it."""
    number = len(wanted) + sum(map(ord, wanted)) % 200
    client, answer = logged_in(guarded, guarded.reader, f"127.2.0.{number}", wanted)
    assert answer.headers["Location"] == "/"
    assert 'name="next" value="/"' in client.get("/login", params={"next": wanted}).text
    client.close()


def test_a_session_is_good_until_it_ends_and_only_as_it_was_given(guarded: Guarded) -> None:
    """Not with another name, time or signature, and not after its time, though a restart does not end it."""
    rita, will = read(guarded.tokens)
    now = int(time.time())
    good = seal(rita, now + 60)
    name, expires, mac = good.split(".")
    assert Tokens(guarded.tokens).of_session(good) == rita
    bad = [seal(rita, now - 1), f"will.{expires}.{mac}", f"{name}.{now + 9999}.{mac}", f"{name}.{expires}.{mac[:-1]}"]
    bad += [
        f"{name}.{expires}.",
        f"{name}.٣.{mac}",
        "",
        ".",
        "..",
        f"{seal(will, now + 60)}x",
        f"nobody.{expires}.{mac}",
    ]
    for session in [good, *bad]:
        with guarded.client(guarded.reader) as client:
            del client.headers["Authorization"]
            answer = client.get("/metrics", headers={"Cookie": f"fewest={session}".encode()})
        assert answer.status_code == (200 if session == good else 401), session


def test_a_revoked_token_is_refused_at_once(guarded: Guarded) -> None:
    """And its sessions are, while the others go on; so is every one when the file is gone, and none when it is back."""
    secret = add(guarded.tokens, "eve", Role.WRITE)
    session, _ = logged_in(guarded, secret, "127.0.3.1")
    with guarded.client(secret) as eve, guarded.client(guarded.reader) as rita, closing(session):
        assert eve.get("/metrics").status_code == session.get("/metrics").status_code == 200
        revoke(guarded.tokens, "eve")
        assert eve.get("/metrics").status_code == session.get("/metrics").status_code == 401
        assert rita.get("/metrics").status_code == 200
        guarded.tokens.rename(guarded.directory / "away")
        refused = rita.get("/metrics")
        assert refused.status_code == 401 and str(guarded.directory) not in refused.text
        (guarded.directory / "away").rename(guarded.tokens)
        assert rita.get("/metrics").status_code == 200
    assert "nobody is let in: cannot read tokens" in guarded.said() and secret not in guarded.said()


def test_log_ins_are_limited_harder_than_requests(guarded: Guarded) -> None:
    """The sixth attempt from an address waits, even with the right token; from another address it does not."""
    with guarded.client(address="127.0.4.1") as client:
        tried = [client.post("/login", data={"token": "wrong"}).status_code for _ in range(5)]
        late = client.post("/login", data={"token": guarded.reader})
    assert tried == [401] * 5 and late.status_code == 429 and 1 <= int(late.headers["Retry-After"]) <= 10
    other, answer = logged_in(guarded, guarded.reader, "127.0.4.2")
    assert answer.status_code == 303
    other.close()


def test_a_caller_who_asks_too_often_waits_and_others_do_not(guarded: Guarded) -> None:
    """By token, wherever it comes from: 20 at once, then five a second."""
    secret = add(guarded.tokens, "busy", Role.READ)
    with guarded.client(secret) as here, guarded.client(secret, "127.0.5.1") as there:
        answers = [client.get("/v1/nothing") for _ in range(20) for client in (here, there)]
        late = [answer for answer in answers if answer.status_code == 429]
        assert len(late) >= 10 and all(answer.headers["Retry-After"] == "1" for answer in late)
        assert "too many requests" in late[0].json()["detail"]
    with guarded.client(guarded.writer) as will:
        assert will.get("/v1/nothing").status_code == 404
    revoke(guarded.tokens, "busy")


def test_the_cookie_is_for_tls_alone_where_there_is_tls(tmp_path: Path) -> None:
    """Secure, and of a name that browsers keep to this host."""
    certify = "openssl req -x509 -nodes -newkey rsa:2048 -days 1 -subj /CN=localhost -keyout k -out c"
    made = subprocess.run(certify, shell=True, cwd=tmp_path, capture_output=True)
    assert made.returncode == 0, made.stderr
    secret = add(tmp_path / "t", "ann", Role.READ)
    with served(tmp_path, "--host", "0.0.0.0", "--tokens", "t", "--tls-cert", "c", "--tls-key", "k") as service:
        assert service.url.startswith("https://") and "in the clear" not in service.said()
        with service.client(verify=False) as client:
            cookie = client.post("/login", data={"token": secret}).headers["Set-Cookie"]
            assert cookie.startswith("__Host-fewest=") and "Secure" in cookie and "Path=/" in cookie
            assert client.get("/metrics").status_code == 200


def test_what_is_loopback() -> None:
    """Names and addresses that lead to this machine from itself only."""
    assert all(map(is_loopback, ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]))
    others = ["0.0.0.0", "::", "localhost.evil.org", "127.0.0.1.evil.org", "", "10.0.0.1", "2130706433"]
    assert not any(map(is_loopback, others))
