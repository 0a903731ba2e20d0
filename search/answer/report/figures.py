"""What the report's figures have in common: an exhibit, its colours, its axes, and which trials are drawn.

An exhibit is complete in light colours, for a picture or for optuna-dashboard. A dark page exchanges each colour for
the other of its pair. Both sets have a contrast of 3 or more with their background, and none is needed to tell hits
from misses or one line from another: marks and dashes differ too.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[import-untyped]

from search.query.records import TrialRecord
from search.spec.space import Choices, Dimension

INK, FAINT, GRID, PAPER, MUTED = "#1d2733", "#56626e", "#e1e6eb", "#ffffff", "#8d959d"
#: Hits, misses, and three more kinds.
SERIES = ("#0b62b8", "#c2500a", "#00805e", "#8a4fa3", "#7a6a00")
#: From the fewest epochs to the most.
RAMP = ("#0a3d91", "#2c77c8", "#1f8f8c", "#6f8a1c", "#b5850b")
DASHES = ("solid", "dash", "dot")
#: By colour, the one that a dark page has in its place.
DARK = {
    INK: "#e3e8ee", FAINT: "#a3afbb", GRID: "#2d3640", PAPER: "#14191f", MUTED: "#737d87",
    **dict(zip(SERIES, ("#5aa9f0", "#f08c4a", "#2fc29a", "#c79be0", "#d6c24a"), strict=True)),
    **dict(zip(RAMP, ("#d6ecff", "#7fc4fe", "#3fb8b0", "#9aa83f", "#b08a2e"), strict=True)),
}  # fmt: skip
HIT = {"symbol": "circle", "size": 6, "color": SERIES[0], "opacity": 0.65}
MISS = {"symbol": "x-thin-open", "size": 6, "color": SERIES[1], "line": {"width": 1.2, "color": SERIES[1]}}
MOST_DRAWN = 1000  # trials
BEFORE_ONE = 0.5  # where no epoch at all is on a logarithmic axis
FEW = 10  # different numbers that are shown as choices


@dataclass(frozen=True)
class Exhibit:
    """One figure of the report and what is to be read from it."""

    #: Its id in the page and in the dashboard, and the name of its picture.
    name: str
    title: str
    #: What the data say, in a sentence or two.
    finding: str
    figure: Figure
    #: Below this many pixels it is scrolled, not squeezed.
    least_width: int = 0
    #: One of several like it; the dashboard shows the main ones alone.
    minor: bool = False


def blank(height: int, **layout: Any) -> Figure:
    """An empty figure in the report's looks; its width is the page's."""
    axis = {"gridcolor": GRID, "linecolor": FAINT, "zeroline": False, "ticks": "outside", "tickcolor": GRID}
    figure = Figure().update_layout(
        template="none", height=height, autosize=True, paper_bgcolor=PAPER, plot_bgcolor=PAPER, hovermode="closest",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        margin={"l": 56, "r": 14, "t": 40, "b": 46},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": PAPER},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
    )  # fmt: skip
    return figure.update_layout(layout).update_xaxes(axis).update_yaxes(axis)


def titled(exhibit: Exhibit, width: int) -> Figure:
    """The exhibit on its own, with its title and what it says above it, for about so many pixels across."""
    figure = Figure(exhibit.figure)
    lines = textwrap.wrap(exhibit.finding, width // 7)
    text = f"<b>{exhibit.title}</b><br>" + "<br>".join(f'<span style="font-size:12px">{line}</span>' for line in lines)
    entries = [trace.name for trace in figure.data if trace.showlegend is not False]
    rows = -(-sum(50 + 7 * len(name) for name in entries) // (width - 80))  # of the legend, which stands below it
    more = 30 + 17 * len(lines) + 20 * rows
    figure.update_layout(
        title={"text": text, "x": 0, "xref": "paper", "y": 1, "yanchor": "top", "pad": {"t": 14}, "font": {"size": 16}},
        margin={"t": figure.layout.margin.t + more},
        height=figure.layout.height + more,
    )
    return figure


def places(epochs: Sequence[int]) -> list[float]:
    """Where epochs are on a logarithmic axis, which has no 0."""
    return [epoch or BEFORE_ONE for epoch in epochs]


def epoch_axis(shown: Sequence[int]) -> dict[str, Any]:
    """A logarithmic axis for these epochs, with a place for 0 where there is one."""
    low, high = places([min(shown, default=1), max(shown, default=1)])
    axis = log_axis(low / 1.3, high * 1.3)
    ticks = [0] * (0 in shown) + [tick for tick in axis["tickvals"] if tick >= 1]
    texts = [f"{tick:,.0f}" for tick in ticks]
    return axis | {"title": {"text": "epochs", "standoff": 8}, "tickvals": places(ticks), "ticktext": texts}


def log_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high` with plain numbers at it: at each power of ten, or nearer if few are."""
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    kept = [tick for power in powers for step in steps if low <= (tick := step * 10.0**power) * 1.0001 and tick <= high]
    bounds = [math.log10(low), math.log10(high)]
    return {"type": "log", "range": bounds, "tickvals": kept, "ticktext": [f"{tick:g}" for tick in kept]}


def drawn(ended: Sequence[TrialRecord], most: int = MOST_DRAWN) -> list[TrialRecord]:
    """At most so many trials: a tenth of them the best hits, the others evenly from all the rest."""
    if len(ended) <= most:
        return list(ended)
    best = sorted((row for row in ended if row.converged), key=lambda row: (row.spent, row.trial or 0))[: most // 10]
    kept = {row.trial for row in best}
    rest = [row for row in ended if row.trial not in kept]
    step = math.ceil(len(rest) / (most - len(best)))
    return sorted([*best, *rest[::step]], key=lambda row: row.trial or 0)


def jitter(row: TrialRecord) -> tuple[float, float]:
    """Where in its place a trial is drawn, across and up, in [−0.5, 0.5): evenly, and the same every time.

    Point n of the additive recurrence with the inverse plastic number and its square.
    """
    return (row.trial or 0) * 0.7548776662 % 1 - 0.5, (row.trial or 0) * 0.5698402910 % 1 - 0.5


def parted(rows: Sequence[TrialRecord]) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """Hits and misses."""
    return [row for row in rows if row.converged], [row for row in rows if not row.converged]


def values(dimension: Dimension) -> tuple[Any, ...]:
    """What is shown as choices: choices, and whole numbers of a short range; empty for another range."""
    if isinstance(dimension, Choices):
        return dimension.values
    short = dimension.whole and dimension.high - dimension.low < FEW
    return tuple(range(int(dimension.low), int(dimension.high) + 1)) if short else ()


def searched(space: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """The parameters that are not fixed."""
    return {
        name: dimension
        for name, dimension in space.items()
        if (len(dimension.values) > 1 if isinstance(dimension, Choices) else dimension.low < dimension.high)
    }


def plain(name: str) -> str:
    """A parameter's name for people."""
    return name.replace("_", " ")
