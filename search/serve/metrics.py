"""What Prometheus scrapes: how the studies and their workers are at that moment, and the service's requests.

Routes are counted by their template, such as `/v1/studies/{name}`, and methods by those that HTTP names, so that no
caller can make up a label. prometheus-fastapi-instrumentator lost: it takes any method for a label, and every request
that passes other layers before FastAPI, or goes to the dashboard, has the route "none".
"""

from collections.abc import Iterator
from contextlib import suppress
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from search.logs import log
from search.query.records import Status
from search.query.studies import LocalStudies
from storage.database import NotFound, StorageError

STATES = "converged", "missed", "failed", "running", "waiting"
#: Fields of a study's status, under the name that Prometheus knows it by.
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


class Metrics:
    """The requests to a service, and its studies, which are read when Prometheus asks: every service says the same.

    The registry is its own, not the process's: two services in one process do not count for each other.
    """

    def __init__(self, studies: LocalStudies) -> None:
        self._studies = studies
        self.registry = CollectorRegistry()
        self.registry.register(self)
        labels = "route", "method"
        self._requests = Counter("fewest_http_requests", "Requests", [*labels, "status"], registry=self.registry)
        self._seconds = Histogram("fewest_http_seconds", "Until the answer was sent", labels, registry=self.registry)

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request: what it was for, its answer's status, and how long that took."""
        method = method if method in HTTPMethod.__members__ else "other"
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route, method).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """The studies' metrics, as they are now."""
        statuses, up = list[Status](), True
        try:
            for study in self._studies.listed():
                with suppress(NotFound):  # somebody has just deleted it
                    statuses.append(self._studies.status(study.study))
        except StorageError as error:
            log.error("metrics: %s", error)
            statuses, up = [], False
        yield GaugeMetricFamily("fewest_store_up", "Whether the store answers", up)
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
