"""What a trial is worth: the score that leads the sampler, and the evidence of replicates that names a winner.

TPE ranks, so the order among misses decides: a flat penalty gives it nothing to follow. A miss scores
`max_epochs · (1 + gap)`, above every converged trial and higher the farther it was from converging.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import mean, median_low

REPLICATES = 5  # fresh seeds that a candidate for winner is re-run on
CONFIRMING = 4  # of which this many must converge; of more, as large a part
FINALISTS = 5  # candidates confirmed before a winner is named
CANDIDATES = 25  # candidates tried at most
FIRST = 2  # replicates that can refute a candidate, run before the others
SHARE = 4  # one epoch in so many may be spent on re-running the leader while the search goes on
LEVEL = 10  # trials as good as the best, before better ones are called unlikely
SIGNIFICANCE = 0.05  # below which one configuration's replicates are called better than another's


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
        return self.converged >= CONFIRMING and not self.refuted

    @property
    def refuted(self) -> bool:
        """Too many replicates missed for it to be confirmed."""
        may_miss = (REPLICATES - CONFIRMING) * max(1, len(self.scores) // REPLICATES)
        return len(self.scores) - self.converged > may_miss

    @property
    def complete(self) -> bool:
        """Confirmed, and every replicate has an outcome."""
        return self.confirmed and len(self.scores) >= REPLICATES

    @property
    def typical(self) -> float:
        """The median of the replicates' scores: epochs, if most of them converged."""
        return median_low(self.scores)

    @property
    def rank(self) -> tuple[int, float]:
        """Order of candidates: confirmed ones by their replicates' mean score, untried ones by epochs, refuted ones."""
        if self.confirmed:
            return 0, mean(self.scores)
        return (2, mean(self.scores)) if self.refuted else (1, self.epochs)

    @property
    def order(self) -> tuple[tuple[int, float], int, int]:
        """By rank, then by its own epochs."""
        return self.rank, self.epochs, self.trial

    def ties(self, first: "Evidence") -> bool:
        """Whether it is as good as an earlier one in order: equal, or confirmed both and not told apart by `tied`."""
        return self.rank == first.rank or (self.confirmed and first.confirmed and tied(first.scores, self.scores))


def due(candidates: Iterable[Evidence]) -> list[tuple[Evidence, int]]:
    """The replicates to run next, as (candidate, replicate): those of the best candidates that are not refuted.

    A race: a candidate that misses twice makes room for the next one, until FINALISTS of one class count are confirmed
    or CANDIDATES were tried. Replicates that are running already are named again; adding them twice is harmless.
    """
    ordered = sorted(candidates, key=lambda candidate: (candidate.epochs, candidate.loss, candidate.trial))[:CANDIDATES]
    racing = [candidate for candidate in ordered if not candidate.refuted][:FINALISTS]
    return [(c, k) for k in range(1, REPLICATES + 1) for c in racing if k > len(c.scores)]


def challenge(candidates: Iterable[Evidence], trained: int, retrained: int) -> list[tuple[Evidence, int]]:
    """The replicates worth having before the search is over, as (candidate, replicate): those of one that could lead.

    `trained` and `retrained` are the epochs of all trials and of all replicates. None if a candidate that was re-run is
    as quick on fresh seeds, or if re-running takes more than its SHARE. The FIRST come first: they can refute it.
    """
    candidates = list(candidates)
    rivals = [candidate for candidate in candidates if not (candidate.refuted or candidate.complete)]
    rival = min(rivals, key=lambda c: (c.epochs, -len(c.scores), c.loss, c.trial), default=None)
    if rival is None or retrained + rival.epochs * REPLICATES > trained / SHARE:
        return []
    if any(candidate.complete and candidate.typical <= rival.epochs for candidate in candidates):
        return []
    upto = FIRST if len(rival.scores) < FIRST else REPLICATES
    return [(rival, k) for k in range(1, upto + 1)]


def tied(best: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the replicates of two configurations do not show that the first is the better one.

    A one-sided exact permutation test on mid-ranks (Wilcoxon 1945; Mann & Whitney 1947) at SIGNIFICANCE. Five against
    five are told apart if nearly all of one are below all of the other.
    """
    import numpy as np

    pooled = [*best, *other]
    # Twice the mid-rank, so that it is whole.
    ranks = [2 * sum(value < this for value in pooled) + sum(value == this for value in pooled) for this in pooled]
    ways = np.zeros((len(best) + 1, sum(ranks) + 1), dtype=np.int64)  # to choose so many with such a sum of ranks
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank]
    as_low = int(ways[len(best), : sum(ranks[: len(best)]) + 1].sum())
    return as_low > SIGNIFICANCE * comb(len(pooled), len(best))


def front(fewest: Mapping[int, int]) -> list[int]:
    """The class counts for which no higher one needs as few epochs, most first; `fewest` is epochs by classes."""
    kept: list[int] = []
    for classes in sorted(fewest, reverse=True):
        if not kept or fewest[classes] < fewest[kept[-1]]:
            kept.append(classes)
    return kept
