"""The service as a process of its own, and a client of it."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.command import FEWEST, environment
from tests.support.forkserver import Process


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    url: str
    #: Where it runs, with its store and its tokens.
    directory: Path
    log: Path

    def client(self, token: str | None = None, address: str = "127.0.0.1", **options: Any) -> httpx.Client:
        """A client that brings a token, and comes from an address of this machine."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        transport = httpx.HTTPTransport(local_address=address, verify=options.pop("verify", True))
        return httpx.Client(base_url=self.url, headers=headers, transport=transport, timeout=30, **options)

    def said(self) -> str:
        """All it has said on stderr."""
        return self.log.read_text()


@contextmanager
def served(
    directory: Path, *options: str, extra: Mapping[str, str] | None = None, cold: bool = False
) -> Iterator[Served]:
    """`fewest serve` on a free port, stopped in the end; what it says on stdout fails.

    `cold`: it is started as users do, with its workers as children.
    """
    log, out = directory / "serve.log", directory / "serve.out"
    with log.open("w") as err, out.open("w") as answers:
        process = (subprocess.Popen if cold else Process)(
            [FEWEST, "serve", "--port", "0", *options],
            cwd=directory,
            env=environment(extra),
            stdout=answers,
            stderr=err,
            text=True,
        )
    try:
        yield Served(process, _url(process, log), directory, log)
        assert out.read_text() == ""
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # a worker still trains: it need not finish
            process.terminate()
        try:
            assert process.wait(60) in (0, -15), log.read_text()
        finally:
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[str], log: Path) -> str:
    while " at http" not in log.read_text():
        assert process.poll() is None, log.read_text()
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return log.read_text().split(" at ")[1].split(": ")[0]
