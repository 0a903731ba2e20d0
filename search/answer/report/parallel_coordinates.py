"""Parallel coordinates: every trial as a line that crosses an axis for each parameter at its value.

Drawn as plain lines and not as Plotly's `parcoords`: that needs WebGL, has no place for a parameter that a trial does
not have, and draws misses across the hits.
"""

from collections.abc import Mapping
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[import-untyped]

from search.answer.report import figures, importance
from search.answer.report.figures import Exhibit, jitter, parted, plain, values
from search.answer.report.plots import Rows, epochs_between
from search.query.records import TrialRecord
from search.spec.space import Dimension, Range

LINES = 400  # trials that it stays readable with
ABSENT = -0.14  # where a trial crosses the axis of a parameter that it does not have


def exhibit(ended: Rows, space: Mapping[str, Dimension]) -> Exhibit:
    """Hits by the epochs they needed, the quickest above the others, and misses dotted below them."""
    axes = figures.searched(space)
    hits, misses = parted(figures.drawn(ended, LINES))
    figure = figures.blank(430, margin={"l": 40, "r": 70, "b": 8}, legend={"y": 1.0})
    dotted = {"color": figures.MUTED, "width": 0.7, "dash": "dot"}
    _lines(figure, misses, axes, name=f"missed ({len(misses)})", line=dotted, opacity=0.55)
    bands = importance.groups(hits, [row.spent for row in hits], len(figures.RAMP))
    for place, group in reversed(list(enumerate(sorted(bands)))):
        label = f"{epochs_between(bands[group])} ({len(bands[group])})"
        stroke = {"color": figures.RAMP[place], "width": 1.5 - 0.2 * place}
        _lines(figure, bands[group], axes, name=label, line=stroke, opacity=0.8)
    _scales(figure, axes)
    return Exhibit("parallel", "Every trial at once", _in_common(ended, axes), figure, 90 * len(axes))


def _lines(figure: Figure, rows: Rows, axes: Mapping[str, Dimension], **look: Any) -> None:
    """The lines of some trials, as one trace with gaps."""
    x = [*range(len(axes)), None] * len(rows)
    y = [height for row in rows for height in (*(_height(row, *axis) for axis in axes.items()), None)]
    figure.add_scatter(x=x, y=y, mode="lines", hoverinfo="skip", **look)


def _height(row: TrialRecord, name: str, dimension: Dimension) -> float:
    """Where a trial crosses a parameter's axis, from 0 to 1."""
    if name not in row.params:
        return ABSENT
    choices = values(dimension)
    if choices:
        return round((choices.index(row.params[name]) + 0.5 + 0.3 * jitter(row)[0]) / len(choices), 3)
    assert isinstance(dimension, Range)
    return round(dimension.fraction(row.params[name]), 3)


def _scales(figure: Figure, axes: Mapping[str, Dimension]) -> None:
    """An axis for each parameter, with its name above it and its values along it."""
    figure.update_layout(
        xaxis={"visible": False, "range": [-0.15, len(axes) - 0.35]},
        yaxis={"visible": False, "range": [ABSENT - 0.05, 1.16]},
    )
    for i, (name, dimension) in enumerate(axes.items()):
        choices, line = values(dimension), {"color": figures.FAINT, "width": 1}
        figure.add_shape(type="line", x0=i, x1=i, y0=0, y1=1, line=line, layer="above")
        marks = {(k + 0.5) / len(choices): plain(str(choice)) for k, choice in enumerate(choices)}
        if isinstance(dimension, Range) and not choices:
            marks = {0.0: f"{dimension.low:g}", 1.0: f"{dimension.high:g}"}
        if name == "width_2":
            marks[ABSENT] = "none"
        texts = [(1.06, "bottom", f"<b>{plain(name)}</b>", 0), *((y, "middle", text, 3) for y, text in marks.items())]
        for y, anchor, text, shift in texts:
            figure.add_annotation(
                x=i, y=y, text=text, showarrow=False, xanchor="left" if shift else "center", yanchor=anchor,
                xshift=shift, font={"size": 11, "color": figures.INK}, bgcolor=figures.PAPER if shift else None,
                opacity=0.9, borderpad=0,
            )  # fmt: skip


def _in_common(ended: Rows, axes: Mapping[str, Dimension]) -> str:
    """What the quickest tenth of the hits have in common."""
    hits = sorted(parted(ended)[0], key=lambda row: (row.spent, row.trial or 0))
    if not hits:
        return "No trial has converged."
    best = hits[: max(1, len(hits) // 10)]
    common = []
    for name, dimension in axes.items():
        own = [row.params.get(name) for row in best]
        usual = max(values(dimension), key=own.count, default=None)
        if usual is not None and own.count(usual) > len(best) / 2:
            common.append(f"{plain(name)} {plain(str(usual))} ({own.count(usual)})")
    most = ", ".join(common) or "nothing in common"
    return f"Of the {len(best)} quickest ({epochs_between(best)}) most have: {most}."
