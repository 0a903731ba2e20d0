"""The routes of the HTTP API under `/v1`: each is a question to `search.query.studies.LocalStudies`, or an order to it.

Answers are the records of the Python API. What leaves a request's bounds is refused by FastAPI from the types below, so
that the OpenAPI document says all of it. No code of anybody's comes in here: neither an objective nor a sampler's
import path, and data only by way of a store.
"""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from search.query.ranking import By, Wanted
from search.query.studies import DEFAULT_TRIALS, LocalStudies, Order, Record
from search.spec import parsing as options
from search.spec.study_spec import StudySpec

PAGE = 100  # records of an answer
MOST = 1000  # records of an answer, at most
MOST_NUMBER = (1 << 31) - 1  # what every database's integer holds
STRICT = ConfigDict(extra="forbid", strict=True)  # of bodies: neither false nor "0" is a number
log = logging.getLogger("fewest")

Name = Annotated[
    str, Path(min_length=1, max_length=200, pattern=r"^[^/]+$", description="The study's name, without a slash.")
]
After = Annotated[int, Query(ge=-1, le=MOST_NUMBER, description="Begin after this one: `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Records of a page.")]
Whole = Annotated[int, Field(ge=0, le=MOST_NUMBER)]


def _caller(request: Request) -> str:
    return str(request.scope["caller"])


Caller = Annotated[str, Depends(_caller)]


class Numbers(BaseModel):
    """All numbers from `low` to `high`; on a log scale and whole as that parameter is by default."""

    model_config = STRICT

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    def __str__(self) -> str:
        return f"{self.low:.17g}:{self.high:.17g}"


class Values(BaseModel):
    """One of `values`; one alone fixes the parameter."""

    model_config = STRICT

    values: list[str | int | float] = Field(min_length=1, max_length=100)

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


class Spec(BaseModel):
    """The fields of a study's spec that differ from the defaults: those of `fewest launch`."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"examples": [{"target": 0.95, "max_epochs": 100}]})

    inputs: int | None = None
    sigma: float | None = None
    target: float | None = None
    hold: int | None = None
    max_epochs: int | None = None
    sampler: Literal["tpe", "random", "gp", "qmc", "cmaes"] | None = None
    seed: int | None = None
    space: dict[str, Numbers | Values] = Field(
        default_factory=dict,
        description="By parameter what differs from the default space.",
        examples=[{"classes": {"values": [32]}, "lr": {"low": 1e-4, "high": 1}, "activation": {"values": ["tanh"]}}],
    )

    def read(self) -> StudySpec:
        """The whole spec, as the options of `fewest launch` make it; UsageError names what is wrong."""
        texts = {name: str(dimension) for name, dimension in self.space.items()}
        counts = texts.pop("classes", None)
        ranges = [f"{name}={text}" for name, text in texts.items() if isinstance(self.space[name], Numbers)]
        choices = [f"{name}={text}" for name, text in texts.items() if isinstance(self.space[name], Values)]
        fields = self.model_dump(exclude={"space"})
        return options.study_spec(counts, None, options.dimensions((), ranges, choices), **fields)[0]


class NewStudy(BaseModel):
    """A study to be searched by the service's workers until `trials` have an outcome and the best are confirmed."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"examples": [{"name": "mine", "trials": 100}]})

    name: Annotated[str, AfterValidator(options.served_name)] = Field(
        min_length=1, max_length=200, pattern=r"^[^/]+$", description="Printable characters without a slash."
    )
    spec: Spec = Field(default_factory=Spec)
    trials: int = Field(
        DEFAULT_TRIALS, ge=1, le=MOST_NUMBER, description="In all; of a study that is there no fewer than it has begun."
    )
    timeout: float | None = Field(None, ge=0, allow_inf_nan=False, description="Seconds; no new trial after them.")
    retries: Whole | None = Field(None, description="Attempts after the first, if workers die.")
    until_epochs: Whole | None = Field(None, description="Done once a configuration of so few epochs is confirmed.")
    from_: str | None = Field(None, alias="from", description="Begin with the best of that study.")


class Asked(BaseModel):
    """A question to `best`."""

    model_config = ConfigDict(extra="forbid")

    per: str | None = Field(None, description="The best of each value of that parameter.")
    where: list[str] = Field(default_factory=list, description="NAME=VALUE, NAME=A,B or NAME=LOW:HIGH; all must hold.")
    by: By = Field(By.EPOCHS, description="What the least of is best.")
    target: float | None = Field(None, gt=0, le=1, description="Judge the recorded curves by another accuracy.")
    hold: Whole | None = Field(None, ge=1, description="Judge them by so many evaluations in a row.")
    top: int = Field(10, ge=1, le=MOST)

    def wanted(self) -> Wanted:
        """The question as the store is asked it."""
        return Wanted(options.where(self.where), self.by, self.target, self.hold)


def _page(what: str, found: list[Record], cursor: str, limit: int) -> Record:
    """A page, and where the next begins: null after the last."""
    return {what: found, "next": found[-1][cursor] if len(found) == limit else None}


def _note(caller: str, done: str, name: str) -> None:
    log.info("%s has %s study %r", caller, done, name, extra={"study": name, "caller": caller})


def router(studies: LocalStudies) -> APIRouter:
    """All routes, over the studies of one store."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/health")
    def health() -> Record:
        """Whether the service and its store answer."""
        studies.listed(limit=1)
        return {"status": "ok"}

    @routes.get("/workers")
    def workers() -> Record:
        """The workers that serve a study now, which, and how busy they are."""
        return {"workers": studies.workers()}

    @routes.get("/studies")
    def listed(after: After = 0, limit: Limit = PAGE) -> Record:
        """The studies, page by page."""
        return _page("studies", studies.listed(after, limit), "id", limit)

    @routes.post("/studies", status_code=status.HTTP_201_CREATED, responses={200: {"description": "It was there."}})
    def create(new: NewStudy, response: Response, caller: Caller) -> Record:
        """Create a study, or let the one of that name and spec go on to so many trials."""
        order = Order(new.trials, new.timeout, new.retries, new.until_epochs, new.from_)
        created = studies.launch(new.name, new.spec.read(), order)
        _note(caller, "created" if created else f"asked for {new.trials} trials of", new.name)
        response.status_code = status.HTTP_201_CREATED if created else status.HTTP_200_OK
        return {"created": created, "study": new.name}

    @routes.get("/studies/{name}")
    def show(name: Name) -> Record:
        """How far a study is, and its spec."""
        return {"status": studies.status(name), "spec": studies.spec(name)}

    @routes.delete("/studies/{name}")
    def delete(name: Name, caller: Caller) -> Record:
        """Delete a study and all that was found; its workers leave it."""
        studies.delete(name)
        _note(caller, "deleted", name)
        return {"deleted": name}

    @routes.post("/studies/{name}/stop")
    def stop(name: Name, caller: Caller) -> Record:
        """Ask every worker of a study to finish what it runs and leave it; creating it again lets it go on."""
        studies.stop(name)
        _note(caller, "stopped", name)
        return {"stopping": name}

    @routes.get("/studies/{name}/best")
    def best(name: Name, asked: Annotated[Asked, Query()]) -> Record:
        """The best configurations, or of each value of a parameter, and how the trials ended that it was asked of."""
        return studies.best(name, asked.wanted(), asked.per, asked.top)

    @routes.get("/studies/{name}/trials")
    def trials(name: Name, after: After = -1, limit: Limit = PAGE) -> Record:
        """A study's trials in order, finished or not, page by page."""
        return _page("trials", studies.trials(name, limit, after), "trial", limit)

    @routes.get("/studies/{name}/conclusion")
    def conclusion(name: Name) -> Record:
        """What a launch ends with: the confirmed configurations, the question's model, and how the search went."""
        return studies.conclusion(name)

    return routes
