"""The best configurations: converged trials, ranked by what their replicates show and then by what they cost.

At the study's own target every question is one query by an index, plus one for the few trials that were re-run. At
another target or hold all curves are read and judged anew (`rescore`); what is found is ranked in the same way.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from objectives.configuration import Configuration, unknown
from search.ask.scoring import Evidence, score
from search.errors import UsageError
from search.query.rescore import OPEN, judged
from search.query.runs import OVER, hits, plain, recorded, these_trials
from search.spec.space import Choices, Dimension, Range, carried
from search.spec.study_spec import StudySpec, parsed
from storage.schema import RunState, runs
from storage.studies import StudyRecord


class By(StrEnum):
    """What a configuration costs."""

    EPOCHS = "epochs"
    SECONDS = "seconds"  # of training, on the device that it had
    WEIGHTS = "weights"  # how many numbers its network learns


@dataclass(frozen=True)
class Wanted:
    """Which configurations are asked for, and what counts."""

    #: Where each of these parameters must lie.
    where: Mapping[str, Dimension] = field(default_factory=dict)
    #: What the least of is best.
    by: By = By.EPOCHS
    #: Accuracy that counts as learned, and evaluations in a row that must reach it; None for the study's own.
    target: float | None = None
    hold: int | None = None

    def __post_init__(self) -> None:
        if self.target is not None and not 0 < self.target <= 1:
            raise UsageError(f"`target` must be in (0, 1], got {self.target}")
        if self.hold is not None and self.hold < 1:
            raise UsageError(f"`hold` must be 1 or more, got {self.hold}")

    @property
    def anew(self) -> bool:
        """Whether the trials are judged anew."""
        return self.target is not None or self.hold is not None

    def admits(self, params: Mapping[str, Any]) -> bool:
        """Whether these parameters lie where they must."""
        return all(name in params and _lies(dimension, params[name]) for name, dimension in self.where.items())


EVERYTHING = Wanted()
#: What is answered of a configuration: its replicates after what its own trial came to.
ANSWER = (
    *("rank", "trial", "classes", "epochs", "replicates", "replicates_converged", "replicate_epochs", "confirmed"),
    *("accuracy", "loss", "seconds", "weights", "params"),
)


def among(classes: int | None) -> Wanted:
    """The configurations for one class count, or for any."""
    return Wanted({"classes": Choices(values=(classes,))}) if classes else EVERYTHING


def best(
    connection: Connection, study: StudyRecord, wanted: Wanted = EVERYTHING, top: int = 10
) -> list[dict[str, Any]]:
    """The `top` best of the converged trials; those that are equally good share a `rank`.

    First those confirmed by replicates, by their mean score; then those not re-run, by epochs; last those refuted.
    Asked by another cost than epochs, that orders each of the three. UsageError for a parameter that the study lacks.
    """
    return _ranked(_candidates(connection, study, wanted, top), wanted.by)[:top]


def confirmed(connection: Connection, study: StudyRecord) -> list[dict[str, Any]]:
    """Every configuration that enough replicates confirmed, of every class count, best first."""
    tried = _again(*_replicated(connection, study), _spec(study, EVERYTHING))
    return [row for row in _ranked(tried, By.EPOCHS) if row["confirmed"]]


def best_per(
    connection: Connection, study: StudyRecord, name: str, wanted: Wanted = EVERYTHING
) -> list[dict[str, Any]]:
    """For each value of a parameter how its trials ended, and the best of them; the values with the best ones first.

    Each record has the value under the parameter's name, `trials` (with an outcome), `converged`, `missed`, `open`,
    `least_cap` and `most_cap` (what the missed ones were given), and what `best` answers, None where none converged.
    """
    spec = _spec(study, wanted, name)
    leading: dict[Any, Candidate] = {}
    for candidate in sorted(_candidates(connection, study, wanted, 1, per=name), key=_order(wanted.by)):
        leading.setdefault(candidate[1]["params"].get(name), candidate)
    firsts = {row["params"].get(name): row for row in _ranked(leading.values(), wanted.by)}
    blank = dict.fromkeys(ANSWER)
    counts = _tally(connection, study, wanted, spec, name)
    order = {value: place for place, value in enumerate(firsts)}
    counts.sort(key=lambda count: (order.get(count[name], len(order)), -count["trials"]))
    if name == "classes":
        counts.sort(key=lambda count: count[name])
    return [count | (blank | firsts.get(count[name], {}) | {name: count[name]}) for count in counts]


def tally(connection: Connection, study: StudyRecord, wanted: Wanted) -> dict[str, Any]:
    """How the wanted trials ended, as `best_per` counts them."""
    (found,) = _tally(connection, study, wanted, _spec(study, wanted), None)
    return found


def start(connection: Connection, source: StudyRecord, spec: StudySpec, top: int = 3) -> list[dict[str, Any]]:
    """What a study of that spec begins with if it is to learn from another one: its best, carried to each class count.

    Empty if nothing has converged there.
    """
    counts = parsed(source.spec).class_counts
    known = {count: found for count in counts if (found := best(connection, source, among(count), top))}
    return [
        carried(spec.space, row["params"], classes)
        for classes in (spec.class_counts if known else ())
        for row in known[nearest(known, classes)]
    ]


def nearest(counts: Iterable[int], classes: int) -> int:
    """The class count that is nearest by its ratio."""
    return min(counts, key=lambda count: abs(math.log(count / classes)))


def _spec(study: StudyRecord, wanted: Wanted, *names: str) -> StudySpec:
    """The study's spec; UsageError for a parameter or a choice that it lacks."""
    spec = parsed(study.spec)
    for name in (*wanted.where, *names):
        if name not in spec.space:
            raise UsageError(f"study {study.name!r}: {unknown('parameter', name, spec.space)}")
    if wanted.by is By.WEIGHTS and spec.objective:
        raise UsageError(f"study {study.name!r} is of {spec.objective}, whose weights nobody has counted")
    for name, asked in wanted.where.items():
        wrong = _mismatch(name, asked, spec.space[name])
        if wrong:
            raise UsageError(f"study {study.name!r}: {wrong}")
    return spec


def _mismatch(name: str, asked: Dimension, there: Dimension) -> str | None:
    """Why a parameter cannot lie where it is asked to, if so."""
    if isinstance(asked, Range):
        if isinstance(there, Choices) and any(isinstance(value, bool | str) for value in there.values):
            return f"`{name}` is one of {', '.join(map(str, there.values))}"
        return None if asked.low <= asked.high else f"the range of `{name}` is empty: {asked.low:g} to {asked.high:g}"
    for value in asked.values:
        if isinstance(there, Choices) and value not in there.values:
            return unknown(f"`{name}`", value, map(str, there.values))
        if isinstance(there, Range) and isinstance(value, bool | str):
            return f"`{name}` is a number, got {value!r}"
    return None


Candidate = tuple[Evidence, dict[str, Any]]
Again = list[dict[str, Any]]  # replicates of one trial, those that have an outcome


def _candidates(
    connection: Connection, study: StudyRecord, wanted: Wanted, top: int, per: str | None = None
) -> list[Candidate]:
    """Of the wanted trials that converged all that were re-run, and the `top` others, or so many of each value."""
    spec = _spec(study, wanted, *([per] if per else []))
    if wanted.anew:
        found, again = _judged(connection, study, wanted, spec)
        hit = [record for record in found if record["converged"]]
        return [_candidate(record, again[record["trial"]], spec) for record in hit]
    firsts, again = _replicated(connection, study)
    cost = _weights(connection, spec) if wanted.by is By.WEIGHTS else runs.c[wanted.by]
    order = cost, runs.c.epochs, runs.c.trial
    which = and_(hits(study), *_where(connection, wanted, spec), runs.c.trial.not_in(list(again)))
    chosen = select(runs).where(which)
    if per:
        place = func.row_number().over(partition_by=_value(connection, spec, per), order_by=order)
        least = select(runs.c.run_id, place.label("place")).where(which).subquery()
        chosen = select(runs).join(least, least.c.run_id == runs.c.run_id).where(least.c.place <= top)
    else:
        chosen = chosen.order_by(*order).limit(top)
    others = [_candidate(plain(row), [], spec) for row in connection.execute(chosen)]
    wanted_too = [record for record in firsts if wanted.admits(record["params"])]
    return _again(wanted_too, again, spec) + others


def _replicated(connection: Connection, study: StudyRecord) -> tuple[list[dict[str, Any]], dict[int, Again]]:
    """The trials that were re-run on fresh seeds, few whatever the size of the study, and by trial what came of it."""
    mine = and_(runs.c.study_id == study.study_id, runs.c.trial.is_not(None))
    again: dict[int, Again] = defaultdict(list)
    for row in connection.execute(select(runs).where(mine, runs.c.replicate > 0, runs.c.state.in_(OVER))):
        again[row.trial].append(plain(row))
    firsts = connection.execute(select(runs).where(mine, runs.c.replicate == 0, runs.c.trial.in_(again)))
    return [plain(row) for row in firsts], dict(again)


def _judged(
    connection: Connection, study: StudyRecord, wanted: Wanted, spec: StudySpec
) -> tuple[list[dict[str, Any]], dict[int, Again]]:
    """The wanted trials as another target and hold would have them, and by trial their replicates that are not open."""
    target = spec.target if wanted.target is None else wanted.target
    hold = spec.hold if wanted.hold is None else wanted.hold
    over = recorded(connection, study, runs.c.trial.is_not(None), runs.c.state.in_(OVER))
    found: list[dict[str, Any]] = []
    again: dict[int, Again] = defaultdict(list)
    for record in over:
        anew = judged(record, target, hold) if record["end"] else record  # one that failed has no curve
        if record["replicate"] and anew["end"] != OPEN:
            again[record["trial"]].append(anew)
        elif not record["replicate"] and record["end"]:
            found.append(anew)
    return [record for record in found if wanted.admits(record["params"])], again


def _again(firsts: Iterable[Mapping[str, Any]], again: Mapping[int, Again], spec: StudySpec) -> list[Candidate]:
    return [_candidate(first, again[first["trial"]], spec) for first in firsts]


def _candidate(first: Mapping[str, Any], again: Again, spec: StudySpec) -> Candidate:
    epochs = sorted(record["epochs"] for record in again if record["converged"])
    scores = [score(each["converged"], each["epochs"] or 0, _gap(each), spec.max_epochs) for each in again]
    evidence = Evidence(first["trial"], first["epochs"], scores, len(epochs))
    own = {
        "replicates": len(again),
        "replicates_converged": len(epochs),
        "replicate_epochs": epochs,
        "confirmed": evidence.confirmed,
        "weights": Configuration.of(first["params"]).weights(spec.inputs),
    }
    return evidence, {name: own[name] if name in own else first[name] for name in ANSWER[1:]}


def _gap(record: Mapping[str, Any]) -> float:
    """A replicate that failed is no evidence of converging either."""
    return 1.0 if record["gap"] is None else float(record["gap"])


def _order(by: By) -> Callable[[Candidate], tuple[Any, ...]]:
    """The key by which candidates are sorted, best first."""
    return lambda found: (found[0].rank[0], *(() if by is By.EPOCHS else (found[1][by],)), *found[0].order)


def _ranked(found: Iterable[Candidate], by: By) -> list[dict[str, Any]]:
    """Best first; those of one class count that no test tells from the best of their rank share it."""
    order = _order(by)
    ranked, firsts = [], dict[int, tuple[int, Candidate]]()  # rank and its first, by classes
    for place, candidate in enumerate(sorted(found, key=order), start=1):
        evidence, row = candidate
        rank, first = firsts.get(row["classes"], (place, candidate))
        if not (evidence.ties(first[0]) if by is By.EPOCHS else order(candidate)[:2] == order(first)[:2]):
            rank, first = place, candidate
        firsts[row["classes"]] = rank, first
        ranked.append({"rank": rank, **row})
    return ranked


def _tally(
    connection: Connection, study: StudyRecord, wanted: Wanted, spec: StudySpec, per: str | None
) -> list[dict[str, Any]]:
    """How the wanted trials ended, by the values of a parameter if one is named; at least one record without."""
    if wanted.anew:
        found, _ = _judged(connection, study, wanted, spec)
        groups: dict[Any, list[dict[str, Any]]] = defaultdict(list) if per else {None: []}
        for record in found:
            groups[record["params"].get(per)].append(record)
        return [({per: value} if per else {}) | _counts(records) for value, records in groups.items()]
    missed = case((~runs.c.converged, runs.c.epochs))
    counts = (
        func.count().label("trials"),
        func.count(case((runs.c.converged, 1))).label("converged"),
        func.count(missed).label("missed"),
        func.min(missed).label("least_cap"),
        func.max(missed).label("most_cap"),
    )
    done = and_(these_trials(study), runs.c.state == RunState.DONE, *_where(connection, wanted, spec))
    if per is None:
        row = connection.execute(select(*counts).where(done)).one()
        return [{**row._mapping, "open": 0}]
    value = _value(connection, spec, per).label("value")
    rows = connection.execute(select(value, *counts).where(done).group_by(value)).all()
    return [
        {per: _read(spec.space[per], row.value)}
        | {name: count for name, count in row._mapping.items() if name != "value"}
        | {"open": 0}
        for row in rows
    ]


def _counts(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    missed = [each["epochs"] for each in records if not each["converged"] and each["end"] != OPEN]
    converged = sum(each["converged"] for each in records)
    return {
        "trials": len(records),
        "converged": converged,
        "missed": len(missed),
        "least_cap": min(missed, default=None),
        "most_cap": max(missed, default=None),
        "open": len(records) - converged - len(missed),
    }


def _lies(dimension: Dimension, value: Any) -> bool:
    return value in dimension.values if isinstance(dimension, Choices) else dimension.low <= value <= dimension.high


def _where(connection: Connection, wanted: Wanted, spec: StudySpec) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for name, asked in wanted.where.items():
        value, there = _value(connection, spec, name), spec.space[name]
        if isinstance(asked, Range):
            found.append(sa.cast(value, sa.Double).between(asked.low, asked.high))
        elif isinstance(there, Range) or name == "classes":
            found.append(value.in_(asked.values))
        else:
            found.append(value.in_([json.dumps(each) for each in there.values if each in asked.values]))
    return found


def _value(connection: Connection, spec: StudySpec, name: str) -> ColumnElement[Any]:
    """A parameter in a row of `fewest_runs`: a number, or of choices its JSON text; null where it is absent."""
    if name == "classes":
        return runs.c.classes
    if connection.dialect.name == "postgresql":
        text: ColumnElement[Any] = sa.cast(sa.cast(runs.c.params, sa.JSON).op("->")(name), sa.Text)
    else:
        text = runs.c.params.op("->")(f'$."{name}"')
    return sa.cast(text, sa.Double) if isinstance(spec.space[name], Range) else text


def _read(dimension: Dimension, found: Any) -> Any:
    """What `_value` has found, as in the parameters."""
    if isinstance(found, str):
        return json.loads(found)
    whole = isinstance(dimension, Range) and dimension.whole
    return int(found) if whole and found is not None else found


def _weights(connection: Connection, spec: StudySpec) -> ColumnElement[Any]:
    """`Configuration.weights` in SQL."""
    width, width_2 = (sa.cast(_value(connection, spec, name), sa.Double) for name in ("width", "width_2"))
    last = func.coalesce(width_2, width)
    return (spec.inputs + 1) * width + func.coalesce((width + 1) * width_2, 0) + (last + 1) * runs.c.classes
