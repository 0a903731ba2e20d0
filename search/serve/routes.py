"""The routes of the HTTP API under `/v1`: each is a question to `LocalStudies`, or an order to it.

Answers are the records of the Python API as JSON. What leaves a request's bounds is refused by FastAPI from the types
below, so that the OpenAPI document says all of it. No code of anybody's comes in here: neither an objective nor a
sampler's import path, and data only by way of a store.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Json

from objectives.parameters import PARAMETERS, described
from search.logs import log
from search.query.best_query import BestQuery, By
from search.query.records import plain
from search.query.studies import DEFAULT_TRIALS, LocalStudies, Order
from search.spec.space import Dimension
from search.spec.stored_study import served_name
from search.spec.study_spec import Sampler, StudySettings, StudySpec

PAGE = 100  # records of an answer
MAX_RECORDS = 1000  # records of an answer, at most
MAX_INTEGER = (1 << 31) - 1  # what every database's integer holds
#: The JSON of an answer.
Answer = dict[str, Any]
_OF_WAVES = [name for name, parameter in PARAMETERS.items() if parameter.scope != "data"]

Name = Annotated[str, Path(max_length=200, pattern=r"^[^/]+$", description="The study's name, without a slash.")]
After = Annotated[int, Query(ge=-1, le=MAX_INTEGER, description="Begin after this one: `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MAX_RECORDS, description="Records of a page.")]
Whole = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


def _studies(request: Request) -> LocalStudies:
    studies: LocalStudies = request.app.state.studies
    return studies


Served = Annotated[LocalStudies, Depends(_studies)]
#: All routes, over the studies that the application holds as `state.studies`.
routes = APIRouter(prefix="/v1")


class Spec(StudySettings, frozen=True):
    """A study's spec in the JSON that it is answered in, or as much of that as differs from the defaults."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"target": 0.95, "max_epochs": 100}]})

    sampler: Sampler = Field(default="tpe", description="What proposes configurations.")
    space: dict[str, Dimension] = Field(
        default_factory=dict,
        description=f"By parameter what differs from the default space. Parameters: {described(_OF_WAVES)}.",
        examples=[{"classes": {"values": [32]}, "lr": {"low": 1e-4, "high": 1}, "activation": {"values": ["tanh"]}}],
    )

    data: None = Field(default=None, description="Studies that are created here are of waves.")
    start: tuple[()] = Field(default=(), strict=False, description="They begin with the best of another by `from`.")


class NewStudy(BaseModel, extra="forbid", strict=True):  # neither false nor "0" is a number
    """A study to be searched by the service's workers until `trials` have an outcome and the best are confirmed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "mine", "trials": 100}]})

    name: Annotated[str, AfterValidator(served_name)] = Field(
        max_length=200, pattern=r"^[^/]+$", description="Printable characters without a slash."
    )
    spec: Spec = Field({}, validate_default=True)
    trials: int = Field(DEFAULT_TRIALS, ge=1, le=MAX_INTEGER, description="In all; no fewer than the study has begun.")
    timeout: float | None = Field(None, ge=0, allow_inf_nan=False, description="Seconds; no new trial after them.")
    retries: Whole | None = Field(None, description="Attempts after the first, if workers die.")
    until_epochs: Whole | None = Field(None, description="Done once a configuration of so few epochs is confirmed.")
    from_: str | None = Field(None, alias="from", description="Begin with the best of that study.")


class Asked(BaseModel, extra="forbid"):
    """A question to `best`."""

    per: str | None = Field(None, description="The best of each value of that parameter.")
    where: Json[dict[str, Dimension]] = Field(
        "{}",
        description="By parameter where it must lie, as JSON; all must hold.",
        examples=['{"lr": {"low": 0.01, "high": 0.1}, "activation": {"values": ["tanh"]}}'],
        validate_default=True,
    )
    by: By = Field(By.EPOCHS, description="What the least of is best.")
    target: float | None = Field(None, gt=0, le=1, description="Judge the recorded curves by another accuracy.")
    hold: Whole | None = Field(None, ge=1, description="Judge them by so many evaluations in a row.")
    top: int = Field(10, ge=1, le=MAX_RECORDS)


def _page(field: str, records: Sequence[Any], cursor: str, limit: int) -> Answer:
    """A page, and where the next begins: null after the last."""
    return {field: plain(records), "next": getattr(records[-1], cursor) if len(records) == limit else None}


def _note(request: Request, done: str, name: str) -> None:
    caller = request.scope["caller"]
    log.info("%s has %s study %r", caller, done, name, extra={"study": name, "caller": caller})


@routes.get("/health")
def health(studies: Served) -> Answer:
    """Whether the service and its store answer."""
    studies.listed(limit=1)
    return {"status": "ok"}


@routes.get("/workers")
def workers(studies: Served) -> Answer:
    """The workers that serve a study now, which, and how busy they are."""
    return {"workers": plain(studies.workers())}


@routes.get("/studies")
def listed(studies: Served, after: After = 0, limit: Limit = PAGE) -> Answer:
    """The studies, page by page."""
    return _page("studies", studies.listed(after, limit), "id", limit)


@routes.post("/studies", status_code=status.HTTP_201_CREATED, responses={200: {"description": "It was there."}})
def create(studies: Served, new: NewStudy, request: Request, response: Response) -> Answer:
    """Create a study, or let the one of that name and spec go on to so many trials."""
    order = Order(new.trials, new.timeout, new.retries, new.until_epochs, new.from_)
    spec = StudySpec.of(**new.spec.model_dump(exclude_unset=True))
    created = studies.launch(new.name, spec, order)
    _note(request, "created" if created else f"asked for {new.trials} trials of", new.name)
    response.status_code = status.HTTP_201_CREATED if created else status.HTTP_200_OK
    return {"created": created, "study": new.name}


@routes.get("/studies/{name}")
def show(studies: Served, name: Name) -> Answer:
    """How far a study is, and its spec."""
    return {"status": plain(studies.status(name)), "spec": studies.spec(name).model_dump(mode="json")}


@routes.delete("/studies/{name}")
def delete(studies: Served, name: Name, request: Request) -> Answer:
    """Delete a study and all that was found; its workers leave it."""
    studies.delete(name)
    _note(request, "deleted", name)
    return {"deleted": name}


@routes.post("/studies/{name}/stop")
def stop(studies: Served, name: Name, request: Request) -> Answer:
    """Ask every worker of a study to finish what it runs and leave it; creating it again lets it go on."""
    studies.stop(name)
    _note(request, "stopped", name)
    return {"stopping": name}


@routes.get("/studies/{name}/best")
def best(studies: Served, name: Name, asked: Annotated[Asked, Query()]) -> Answer:
    """The best configurations, or of each value of a parameter, and how the trials ended that it was asked of."""
    query = BestQuery(asked.where, asked.by, asked.target, asked.hold)
    return dict(plain(studies.best(name, query, asked.per, asked.top)))


@routes.get("/studies/{name}/trials")
def trials(studies: Served, name: Name, after: After = -1, limit: Limit = PAGE) -> Answer:
    """A study's trials in order, finished or not, page by page."""
    return _page("trials", studies.trials(name, limit, after), "trial", limit)


@routes.get("/studies/{name}/conclusion")
def conclusion(studies: Served, name: Name) -> Answer:
    """What a launch ends with: the confirmed configurations, the question's model, and how the search went."""
    return dict(plain(studies.conclusion(name)))
