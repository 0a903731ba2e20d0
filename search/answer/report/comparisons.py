"""Exhibits that set models beside each other: their learning curves, and the rungs of the ladder."""

import math
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[import-untyped]

from search.answer.ladder.verdicts import RungRecord
from search.answer.report.figures import DASHES, FAINT, HIT, MISS, SERIES, Exhibit, blank, epoch_axis, log_axis, places
from search.answer.wording import epochs
from search.query.records import RunRecord

POINTS = 150  # of one curve: a page a thousand wide shows no more
SEEDS = 5  # curves of one configuration


def learning_curves(models: Mapping[str, Sequence[RunRecord]], target: float) -> Exhibit:
    """Accuracy and loss by epoch, of each model's runs: records of `query.recorded`, by what the model is called."""
    figure = blank(470, margin={"l": 62})
    for (label, runs), colour, dash in zip(models.items(), SERIES, DASHES, strict=False):
        stroke = {"color": colour, "dash": dash, "width": 2}
        for nth, run in enumerate(runs[:SEEDS]):
            _curve(figure, run, stroke, name=_named(label, runs), legendgroup=label, showlegend=nth == 0)
    losses = [loss for line in figure.data[1::2] for loss in line.y if loss]
    last = max((run.curve.epochs[-1] for runs in models.values() for run in runs), default=0)
    figure.add_hline(
        y=target, line={"color": FAINT, "width": 1}, annotation_text=f"target {target:g}",
        annotation_position="bottom right", annotation_font_color=FAINT,
    )  # fmt: skip
    figure.update_layout(
        xaxis=epoch_axis([0, last]) | {"anchor": "y2"},
        yaxis={"domain": [0.54, 1], "range": [-0.03, 1.06], "title": {"text": "accuracy", "standoff": 6}},
        yaxis2=log_axis(min(losses, default=1) / 1.5, max(losses, default=1) * 1.5)
        | {"domain": [0, 0.47], "title": {"text": "loss", "standoff": 6}},
    )  # fmt: skip
    finding = "; ".join(_came_to(label, runs) for label, runs in models.items()) or "Nothing to compare yet"
    return Exhibit("curves", "Learning curves", f"{finding}.", figure)


def _curve(figure: Figure, run: RunRecord, stroke: dict[str, Any], **legend: Any) -> None:
    """One run's accuracy and below it its loss, each with a mark at its end: a dot if it converged, else a cross."""
    curve, symbol = run.curve, (HIT if run.converged else MISS)["symbol"]
    kept = thinned(curve.epochs)
    along, end = [curve.epochs[i] for i in kept], [0] * (len(kept) - 1)
    for axis, of in (("y", curve.accuracy), ("y2", curve.loss)):
        figure.add_scatter(
            x=places(along), y=[_shown(of[i], axis == "y2") for i in kept], yaxis=axis,
            mode="lines+markers", line=stroke, opacity=0.8, customdata=along,
            marker={"symbol": symbol, "color": stroke["color"], "size": [*end, 9], "line": {"width": [*end, 2]}},
            hovertemplate=f"{legend['legendgroup']}: %{{y:.3g}} after %{{customdata}}<extra></extra>",
            **legend | {"showlegend": legend["showlegend"] and axis == "y"},
        )  # fmt: skip


def thinned(along: Sequence[int]) -> list[int]:
    """Which evaluations are drawn: all early ones, then as many as a logarithmic axis shows, the last always."""
    n = len(along)
    if n <= POINTS:
        return list(range(n))
    return sorted({round(n ** (i / (POINTS - 1))) - 1 for i in range(POINTS)})


def _shown(value: float, logarithmic: bool) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) and (value > 0 or not logarithmic) else None


def _named(label: str, runs: Sequence[RunRecord]) -> str:
    drawn = f"{SEEDS} of {len(runs)}" if len(runs) > SEEDS else f"{len(runs)}"
    return f"{label} ({drawn} seeds)" if len(runs) > 1 else label


def _came_to(label: str, runs: Sequence[RunRecord]) -> str:
    """What a model's runs came to, and what those that missed were given."""
    hits = sorted(run.spent for run in runs if run.converged)
    if len(runs) == 1 and not hits:
        return f"{label}: accuracy {runs[0].accuracy or 0:.3f} in the {epochs(runs[0].spent)} it was given"
    if not hits:
        return f"{label}: none of {len(runs)} runs converged in the {epochs(max(run.spent for run in runs))} given"
    of = f" on {len(hits)} of {len(runs)} seeds" if len(runs) > 1 else ""
    return f"{label}: {epochs(median_low(hits))}{of}"


def ladder(rungs: Sequence[RungRecord]) -> list[Exhibit]:
    """Epochs of each rung's runs, one exhibit for each class count: records of `ladder.rung_records`."""
    counts = sorted({rung.classes for rung in rungs})
    return [_climbed([rung for rung in rungs if rung.classes == classes], classes) for classes in counts]


def _climbed(rungs: Sequence[RungRecord], classes: int) -> Exhibit:
    """A row for each rung: a dot for each run that converged, a cross at the cap for those that did not."""
    figure = blank(110 + 26 * len(rungs), margin={"l": 120, "r": 20})
    hits = [(row, epoch, rung.about) for row, rung in enumerate(rungs) for epoch in rung.epochs]
    misses = [
        (row, rung.cap, f"{rung.seeds - rung.converged} of {rung.seeds}: {rung.about}")
        for row, rung in enumerate(rungs)
        if rung.converged < rung.seeds
    ]
    for label, mark, points in (("converged", HIT, hits), ("missed", MISS, misses)):
        figure.add_scatter(
            x=places([epoch for _, epoch, _ in points]), y=[row for row, _, _ in points], mode="markers",
            name=label, marker=mark | {"size": 9}, customdata=[(about, epoch) for _, epoch, about in points],
            hovertemplate=f"%{{customdata[0]}}<br>{label}, %{{customdata[1]}} epochs<extra></extra>",
        )  # fmt: skip
    rows = {"tickvals": list(range(len(rungs))), "ticktext": [_last_added(rung.rung) for rung in rungs]}
    figure.update_layout(
        xaxis=epoch_axis([epoch for _, epoch, _ in (*hits, *misses)]),
        yaxis=rows | {"range": [len(rungs) - 0.5, -0.5]},
    )
    learned = [rung for rung in rungs if rung.epochs]
    finding = f"{len(learned)} of {len(rungs)} rungs converged on some seed"
    if learned:
        best = min(learned, key=lambda rung: (median_low(rung.epochs), -len(rung.epochs)))
        finding += f"; the fewest, {epochs(median_low(best.epochs))}: {best.about}"
    return Exhibit(f"ladder-{classes}", f"The ladder, {classes} classes", f"{finding}.", figure)


def _last_added(rung: str) -> str:
    """Of advice added up, what is added to the rung above."""
    parts = rung.split("+")
    return rung if len(parts) < 3 else f"… + {parts[-1]}"
