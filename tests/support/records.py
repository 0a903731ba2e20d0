"""Records as queries answer them, of trials that nobody has trained: what a test says, and a default for the rest."""

from typing import Any

from objectives.convergence import Curve
from search.answer.ladder.verdicts import RungRecord
from search.query.records import BestRecord, RunRecord, TrialRecord
from storage.schema import RunKind

_MEASURED = {"gap": None, "accuracy": 0.5, "loss": 1.0, "best_accuracy": 0.5, "reached": None, "seconds": 0.1}
_TRIAL: dict[str, Any] = {"trial": 0, "state": "done", "classes": 8, "converged": True, "epochs": 1, "cap": 30}
_TRIAL |= {**_MEASURED, "end": None, "seed": 3, "data_seed": 5, "attempts": 1, "reason": None, "params": {}}
_RUN: dict[str, Any] = {**_TRIAL, "kind": RunKind.TRIAL, "name": "0", "label": None, "replicate": 0}
_RUN |= {"stream_offset": 0, "curve": Curve((), (), ()), "device": None, "software": None}
_BEST: dict[str, Any] = {"rank": 1, "trial": 0, "classes": 8, "epochs": 1, "replicates": 5, "replicates_converged": 5}
_BEST |= {"replicate_epochs": [1] * 5, "confirmed": True, "accuracy": 1.0, "loss": 0.1, "seconds": 0.1}
_BEST |= {"weights": None, "params": {}}
_RUNG: dict[str, Any] = {"classes": 8, "rung": "question", "kind": "model", "about": "the question's model"}
_RUNG |= {"params": {}, "seeds": 3, "converged": 0, "epochs": [], "cap": 30, "accuracy": 0.5, "loss": 1.0}
_RUNG |= {"verdict": "not learned"}


def trial(**fields: Any) -> TrialRecord:
    """A trial that has an outcome."""
    return TrialRecord(**_TRIAL | fields)


def run(**fields: Any) -> RunRecord:
    """A run that has an outcome."""
    return RunRecord(**_RUN | fields)


def best(**fields: Any) -> BestRecord:
    """A configuration that five replicates confirmed."""
    return BestRecord(**_BEST | fields)


def rung(**fields: Any) -> RungRecord:
    """A rung of the ladder, that none of three seeds learned."""
    return RungRecord(**_RUNG | fields)
