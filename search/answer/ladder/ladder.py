"""The page's story as measurements: the question's model, each advice of the answer alone and then all together.

A *rung* is one configuration, run on n seeds as runs of the study that are no trials: `ladder:256:adam@1000#2` is the
second run of rung `adam` for 256 classes with a cap of 1,000 epochs. The cap is in the name, so that no answer mixes
two. Together, the advice begins with the optimizer that alone came farthest, so those rungs exist only when all
optimizers have their outcomes; every other rung is known from the start.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean
from typing import Any

from sqlalchemy import Connection

from objectives.configuration import Configuration
from search.answer.ladder.verdicts import Measured
from search.query import ranking
from search.query import runs as query
from search.query.ranking import among
from search.spec.space import carried, consistent, preset
from search.spec.study_spec import parsed
from storage.ledger import NewRun
from storage.schema import RunState, of_ladder, runs
from storage.studies import StudyRecord

#: The optimizers of Keras, in its order, at the learning rates that Keras 3 gives them.
OPTIMIZERS = {
    "sgd": 0.01,
    "rmsprop": 0.001,
    "adagrad": 0.001,
    "adadelta": 0.001,
    "adam": 0.001,
    "adamax": 0.001,
    "nadam": 0.001,
}
_PRESENT = "rmsprop"  # the question's own
#: Runs by class count and cap, then by rung.
_Runs = dict[tuple[int, int], dict[str, list[dict[str, Any]]]]


@dataclass(frozen=True)
class Rung:
    """One configuration of the ladder."""

    name: str
    #: model, alone, together or winner.
    kind: str
    #: The change in words.
    about: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class _Change:
    """Advice, as a change of the question's parameters."""

    name: str
    about: str
    params: Mapping[str, Any]

    def __add__(self, other: "_Change") -> "_Change":
        params = {**self.params, **other.params}
        return _Change(f"{self.name}+{other.name}", f"{self.about}, {other.about}", params)

    def of(self, question: Mapping[str, Any], kind: str) -> Rung:
        return Rung(self.name, kind, self.about, consistent({**question, **self.params}))


def rungs(classes: int, optimizer: str | None = None, winner: Rung | None = None) -> list[Rung]:
    """The ladder of one class count; `optimizer` is what the advice together begins with, None if not known yet."""
    question = preset("question", classes).params
    answer = Rung("answer", "model", "the answer's model", preset("answer", classes).params)
    advice = [
        _Change("normalised", "normalised inputs", {"scaling": "fixed"}),
        _Change("units", f"one hidden layer of {8 * classes} units", {"hidden_layers": 1, "width": 8 * classes}),
        _Change("gaussian", "gaussian activation", {"activation": "gaussian"}),
        _Change("sampled", "batches of random classes", {"batch_sampling": "random"}),
    ]
    alone = [_optimizer(name) for name in OPTIMIZERS if name != _PRESENT] + advice
    first = [] if optimizer == _PRESENT else [_optimizer(optimizer)] if optimizer else None
    together = [] if first is None else list(accumulate([*first, *advice]))[1:]
    return [
        Rung("question", "model", "the question's model", question),
        *(change.of(question, "alone") for change in alone),
        *(change.of(question, "together") for change in together),
        answer,
        *([winner] if winner else []),
    ]


def due(connection: Connection, study: StudyRecord, counts: Sequence[int], seeds: int, cap: int) -> list[NewRun]:
    """The runs of a ladder that have no outcome yet, as far as they are known: none when it is complete."""
    from search.ask.study import new_run  # which loads Optuna

    spec, known = parsed(study.spec), _runs(connection, study)
    found = []
    for classes in counts:
        here = known[classes, cap]
        compared = all(len(here[_rung_of(name)]) >= seeds for name in OPTIMIZERS)
        optimizer = _farthest(_measured(here, cap, spec.target)) if compared else None
        for rung in rungs(classes, optimizer, _winner(connection, study, classes)):
            there = {row["replicate"] for row in here[rung.name]}
            for k in sorted({*range(1, seeds + 1)} - there):
                found.append(new_run(spec, f"ladder:{classes}:{rung.name}@{cap}#{k}", None, k, rung.params, cap))
    return found


def climbed(connection: Connection, study: StudyRecord, cap: int | None = None) -> list[dict[str, Any]]:
    """Every rung that has an outcome, by class count in the ladder's order, with the verdict on it.

    Of ladders with several caps the given one, else the one with most outcomes.
    """
    spec, known = parsed(study.spec), _runs(connection, study)
    found = []
    for classes in sorted({classes for classes, _ in known}):
        outcomes = {each: sum(map(len, known[count, each].values())) for count, each in known if count == classes}
        chosen = cap or max(outcomes, key=lambda each: (outcomes[each], each))
        measured = _measured(known[classes, chosen], chosen, spec.target)
        ladder = rungs(classes, _farthest(measured), _winner(connection, study, classes))
        found += [_record(classes, rung, measured) for rung in ladder if rung.name in measured]
    return found


def _record(classes: int, rung: Rung, measured: Mapping[str, Measured]) -> dict[str, Any]:
    this, question = measured[rung.name], measured.get("question")
    compared = question is not None and rung.name != "question"
    return {
        "classes": classes,
        "rung": rung.name,
        "kind": rung.kind,
        "about": rung.about,
        "params": dict(rung.params),
        "seeds": this.seeds,
        "converged": this.converged,
        "epochs": this.epochs,
        "cap": this.cap,
        "accuracy": this.accuracy,
        "loss": this.loss,
        "verdict": this.beside(question, rung.kind == "alone") if question and compared else this.alone,
    }


def _runs(connection: Connection, study: StudyRecord) -> _Runs:
    """The ladder's runs that are over; of those that failed it is known only that they are."""
    over = runs.c.state.in_((RunState.DONE, RunState.FAILED))
    found: _Runs = defaultdict(lambda: defaultdict(list))
    for row in query.recorded(connection, study, of_ladder, over):
        _, classes, rung = row["name"].split(":")
        name, cap = rung.split("#")[0].split("@")
        found[int(classes), int(cap)][name].append(row)
    return found


def _measured(here: Mapping[str, Sequence[dict[str, Any]]], cap: int, target: float) -> dict[str, Measured]:
    done = {name: [row for row in rows if row["state"] == RunState.DONE] for name, rows in here.items()}
    return {name: Measured(rows, cap, target) for name, rows in done.items() if rows}


def _optimizer(name: str) -> _Change:
    return _Change(name, f"{name} in place of {_PRESENT}", {"optimizer": name, "lr": OPTIMIZERS[name]})


def _rung_of(optimizer: str) -> str:
    return "question" if optimizer == _PRESENT else optimizer


def _farthest(measured: Mapping[str, Measured]) -> str | None:
    """The optimizer with which the question's model came farthest, of those measured."""
    known = [name for name in OPTIMIZERS if _rung_of(name) in measured]
    return min(known, key=lambda name: mean(measured[_rung_of(name)].scores), default=None)


def _winner(connection: Connection, study: StudyRecord, classes: int) -> Rung | None:
    """The study's best at this class count, or that of the nearest one, carried over; None if nothing converged."""
    spec = parsed(study.spec)
    best = {
        count: found[0] for count in spec.class_counts if (found := ranking.best(connection, study, among(count), 1))
    }
    if not best:
        return None
    source = ranking.nearest(best, classes)
    row = best[source]
    params = row["params"] if source == classes else carried(spec.space, row["params"], classes) | {"classes": classes}
    about = f"trial {row['trial']}{'' if source == classes else f' of {source} classes, carried over'}: "
    return Rung(f"winner-{row['trial']}", "winner", about + Configuration.of(params).in_words(), params)
