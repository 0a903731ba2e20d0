"""The product-limit estimator, against cases worked by hand and against scipy's."""

import random

import pytest
from scipy.stats import CensoredData, ecdf

from search.answer.report.survival import product_limit


def test_ties_and_censoring_by_hand() -> None:
    """Ten trials: two converge at 1, one is censored there; one of two ends at 3 is a hit; the rest are at 5 and 8."""
    ends = [(1, True), (1, True), (1, False), (3, True), (3, False), (5, True), (5, True), (5, True), (8, False)]
    estimate = product_limit([*ends, (8, False)])
    assert estimate.epochs == [1, 3, 5]
    # 10 are at risk, then 7, then 5: 8/10, then · 6/7, then · 2/5
    assert estimate.share == pytest.approx((0.8, 0.8 * 6 / 7, 0.8 * 6 / 7 * 2 / 5))
    assert estimate.censored == [1, 3, 8] and estimate.last == 8 and estimate.median == 5
    assert [estimate.at(epoch) for epoch in (0, 1, 2)] == [1.0, 0.8, 0.8]


def test_without_censoring_it_is_the_share_that_is_left() -> None:
    """Every trial converged: S(t) is the share of those that needed more than t, and ends at 0."""
    ends = [1, 2, 2, 7]
    estimate = product_limit([(epochs, True) for epochs in ends])
    assert list(estimate.share) == [sum(end > at for end in ends) / 4 for at in estimate.epochs]
    assert estimate.share[-1] == 0 and estimate.median == 2


def test_where_nothing_converged_nothing_falls() -> None:
    """Misses alone say only that more epochs are needed."""
    estimate = product_limit([(4, False), (8, False)])
    assert estimate.epochs == [] and estimate.median is None and estimate.at(8) == 1 and estimate.last == 8


def test_a_curve_ends_where_too_few_are_at_risk() -> None:
    """The last of four trials converges: alone it would take the estimate to 0."""
    ends = [(1, True), (2, False), (2, False), (9, True)]
    assert product_limit(ends).share[-1] == 0
    estimate = product_limit(ends, least=2)
    assert (estimate.epochs, estimate.share, estimate.last, estimate.censored) == ([1], [0.75], 2, [2])
    assert product_limit([(0, True)], least=2).at(0) == 1


@pytest.mark.parametrize("seed", range(20))
def test_it_equals_scipys(seed: int) -> None:
    """At every epoch, of trials with many ties."""
    draw = random.Random(seed)
    ends = [(draw.randrange(30), draw.random() < 0.5) for _ in range(80)]
    hits, misses = ([epochs for epochs, hit in ends if hit is which] for which in (True, False))
    curve = ecdf(CensoredData(hits, right=misses)).sf
    estimate = product_limit(ends)
    assert [estimate.at(epoch) for epoch in range(31)] == pytest.approx(list(curve.evaluate(range(31))), abs=1e-12)
