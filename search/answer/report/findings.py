"""All that a report says of a study, gathered in one read of the store."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from search.answer.ladder.ladder import rung_records
from search.answer.ladder.verdicts import RungRecord
from search.query import ranking
from search.query import runs as query
from search.query.records import Conclusion, RunRecord, TrialRecord
from search.spec.space import preset
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec
from storage.schema import RunKind, RunState, runs

#: Runs by what their model is called.
Models = dict[str, Sequence[RunRecord]]
#: What the page's two models are called, and their presets.
PAGE = {"question's model": "question", "answer's model": "answer"}


@dataclass(frozen=True)
class Findings:
    """A study's facts, as of one moment."""

    name: str
    spec: StudySpec
    conclusion: Conclusion
    #: Trials with an outcome.
    ended: Sequence[TrialRecord]
    #: Class count that learning curves are shown for.
    classes: int
    #: The runs of each model at that count, by what it is called.
    models: Models
    ladder: Sequence[RungRecord]


def gather(connection: Connection, study: StoredStudy) -> Findings:
    """The body of one read transaction: everything as of one moment."""
    conclusion = ranking.conclusion(connection, study)
    ended = [row for row in query.trials(connection, study) if row.state == RunState.DONE]
    of_models = runs.c.kind.in_((RunKind.REFERENCE, RunKind.LADDER))
    references = [run for run in query.recorded(connection, study, of_models) if run.curve]
    models: dict[int, Models] = {}
    for classes in study.spec.class_counts:
        best = _best(connection, study, classes, conclusion)
        models[classes] = best | _of_the_page(connection, study, classes, references, ended)
    classes = max(models, key=lambda classes: (len(models[classes]), classes))
    ladder = rung_records(connection, study)
    return Findings(study.name, study.spec, conclusion, ended, classes, models[classes], ladder)


def _best(connection: Connection, study: StoredStudy, classes: int, conclusion: Conclusion) -> Models:
    """The runs of a class count's winner on fresh seeds; else the best trial, if it is of this count."""
    winner = next((first for first in conclusion.winners if first.classes == classes), None)
    incumbent = conclusion.status.incumbent
    if winner:
        again = query.recorded(connection, study, runs.c.kind == RunKind.REPLICATE, runs.c.trial == winner.trial)
        return {"winner": [run for run in again if run.curve]}
    if incumbent and incumbent.trial is not None and incumbent.classes == classes:
        return {"best trial, not confirmed": [query.trial(connection, study, incumbent.trial)]}
    return {}


def _of_the_page(
    connection: Connection,
    study: StoredStudy,
    classes: int,
    references: Sequence[RunRecord],
    ended: Sequence[TrialRecord],
) -> Models:
    """The longest runs of the page's two models: those made to show them, else trials that happen to be them."""
    models: Models = {}
    for label, name in PAGE.items():
        params = preset(name, classes, study.spec.training).params
        same = [run for run in references if run.params == params]
        if not same:
            same = [query.trial(connection, study, row.trial or 0) for row in ended if row.params == params]
        if same:
            longest = max(run.cap or 0 for run in same)
            models[label] = [run for run in same if run.cap == longest]
    return models
