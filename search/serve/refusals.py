"""What the service answers in place of what was asked: a status and one line, which holds no path and no secret."""

from collections.abc import Mapping


class Refused(Exception):
    """The request cannot be granted: its message is the one line that the caller reads."""

    def __init__(self, detail: str, status: int = 403, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, dict(headers or {})
