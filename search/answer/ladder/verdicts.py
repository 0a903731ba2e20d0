"""What a rung of the ladder came to, and what that says of the page's claim, in words.

A run scores its epochs if it converged, else cap · (2 − best accuracy), which is at least the cap. A rung helps or
hurts if the exact rank test of `scoring` tells its scores from the question's model's, each rung by itself: of
three seeds against three all must lie on one side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median, median_low
from typing import Any

from search.ask.scoring import tied
from search.cli.output import epochs


@dataclass(frozen=True)
class Measured:
    """The runs of one rung."""

    #: Rows of `query.recorded` that have an outcome, one or more.
    runs: Sequence[dict[str, Any]]
    #: Most epochs of each.
    cap: int
    #: Accuracy that counts as learned.
    target: float

    @property
    def seeds(self) -> int:
        return len(self.runs)

    @property
    def epochs(self) -> list[int]:
        """Of the runs that converged, fewest first."""
        return sorted(run["epochs"] for run in self.runs if run["converged"])

    @property
    def converged(self) -> int:
        return len(self.epochs)

    @property
    def accuracy(self) -> float:
        """The median of the best accuracies."""
        return median(run["best_accuracy"] or 0.0 for run in self.runs)

    @property
    def loss(self) -> float | None:
        """The median of the last losses, those that are finite."""
        finite = [run["loss"] for run in self.runs if run["loss"] is not None]
        return median(finite) if finite else None

    @property
    def scores(self) -> list[float]:
        return [
            run["epochs"] if run["converged"] else self.cap * (2 - (run["best_accuracy"] or 0.0)) for run in self.runs
        ]

    @property
    def in_words(self) -> str:
        """`240 epochs on 3 of 3 seeds`, or the accuracy where none converged."""
        if self.epochs:
            return f"{epochs(median_low(self.epochs))} on {self.converged} of {_seeds(self.seeds)}"
        return f"{self.accuracy:.3f}{' but not held' if self.accuracy >= self.target else ''}"

    @property
    def alone(self) -> str:
        """What it came to, compared with nothing."""
        if self.converged:
            return f"{'learned' if self.converged == self.seeds else 'not always learned'}: {self.in_words}"
        loss = "" if self.loss is None else f", loss {self.loss:.2f}"
        return f"not learned: accuracy {self.in_words}{loss} after {epochs(self.cap)}"

    def beside(self, question: "Measured", by_itself: bool) -> str:
        """The verdict on a change of the question's model, made `by_itself` or with others."""
        if self.converged == self.seeds and question.converged < question.seeds:
            return f"enough{' by itself' if by_itself else ''}: {self.in_words}"
        return f"{self._effect(question)}: {self.in_words} instead of {question.in_words}"

    def _effect(self, question: "Measured") -> str:
        if tied([0.0] * self.seeds, [1.0] * question.seeds):
            return f"{_seeds(min(self.seeds, question.seeds))} cannot tell"
        if not tied(self.scores, question.scores):
            return "helps" if self.converged == self.seeds else "helps, not enough"
        if not tied(question.scores, self.scores):
            return "hurts"
        return "does not clearly help" if mean(self.scores) < mean(question.scores) else "does not help"


_CLAIMS = {
    "question": "32 or 64 classes can be learned, 256 cannot",
    "normalised": "2. Normalise the inputs",
    "units": "3. More units, in one hidden layer",
    "gaussian": "3. A Gaussian as activation",
    "sampled": "4. Sample the classes of a batch",
    "answer": "The answer's simpler model",
}


def claims(rows: Sequence[dict[str, Any]]) -> list[tuple[int, str, str]]:
    """What the page says, as (classes, claim, verdict on the best of the rungs that it is about).

    `rows` are those of `ladder.climbed`.
    """
    about: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows:
        about.setdefault((row["classes"], _claim(row)), []).append(row)
    found = []
    for (classes, claim), tried in about.items():
        best = max(tried, key=_reach)
        named = f"{best['rung']}, the best of {len(tried)}: " if len(tried) > 1 else ""
        found.append((classes, claim, named + best["verdict"]))
    return found


def _claim(row: dict[str, Any]) -> str:
    if row["kind"] == "together":
        return "Added up in that order"
    if row["kind"] == "winner":
        return "The winner of the search"
    return _CLAIMS.get(row["rung"], "1. Try other optimizers")


def _reach(row: dict[str, Any]) -> tuple[float, float, float]:
    """How far a rung came: on how many of its seeds, then how soon, then how near."""
    return row["converged"] / row["seeds"], -median_low(row["epochs"] or [row["cap"]]), row["accuracy"]


def _seeds(n: int) -> str:
    return f"{n} seed{'' if n == 1 else 's'}"
