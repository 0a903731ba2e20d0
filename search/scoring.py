"""What a trial is worth: the score that leads the sampler, and the evidence of replicates that names a winner.

TPE ranks, so the order among misses decides: a flat penalty gives it nothing to follow. A miss scores
`max_epochs · (1 + gap)`, above every converged trial and higher the farther it was from converging.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

REPLICATES = 5  # fresh seeds that a candidate for winner is re-run on
CONFIRMING = 4  # of which this many must converge
FINALISTS = 5  # candidates confirmed before a winner is named
CANDIDATES = 25  # candidates tried at most


def score(converged: bool, epochs: int, gap: float, max_epochs: int) -> float:
    """What the sampler is told, lower is better; never epochs for a person to read."""
    return float(epochs) if converged else max_epochs * (1 + gap)


@dataclass(frozen=True)
class Evidence:
    """A converged trial as a candidate for winner: its own epochs, and the scores of its replicates so far."""

    trial: int
    epochs: int
    #: Score of each replicate that has an outcome.
    scores: Sequence[float] = ()
    #: How many of them converged.
    converged: int = 0
    #: At its last evaluation: of two as quick, the surer one is tried first.
    loss: float = 0.0

    @property
    def confirmed(self) -> bool:
        """Enough replicates converged."""
        return self.converged >= CONFIRMING

    @property
    def refuted(self) -> bool:
        """Too many replicates missed for it to be confirmed."""
        return len(self.scores) - self.converged > REPLICATES - CONFIRMING

    @property
    def rank(self) -> tuple[int, float]:
        """Order of candidates: confirmed ones by their replicates' mean score, untried ones by epochs, refuted ones."""
        if self.confirmed:
            return 0, mean(self.scores)
        return (2, mean(self.scores)) if self.refuted else (1, self.epochs)


def due(candidates: Iterable[Evidence]) -> list[tuple[Evidence, int]]:
    """The replicates to run next, as (candidate, replicate): those of the best candidates that are not refuted.

    A race: a candidate that misses twice makes room for the next one, until FINALISTS of one class count are confirmed
    or CANDIDATES were tried. Replicates that are running already are named again; adding them twice is harmless.
    """
    ordered = sorted(candidates, key=lambda candidate: (candidate.epochs, candidate.loss, candidate.trial))[:CANDIDATES]
    racing = [candidate for candidate in ordered if not candidate.refuted][:FINALISTS]
    return [(c, k) for k in range(1, REPLICATES + 1) for c in racing if k > len(c.scores)]


def front(fewest: Mapping[int, int]) -> list[int]:
    """The class counts for which no higher one needs as few epochs, most first; `fewest` is epochs by classes."""
    kept: list[int] = []
    for classes in sorted(fewest, reverse=True):
        if not kept or fewest[classes] < fewest[kept[-1]]:
            kept.append(classes)
    return kept
