"""The report's figures: records of a study in, exhibits out. What was tried, and what came of it.

`ended` are trials that have an outcome. Hits are filled dots, misses hollow crosses in a band of
their own, since a miss has no epochs-to-convergence: it needs more than the epochs that it was given.
"""

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING, Any

from search.answer.report import importance
from search.answer.report.figures import (
    DASHES,
    GRID,
    HIT,
    MISS,
    SERIES,
    Exhibit,
    at,
    blank,
    drawn,
    epoch_axis,
    jitter,
    log_axis,
    parted,
    plain,
    searched,
    short,
    values,
)
from search.answer.report.survival import product_limit
from search.answer.wording import epochs
from search.query.records import BestRecord, TrialRecord
from search.spec.space import Choices, Range

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

Rows = Sequence[TrialRecord]
COMPARED = ("activation", "optimizer", "scaling")  # choices whose speed is compared
AT_RISK = 5  # trials that a curve is followed for
FEWER = 6  # choices whose names stand side by side below a small figure


def parameter(ended: Rows, name: str, dimension: Range | Choices) -> Exhibit:
    """Epochs against one parameter."""
    rows = [row for row in ended if name in row.params]
    figure = against(drawn(rows), name, dimension)
    names = max(len(str(value)) for value in values(dimension)) if len(values(dimension)) >= FEWER else 0
    figure.update_layout(showlegend=False, height=270 + 5 * names, margin={"t": 12, "b": 34 + 5 * names})
    return Exhibit(f"epochs-{name}", plain(name), shares(rows, name), figure, minor=True)


def against(rows: Rows, name: str, dimension: Range | Choices) -> "Figure":
    """Hits by epochs, and above them misses in a band of their own."""
    figure, choices = blank(300), values(dimension)
    hits, misses = parted(rows)

    def x(row: TrialRecord) -> float:
        value = row.params[name]
        return round(choices.index(value) + 0.7 * jitter(row)[0], 3) if choices else float(f"{value:.4g}")

    heights = ([at(row.spent) for row in hits], [round(jitter(row)[1], 3) for row in misses])
    for label, which, mark, y, axis in zip(
        ("converged", "missed"), (hits, misses), (HIT, MISS), heights, ("y", "y2"), strict=True
    ):
        said = f"trial %{{customdata[0]}}: {label}, %{{customdata[2]}} epochs<br>{plain(name)} %{{customdata[1]}}"
        known = [(row.trial, _told(row.params[name]), row.spent) for row in which]
        figure.add_scatter(
            x=[x(row) for row in which],
            y=y,
            yaxis=axis,
            name=label,
            mode="markers",
            marker=mark,
            customdata=known,
            hovertemplate=f"{said}<extra></extra>",
        )
    figure.update_layout(
        xaxis=_across(dimension, choices) | {"anchor": "y"},
        yaxis=epoch_axis([row.spent for row in hits]) | {"domain": [0, 0.74]},
        yaxis2={"domain": [0.8, 1], "range": [-0.6, 0.6], "tickvals": [0], "ticktext": ["missed"], "showgrid": False},
    )
    figure.update_yaxes(zeroline=False, gridcolor=GRID)
    return figure


def _across(dimension: Range | Choices, choices: Sequence[Any]) -> dict[str, Any]:
    if choices:
        texts = [plain(str(value)) for value in choices]
        ticks = {"tickvals": list(range(len(choices))), "ticktext": texts, "showgrid": False}
        return ticks | {"range": [-0.5, len(choices) - 0.5], "tickangle": 0 if len(choices) < FEWER else -50}
    assert isinstance(dimension, Range)
    widened = (dimension.high / dimension.low) ** 0.03 if dimension.log else 1
    return log_axis(dimension.low / widened, dimension.high * widened) if dimension.log else {}


def shares(rows: Rows, name: str) -> str:
    """Where most and where fewest converged: among choices, or among thirds of the trials by a number."""
    if not rows:
        return "No trial has it."
    members: dict[Any, list[TrialRecord]] = {}
    for group, row in zip(importance.groups([row.params[name] for row in rows], 3), rows, strict=True):
        members.setdefault(group, []).append(row)
    if all(type(row.params[name]) in (int, float) for row in rows):
        members = {_span([row.params[name] for row in group]): group for group in members.values()}
    converged = {label: sum(bool(row.converged) for row in group) for label, group in members.items()}
    order = most_first(converged, {label: len(group) for label, group in members.items()})
    said = [f"{plain(str(label))}: {converged[label]} of {len(members[label])} converged" for label in order]
    return "; ".join([said[0], *said[1:][-1:]]) + "."


def _span(numbers: Sequence[float]) -> str:
    low, high = short(min(numbers)), short(max(numbers))
    return low if low == high else f"{low} to {high}"


def importances(ended: Rows, space: Mapping[str, Range | Choices]) -> Exhibit:
    """What decides whether a trial converges, beside what decides how fast."""
    sides = {
        "whether it converges": {name: importance.whether(ended, name) for name in searched(space)},
        "how fast": {name: importance.how_fast(ended, name) for name in searched(space)},
    }
    names = sorted(searched(space), key=lambda name: -max(side[name] or 0 for side in sides.values()))
    figure = blank(96 + 36 * len(names), margin={"l": 104, "r": 18, "t": 40, "b": 46}, barmode="group", bargap=0.25)
    for (label, side), colour, pattern in zip(sides.items(), SERIES, ("", "/"), strict=False):
        figure.add_bar(
            orientation="h", name=label, y=[plain(name) for name in names], x=[side[name] for name in names],
            marker={"color": colour, "line": {"color": colour, "width": 1}, "pattern": {"shape": pattern, "size": 6}},
            text=["" if side[name] is None else f"{side[name]:.0%}" for name in names],
            textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )  # fmt: skip
    title = {"text": "share explained", "standoff": 8}
    figure.update_xaxes(range=[0, 1.08], tickformat=".0%", title=title)
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
    ends = {
        choice: [(row.spent, bool(row.converged)) for row in ended if row.params.get(name) == choice]
        for choice in dimension.values
    }
    curves = {choice: product_limit(those, AT_RISK) for choice, those in ends.items() if those}
    figure = blank(320 + 20 * -(-len(curves) // 3), margin={"l": 56, "r": 14, "t": 40, "b": 46})
    hits = {choice: sum(hit for _, hit in ends[choice]) for choice in curves}
    order = most_first(hits, {choice: len(ends[choice]) for choice in curves})
    for place, choice in enumerate(order):
        curve, n = curves[choice], len(ends[choice])
        label = f"{plain(str(choice))} {hits[choice]}/{n}"
        stroke = {"color": SERIES[place % len(SERIES)], "dash": DASHES[place // len(SERIES)], "width": 2, "shape": "hv"}
        along = [0, *curve.epochs, curve.last]
        left = [1.0, *curve.share, curve.at(curve.last)]
        figure.add_scatter(
            x=[at(epoch) for epoch in along], y=left, mode="lines", line=stroke, name=label, legendgroup=label,
            customdata=along, hovertemplate=f"{label}: %{{y:.0%}} left after %{{customdata}}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[at(epoch) for epoch in curve.censored], y=[curve.at(epoch) for epoch in curve.censored],
            mode="markers", marker={"symbol": "line-ns-open", "size": 7, "color": stroke["color"]},
            legendgroup=label, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
    figure.update_layout(xaxis=epoch_axis([0, *(curve.last for curve in curves.values())]))
    figure.update_yaxes(range=[0, 1.04], tickformat=".0%", title={"text": "not converged", "standoff": 6})
    findings = []
    for choice in [order[0], *order[1:][-1:]]:
        half = curves[choice].median
        soon = "" if half is None else f", half within {epochs(half)} by this estimate"
        findings.append(f"{plain(str(choice))}: {hits[choice]} of {len(ends[choice])} converged{soon}")
    return Exhibit(f"convergence-{name}", f"Convergence by {plain(name)}", "; ".join(findings) + ".", figure)


def most_first(hits: Mapping[Any, int], trials: Mapping[Any, int]) -> list[Any]:
    """By the part that converged, as if of one trial more of either kind each: 1 of 1 is not more than 80 of 90."""
    return sorted(trials, key=lambda each: -(hits[each] + 1) / (trials[each] + 2))


def class_counts(ended: Rows, firsts: Sequence[BestRecord], dimension: Choices) -> Exhibit:
    """Epochs against classes: every trial, and the winner of each count on fresh seeds."""
    order = Choices(values=tuple(sorted(dimension.values)))
    figure = against(drawn(ended), "classes", order)
    figure.update_layout(height=380)
    places = [order.values.index(row.classes) for row in firsts]
    needed = [median_low(row.replicate_epochs) for row in firsts]
    figure.add_scatter(
        x=places, y=[at(epoch) for epoch in needed], name="winner on fresh seeds", mode="lines+markers", yaxis="y",
        line={"color": SERIES[2], "width": 2}, marker={"symbol": "diamond", "size": 11, "color": SERIES[2]},
        customdata=needed, hovertemplate="winner: %{customdata}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title={"text": "classes", "standoff": 8})
    said = ", ".join(f"{row.classes} in {epoch}" for row, epoch in zip(firsts, needed, strict=True))
    finding = f"Fewest epochs on fresh seeds, by classes: {said}." if firsts else "No class count has a winner yet."
    return Exhibit("classes", "Epochs against classes", finding, figure)


def spanned(needed: Sequence[int]) -> str:
    """`1 epoch`, `2 to 5 epochs`."""
    least, most = min(needed), max(needed)
    return epochs(most) if least == most else f"{least} to {epochs(most)}"


def _told(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value
