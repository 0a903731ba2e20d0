"""How long trials take to converge, of which some were stopped before they had: the product-limit estimator.

S(t), the share not converged within t epochs, falls at each epoch t at which trials converge by the factor 1 − d/n:
d converge there, of n at risk (Kaplan & Meier 1958, eq. 3b). A miss at c epochs is right-censored: it needs more than c
epochs, so it is at risk at c and no longer after it.

The estimate holds if trials are stopped for reasons that say nothing of how long they would have needed. Caps that fall
with the incumbent are such reasons; rungs, which stop what does worse than others, are not: S is too low where they
stopped many. With few at risk one trial moves S far, so a curve is followed only while there are some (Pocock, Clayton
& Altman 2002).

scipy.stats.ecdf of CensoredData gives the same curve; it saves no line here, where its import takes 0.4 s.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul


@dataclass(frozen=True)
class Survival:
    """S(t) as steps, at the epochs at which it falls."""

    epochs: Sequence[int]
    #: S from each of those epochs on, until the next.
    share: Sequence[float]
    #: Epochs at which trials were censored, each once.
    censored: Sequence[int]
    #: The last epoch at which enough trials were at risk.
    last: int

    def at(self, epoch: int) -> float:
        """S at an epoch."""
        return next((share for at, share in zip(self.epochs[::-1], self.share[::-1], strict=True) if at <= epoch), 1.0)

    @property
    def median(self) -> int | None:
        """The epochs within which half have converged; None if S stays above a half."""
        return next((epoch for epoch, share in zip(self.epochs, self.share, strict=True) if share <= 0.5), None)


def product_limit(ends: Sequence[tuple[int, bool]], least: int = 1) -> Survival:
    """The estimate from (epochs, converged) of trials, up to where fewer than `least` of them are at risk."""
    if len(ends) < least:
        return Survival((), (), (), 0)
    ordered = sorted(epochs for epochs, _ in ends)
    last = ordered[-least]
    hits = Counter(epochs for epochs, converged in ends if converged and epochs <= last)
    falls = (1 - hits[epoch] / (len(ends) - bisect_left(ordered, epoch)) for epoch in sorted(hits))
    censored = sorted({epochs for epochs, converged in ends if not converged and epochs <= last})
    return Survival(sorted(hits), list(accumulate(falls, mul)), censored, last)
