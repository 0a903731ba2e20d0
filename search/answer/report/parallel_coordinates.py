"""Parallel coordinates: every trial as a line that crosses an axis for each parameter at its value.

Drawn as plain lines and not as Plotly's `parcoords`: that needs WebGL, has no place for a parameter that a trial does
not have, and draws misses across the hits.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search.answer.report import importance
from search.answer.report.figures import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    RAMP,
    Exhibit,
    blank,
    drawn,
    jitter,
    parted,
    plain,
    searched,
    values,
)
from search.answer.report.plots import Rows, spanned
from search.query.records import TrialRecord
from search.spec.space import Choices, Range

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

LINES = 400  # trials that it stays readable with
ABSENT = -0.14  # where a trial crosses the axis of a parameter that it does not have


def exhibit(ended: Rows, space: Mapping[str, Range | Choices]) -> Exhibit:
    """Hits by the epochs they needed, the quickest above the others, and misses dotted below them."""
    names = searched(space)
    rows = drawn(ended, LINES)
    hits, misses = parted(rows)
    figure = blank(430, margin={"l": 40, "r": 70, "t": 40, "b": 8})
    _line(figure, f"missed ({len(misses)})", misses, names, space, {"color": MUTED, "width": 0.7, "dash": "dot"}, 0.55)
    bands: dict[Any, list[TrialRecord]] = {}
    for group, row in zip(importance.groups([row.spent for row in hits], len(RAMP)), hits, strict=True):
        bands.setdefault(group, []).append(row)
    for place, group in reversed(list(enumerate(sorted(bands)))):
        needed = [row.spent for row in bands[group]]
        label = spanned(needed)
        stroke = {"color": RAMP[place], "width": 1.5 - 0.2 * place}
        _line(figure, f"{label} ({len(needed)})", bands[group], names, space, stroke, 0.8)
    _scales(figure, names, space)
    return Exhibit("parallel", "Every trial at once", _alike(ended, names, space), figure, 90 * len(names))


def _line(
    figure: "Figure",
    label: str,
    rows: Rows,
    names: Sequence[str],
    space: Mapping[str, Range | Choices],
    stroke: dict[str, Any],
    opacity: float,
) -> None:
    """The lines of some trials, as one trace with gaps."""
    x: list[int | None] = []
    y: list[float | None] = []
    for row in rows:
        x += [*range(len(names)), None]
        y += [_height(row, name, space[name]) for name in names] + [None]
    figure.add_scatter(x=x, y=y, name=label, mode="lines", line=stroke, opacity=opacity, hoverinfo="skip")


def _height(row: TrialRecord, name: str, dimension: Range | Choices) -> float:
    """Where a trial crosses a parameter's axis, from 0 to 1."""
    if name not in row.params:
        return ABSENT
    choices = values(dimension)
    if choices:
        return round((choices.index(row.params[name]) + 0.5 + 0.3 * jitter(row)[0]) / len(choices), 3)
    assert isinstance(dimension, Range)
    return round(dimension.fraction(row.params[name]), 3)


def _scales(figure: "Figure", names: Sequence[str], space: Mapping[str, Range | Choices]) -> None:
    """An axis for each parameter, with its name above it and its values along it."""
    figure.update_layout(
        xaxis={"visible": False, "range": [-0.15, len(names) - 0.35]},
        yaxis={"visible": False, "range": [ABSENT - 0.05, 1.16]},
        legend={"y": 1.0},
    )
    for i, name in enumerate(names):
        dimension, choices = space[name], values(space[name])
        figure.add_shape(type="line", x0=i, x1=i, y0=0, y1=1, line={"color": FAINT, "width": 1}, layer="above")
        marks = {(k + 0.5) / len(choices): plain(str(choice)) for k, choice in enumerate(choices)}
        if isinstance(dimension, Range) and not choices:
            marks = {0.0: f"{dimension.low:g}", 1.0: f"{dimension.high:g}"}
        if name == "width_2":
            marks[ABSENT] = "none"
        texts = [(1.06, "bottom", f"<b>{plain(name)}</b>", 0), *((y, "middle", text, 3) for y, text in marks.items())]
        for y, anchor, text, shift in texts:
            figure.add_annotation(
                x=i, y=y, text=text, showarrow=False, xanchor="left" if shift else "center", yanchor=anchor,
                xshift=shift, font={"size": 11, "color": INK}, bgcolor=PAPER if shift else None, opacity=0.9,
                borderpad=0,
            )  # fmt: skip


def _alike(ended: Rows, names: Sequence[str], space: Mapping[str, Range | Choices]) -> str:
    """What the quickest tenth of the hits have in common."""
    hits = sorted(parted(ended)[0], key=lambda row: (row.spent, row.trial or 0))
    if not hits:
        return "No trial has converged."
    best = hits[: max(1, len(hits) // 10)]
    common = []
    for name in names:
        found = [row.params.get(name) for row in best]
        usual = max(values(space[name]), key=found.count, default=None)
        if usual is not None and found.count(usual) > len(best) / 2:
            common.append(f"{plain(name)} {plain(str(usual))} ({found.count(usual)})")
    needed = spanned([row.spent for row in best])
    return f"Of the {len(best)} quickest ({needed}) most have: {', '.join(common) or 'nothing in common'}."
