"""The studies behind a service, asked by HTTP: as `search.query.studies`, by the same names.

While the service is away a question is asked again, as one of a store is: each is safe to ask twice.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from search.errors import Conflict, UsageError
from search.query.best_query import BestQuery
from search.query.records import BestAnswer, Conclusion, Status, StudySummary, TrialRecord, WorkerRecord
from search.query.studies import Order
from search.spec.stored_study import served_name
from search.spec.study_spec import StudySpec, validated
from storage.backoff import Backoff
from storage.database import NotFound, StorageError, StorageMisuse
from storage.store import BRIEF_SECONDS

ANSWER_SECONDS = 60.0  # for the service to answer
PAGE = 1000  # most records of one answer
#: What an answer's status means here; others are the service's fault.
_MEANING = {404: NotFound, 409: Conflict, 422: UsageError, 401: StorageMisuse, 403: StorageMisuse}
_LATER = 429, 502, 503, 504

T = TypeVar("T")


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
        order_fields = dict(vars(order))
        body = {"name": name, "spec": spec.model_dump(mode="json"), "from": order_fields.pop("source"), **order_fields}
        return bool(self._ask("POST", "/studies", json=body)["created"])

    def listed(self, after: int = 0, limit: int | None = None) -> Sequence[StudySummary]:
        return _as(list[StudySummary], list(self._pages("/studies", "studies", after, limit)))

    def spec(self, name: str) -> StudySpec:
        return validated(self._get(name)["spec"])

    def status(self, name: str) -> Status:
        return _as(Status, self._get(name)["status"])

    def best(self, name: str, query: BestQuery, per: str | None, top: int) -> BestAnswer:
        where = {parameter: dimension.model_dump(exclude_unset=True) for parameter, dimension in query.where.items()}
        judged = {"by": query.by, "target": query.target, "hold": query.hold}
        return _as(BestAnswer, self._get(name, "/best", per=per, where=json.dumps(where), top=top, **judged))

    def trials(self, name: str, limit: int | None, after: int) -> Sequence[TrialRecord]:
        return _as(list[TrialRecord], list(self._pages(f"{_path(name)}/trials", "trials", after, limit)))

    def conclusion(self, name: str) -> Conclusion:
        return _as(Conclusion, self._get(name, "/conclusion"))

    def stop(self, name: str) -> None:
        self._ask("POST", f"{_path(name)}/stop")

    def delete(self, name: str) -> None:
        self._ask("DELETE", _path(name))

    def workers(self) -> Sequence[WorkerRecord]:
        return _as(list[WorkerRecord], self._ask("GET", "/workers")["workers"])

    def _get(self, name: str, part: str = "", **params: Any) -> Mapping[str, Any]:
        given = {parameter: value for parameter, value in params.items() if value is not None}
        return self._ask("GET", f"{_path(name)}{part}", params=given)

    def _pages(self, path: str, field: str, after: int, limit: int | None) -> Iterator[Mapping[str, Any]]:
        """Records page by page, until `limit` of them or the last."""
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(limit, PAGE)
            answer = self._ask("GET", path, params={"after": after, "limit": size})
            yield from answer[field]
            if answer["next"] is None:
                return
            after, limit = answer["next"], limit and limit - len(answer[field])

    def _ask(self, method: str, path: str, **content: Any) -> Mapping[str, Any]:
        """The answer, waited for while the service is away or busy."""
        backoff = Backoff(lambda: self.patience)
        while True:
            try:
                answer = self._http.request(method, f"/v1{path}", **content)
                fault = f"{self._http.base_url} answers {answer.status_code}"
                if answer.status_code not in _LATER:
                    return _read(answer, fault)
            except httpx.TransportError as error:
                fault = f"{self._http.base_url} does not answer ({str(error) or type(error).__name__})"
            if not backoff.pause(fault):
                raise StorageError(f"{fault}; is `fewest serve` running there?")


def _read(answer: httpx.Response, fault: str) -> Mapping[str, Any]:
    """What the service answers; an error there is the same error here."""
    try:
        content: Mapping[str, Any] = answer.json()
        message = "" if answer.is_success else str(content["detail"])
        if answer.status_code == 404 and "; " not in message:
            raise ValueError("a path that it does not have")
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{fault}, and not as a fewest service does; check its URL") from None
    if answer.is_success:
        return content
    if answer.status_code in (401, 403):
        message += "; FEWEST_TOKEN has another" if "Authorization" in answer.request.headers else "; set FEWEST_TOKEN"
    kind = _MEANING.get(answer.status_code, StorageError)
    raise NotFound(*message.split("; ", 1)) if kind is NotFound else kind(message)


def _as(kind: type[T], content: Any) -> T:
    """The record, or the records, that a JSON answer holds; StorageError if another version has made it."""
    try:
        return TypeAdapter(kind).validate_python(content)  # an adapter takes 4 ms to make
    except ValidationError as error:
        wrong = ".".join(map(str, error.errors()[0]["loc"]))
        message = f"the service is of another version of fewest: `{wrong}` is not as this one knows it"
        raise StorageError(message) from None


def _path(name: str) -> str:
    return f"/studies/{quote(served_name(name), safe='')}"
