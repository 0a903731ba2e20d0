"""Records of runs that no store has seen."""

from dataclasses import fields
from typing import Any

from objectives.convergence import Curve
from search.query.records import RunRecord


def run_record(**known: Any) -> RunRecord:
    """A run of which only this is known: without a curve unless one is given, and None for all else."""
    nothing = dict.fromkeys(field.name for field in fields(RunRecord))
    return RunRecord(**nothing | {"curve": Curve((), (), ())} | known)
