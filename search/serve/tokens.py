"""Tokens: who may ask the service, and whether only to read.

A token is 256 random bits. The file has a line for each, `name role sha256`, and never the token itself. A plain hash
keeps it: nobody can try 2²⁵⁶ of them. Slow hashes are for passwords, which people choose from few.

A session in a browser is `name.expires.mac`, with a key made of the token's hash: it ends when the token is revoked,
and not when the service restarts. So whoever can read the file can make a session, and it is for its owner alone.
"""

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from search import files
from search.errors import UsageError
from search.logs import log

SESSION_SECONDS = 12 * 3600
_NAME = r"[\w-]{1,64}"


class Role(StrEnum):
    """read: ask; write: also begin, stop and delete."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True)
class Token:
    """A line of the file."""

    name: str
    role: Role
    #: SHA-256 of the token, in hex.
    digest: str


class Tokens:
    """The tokens of a file, as it is now: one that is revoked is refused from the next request on."""

    def __init__(self, path: Path) -> None:
        """UsageError if the file cannot be read."""
        self._path, self._stamp = path, _stamp(path)
        self._known = read(path)

    def of(self, secret: str) -> Token | None:
        """Whose token this is."""
        digest = _digest(secret)
        return _last(token for token in self._now() if hmac.compare_digest(token.digest, digest))

    def of_session(self, session: str) -> Token | None:
        """Whose session this is, unless it is over."""
        name, _, rest = session.partition(".")
        expires = rest.partition(".")[0]
        if not re.fullmatch(r"\d{1,12}", expires, re.ASCII) or int(expires) < time.time():
            return None
        named = (token for token in self._now() if token.name == name)
        given = session.encode()
        return _last(token for token in named if hmac.compare_digest(seal(token, int(expires)).encode(), given))

    def _now(self) -> Sequence[Token]:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._known = read(self._path)
            except UsageError as error:
                log.error("nobody is let in: %s", error)
                self._known = ()
        return self._known


def seal(token: Token, expires: int) -> str:
    """A session of this token's until a time in seconds since 1970."""
    key = hmac.digest(token.digest.encode(), b"session", "sha256")
    signed = f"{token.name}.{expires}"
    return f"{signed}.{hmac.digest(key, signed.encode(), 'sha256').hex()}"


def read(path: Path) -> tuple[Token, ...]:
    """The tokens of a file; UsageError names the line that is none."""
    with files.opened(path) as file:
        try:
            lines = file.read().decode().splitlines()
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"cannot read {path}: it is no file of tokens") from None
    tokens = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            match = re.fullmatch(rf"({_NAME}) (read|write) ([0-9a-f]{{64}})", line.strip(), re.ASCII)
            if not match:
                raise UsageError(f"line {number} of {path} is not `name role sha256`; `fewest token` writes such lines")
            tokens.append(Token(match[1], Role(match[2]), match[3]))
    return tuple(tokens)


def add(path: Path, name: str, role: Role) -> str:
    """A new token of that name, whose hash is appended to the file; UsageError if there is one."""
    if not re.fullmatch(_NAME, name, re.ASCII):
        raise UsageError(f"a token's name is 1 to 64 letters, digits, _ and -, got {files.shown(name)}")
    if path.exists() and any(token.name == name for token in read(path)):
        raise UsageError(f"there is a token {name!r} in {path}; name another, or `--revoke` that one first")
    secret = secrets.token_urlsafe(32)
    try:
        with open(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(f"\n{name} {role} {_digest(secret)}\n")  # an editor may have left the last line without an end
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    return secret


def revoke(path: Path, name: str) -> None:
    """Take the token of that name out of the file; UsageError if there is none."""
    known = read(path)
    kept = [token for token in known if token.name != name]
    if len(kept) == len(known):
        others = f"there are {files.listed([token.name for token in known])}" if known else "it has none"
        raise UsageError(f"there is no token {files.shown(name)} in {path}; {others}")
    files.check(path, "--tokens")
    files.write(path, "".join(f"{token.name} {token.role} {token.digest}\n" for token in kept).encode(), 0o600)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _last(tokens: Iterable[Token]) -> Token | None:
    """The last of them. Every line of the file is compared, so that the time tells nothing."""
    return next(reversed(list(tokens)), None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
