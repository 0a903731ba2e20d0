"""What Prometheus scrapes: how the studies and their workers are at that moment, and the service's requests.

Routes are counted by their template, such as `/v1/studies/{name}`, and methods by those that HTTP names, so that no
caller can make up a label. prometheus-fastapi-instrumentator lost: it takes any method for a label, and every request
that passes other layers before FastAPI, or goes to the dashboard, has the route "none".
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import Connection, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.query import runs as query
from storage import schema, studies
from storage.database import StorageError
from storage.store import Store
from storage.studies import StudyRecord

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
STATES = "converged", "missed", "failed", "running", "waiting"
#: Of `query.status`, under the name that Prometheus knows it by.
GAUGES = {
    "budget": ("fewest_budget_trials", "Trials that the study may have"),
    "replicates": ("fewest_replicates", "Re-runs on fresh seeds that have an outcome"),
    "confirming": ("fewest_replicates_waiting", "Re-runs on fresh seeds without an outcome yet"),
    "epochs_trained": ("fewest_epochs_trained", "Epochs of all trials that have an outcome"),
    "workers": ("fewest_workers", "Workers that train for the study"),
    "slots": ("fewest_slots", "Trials that those workers can train at once"),
    "occupied": ("fewest_slots_occupied", "How many of the slots trained, on average since the last report"),
    "epochs_per_second": ("fewest_epochs_per_second", "Trial-epochs per second of those workers"),
}
log = logging.getLogger("fewest")


class Metrics:
    """A registry of its own, not the process's: two services in one process do not count for each other."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_StudyCollector(store))
        labels = "route", "method"
        self._requests = Counter("fewest_http_requests", "Requests", [*labels, "status"], registry=self.registry)
        self._seconds = Histogram("fewest_http_seconds", "Until the answer was sent", labels, registry=self.registry)

    def instrument(self, app: ASGIApp, route: Callable[[Scope], str]) -> ASGIApp:
        """The application, with its requests counted and timed; `route` names what a request was for."""

        async def instrumented(scope: Scope, receive: Receive, send: Send) -> None:
            began, status = time.perf_counter(), 0

            async def send_noted(message: Message) -> None:
                nonlocal status
                status = message.get("status", status)
                await send(message)

            try:
                await app(scope, receive, send_noted)
            finally:
                method = scope["method"] if scope["method"] in METHODS else "other"
                self._requests.labels(route(scope), method, status).inc()
                self._seconds.labels(route(scope), method).observe(time.perf_counter() - began)

        return instrumented


class _StudyCollector:
    """Reads the store when it is asked, so that every service on it says the same."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterator[Metric]:
        """Nothing, which saves reading the store at the start."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        try:
            statuses = [self._store.read(query.status, study) for study in self._store.read(_existing)]
        except StorageError as error:
            log.error("metrics: %s", error)
            yield _gauge("fewest_store_up", "Whether the store answers", 0)
            return
        yield _gauge("fewest_store_up", "Whether the store answers", 1)
        trials = GaugeMetricFamily("fewest_trials", "Trials by state", labels=["study", "state"])
        least = GaugeMetricFamily("fewest_incumbent_epochs", "Fewest epochs to convergence so far", labels=["study"])
        for status in statuses:
            for state in STATES:
                trials.add_metric([status.study, state], getattr(status, state))
            if status.incumbent:
                least.add_metric([status.study], status.incumbent.spent)
        yield from (trials, least)
        for field, (name, about) in GAUGES.items():
            gauge = GaugeMetricFamily(name, about, labels=["study"])
            for status in statuses:
                gauge.add_metric([status.study], getattr(status, field) or 0)
            yield gauge


def _existing(connection: Connection) -> list[StudyRecord]:
    study = schema.studies.c
    columns = study.study_id, study.name, study.spec, study.budget
    return [
        StudyRecord(*row)
        for row in connection.execute(select(*columns).where(studies.EXISTS_IN_OPTUNA).order_by(study.name))
    ]


def _gauge(name: str, about: str, value: Any) -> Metric:
    gauge = GaugeMetricFamily(name, about)
    gauge.add_metric([], value)
    return gauge
