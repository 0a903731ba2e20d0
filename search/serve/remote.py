"""The studies behind a service, asked by HTTP: as `search.query.studies`, by the same names.

While the service is away a question is asked again, as one of a store is: each is safe to ask twice.
"""

import logging
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

from search.errors import Conflict, UsageError
from search.query.ranking import Wanted
from search.query.studies import Order, Record
from search.spec.parsing import served_name, typed
from search.spec.study_spec import StudySpec
from storage.database import NotFound, StorageError, StorageMisuse
from storage.store import BRIEF_SECONDS, FIRST_NOTE_SECONDS, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

ANSWER_SECONDS = 60.0  # for the service to answer
PAGE = 1000  # most records of one answer
#: What an answer's status means here; others are the service's fault.
_MEANING: dict[int, type[Exception]] = {
    404: NotFound,
    409: Conflict,
    422: UsageError,
    401: StorageMisuse,
    403: StorageMisuse,
}
_LATER = 429, 502, 503, 504

log = logging.getLogger("fewest")


class RemoteStudies:
    """Those of the service at a URL. The token is that of FEWEST_TOKEN unless it is given."""

    def __init__(self, url: str, token: str | None = None, patience: float = BRIEF_SECONDS) -> None:
        #: Seconds that a question waits for the service.
        self.patience = patience
        token = token or os.environ.get("FEWEST_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=ANSWER_SECONDS)
        except (httpx.InvalidURL, ValueError) as error:
            raise StorageMisuse(f"the service's URL is not one: {error}") from None

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def launch(self, name: str, spec: StudySpec, order: Order) -> bool:
        dimension = {"low", "high", "values"}
        space = {name: of.model_dump(mode="json", include=dimension) for name, of in spec.space.items()}
        fields = spec.model_dump(mode="json", exclude={"data", "start", "space"}) | {"space": space}
        wanted = {"trials": order.trials, "timeout": order.timeout, "retries": order.retries}
        more = {"until_epochs": order.until_epochs, "from": order.source}
        return bool(self._ask("POST", "/studies", json={"name": name, "spec": fields, **wanted, **more})["created"])

    def listed(self, after: int = 0, limit: int | None = None) -> list[Record]:
        return list(self._pages("/studies", "studies", after, limit))

    def spec(self, name: str) -> Record:
        found: Record = self._get(name)["spec"]
        return found

    def status(self, name: str) -> Record:
        found: Record = self._get(name)["status"]
        return found

    def best(self, name: str, wanted: Wanted, per: str | None, top: int) -> Record:
        where = [f"{parameter}={typed(dimension)}" for parameter, dimension in wanted.where.items()]
        asked = {"per": per, "where": where, "by": wanted.by, "target": wanted.target, "hold": wanted.hold, "top": top}
        return self._get(name, "/best", **asked)

    def trials(self, name: str, limit: int | None, after: int) -> list[Record]:
        return list(self._pages(f"{_path(name)}/trials", "trials", after, limit))

    def conclusion(self, name: str) -> Record:
        return self._get(name, "/conclusion")

    def stop(self, name: str) -> None:
        self._ask("POST", f"{_path(name)}/stop")

    def delete(self, name: str) -> None:
        self._ask("DELETE", _path(name))

    def workers(self) -> list[Record]:
        found: list[Record] = self._ask("GET", "/workers")["workers"]
        return found

    def _get(self, name: str, of: str = "", **asked: Any) -> Record:
        return self._ask("GET", f"{_path(name)}{of}", params=_given(asked))

    def _pages(self, path: str, what: str, after: int, limit: int | None) -> Iterator[Record]:
        """Records page by page, until `limit` of them or the last."""
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(limit, PAGE)
            answer = self._ask("GET", path, params={"after": after, "limit": size})
            yield from answer[what]
            if answer["next"] is None:
                return
            after, limit = answer["next"], limit and limit - len(answer[what])

    def _ask(self, method: str, path: str, **what: Any) -> Record:
        """The answer, waited for while the service is away or busy."""
        began, note_at, pause = time.monotonic(), FIRST_NOTE_SECONDS, FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = self._http.request(method, f"/v1{path}", **what)
                fault = f"{self._http.base_url} answers {answer.status_code}"
            except httpx.TransportError as error:
                answer, fault = None, f"{self._http.base_url} does not answer ({str(error) or type(error).__name__})"
            if answer is not None and answer.status_code not in _LATER:
                return _read(answer, fault)
            waited = time.monotonic() - began
            if waited >= self.patience:
                raise StorageError(f"{fault}; is `fewest serve` running there?")
            if waited >= note_at:
                log.warning("%s; trying again for %.0f s", fault, self.patience - waited)
                note_at = 2 * waited
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _read(answer: httpx.Response, fault: str) -> Record:
    """What the service answers; an error there is the same error here."""
    try:
        found = answer.json()
        said = "" if answer.is_success else str(found["detail"])
        if answer.status_code == 404 and "; " not in said:
            raise ValueError("a path that it does not have")
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{fault}, and not as a fewest service does; check its URL") from None
    if answer.status_code in (401, 403):
        said += "; FEWEST_TOKEN has another" if "Authorization" in answer.request.headers else "; set FEWEST_TOKEN"
    if not answer.is_success:
        kind = _MEANING.get(answer.status_code, StorageError)
        raise NotFound(*said.split("; ", 1)) if kind is NotFound else kind(said)
    record: Record = found
    return record


def _path(name: str) -> str:
    return f"/studies/{quote(served_name(name), safe='')}"


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}
