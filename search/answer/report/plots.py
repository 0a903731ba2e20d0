"""The report's figures: records of a study in, exhibits out. What was tried, and what came of it.

`ended` are trials that have an outcome. Hits are filled dots, misses hollow crosses in a band of
their own, since a miss has no epochs-to-convergence: it needs more than the epochs that it was given.
"""

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[import-untyped]

from search.answer.report import figures, importance
from search.answer.report.figures import SERIES, Exhibit, blank, epoch_axis, places, plain, searched, values
from search.answer.report.survival import product_limit
from search.answer.wording import epochs
from search.query.records import BestRecord, TrialRecord
from search.spec.space import Choices, Dimension, Range

Rows = Sequence[TrialRecord]
COMPARED = ("activation", "optimizer", "scaling")  # choices whose speed is compared
AT_RISK = 5  # trials that a curve is followed for
FEWER = 6  # choices whose names stand side by side below a small figure


def parameter(ended: Rows, name: str, dimension: Dimension) -> Exhibit:
    """Epochs against one parameter."""
    rows = [row for row in ended if name in row.params]
    figure = against(figures.drawn(rows), name, dimension)
    names = max(len(str(value)) for value in values(dimension)) if len(values(dimension)) >= FEWER else 0
    figure.update_layout(showlegend=False, height=270 + 5 * names, margin={"t": 12, "b": 34 + 5 * names})
    return Exhibit(f"epochs-{name}", plain(name), shares(rows, name), figure, minor=True)


def against(rows: Rows, name: str, dimension: Dimension) -> Figure:
    """Hits by epochs, and above them misses in a band of their own."""
    figure, choices = blank(300, margin={"t": 30}), values(dimension)
    hits, misses = figures.parted(rows)

    def x(row: TrialRecord) -> float:
        value = row.params[name]
        return round(choices.index(value) + 0.7 * figures.jitter(row)[0], 3) if choices else float(f"{value:.4g}")

    in_band = [round(figures.jitter(row)[1], 3) for row in misses]
    for label, group, mark, y, axis in (
        ("converged", hits, figures.HIT, places([row.spent for row in hits]), "y"),
        ("missed", misses, figures.MISS, in_band, "y2"),
    ):
        about = f"trial %{{customdata[0]}}: {label}, %{{customdata[2]}} epochs<br>{plain(name)} %{{customdata[1]}}"
        figure.add_scatter(
            x=[x(row) for row in group], y=y, yaxis=axis, name=label, mode="markers", marker=mark,
            customdata=[(row.trial, _rounded(row.params[name]), row.spent) for row in group],
            hovertemplate=f"{about}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        xaxis=_across(dimension, choices) | {"anchor": "y"},
        yaxis=epoch_axis([row.spent for row in hits]) | {"domain": [0, 0.74]},
        yaxis2={"domain": [0.8, 1], "range": [-0.6, 0.6], "tickvals": [0], "ticktext": ["missed"], "showgrid": False},
    )
    return figure.update_yaxes(zeroline=False, gridcolor=figures.GRID)


def _across(dimension: Dimension, choices: Sequence[Any]) -> dict[str, Any]:
    if choices:
        texts = [plain(str(value)) for value in choices]
        ticks = {"tickvals": list(range(len(choices))), "ticktext": texts, "showgrid": False}
        return ticks | {"range": [-0.5, len(choices) - 0.5], "tickangle": 0 if len(choices) < FEWER else -50}
    if not (isinstance(dimension, Range) and dimension.log):
        return {}
    margin = (dimension.high / dimension.low) ** 0.03
    return figures.log_axis(dimension.low / margin, dimension.high * margin)


def shares(rows: Rows, name: str) -> str:
    """Where most and where fewest converged: among choices, or among thirds of the trials by a number."""
    if not rows:
        return "No trial has it."
    members = importance.groups(rows, [row.params[name] for row in rows], 3)
    if all(type(row.params[name]) in (int, float) for row in rows):
        members = {_between([row.params[name] for row in group]): group for group in members.values()}
    return "; ".join(f"{plain(str(label))}: {converged}" for label, converged in _first_and_last(members)) + "."


def _first_and_last(members: Mapping[Any, Rows]) -> list[tuple[Any, str]]:
    """The groups of trials of which most and fewest converged, and how many: `83 of 90 converged`."""
    shown = [(each, f"{_converged(members[each])} of {len(members[each])} converged") for each in most_first(members)]
    return shown if len(shown) < 2 else [shown[0], shown[-1]]


def _between(numbers: Sequence[float]) -> str:
    """The least and the most, in three digits at most, and without an exponent where that is shorter."""
    texts = [f"{end:,.0f}" if abs(end) >= 100 else f"{end:.2g}" for end in (min(numbers), max(numbers))]
    return " to ".join(dict.fromkeys(texts))


def importances(ended: Rows, space: Mapping[str, Dimension]) -> Exhibit:
    """What decides whether a trial converges, beside what decides how fast."""
    sides = {
        "whether it converges": {name: importance.whether(ended, name) for name in searched(space)},
        "how fast": {name: importance.how_fast(ended, name) for name in searched(space)},
    }
    names = sorted(sides["how fast"], key=lambda name: -max(side[name] or 0 for side in sides.values()))
    figure = blank(96 + 36 * len(names), margin={"l": 104, "r": 18}, barmode="group", bargap=0.25)
    for (label, side), colour, pattern in zip(sides.items(), SERIES, ("", "/"), strict=False):
        figure.add_bar(
            orientation="h", name=label, y=[plain(name) for name in names], x=[side[name] for name in names],
            marker={"color": colour, "line": {"color": colour, "width": 1}, "pattern": {"shape": pattern, "size": 6}},
            text=["" if side[name] is None else f"{side[name]:.0%}" for name in names],
            textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(range=[0, 1.08], tickformat=".0%", title={"text": "share explained", "standoff": 8})
    figure.update_yaxes(autorange="reversed", showgrid=False)
    finding = ". ".join(_first_two(label, side) for label, side in sides.items())
    return Exhibit("importance", "What decides whether, and what decides how fast", f"{finding}.", figure)


def _first_two(label: str, side: Mapping[str, float | None]) -> str:
    known = sorted(((share, name) for name, share in side.items() if share is not None), reverse=True)[:2]
    if not known:
        return f"Decides {label}: too few trials, or all alike"
    return f"Decides {label}: " + ", then ".join(f"{plain(name)} ({share:.0%} explained)" for share, name in known)


def survival(ended: Rows, name: str, dimension: Choices) -> Exhibit:
    """The share not yet converged against epochs, for each choice of a parameter."""
    trials = {choice: [row for row in ended if row.params.get(name) == choice] for choice in dimension.values}
    members = {choice: rows for choice, rows in trials.items() if rows}
    ends = {choice: [(row.spent, bool(row.converged)) for row in rows] for choice, rows in members.items()}
    curves = {choice: product_limit(each, AT_RISK) for choice, each in ends.items()}
    figure = blank(320 + 20 * -(-len(curves) // 3))
    for place, choice in enumerate(most_first(members)):
        curve, dash = curves[choice], figures.DASHES[place // len(SERIES)]
        label = f"{plain(str(choice))} {_converged(members[choice])}/{len(members[choice])}"
        stroke = {"color": SERIES[place % len(SERIES)], "dash": dash, "width": 2, "shape": "hv"}
        along = [0, *curve.epochs, curve.last]
        figure.add_scatter(
            x=places(along), y=[1.0, *curve.share, curve.at(curve.last)], mode="lines", line=stroke, name=label,
            legendgroup=label, customdata=along,
            hovertemplate=f"{label}: %{{y:.0%}} left after %{{customdata}}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=places(curve.censored), y=[curve.at(epoch) for epoch in curve.censored], mode="markers",
            marker={"symbol": "line-ns-open", "size": 7, "color": stroke["color"]},
            legendgroup=label, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
    figure.update_layout(xaxis=epoch_axis([0, *(curve.last for curve in curves.values())]))
    figure.update_yaxes(range=[0, 1.04], tickformat=".0%", title={"text": "not converged", "standoff": 6})
    findings = []
    for choice, converged in _first_and_last(members):
        half = curves[choice].median
        soon = "" if half is None else f", half within {epochs(half)} by this estimate"
        findings.append(f"{plain(str(choice))}: {converged}{soon}")
    return Exhibit(f"convergence-{name}", f"Convergence by {plain(name)}", "; ".join(findings) + ".", figure)


def _converged(rows: Rows) -> int:
    return sum(bool(row.converged) for row in rows)


def most_first(members: Mapping[Any, Rows]) -> list[Any]:
    """Groups by the part that converged, as if of one trial more of either kind: 1 of 1 is not more than 80 of 90."""
    return sorted(members, key=lambda each: -(_converged(members[each]) + 1) / (len(members[each]) + 2))


def class_counts(ended: Rows, firsts: Sequence[BestRecord], counts: Sequence[int]) -> Exhibit:
    """Epochs against classes: every trial, and the winner of each count on fresh seeds."""
    figure = against(figures.drawn(ended), "classes", Choices(values=tuple(counts))).update_layout(height=380)
    needed = [median_low(row.replicate_epochs) for row in firsts]
    figure.add_scatter(
        x=[counts.index(row.classes) for row in firsts], y=places(needed), yaxis="y", mode="lines+markers",
        line={"color": SERIES[2], "width": 2}, marker={"symbol": "diamond", "size": 11, "color": SERIES[2]},
        name="winner on fresh seeds", customdata=needed, hovertemplate="winner: %{customdata}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title={"text": "classes", "standoff": 8})
    each = ", ".join(f"{row.classes} in {epoch}" for row, epoch in zip(firsts, needed, strict=True))
    finding = f"Fewest epochs on fresh seeds, by classes: {each}." if firsts else "No class count has a winner yet."
    return Exhibit("classes", "Epochs against classes", finding, figure)


def epochs_between(rows: Rows) -> str:
    """What trials needed, from the fewest to the most: `1 epoch`, `2 to 5 epochs`."""
    least, most = min(row.spent for row in rows), max(row.spent for row in rows)
    return epochs(most) if least == most else f"{least} to {epochs(most)}"


def _rounded(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value
