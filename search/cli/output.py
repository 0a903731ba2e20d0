"""Answers as people and programs read them, on stdout: tables, JSON, CSV, and the words that end a launch."""

import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import median_low
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from objectives.configuration import Configuration
from objectives.convergence import End
from search.ask.scoring import front, outlook
from search.logs import console


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


def records(rows: Sequence[dict[str, Any]], format: Format) -> None:
    """Records for programs: a JSON list, or CSV with nested values as JSON."""
    if format is Format.JSON:
        return _json(rows)
    writer = csv.writer(sys.stdout)
    writer.writerow(rows[0] if rows else ())
    for row in rows:
        writer.writerow([json.dumps(cell) if isinstance(cell, dict | list) else cell for cell in row.values()])


def record(row: dict[str, Any], format: Format) -> None:
    """One record: a JSON object, a CSV file of one row, or a table of names and values."""
    if format is Format.JSON:
        return _json(row)
    if format is Format.CSV:
        return records([row], format)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, cell in row.items():
        if name == "incumbent" and cell:
            cell = f"{epochs(cell['epochs'])}: {in_words(cell)}"
        if isinstance(cell, float):
            cell = f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
        if not isinstance(cell, dict):
            _add(table, name.replace("_", " "), "" if cell is None else cell)
    out.print(table)


def best_table(
    found: Sequence[dict[str, Any]], ended: Mapping[str, Any], by: str = "epochs", per: str | None = None
) -> None:
    """The answer of `fewest best`, by what it was asked for, and how the trials ended that it was asked of."""
    cost = () if by == "epochs" else (by,)
    tried = (per, "trials", "converged", "missed", "given") if per else ("rank",)
    classes = () if per == "classes" else ("classes",)
    table = _table(*tried, "trial", *classes, "epochs", *cost, "replicates", "their epochs", "configuration")
    for row in found:
        before: list[object] = [row["rank"]] if not per else [_short(row[per]), *map(row.get, tried[1:4]), _given(row)]
        if row["trial"] is None:
            _add(table, *before, *([""] * (len(table.columns) - len(before) - 1)), "none converged")
            continue
        again = f"{row['replicates_converged']}/{row['replicates']}" if row["replicates"] else "–"
        shown = (_short(row[name]) for name in ("trial", *classes, "epochs", *cost))
        _add(table, *before, *shown, again, _numbers(row["replicate_epochs"]), in_words(row))
    if found:
        out.print(table)
    line(f"Of {ended['trials']} trials {_ends(ended)}")
    if not found:
        line("None to show has converged; `fewest trials` shows how far each came, `fewest launch` goes on")
    if ended["open"]:
        line(f"{ended['open']} are open: they stopped before that could be told")


def trials_table(found: Sequence[dict[str, Any]]) -> None:
    """The answer of `fewest trials`."""
    table = _table("trial", "state", "classes", "epochs", "accuracy", "loss", "seconds", "configuration")
    for row in found:
        why = row["reason"] if row["end"] == End.EXCEPTION else row["end"]
        missed = f"miss at {row['epochs']} ({why})" if row["end"] else row["reason"] or ""
        ended = row["epochs"] if row["converged"] else missed
        numbers = ("" if row[name] is None else f"{row[name]:.3g}" for name in ("accuracy", "loss", "seconds"))
        _add(table, row["trial"], row["state"], row["classes"], ended, *numbers, in_words(row))
    out.print(table)


def ladder_table(found: Sequence[dict[str, Any]], claims: Sequence[tuple[int, str, str]]) -> None:
    """The answer of `fewest ladder`: every rung; then the page's claims, as (classes, claim, verdict)."""
    table = _table("classes", "rung", "epochs", "converged", "verdict", "configuration")
    for row in found:
        reached = median_low(row["epochs"]) if row["epochs"] else f"> {row['cap']} (accuracy {row['accuracy']:.3f})"
        cells = row["classes"], row["rung"], reached, f"{row['converged']}/{row['seeds']}", row["verdict"]
        _add(table, *cells, row["about"])
    out.print(table)
    for classes in dict.fromkeys(classes for classes, *_ in claims):
        line(f"The page's claims, for {classes} classes", "bold")
        for count, claim, verdict in claims:
            if count == classes:
                line(f"  {claim} – {verdict}")


def replayed(rows: Sequence[dict[str, Any]], format: Format) -> None:
    """The answer of `fewest replay`, and how many came out as recorded: for people with it, for programs on stderr."""
    epochs_too, curves_too = (sum(row[name] for row in rows) for name in ("same_epochs", "same_curve"))
    said = f"{epochs_too} of {len(rows)} reproduce their epochs, {curves_too} their curves to the bit"
    if format is not Format.TABLE:
        records(rows, format)
        return notice(said)
    table = _table("trial", "recorded", "replayed", "same curve", "largest difference")
    for row in rows:
        ends = (f"{row[f'{was}epochs']} ({row[f'{was}end']})" for was in ("recorded_", ""))
        _add(table, row["trial"], *ends, "yes" if row["same_curve"] else "no", f"{row['largest_difference']:.2g}")
    out.print(table)
    line(said)


def answer(
    confirmed: Sequence[dict[str, Any]],
    question: dict[str, Any] | None,
    counts: Sequence[dict[str, Any]],
    state: dict[str, Any],
    format: Format,
) -> None:
    """How a launch ends, for programs; `winner` is that of a study of one class count."""
    firsts = winners(confirmed)
    told = {"winner": firsts[0] if len(firsts) == 1 else None, "winners": firsts, "by_classes": counts}
    record({**told, "question": question, "status": state}, format)


def conclusion(
    confirmed: Sequence[dict[str, Any]],
    question: dict[str, Any] | None,
    counts: Sequence[dict[str, Any]],
    state: dict[str, Any],
    until_epochs: int | None = None,
) -> None:
    """How a launch ends: the winner of each class count beside the question's model, and how many trials missed."""
    finished = state["done"] + state["failed"]
    medians = [median_low(winner["replicate_epochs"]) for winner in winners(confirmed)]
    if until_epochs is not None and len(medians) == len(counts) > 0 and max(medians) <= until_epochs:
        said = f"At most {epochs(until_epochs)} confirmed after {finished} trials"
        line(f"{said}; without --until-epochs the search goes on")
    elif finished < state["budget"]:
        line(f"The time was up after {finished} of {state['budget']} trials; the same command goes on")
    elif not confirmed:
        line(no_winner(state), style="bold")
    if len(counts) > 1:
        _front(confirmed, counts)
    else:
        for first in winners(confirmed):
            _with_details(winner(first, confirmed, counts))
    if question:
        _with_details(of_question(question))
    line(misses(state))


def _with_details(said: Sequence[str]) -> None:
    line(said[0], "bold")
    for detail in said[1:]:
        line(f"  {detail}")


def no_winner(state: dict[str, Any]) -> str:
    """Why nothing is confirmed, and what may help."""
    why = "no candidate held on fresh seeds" if state["converged"] else "nothing converged"
    return f"No winner: {why}. More trials may find one: --trials {2 * state['budget']}"


def of_question(question: dict[str, Any]) -> list[str]:
    """What became of the question's model, in words, and its configuration."""
    missed = f"not learned in {epochs(question['epochs'])}"
    numbers = f"accuracy {question['accuracy'] or 0:.3f}, loss {question['loss'] or float('nan'):.2f}"
    ended = epochs(question["epochs"]) if question["converged"] else missed
    on = " on these data" if "batch_size" in question["params"] else ""
    return [f"The question's model{on}: {ended} ({numbers})", in_words(question)]


def winner(first: dict[str, Any], confirmed: Sequence[dict[str, Any]], counts: Sequence[dict[str, Any]]) -> list[str]:
    """A winner in words, its configuration, and whether more trials are likely to improve on it."""
    ties = sum(row["rank"] == first["rank"] for row in confirmed) - 1
    fresh = f"{epochs(median_low(first['replicate_epochs']))} on fresh seeds ({_numbers(first['replicate_epochs'])}"
    fresh += f"; {first['replicates_converged']}/{first['replicates']} converged)"
    tie = f"; {ties} other configuration{'s are' if ties > 1 else ' is'} as good" if ties else ""
    classes = first["classes"]
    said = f"Winner for {classes} classes: {fresh}, {epochs(first['epochs'])} in trial {first['trial']}{tie}"
    hopes = [
        outlook(*(found[name] for name in ("epochs", "equalled", "since", "trials")))
        for found in counts
        if found["classes"] == classes
    ]
    return [said, in_words(first), *hopes]


def _front(confirmed: Sequence[dict[str, Any]], counts: Sequence[dict[str, Any]]) -> None:
    """Every class count with its winner; then the front: the counts that no higher one does in as few epochs."""
    firsts = {first["classes"]: first for first in winners(confirmed)}
    table = _table("classes", "epochs", "on fresh seeds", "converged", "trials", "missed", "configuration")
    for found in counts:
        first = firsts.get(found["classes"])
        tried = f"{found['trials']}", f"{found['trials'] - found['converged']}"
        if first is None:
            _add(table, found["classes"], "none confirmed", "", "", *tried, "")
            continue
        again = f"{first['replicates_converged']}/{first['replicates']}"
        fresh = median_low(first["replicate_epochs"])
        _add(table, found["classes"], fresh, _numbers(first["replicate_epochs"]), again, *tried, in_words(first))
    out.print(table)
    fewest = {classes: median_low(first["replicate_epochs"]) for classes, first in firsts.items()}
    best = (f"{classes} classes in {epochs(fewest[classes])}" for classes in front(fewest))
    line(f"Front: {' · '.join(best) or 'nothing confirmed yet'}", "bold")


def winners(confirmed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best configuration of each class count, fewest classes first, of those that `ranking.confirmed` answers."""
    firsts: dict[int, dict[str, Any]] = {}
    for row in confirmed:
        firsts.setdefault(row["classes"], row)
    return [firsts[classes] for classes in sorted(firsts)]


def line(text: str, style: str = "") -> None:
    """One line on stdout, never wrapped or coloured by its content."""
    out.print(Text(text, style=style), soft_wrap=True)


def notice(text: str) -> None:
    """One line on stderr."""
    err.print(Text(text), soft_wrap=True)


def epochs(n: int) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{n} epoch{'' if n == 1 else 's'}"


def misses(state: dict[str, Any]) -> str:
    """How many trials converged, missed and failed, and what the misses were given."""
    failed = f", {state['failed']} failed" if state["failed"] else ""
    return f"{state['done']} of {state['budget']} trials done: {_ends(state)}{failed}"


def _ends(state: Mapping[str, Any]) -> str:
    caps = f" (given {_given(state)} epochs)" if state["missed"] else ""
    return f"{state['converged']} converged, {state['missed']} missed{caps}"


def _given(state: Mapping[str, Any]) -> str:
    """What the missed ones were given, in epochs."""
    least, most = state["least_cap"], state["most_cap"]
    return f"{least} to {most}" if least != most else _short(least)


def _short(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def in_words(row: dict[str, Any]) -> str:
    """The configuration of a record."""
    return Configuration.of(row["params"]).in_words()


def _numbers(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != "configuration", overflow="fold")
    return table


def _add(table: Table, *cells: object) -> None:
    table.add_row(*(Text(str(cell)) for cell in cells))


def _json(value: object) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))
