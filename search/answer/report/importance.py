"""What decides whether a trial converges, and apart from that, what decides how fast.

Both are one number per parameter, the share of variance that knowing this parameter alone explains: of hit (1) or miss
(0) over all trials, and of the rank of epochs among the hits. Trials are grouped by the parameter's value, numbers by
GROUPS equally filled ranges; with n trials in k groups and η² the variance between groups over the whole variance,

    ε² = 1 − (1 − η²) · (n − 1) / (n − k)        (Kelley 1935; on ranks, what Kruskal & Wallis 1952 test)

which is 0 on average where the parameter decides nothing, and 1 where it decides all. Negative ones are shown as 0.

What it does not see: parameters that matter only together; and a sampler looks where it has found something, so that
parameters chosen together share what one of them does, and what is settled early hardly varies any more. A miss counts
as a miss whatever it was given. Of trials in which a conditional parameter is absent its number says nothing.

Optuna's PED-ANOVA compares the best trials with the rest by a single value: one answer where there are two questions.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any, TypeVar

from search.query.records import TrialRecord

T = TypeVar("T")
GROUPS = 6  # of a number's values
LEAST = 10  # trials for an answer


def whether(rows: Sequence[TrialRecord], name: str) -> float | None:
    """The share of hit or miss that a parameter explains; None with too few trials, or all of one kind."""
    return _explained(rows, name, [float(bool(row.converged)) for row in rows])


def how_fast(rows: Sequence[TrialRecord], name: str) -> float | None:
    """The share of the rank of epochs among the hits that a parameter explains; None with too few, or all equal."""
    hits = [row for row in rows if row.converged]
    return _explained(hits, name, midranks([row.spent for row in hits]))


def midranks(values: Sequence[float]) -> list[float]:
    """The rank of each, equal ones sharing the mean of theirs."""
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 for value in values]


def groups(members: Sequence[T], values: Sequence[Any], most: int = GROUPS) -> dict[Any, list[T]]:
    """The members by their values, if those are few or words; else by ranges of them that have equally many members."""
    ordered = sorted(values) if len(set(values)) > most and not any(isinstance(value, str) for value in values) else []
    grouped: dict[Any, list[T]] = defaultdict(list)
    for member, value in zip(members, values, strict=True):
        grouped[bisect_left(ordered, value) * most // len(ordered) if ordered else value].append(member)
    return grouped


def _explained(rows: Sequence[TrialRecord], name: str, worth: Sequence[float]) -> float | None:
    """ε² of `worth` between the groups of a parameter."""
    present = [(value, row.params[name]) for row, value in zip(rows, worth, strict=True) if name in row.params]
    if len(present) < LEAST:
        return None
    values = [value for value, _ in present]
    members = groups(values, [given for _, given in present]).values()
    n, k, middle = len(values), len(members), fmean(values)
    whole = sum((value - middle) ** 2 for value in values)
    within = sum((value - centre) ** 2 for group in members for centre in (fmean(group),) for value in group)
    if not whole or k == 1 or n == k:
        return None
    return max(0.0, 1 - within / whole * (n - 1) / (n - k))
