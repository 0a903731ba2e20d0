"""The page's story as measurements: the question's model, each advice of the answer alone and then all together.

A *rung* is one configuration, run on n seeds as runs of the kind `ladder`: `label` says which rung, `replicate` which
seed, and no answer mixes two caps. Together, the advice begins with the optimizer that alone came farthest, so those
rungs exist only when all optimizers have their outcomes; every other rung is known from the start.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import mean
from typing import Any

from sqlalchemy import Connection

from objectives.configuration import Configuration
from search.answer.ladder.verdicts import Measured, RungRecord
from search.query import ranking
from search.query.best_query import for_classes
from search.query.records import RunRecord
from search.query.runs import OVER, recorded
from search.spec.space import carried, consistent, preset
from search.spec.stored_study import StoredStudy
from storage.ledger import NewRun
from storage.schema import RunKind, RunState, runs

#: The optimizers of Keras, in its order, at the learning rates that Keras 3 gives them.
OPTIMIZERS = {"sgd": 0.01, **dict.fromkeys(("rmsprop", "adagrad", "adadelta", "adam", "adamax", "nadam"), 0.001)}
_PRESENT = "rmsprop"  # the question's own
#: Runs by class count and cap, then by rung.
_Runs = Mapping[tuple[int, int], Mapping[str, Sequence[RunRecord]]]


@dataclass(frozen=True)
class Rung:
    """One configuration of the ladder."""

    name: str
    #: model, alone, together or winner.
    kind: str
    #: The change in words.
    about: str
    params: Mapping[str, Any]


def rungs(classes: int, optimizer: str | None = None, winner: Rung | None = None) -> list[Rung]:
    """The ladder of one class count; `optimizer` is what the advice together begins with, None if not known yet."""
    question = preset("question", classes).params
    advice = [
        _advice("normalised", "normalised inputs", scaling="fixed"),
        _advice("units", f"one hidden layer of {8 * classes} units", hidden_layers=1, width=8 * classes),
        _advice("gaussian", "gaussian activation", activation="gaussian"),
        _advice("sampled", "batches of random classes", batch_sampling="random"),
    ]
    alone = [_optimizer(name) for name in OPTIMIZERS if name != _PRESENT] + advice
    first = [_optimizer(optimizer)] if optimizer and optimizer != _PRESENT else []
    together = list(accumulate([*first, *advice], _added))[1:] if optimizer else []
    return [
        Rung("question", "model", "the question's model", question),
        *(replace(rung, params=consistent({**question, **rung.params})) for rung in (*alone, *together)),
        Rung("answer", "model", "the answer's model", preset("answer", classes).params),
        *([winner] if winner else []),
    ]


def _advice(name: str, about: str, **params: Any) -> Rung:
    """A rung with only what it changes of the question's parameters."""
    return Rung(name, "alone", about, params)


def _optimizer(name: str) -> Rung:
    return _advice(name, f"{name} in place of {_PRESENT}", optimizer=name, lr=OPTIMIZERS[name])


def _added(one: Rung, other: Rung) -> Rung:
    params = {**one.params, **other.params}
    return Rung(f"{one.name}+{other.name}", "together", f"{one.about}, {other.about}", params)


def due(connection: Connection, study: StoredStudy, counts: Sequence[int], seeds: int, cap: int) -> list[NewRun]:
    """The runs of a ladder that have no outcome yet, as far as they are known: none when it is complete."""
    from search.ask.study import new_run  # which loads Optuna

    spec, known, new = study.spec, _runs(connection, study), []
    for classes in counts:
        here = known.get((classes, cap), {})  # by rung
        compared = all(len(here.get(_rung_of(name), ())) >= seeds for name in OPTIMIZERS)
        optimizer = _farthest(_measured(here, cap, spec.target)) if compared else None
        for rung in rungs(classes, optimizer, _winner(connection, study, classes)):
            over = {run.replicate for run in here.get(rung.name, ())}
            for k in sorted({*range(1, seeds + 1)} - over):
                name = f"ladder:{classes}:{rung.name}@{cap}#{k}"
                new.append(new_run(spec, RunKind.LADDER, name, rung.params, cap, label=rung.name, replicate=k))
    return new


def rung_records(connection: Connection, study: StoredStudy, cap: int | None = None) -> list[RungRecord]:
    """Every rung that has an outcome, by class count in the ladder's order, with the verdict on it.

    Of ladders with several caps the given one, else the one with most outcomes.
    """
    known = _runs(connection, study)
    records = []
    for classes in sorted({classes for classes, _ in known}):
        outcomes = {each: sum(map(len, known[count, each].values())) for count, each in known if count == classes}
        chosen = cap or max(outcomes, key=lambda cap: (outcomes[cap], cap))
        measured = _measured(known.get((classes, chosen), {}), chosen, study.spec.target)
        ladder = rungs(classes, _farthest(measured), _winner(connection, study, classes))
        records += [_record(classes, rung, measured) for rung in ladder if rung.name in measured]
    return records


def _record(classes: int, rung: Rung, measured: Mapping[str, Measured]) -> RungRecord:
    own, question = measured[rung.name], measured.get("question")
    verdict = own.beside(question, rung.kind == "alone") if question and own is not question else own.alone
    facts = {name: getattr(own, name) for name in ("seeds", "converged", "epochs", "cap", "accuracy", "loss")}
    change: dict[str, Any] = {"kind": rung.kind, "about": rung.about, "params": rung.params}
    return RungRecord(classes=classes, rung=rung.name, **change, **facts, verdict=verdict)


def _runs(connection: Connection, study: StoredStudy) -> _Runs:
    """The ladder's runs that are over; of those that failed it is known only that they are."""
    known: dict[tuple[int, int], dict[str, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for run in recorded(connection, study, runs.c.kind == RunKind.LADDER, runs.c.state.in_(OVER)):
        known[run.classes, run.cap or 0][run.label or ""].append(run)
    return known


def _measured(here: Mapping[str, Sequence[RunRecord]], cap: int, target: float) -> dict[str, Measured]:
    done = {name: [run for run in known if run.state == RunState.DONE] for name, known in here.items()}
    return {name: Measured(known, cap, target) for name, known in done.items() if known}


def _rung_of(optimizer: str) -> str:
    return "question" if optimizer == _PRESENT else optimizer


def _farthest(measured: Mapping[str, Measured]) -> str | None:
    """The optimizer with which the question's model came farthest, of those measured."""
    known = [name for name in OPTIMIZERS if _rung_of(name) in measured]
    return min(known, key=lambda name: mean(measured[_rung_of(name)].scores), default=None)


def _winner(connection: Connection, study: StoredStudy, classes: int) -> Rung | None:
    """The study's best at this class count, or that of the nearest one, carried over; None if nothing converged."""
    space, counts = study.spec.space, study.spec.class_counts
    best = {count: rows[0] for count in counts if (rows := ranking.best(connection, study, for_classes(count), 1))}
    if not best:
        return None
    source = ranking.nearest(best, classes)
    row = best[source]
    params = row.params if source == classes else carried(space, row.params, classes) | {"classes": classes}
    about = f"trial {row.trial}{'' if source == classes else f' of {source} classes, carried over'}: "
    return Rung(f"winner-{row.trial}", "winner", about + Configuration.of(params).in_words(), params)
