"""Replay: a recorded trial trained once more, alone, and what came out beside the record.

It goes the way it went: the same kind of trainer, the recorded seeds. Neighbours change no bit, and neither does a cap
that fell while the trial ran: it never falls below the epoch a trial has reached, so none of the evaluations before
that would have ended the trial under its last cap either. So each evaluation must come out as recorded, to the last bit
of the 32 that are stored, where the same versions compute on the same kind of hardware.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from objectives.convergence import Curve, End, Progress
from objectives.data.samples import Samples
from objectives.devices import devices
from objectives.trainers.trainer import TrainerKind
from search.errors import UsageError
from search.query.records import RunRecord
from search.spec.study_spec import StudySpec
from search.train.trainers import alone, as_recorded, software, trainer
from storage.schema import RunState

#: Of the software, what may change how numbers are rounded, or which are computed.
DECIDES = ("hardware", "torch", "numpy", "numba", "fewest", "commit")


@dataclass(frozen=True, kw_only=True)
class ReplayRecord:
    """The outcome of a trial that was trained again, beside its record."""

    trial: int
    recorded_epochs: int
    recorded_end: str
    epochs: int
    end: str
    same_epochs: bool
    #: To the bit.
    same_curve: bool
    #: Of accuracy or loss.
    largest_difference: float
    device: str
    #: None where the record does not name it.
    trainer: str | None
    #: What decides numbers and is no longer as it was.
    changed: Sequence[str]


class Replay:
    """Trains recorded trials of one study again."""

    def __init__(self, spec: StudySpec, samples: Samples | None, device: str | None) -> None:
        """`device`: None for each record's own, or another where that is not there."""
        self._device, self._trainer = device, cache(partial(trainer, spec, samples))  # one of each device and kind

    def __call__(self, recorded: RunRecord, show: Callable[[Progress], None]) -> ReplayRecord:
        """The outcome of training a trial again, which passes `check`, beside its record."""
        device = self._device or ("cpu" if recorded.device == "cpu" else devices("auto")[0])
        was = recorded.software or {}
        kind = TrainerKind(was.get("trainer", TrainerKind.AUTO))
        now = software(kind, device)
        outcome = alone(self._trainer(device, kind), as_recorded(recorded), show)
        same, difference = compared(recorded.curve, outcome.curve)
        return ReplayRecord(
            trial=recorded.trial or 0,
            recorded_epochs=recorded.spent,
            recorded_end=recorded.end or "",
            epochs=outcome.epochs,
            end=str(outcome.end),
            same_epochs=(outcome.epochs, outcome.end) == (recorded.epochs, recorded.end),
            same_curve=same,
            largest_difference=difference,
            device=device,
            trainer=was.get("trainer"),
            changed=[f"{name} {was[name]}, now {now[name]}" for name in DECIDES if _changed(was, now, name)],
        )


def check(recorded: RunRecord) -> None:
    """UsageError unless the trial has an outcome that another training can be compared with."""
    reason = None
    if recorded.end is None:
        reason = f"failed ({recorded.reason})" if recorded.state == RunState.FAILED else f"is {recorded.state}"
    elif recorded.end == End.OUT_OF_MEMORY:
        reason = "ran out of memory, which is the machine's doing"
    if reason:
        raise UsageError(f"trial {recorded.trial} {reason}; there is no outcome to compare with, so leave it out")


def compared(recorded: Curve, replayed: Curve) -> tuple[bool, float]:
    """Whether two curves are equal to the bit as they are stored, and the largest difference of accuracy or loss.

    Differences are those of finite values at epochs that both curves have.
    """
    old, new = (np.array([curve.accuracy, curve.loss], np.float32) for curve in (recorded, replayed))
    same = list(recorded.epochs) == list(replayed.epochs) and np.array_equal(old, new, equal_nan=True)
    _, at, again = np.intersect1d(recorded.epochs, replayed.epochs, return_indices=True)
    with np.errstate(invalid="ignore"):  # of two infinite losses
        differences = np.abs(old[:, at].astype(float) - new[:, again])
    return same, float(differences[np.isfinite(differences)].max(initial=0.0))


def _changed(was: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    """Both are known, and differ."""
    return None not in (was.get(name), now[name]) and was[name] != now[name]
