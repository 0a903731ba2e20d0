"""What a rung of the ladder came to, and what that says of the page's claim, in words.

A run scores its epochs if it converged, else cap · (2 − best accuracy), which is at least the cap. A rung helps or
hurts if the exact rank test of `scoring` tells its scores from the question's model's, each rung by itself: of
three seeds against three all must lie on one side.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, median_low
from typing import Any

from search.answer.wording import epochs, seeds
from search.ask.scoring import tied
from search.query.records import TrialRecord


@dataclass(frozen=True)
class Measured:
    """The runs of one rung."""

    #: Runs that have an outcome, one or more.
    runs: Sequence[TrialRecord]
    #: Most epochs of each.
    cap: int
    #: Accuracy that counts as learned.
    target: float

    @property
    def seeds(self) -> int:
        """How many runs there are, each on its own seed."""
        return len(self.runs)

    @property
    def epochs(self) -> list[int]:
        """Of the runs that converged, fewest first."""
        return sorted(run.epochs or 0 for run in self.runs if run.converged)

    @property
    def converged(self) -> int:
        """How many of them converged."""
        return len(self.epochs)

    @property
    def accuracy(self) -> float:
        """The median of the best accuracies."""
        return median(run.best_accuracy or 0.0 for run in self.runs)

    @property
    def loss(self) -> float | None:
        """The median of the last losses, those that are finite."""
        finite = [run.loss for run in self.runs if run.loss is not None]
        return median(finite) if finite else None

    @property
    def scores(self) -> list[float]:
        """Of each run, as defined above: less is better."""
        return [run.epochs or 0 if run.converged else self.cap * (2 - (run.best_accuracy or 0.0)) for run in self.runs]

    @property
    def in_words(self) -> str:
        """`240 epochs on 3 of 3 seeds`, or the accuracy where none converged."""
        if self.epochs:
            return f"{epochs(median_low(self.epochs))} on {self.converged} of {seeds(self.seeds)}"
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
            return f"{seeds(min(self.seeds, question.seeds))} cannot tell"
        if not tied(self.scores, question.scores):
            return "helps" if self.converged == self.seeds else "helps, not enough"
        if not tied(question.scores, self.scores):
            return "hurts"
        return "does not clearly help" if mean(self.scores) < mean(question.scores) else "does not help"


@dataclass(frozen=True, kw_only=True)
class RungRecord:
    """What became of a rung."""

    classes: int
    rung: str
    #: model, alone, together or winner.
    kind: str
    #: The change in words.
    about: str
    params: Mapping[str, Any]
    seeds: int
    converged: int
    #: Of the runs that converged, fewest first.
    epochs: Sequence[int]
    #: Most epochs of each run.
    cap: int
    #: The median of the best accuracies, and of the last losses.
    accuracy: float
    loss: float | None
    verdict: str


_CLAIMS = {
    "question": "32 or 64 classes can be learned, 256 cannot",
    "normalised": "2. Normalise the inputs",
    "units": "3. More units, in one hidden layer",
    "gaussian": "3. A Gaussian as activation",
    "sampled": "4. Sample the classes of a batch",
    "answer": "The answer's simpler model",
}
_CLAIMS_OF_KINDS = {"together": "Added up in that order", "winner": "The winner of the search"}


@dataclass(frozen=True)
class Claim:
    """What the page says, and the verdict on the best of the rungs that it is about."""

    classes: int
    text: str
    verdict: str


def claims(rungs: Sequence[RungRecord]) -> list[Claim]:
    """The page's claims, in its order, as far as these rungs are about them."""
    about: dict[tuple[int, str], list[RungRecord]] = defaultdict(list)
    for rung in rungs:
        about[rung.classes, _claim(rung)].append(rung)
    judged = []
    for (classes, text), tried in about.items():
        best = max(tried, key=_reach)
        name = f"{best.rung}, the best of {len(tried)}: " if len(tried) > 1 else ""
        judged.append(Claim(classes, text, name + best.verdict))
    return judged


def _claim(rung: RungRecord) -> str:
    """What the page says that this rung is about."""
    return _CLAIMS_OF_KINDS.get(rung.kind) or _CLAIMS.get(rung.rung, "1. Try other optimizers")


def _reach(rung: RungRecord) -> tuple[float, float, float]:
    """How far a rung came: on how many of its seeds, then how soon, then how near."""
    return rung.converged / rung.seeds, -median_low(rung.epochs or [rung.cap]), rung.accuracy
