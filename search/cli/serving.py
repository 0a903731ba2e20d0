"""Commands that serve people, programs and workers elsewhere: serve, token, dashboard, deploy."""

import logging
import os
import socket
import ssl
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from search import files
from search.cli import output
from search.cli.options import Commands, LogForm, Storage, available, spread
from search.client import STORAGE
from search.errors import Failure, UsageError
from search.logs import Log, set_up
from search.serve import deploy as deployment
from search.serve import tokens
from search.serve.tokens import Role, Tokens
from search.train.processes import GRACE_SECONDS, handling
from search.train.supervisor import WorkerSupervisor
from storage import studies
from storage.database import redacted
from storage.store import Store

LOCALHOST, PORT = "127.0.0.1", 8080
RATE = 50.0
CONNECTIONS = 8  # that a service keeps open to a Postgres

app = Commands()
log = logging.getLogger("fewest")


@app.command()
def serve(
    host: Annotated[str, Option(help="Address to listen on; any but this machine's own needs `--tokens`.")] = LOCALHOST,
    port: Annotated[int, Option(min=0, max=65535, help="0 takes one that is free.")] = PORT,
    workers: Annotated[
        int, Option(min=0, max=1024, help="Worker processes to keep running beside it, for every open study.")
    ] = 0,
    tokens: Annotated[Path | None, Option(metavar="FILE", help="Who may come in; `fewest token` writes it.")] = None,
    tls_cert: Annotated[Path | None, Option(metavar="FILE", help="Certificate chain, for https.")] = None,
    tls_key: Annotated[Path | None, Option(metavar="FILE", help="Its private key.")] = None,
    dashboard_write: Annotated[
        bool, Option("--dashboard-write", help="Let the dashboard edit notes and delete studies.")
    ] = False,
    rate: Annotated[float, Option(min=0.1, help="Requests per second of one token or address.")] = RATE,
    log_form: LogForm = Log.TEXT,
    storage: Storage = STORAGE,
) -> None:
    """Answer people and programs: the dashboard at `/`, the API at `/v1` (see `/docs`), Prometheus at `/metrics`.

    Without `--tokens` it answers everybody on this machine, and nobody else. With them a program sends
    `Authorization: Bearer TOKEN`, and a browser logs in with a token, for 12 hours. `fewest token` adds and revokes
    tokens while it runs. SIGTERM or Ctrl-C lets requests and trials that run finish; a second one releases the trials.
    Behind a proxy set FORWARDED_ALLOW_IPS to its address, so that callers are told apart.

    Examples, on this machine: `fewest serve --workers 2`, then `curl http://127.0.0.1:8080/v1/studies -H "Content-Type:
    application/json" -d '{"name": "mine"}'` ·
    for others: `fewest token ann --role write --tokens tokens` prints a TOKEN, then `fewest serve --host 0.0.0.0
    --tokens tokens --tls-cert cert.pem --tls-key key.pem --log json` ·
    their `curl -H "Authorization: Bearer $TOKEN" https://HOST:8080/v1/studies` ·
    and `FEWEST_TOKEN=$TOKEN fewest launch --storage https://HOST:8080`
    """
    set_up(log_form)
    _check_tls(tls_cert, tls_key)
    known = Tokens(tokens) if tokens else None
    from search.serve import app as service
    from search.serve.auth import is_loopback

    if not known and not is_loopback(host):
        raise UsageError(f"`--host {files.shown(host)}` lets others in, so it needs `--tokens` of `fewest token`")
    devices = spread(available("auto"), workers) if workers else []
    store = Store.open(storage, create=True, kept=CONNECTIONS)
    listening = _listen(host, port)
    application = service.create_app(store, service.Settings(known, dashboard_write=dashboard_write, rate=rate))
    who = "a token is needed" if known else "no token is needed, and it is for this machine alone"
    url = _url(host, listening, bool(tls_cert))
    log.info("serving %s at %s: the dashboard, and /v1 for programs; %s", redacted(storage), url, who)
    if known and not tls_cert and not is_loopback(host):
        log.warning("without `--tls-cert` tokens travel in the clear")
    if tokens and tokens.stat().st_mode & 0o077:
        log.warning("others on this machine may read or change %s; chmod 600 it", tokens)
    supervisor = WorkerSupervisor(storage, devices, "--log", log_form)
    with handling(supervisor.leave, GRACE_SECONDS):
        try:
            service.serve(application, listening, tls_cert, tls_key)
        finally:
            supervisor.wait()
    store.close()
    log.info("the service at %s has ended", url)


@app.command()
def token(
    name: Annotated[str, Argument(help="Whose token it is; `--revoke` and the service's log name it.")],
    tokens_: Annotated[Path, Option("--tokens", metavar="FILE", help="As of `fewest serve`; made if it is not there.")],
    role: Annotated[Role, Option(help="read: ask; write: also begin, stop and delete studies.")] = Role.READ,
    revoke: Annotated[bool, Option("--revoke", help="Take the token of that name out of the file.")] = False,
) -> None:
    """Let somebody into `fewest serve`: make a token, and print it, this once, since the file keeps only its hash.

    Its owner gives it to the log-in page, or to programs in FEWEST_TOKEN. A service that runs reads the file again, so
    that a new token is good, and a revoked one is not, from then on.

    Examples: `TOKEN=$(fewest token ann --role write --tokens tokens)`, then beside `fewest serve --tokens tokens` `curl
    -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/studies` or `FEWEST_TOKEN=$TOKEN fewest status --storage
    http://127.0.0.1:8080` · `fewest token ann --revoke --tokens tokens`
    """
    if revoke:
        tokens.revoke(tokens_, name)
        return output.notice(f"{name} is revoked")
    output.line(tokens.add(tokens_, name, role))


@app.command()
def dashboard(
    study: Annotated[str | None, Option(help="Open this study's page.  [default: the list of studies]")] = None,
    port: Annotated[int, Option(min=0, max=65535, help="0 takes one that is free.")] = 0,
    no_browser: Annotated[bool, Option("--no-browser", help="Only print the address.")] = False,
    storage: Storage = STORAGE,
) -> None:
    """Look at the studies in a browser, while workers go on; Ctrl-C ends it.

    It is optuna-dashboard, on this machine alone, and only shows; `fewest serve` is for others. Our figures are on the
    page of a study that standing workers have finished, and `fewest report` puts them on any.

    Examples: `fewest dashboard` · `fewest dashboard --study small --no-browser`
    """
    store = Store.open(storage)
    page = f"/studies/{store.read(studies.find, study).study_id}" if study else ""
    listening = _listen(LOCALHOST, port)
    from search.serve import app as service

    application = service.create_app(store, service.Settings(anonymous=Role.READ))
    url = f"{_url(LOCALHOST, listening, False)}/dashboard{page}"
    output.line(url)
    sys.stdout.flush()
    if not no_browser and _has_a_display():
        webbrowser.open(url)  # it waits until it is answered
    with handling(lambda _: None):
        service.serve(application, listening)
    store.close()


@app.command()
def deploy(
    target: Annotated[deployment.Target, Argument(help="What is to run them.")],
    workers: Annotated[int, Option(min=1, max=10_000, help="How many workers.")] = 4,
    gpus: Annotated[int, Option(min=0, max=1, help="GPUs of each worker, which trains on one or none.")] = 0,
    image: Annotated[
        str | None, Option(help="The image's name, for kubernetes and compose.  [default: fewest:VERSION]")
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Write the files there, instead of printing them.")] = None,
) -> None:
    """Print ready files that run workers on machines of yours and, but for slurm, the service.

    Each file says how to use it, and what to fill in. slurm: a script for an array job. kubernetes: Postgres, the
    service, and an indexed Job of workers. systemd: units of the service and of workers, for a Postgres of yours.
    compose: all of it on one machine. SIGTERM gives workers 25 s to finish what they train.

    Examples: `fewest deploy slurm --workers 64 > fewest.sbatch` ·
    `fewest deploy kubernetes --gpus 1 --image registry.example.org/fewest:1 --out deploy` ·
    `fewest deploy systemd --out units` · `fewest deploy compose --workers 8 --out .`
    """
    texts = deployment.rendered(deployment.Deployment(target, workers, gpus, image), out)
    if out:
        deployment.write(texts, out)
        for name in texts:
            output.line(str(out / name))
        return
    for name, text in texts.items():
        if len(texts) > 1:
            print(f"# ==> {name} <==")
        sys.stdout.write(text)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections already; Failure if the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[:2], family=family, backlog=128)
        # Its connections inherit this. asyncio sets it only on sockets that name their protocol, which this does not,
        # and else an answer's second packet waits for the first to be acknowledged: 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        where = f"{files.shown(host)}:{port}"
        raise Failure(f"cannot listen at {where}: {reason}; name another with `--host` or `--port`") from None


def _url(host: str, listening: socket.socket, tls: bool) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{listening.getsockname()[1]}"


def _check_tls(certificate: Path | None, key: Path | None) -> None:
    """UsageError unless both are there and belong together, or neither."""
    if not certificate and not key:
        return
    if not certificate or not key:
        raise UsageError("`--tls-cert` and `--tls-key` need each other")
    for path in (certificate, key):
        files.opened(path).close()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", "the key has a password") or "they are no certificate and key in PEM"
        raise UsageError(f"cannot use {certificate} with {key}: {reason}") from None


def _no_password() -> str:
    raise ValueError


def _has_a_display() -> bool:
    """Whether a browser would be a window: one in the terminal would stand in the way of what is printed there."""
    return sys.platform != "linux" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
