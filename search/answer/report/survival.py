"""How long trials take to converge, of which some were stopped before they had: the product-limit estimator.

S(t), the share not converged within t epochs, falls at each epoch t at which trials converge by the factor 1 − d/n:
d converge there, of n at risk (Kaplan & Meier 1958, eq. 3b). A miss at c epochs is right-censored: it needs more than c
epochs, so it is at risk at c and no longer after it.

The estimate holds if trials are stopped for reasons that say nothing of how long they would have needed. Caps that fall
with the incumbent are such reasons; rungs, which stop what does worse than others, are not: S is too low where they
stopped many. With few at risk one trial moves S far, so a curve is followed only while there are some (Pocock, Clayton
& Altman 2002).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Survival:
    """S(t) as steps, at the epochs at which it falls; the three sequences have one length."""

    epochs: Sequence[int]
    #: S from that epoch on, until the next.
    share: Sequence[float]
    #: Trials that had not ended before that epoch.
    at_risk: Sequence[int]
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
    hits = Counter(epochs for epochs, converged in ends if converged)
    over = Counter(epochs for epochs, _ in ends)
    left, share, last = len(ends), 1.0, 0
    steps = []
    for epoch in sorted(over):
        if left < least:
            break
        last = epoch
        if hits[epoch]:
            share *= 1 - hits[epoch] / left
            steps.append((epoch, share, left))
        left -= over[epoch]
    epochs, shares, at_risk = zip(*steps, strict=True) if steps else ((), (), ())
    censored = sorted({epochs for epochs, converged in ends if not converged and epochs <= last})
    return Survival(epochs, shares, at_risk, censored, last)
