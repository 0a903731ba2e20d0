"""A trial judged by another target or hold, from its recorded curve and without training.

Training goes the same way whatever counts as converged, until it stops. So a curve tells what another target would have
recorded, up to where the curve ends: a trial that has stopped at the study's own target, or with evaluations in a row
at the asked one that it was not let finish, is *open*. It is known not to have converged by `epochs`, no more.

A curve of more than CURVE_POINTS evaluations is thinned (objectives.convergence): where it is, epochs are those of the
evaluations kept, and what happened between two of them is taken to be like both.
"""

import math
from array import array
from dataclasses import replace

from objectives.convergence import Curve, End
from search.query.records import RunRecord

OPEN = "open"  # in place of an End


def reached(curve: Curve, target: float, hold: int) -> tuple[int | None, int]:
    """Epochs-to-convergence, None if the curve shows none; and how many evaluations in a row it ends at the target."""
    (target,) = array("f", [target])  # as curves are stored, and rounding keeps the order
    first = None
    for epoch, accuracy, loss in zip(curve.epochs, curve.accuracy, curve.loss, strict=True):
        if accuracy < target or not math.isfinite(loss):
            first = None
            continue
        first = epoch if first is None else first
        if epoch - first >= hold - 1:
            return first, hold
    return None, 0 if first is None else curve.epochs[-1] - first + 1


def judged(record: RunRecord, target: float, hold: int) -> RunRecord:
    """A run with an outcome, as that target and hold would have it."""
    curve = record.curve
    epochs, streak = reached(curve, target, hold) if curve else (None, 0)
    if epochs is not None:
        return replace(record, converged=True, end=End.CONVERGED.value, epochs=epochs)
    if curve and (record.converged or (streak and record.end == End.CAP)):
        return replace(record, converged=False, end=OPEN, epochs=max(0, curve.epochs[-1] - streak))
    return replace(record, converged=False) if record.converged else record
