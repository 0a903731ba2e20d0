"""All that a report says of a study, gathered in one read of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from search.answer.ladder.ladder import climbed
from search.cli import output
from search.query import ranking
from search.query import runs as query
from search.spec.space import preset
from search.spec.study_spec import StudySpec, parsed
from storage.schema import RunState, runs
from storage.studies import StudyRecord

Runs = Sequence[dict[str, Any]]
#: What the page's two models are called, and their presets.
PAGE = {"question's model": "question", "answer's model": "answer"}


@dataclass(frozen=True)
class Findings:
    """A study's facts, as the queries of those names give them."""

    name: str
    spec: StudySpec
    status: dict[str, Any]
    #: Trials with an outcome.
    ended: Runs
    confirmed: Runs
    question: dict[str, Any] | None
    by_classes: Runs
    #: Class count that learning curves are shown for.
    classes: int
    #: The runs of each model at that count, by what it is called.
    models: dict[str, Runs]
    #: Rungs of the ladder.
    ladder: Runs


def gathered(connection: Connection, study: StudyRecord) -> Findings:
    """The body of one read transaction: everything as of one moment."""
    spec = parsed(study.spec)
    ended = [row for row in query.trials(connection, study) if row["state"] == RunState.DONE]
    confirmed, state = ranking.confirmed(connection, study), query.status(connection, study)
    firsts = {first["classes"]: first for first in output.winners(confirmed)}
    references = [run for run in query.recorded(connection, study, runs.c.trial.is_(None)) if run["curve"]]
    models = {
        classes: _led(connection, study, firsts.get(classes), state["incumbent"], classes)
        | _of_the_page(connection, study, spec, classes, references, ended)
        for classes in spec.class_counts
    }
    classes = max(models, key=lambda classes: (len(models[classes]), classes))
    return Findings(
        name=study.name,
        spec=spec,
        status=state,
        ended=ended,
        confirmed=confirmed,
        question=query.reference(connection, study),
        by_classes=query.by_classes(connection, study),
        classes=classes,
        models=models[classes],
        ladder=climbed(connection, study),
    )


def _led(
    connection: Connection,
    study: StudyRecord,
    first: dict[str, Any] | None,
    incumbent: dict[str, Any] | None,
    classes: int,
) -> dict[str, Runs]:
    """The runs of a class count's winner on fresh seeds; else the best trial, if it is of this count."""
    if first:
        again = query.recorded(connection, study, runs.c.trial == first["trial"], runs.c.replicate > 0)
        return {"winner": [run for run in again if run["curve"]]}
    if incumbent and incumbent["classes"] == classes:
        return {"best trial, not confirmed": [query.trial(connection, study, incumbent["trial"])]}
    return {}


def _of_the_page(
    connection: Connection, study: StudyRecord, spec: StudySpec, classes: int, references: Runs, ended: Runs
) -> dict[str, Runs]:
    """The longest runs of the page's two models: those made to show them, else trials that happen to be them."""
    found: dict[str, Runs] = {}
    for label, name in PAGE.items():
        params = preset(name, classes, spec.training).params
        same = [run for run in references if run["params"] == params]
        if not same:
            tried = [row["trial"] for row in ended if row["params"] == params]
            same = [query.trial(connection, study, number) for number in tried]
        if same:
            longest = max(run["cap"] for run in same)
            found[label] = [run for run in same if run["cap"] == longest]
    return found
