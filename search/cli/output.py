"""Answers as people and programs read them, on stdout: tables, JSON and CSV; and what ends a launch."""

import csv
import json
import logging
import shutil
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import median_low
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from objectives.convergence import End
from search.answer import wording
from search.answer.ladder.verdicts import Claim, RungRecord
from search.answer.wording import epochs, numbers, short
from search.ask.scoring import front
from search.logs import console
from search.query.records import (
    BestAnswer,
    BestRecord,
    Conclusion,
    ReplayRecord,
    Status,
    TrialRecord,
    ValueRecord,
    plain,
)


class _Answers(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # the reader, such as `head`, has seen enough: no failure


# A narrow terminal breaks long lines better than a table squeezed into it, and a pipe has no width at all.
out = _Answers(width=max(200, shutil.get_terminal_size().columns))
err = console


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def records(answer: Sequence[Any], format: Format) -> None:
    """Records for programs: a JSON list, or CSV with nested values as JSON."""
    rows = [each.flat() if isinstance(each, ValueRecord) else plain(each) for each in answer]
    if format is Format.JSON:
        return _json(rows)
    writer = csv.writer(sys.stdout)
    writer.writerow(rows[0] if rows else ())
    for row in rows:
        writer.writerow([json.dumps(cell) if isinstance(cell, dict | list) else cell for cell in row.values()])


def record(answer: Any, format: Format) -> None:
    """One record: a JSON object, a CSV file of one row, or a table of names and values."""
    if format is Format.JSON:
        return _json(plain(answer))
    if format is Format.CSV:
        return records([answer], format)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, cell in plain(answer).items():
        if isinstance(cell, float):
            cell = f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
        if not isinstance(cell, dict):
            table.add_row(name.replace("_", " "), Text("" if cell is None else str(cell)))
    out.print(table)


def status(answer: Status, format: Format) -> None:
    """The answer of `fewest status`: for people with the incumbent in words."""
    if format is not Format.TABLE:
        return record(answer, format)
    first = answer.incumbent
    words = first and f"{epochs(first.epochs)}: {wording.configuration(first.params)}"
    record(plain(answer) | {"incumbent": words}, format)


def best_table(answer: BestAnswer, by: str = "epochs", per: str | None = None) -> None:
    """The answer of `fewest best`, by what it was asked for, and how the trials ended that it was asked of."""
    tried = (per, "trials", "converged", "missed", "given") if per else ("rank",)
    classes = () if per == "classes" else ("classes",)
    names = "trial", *classes, "epochs", *(() if by == "epochs" else (by,))
    if answer.best:
        rows = (_best_cells(row, names) for row in answer.best)
        _table((*tried, *names, "replicates", "their epochs", "configuration"), rows)
    line(f"Of {answer.ended.trials} trials {wording.ends(answer.ended)}")
    if not answer.best:
        line("None to show has converged; `fewest trials` shows how far each came, `fewest launch` goes on")
    if answer.ended.open:
        line(f"{answer.ended.open} are open: they stopped before that could be told")


def _best_cells(row: BestRecord | ValueRecord, names: Sequence[str]) -> list[object]:
    if isinstance(row, ValueRecord):
        ended = row.ended
        cells = [short(row.value), ended.trials, ended.converged, ended.missed, wording.caps(ended)]
        none = [""] * (len(names) + 2) + ["none converged"]
        return [*cells, *(_best_cells(row.best, names)[1:] if row.best else none)]
    again = f"{row.replicates_converged}/{row.replicates}" if row.replicates else "–"
    own = (short(getattr(row, name)) for name in names)
    return [row.rank, *own, again, numbers(row.replicate_epochs), wording.configuration(row.params)]


def trials_table(answer: Sequence[TrialRecord]) -> None:
    """The answer of `fewest trials`."""

    def cells(row: TrialRecord) -> Sequence[object]:
        why = row.reason if row.end == End.EXCEPTION else row.end
        missed = f"miss at {row.epochs} ({why})" if row.end else row.reason or ""
        ended = row.epochs if row.converged else missed
        measured = (short(None if value is None else float(value)) for value in (row.accuracy, row.loss, row.seconds))
        return row.trial, row.state, row.classes, ended, *measured, wording.configuration(row.params)

    columns = "trial", "state", "classes", "epochs", "accuracy", "loss", "seconds", "configuration"
    _table(columns, map(cells, answer))


def ladder_table(rungs: Sequence[RungRecord], claims: Sequence[Claim]) -> None:
    """The answer of `fewest ladder`: every rung, then the page's claims."""

    def cells(row: RungRecord) -> Sequence[object]:
        reached = median_low(row.epochs) if row.epochs else f"> {row.cap} (accuracy {row.accuracy:.3f})"
        return row.classes, row.rung, reached, f"{row.converged}/{row.seeds}", row.verdict, row.about

    _table(("classes", "rung", "epochs", "converged", "verdict", "configuration"), map(cells, rungs))
    for classes in dict.fromkeys(claim.classes for claim in claims):
        line(f"The page's claims, for {classes} classes", "bold")
        for claim in claims:
            if claim.classes == classes:
                line(f"  {claim.text} – {claim.verdict}")


def replayed(rows: Sequence[ReplayRecord], format: Format) -> None:
    """The answer of `fewest replay`, and how many came out as recorded: for people with it, for programs on stderr."""
    epochs_too, curves_too = sum(row.same_epochs for row in rows), sum(row.same_curve for row in rows)
    summary = f"{epochs_too} of {len(rows)} reproduce their epochs, {curves_too} their curves to the bit"
    if format is not Format.TABLE:
        records(rows, format)
        return notice(summary)

    def cells(row: "ReplayRecord") -> Sequence[object]:
        recorded, again = f"{row.recorded_epochs} ({row.recorded_end})", f"{row.epochs} ({row.end})"
        return row.trial, recorded, again, "yes" if row.same_curve else "no", f"{row.largest_difference:.2g}"

    _table(("trial", "recorded", "replayed", "same curve", "largest difference"), map(cells, rows))
    line(summary)


def answer(conclusion: Conclusion, format: Format) -> None:
    """How a launch ends, for programs; `winner` is that of a study of one class count."""
    firsts = conclusion.winners
    rest = {"by_classes": conclusion.by_classes, "question": conclusion.question, "status": conclusion.status}
    record({"winner": firsts[0] if len(firsts) == 1 else None, "winners": firsts, **rest}, format)


def conclusion(found: Conclusion, until_epochs: int | None = None) -> None:
    """How a launch ends: the winner of each class count beside the question's model, and how many trials missed."""
    state, counts = found.status, found.by_classes
    medians = [median_low(winner.replicate_epochs) for winner in found.winners]
    if until_epochs is not None and len(medians) == len(counts) > 0 and max(medians) <= until_epochs:
        reached = f"At most {epochs(until_epochs)} confirmed after {state.finished} trials"
        line(f"{reached}; without --until-epochs the search goes on")
    elif state.finished < state.budget:
        line(f"The time was up after {state.finished} of {state.budget} trials; the same command goes on")
    elif not found.confirmed:
        line(wording.no_winner(state), style="bold")
    if len(counts) > 1:
        _front(found)
    else:
        for first in found.winners:
            _with_details(wording.winner(first, found))
    if found.question:
        _with_details(wording.question(found.question))
    line(wording.progress(state))


def _with_details(lines: Sequence[str]) -> None:
    line(lines[0], "bold")
    for detail in lines[1:]:
        line(f"  {detail}")


def _front(found: Conclusion) -> None:
    """Every class count with its winner; then the front: the counts that no higher one does in as few epochs."""
    firsts = {first.classes: first for first in found.winners}
    fewest = {classes: median_low(first.replicate_epochs) for classes, first in firsts.items()}
    rows = []
    for count in found.by_classes:
        needed: Sequence[object] = "none confirmed", "", ""
        first = firsts.get(count.classes)
        if first:
            again = f"{first.replicates_converged}/{first.replicates}"
            needed = fewest[count.classes], numbers(first.replicate_epochs), again
        missed, words = count.trials - count.converged, wording.configuration(first.params) if first else ""
        rows.append((count.classes, *needed, count.trials, missed, words))
    _table(("classes", "epochs", "on fresh seeds", "converged", "trials", "missed", "configuration"), rows)
    best = (f"{classes} classes in {epochs(fewest[classes])}" for classes in front(fewest))
    line(f"Front: {' · '.join(best) or 'nothing confirmed yet'}", "bold")


def line(text: str, style: str = "") -> None:
    """One line on stdout, never wrapped or coloured by its content."""
    out.print(Text(text, style=style), soft_wrap=True)


def notice(text: str) -> None:
    """One line on stderr."""
    err.print(Text(text), soft_wrap=True)


def fail(message: str, code: int) -> int:
    """Log in one line what failed, and return the exit status."""
    logging.getLogger("fewest").error("%s", message)
    return code


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table. Its content is neither cut nor coloured; only configurations wrap."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != "configuration", overflow="fold")
    for cells in rows:
        table.add_row(*(Text(str(cell)) for cell in cells))
    out.print(table)


def _json(value: object) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))
