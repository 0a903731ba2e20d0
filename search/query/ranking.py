"""The best configurations: converged trials, ranked by what their replicates show and then by what they cost.

At the study's own target every question is one query by an index, plus one for the few trials that were re-run. At
another target or hold all curves are read and judged anew (`rescore`); what is found is ranked in the same way.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, case, func, select

from objectives.configuration import Configuration
from objectives.parameters import Params
from search.ask.scoring import Evidence, score
from search.query.best_query import EVERYTHING, BestQuery, By, for_classes, parameter, read_parameter, weight_count
from search.query.records import BestRecord, RunRecord, Tally, TrialRecord, ValueRecord
from search.query.rescore import OPEN, judged
from search.query.runs import OVER, converged_trials, of_kind, recorded, trial_record
from search.spec.space import carried
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import StudySpec
from storage.schema import RunKind, RunState, runs


def best(connection: Connection, study: StoredStudy, query: BestQuery = EVERYTHING, top: int = 10) -> list[BestRecord]:
    """The `top` best of the converged trials; those that are equally good share a `rank`.

    First those confirmed by replicates, by their mean score; then those not re-run, by epochs; last those refuted.
    Asked by another cost than epochs, that orders each of the three. UsageError for a parameter that the study lacks.
    """
    query.check(study)
    return _ranked(_candidates(connection, study, query, top), query.by)[:top]


def confirmed(connection: Connection, study: StoredStudy) -> list[BestRecord]:
    """Every configuration that enough replicates confirmed, of every class count, best first."""
    rerun = _candidates_of(*_rerun(connection, study), study.spec)
    return [row for row in _ranked(rerun, By.EPOCHS) if row.confirmed]


def best_per(connection: Connection, study: StoredStudy, name: str, query: BestQuery = EVERYTHING) -> list[ValueRecord]:
    """For each value of a parameter how its trials ended, and the best of them; the values with the best ones first."""
    query.check(study, name)
    leading: dict[Any, Candidate] = {}
    for candidate in sorted(_candidates(connection, study, query, 1, per=name), key=_order(query.by)):
        leading.setdefault(candidate[1].params.get(name), candidate)
    firsts = {row.params.get(name): row for row in _ranked(leading.values(), query.by)}
    place = {value: number for number, value in enumerate(firsts)}
    tallies = _tallies(connection, study, query, name)
    values = [ValueRecord(name, value, ended, firsts.get(value)) for value, ended in tallies.items()]
    if name == "classes":
        return sorted(values, key=lambda row: int(row.value))
    return sorted(values, key=lambda row: (place.get(row.value, len(place)), -row.ended.trials))


def tally(connection: Connection, study: StoredStudy, query: BestQuery) -> Tally:
    """How the trials that are asked for ended."""
    query.check(study)
    return _tallies(connection, study, query, None)[None]


def start(connection: Connection, source: StoredStudy, spec: StudySpec, top: int = 3) -> list[Params]:
    """What a study of that spec begins with if it is to learn from another one: its best, carried to each class count.

    Empty if nothing has converged there.
    """
    counts = source.spec.class_counts
    known = {count: rows for count in counts if (rows := best(connection, source, for_classes(count), top))}
    return [
        carried(spec.space, row.params, classes)
        for classes in (spec.class_counts if known else ())
        for row in known[nearest(known, classes)]
    ]


def nearest(counts: Iterable[int], classes: int) -> int:
    """The class count that is nearest by its ratio."""
    return min(counts, key=lambda count: abs(math.log(count / classes)))


#: What is known of a converged trial, and the answer about it, whose rank comes last.
Candidate = tuple[Evidence, BestRecord]
#: By trial, those of its replicates that have an outcome.
Replicates = Mapping[int, Sequence[TrialRecord]]


def _candidate(first: TrialRecord, again: Sequence[TrialRecord], spec: StudySpec) -> Candidate:
    """A replicate that failed is no evidence of converging either: its gap is the largest."""
    gaps = (1.0 if each.gap is None else each.gap for each in again)
    told = zip(again, gaps, strict=True)
    scores = [score(bool(each.converged), each.spent, gap, spec.max_epochs) for each, gap in told]
    epochs = sorted(each.spent for each in again if each.converged)
    evidence = Evidence(first.trial or 0, first.spent, scores, len(epochs))
    return evidence, BestRecord(
        rank=0,
        trial=evidence.trial,
        classes=first.classes,
        epochs=evidence.epochs,
        replicates=len(again),
        replicates_converged=len(epochs),
        replicate_epochs=epochs,
        confirmed=evidence.confirmed,
        accuracy=first.accuracy,
        loss=first.loss,
        seconds=first.seconds,
        weights=Configuration.of(first.params).weights(spec.inputs),
        params=first.params,
    )


def _candidates(
    connection: Connection, study: StoredStudy, query: BestQuery, top: int, per: str | None = None
) -> list[Candidate]:
    """Of the trials asked for that converged all that were re-run, and the `top` others, or so many of each value."""
    spec = study.spec
    if query.rescores:
        firsts, again = _judged(connection, study, query)
        return _candidates_of([record for record in firsts if record.converged], again, spec)
    firsts, again = _rerun(connection, study)
    cost = weight_count(connection, spec) if query.by is By.WEIGHTS else runs.c[query.by]
    order = cost, runs.c.epochs, runs.c.trial
    which = and_(converged_trials(study), *query.conditions(connection, spec), runs.c.trial.not_in(list(again)))
    chosen = select(runs).where(which)
    if per:
        place = func.row_number().over(partition_by=parameter(connection, spec, per), order_by=order)
        least = select(runs.c.run_id, place.label("place")).where(which).subquery()
        chosen = select(runs).join(least, least.c.run_id == runs.c.run_id).where(least.c.place <= top)
    else:
        chosen = chosen.order_by(*order).limit(top)
    others = [_candidate(trial_record(row), [], spec) for row in connection.execute(chosen)]
    return _candidates_of([record for record in firsts if query.admits(record.params)], again, spec) + others


def _rerun(connection: Connection, study: StoredStudy) -> tuple[Sequence[TrialRecord], Replicates]:
    """The trials that were re-run on fresh seeds, few whatever the size of the study, and what came of it."""
    again: dict[int, list[TrialRecord]] = defaultdict(list)
    over = and_(of_kind(study, RunKind.REPLICATE), runs.c.state.in_(OVER))
    for row in connection.execute(select(runs).where(over)):
        again[row.trial].append(trial_record(row))
    firsts = connection.execute(select(runs).where(of_kind(study, RunKind.TRIAL), runs.c.trial.in_(again)))
    return [trial_record(row) for row in firsts], again


def _judged(connection: Connection, study: StoredStudy, query: BestQuery) -> tuple[Sequence[TrialRecord], Replicates]:
    """The trials asked for as another target and hold would have them, and their replicates that are not open."""
    target = study.spec.target if query.target is None else query.target
    hold = study.spec.hold if query.hold is None else query.hold
    over = of_kind(study, RunKind.TRIAL, RunKind.REPLICATE), runs.c.state.in_(OVER)
    firsts: list[RunRecord] = []
    again: dict[int, list[TrialRecord]] = defaultdict(list)
    for record in recorded(connection, study, *over):
        anew = judged(record, target, hold) if record.end else record  # one that failed has no curve
        if record.kind is RunKind.REPLICATE and anew.end != OPEN:
            again[record.trial or 0].append(anew)
        elif record.kind is RunKind.TRIAL and record.end and query.admits(record.params):
            firsts.append(anew)
    return firsts, again


def _candidates_of(firsts: Iterable[TrialRecord], again: Replicates, spec: StudySpec) -> list[Candidate]:
    return [_candidate(first, again.get(first.trial or 0, ()), spec) for first in firsts]


def _order(by: By) -> Callable[[Candidate], tuple[Any, ...]]:
    """The key by which candidates are sorted, best first."""
    return lambda found: (found[0].rank[0], *(() if by is By.EPOCHS else (getattr(found[1], by),)), *found[0].order)


def _ranked(candidates: Iterable[Candidate], by: By) -> list[BestRecord]:
    """Best first; those of one class count that no test tells from the best of their rank share it."""
    order = _order(by)
    ranked, firsts = [], dict[int, tuple[int, Candidate]]()  # rank and its first, by classes
    for place, candidate in enumerate(sorted(candidates, key=order), start=1):
        evidence, row = candidate
        rank, first = firsts.get(row.classes, (place, candidate))
        if not (evidence.ties(first[0]) if by is By.EPOCHS else order(candidate)[:2] == order(first)[:2]):
            rank, first = place, candidate
        firsts[row.classes] = rank, first
        ranked.append(replace(row, rank=rank))
    return ranked


def _tallies(connection: Connection, study: StoredStudy, query: BestQuery, per: str | None) -> dict[Any, Tally]:
    """How the trials asked for ended, by the values of a parameter if one is named; else of None."""
    spec = study.spec
    if query.rescores:
        groups: dict[Any, list[TrialRecord]] = defaultdict(list) if per else {None: []}
        for record in _judged(connection, study, query)[0]:
            groups[record.params.get(per) if per else None].append(record)
        return {value: _counted(records) for value, records in groups.items()}
    hit, missed = case((runs.c.converged, 1)), case((~runs.c.converged, runs.c.epochs))
    counts = func.count(), func.count(hit), func.count(missed), func.min(missed), func.max(missed)  # of a Tally
    done = and_(of_kind(study, RunKind.TRIAL), runs.c.state == RunState.DONE, *query.conditions(connection, spec))
    if per is None:
        return {None: Tally(*connection.execute(select(*counts).where(done)).one())}
    value = parameter(connection, spec, per)
    rows = connection.execute(select(value, *counts).where(done).group_by(value)).all()
    return {read_parameter(spec.space[per], row[0]): Tally(*row[1:]) for row in rows}


def _counted(records: Sequence[TrialRecord]) -> Tally:
    missed = [each.epochs or 0 for each in records if not each.converged and each.end != OPEN]
    converged = sum(bool(each.converged) for each in records)
    unknown = len(records) - converged - len(missed)
    caps = min(missed, default=None), max(missed, default=None)
    return Tally(len(records), converged, len(missed), *caps, open=unknown)
