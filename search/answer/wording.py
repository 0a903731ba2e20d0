"""Answers in words, the same in the shell and in the report."""

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

from objectives.configuration import Configuration
from search.ask.scoring import LEVEL
from search.query.records import BestRecord, ClassCount, Conclusion, Status, Tally, TrialRecord


def epochs(n: int | None) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{n or 0} epoch{'' if n == 1 else 's'}"


def seeds(n: int) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{n} seed{'' if n == 1 else 's'}"


def configuration(params: Mapping[str, Any]) -> str:
    """A configuration in one line."""
    return Configuration.of(params).in_words()


def numbers(values: Sequence[int]) -> str:
    """`1 1 3`."""
    return " ".join(map(str, values))


def short(value: object) -> str:
    """A cell of a table."""
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def caps(ended: Tally | Status) -> str:
    """What the missed trials were given, in epochs."""
    least, most = ended.least_cap, ended.most_cap
    return f"{least} to {most}" if least != most else short(least)


def ends(ended: Tally | Status) -> str:
    """How many trials converged and missed, and what the misses were given."""
    given = f" (given {caps(ended)} epochs)" if ended.missed else ""
    return f"{ended.converged} converged, {ended.missed} missed{given}"


def progress(status: Status) -> str:
    """How many trials are done, and how they ended."""
    failed = f", {status.failed} failed" if status.failed else ""
    return f"{status.done} of {status.budget} trials done: {ends(status)}{failed}"


def winner(first: BestRecord, conclusion: Conclusion) -> list[str]:
    """A winner, its configuration, and whether more trials are likely to improve on it: a line each."""
    ties = sum(row.rank == first.rank for row in conclusion.confirmed) - 1
    fresh = f"{epochs(median_low(first.replicate_epochs))} on fresh seeds ({numbers(first.replicate_epochs)}"
    fresh += f"; {first.replicates_converged}/{first.replicates} converged)"
    tie = f"; {ties} other configuration{'s are' if ties > 1 else ' is'} as good" if ties else ""
    line = f"Winner for {first.classes} classes: {fresh}, {epochs(first.epochs)} in trial {first.trial}{tie}"
    hopes = [outlook(count) for count in conclusion.by_classes if count.classes == first.classes]
    return [line, configuration(first.params), *hopes]


def no_winner(status: Status) -> str:
    """Why nothing is confirmed, and what may help."""
    why = "no candidate held on fresh seeds" if status.converged else "nothing converged"
    return f"No winner: {why}. More trials may find one: --trials {2 * status.budget}"


def question(record: TrialRecord) -> list[str]:
    """What became of the question's model, and its configuration: a line each."""
    measured = f"accuracy {record.accuracy or 0:.3f}, loss {record.loss or float('nan'):.2f}"
    ended = f"{'' if record.converged else 'not learned in '}{epochs(record.epochs)}"
    on = " on these data" if "batch_size" in record.params else ""
    return [f"The question's model{on}: {ended} ({measured})", configuration(record.params)]


def outlook(count: ClassCount) -> str:
    """Whether more trials are likely to improve on the best at a class count, and why.

    Unlikely: the best was found in the first half, and LEVEL others are as good, which bounds how likely better ones
    are.
    """
    fewest, since = count.epochs or 0, count.since or 0
    if fewest <= 1:
        return f"{epochs(fewest)} is the least there is: more trials cannot improve on it"
    facts = f"found {since} trials before the last of {count.trials}, and equalled by {count.equalled or 'no'} other"
    facts += "s" if count.equalled > 1 else ""
    unlikely = count.equalled >= LEVEL and since >= count.trials / 2
    return f"{facts}: more trials {'are unlikely to' if unlikely else 'may'} improve on it"
