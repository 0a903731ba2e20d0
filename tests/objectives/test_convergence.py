"""Convergence, caps, outcomes and the shortfall are exactly as the words say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.configuration import Configuration
from objectives.convergence import CURVE_POINTS, End, Outcome, Progress, Trial, shortfall, thinned

CONFIGURATION = Configuration(classes=8, width=4, activation="tanh", optimizer="sgd", lr=0.1)


def played(accuracy: list[float], cap: int, hold: int, loss: list[float] | None = None) -> Outcome | None:
    """The outcome after these evaluations, or None if the trial is still running."""
    progress = Progress(Trial(1, CONFIGURATION, 0, 0, cap), target=0.9, hold=hold)
    for i, a in enumerate(accuracy):
        progress.observe(a, loss[i] if loss else 1.0)
        if progress.end:
            return progress.outcome(0.0)
    return None


def test_epochs_are_those_before_the_first_of_the_held_evaluations() -> None:
    """Three evaluations in a row from epoch 2 on: 2 epochs; an interrupted run of two does not count."""
    outcome = played([0, 0.95, 0.1, 0.95, 0.9, 1.0], cap=10, hold=3)
    assert outcome and outcome.converged and outcome.epochs == 3 and outcome.reached == 1
    assert outcome.gap == 0


def test_a_miss_is_censored_at_its_cap() -> None:
    """A trial below the target at its cap is a miss given that many epochs."""
    outcome = played([0.1] * 20, cap=5, hold=3)
    assert outcome and outcome.end is End.CAP and outcome.epochs == outcome.cap == 5
    assert len(outcome.curve.epochs) == 6


def test_evaluations_begun_by_the_cap_are_let_finish() -> None:
    """Reaching the target at the cap itself and holding it is convergence at the cap."""
    outcome = played([0.1] * 5 + [1.0] * 3, cap=5, hold=3)
    assert outcome and outcome.converged and outcome.epochs == 5
    broken = played([0.1] * 5 + [1.0, 1.0, 0.1], cap=5, hold=3)
    assert broken and broken.end is End.CAP and broken.epochs == 5


def test_a_loss_that_is_not_finite_is_divergence_and_the_worst_gap() -> None:
    """A diverged trial is a miss whose gap is the largest below 1, with no number that JSON cannot hold."""
    outcome = played([0.1, 0.1], cap=5, hold=3, loss=[2.0, math.nan])
    assert outcome and outcome.end is End.DIVERGED and not outcome.converged
    assert 0.999 < outcome.gap < 1 and outcome.loss is None and outcome.best_loss == 2.0


def test_lowering_the_cap_never_takes_back_epochs() -> None:
    """A cap below the epochs already used ends the trial where it is."""
    progress = Progress(Trial(1, CONFIGURATION, 0, 0, 100), target=0.9, hold=3)
    for _ in range(8):
        progress.observe(0.1, 1.0)
    progress.lower_cap(4)
    assert progress.end is End.CAP and progress.outcome(0.0).epochs == progress.cap == 7
    progress.lower_cap(50)
    assert progress.cap == 7


@given(
    st.lists(st.sampled_from([0.2, 0.95]), min_size=60, max_size=60),
    st.integers(0, 50),
    st.integers(1, 5),
)
def test_a_miss_at_cap_c_means_more_than_c_epochs(accuracy: list[float], cap: int, hold: int) -> None:
    """For any curve: converged with e ≤ cap, or missed and no e ≤ cap exists. Brute force over the definition."""
    outcome = played(accuracy, cap, hold)
    true = [e for e in range(len(accuracy) - hold + 1) if min(accuracy[e : e + hold]) >= 0.9]
    assert outcome is not None
    if outcome.converged:
        assert outcome.epochs == true[0] <= cap
    else:
        assert outcome.epochs == cap and not [e for e in true if e <= cap]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e30)), min_size=1, max_size=20), st.integers(2, 5000))
def test_shortfall_is_bounded_and_more_evaluations_never_raise_it(
    curve: list[tuple[float, float]], classes: int
) -> None:
    """The shortfall is in [0, 1) for any finite curve and falls or stays as evaluations come."""
    accuracy, loss = [a for a, _ in curve], [value for _, value in curve]
    values = [shortfall(accuracy[:i], loss[:i], classes, 0.99) for i in range(1, len(curve) + 1)]
    assert all(0 <= value < 1 for value in values)
    assert values == sorted(values, reverse=True)


def test_shortfall_ranks_what_the_loss_or_the_accuracy_alone_cannot() -> None:
    """Right but overconfident beats ignorant; with nothing correct, the lower loss is better; diverged is worst."""
    overconfident = shortfall([0.5], [40.0], 256, 0.99)
    ignorant = shortfall([1 / 256], [math.log(256)], 256, 0.99)
    lost = shortfall([1 / 256], [60.0], 256, 0.99)
    assert overconfident < ignorant < lost < shortfall([1.0], [math.inf], 256, 0.99) < 1


@pytest.mark.parametrize("n", [0, 1, CURVE_POINTS // 2, CURVE_POINTS, CURVE_POINTS + 1, 5_000])
def test_thinned_curves_keep_the_first_half_and_the_end(n: int) -> None:
    """At most CURVE_POINTS evaluations stay, the early ones and the last among them."""
    curve = thinned([i / 10_000 for i in range(n)], [1.0] * n)
    assert len(curve.epochs) == len(curve.accuracy) == len(curve.loss) <= CURVE_POINTS
    assert list(curve.epochs[: CURVE_POINTS // 2]) == list(range(min(n, CURVE_POINTS // 2)))
    assert not n or curve.epochs[-1] == n - 1
    assert [i / 10_000 for i in curve.epochs] == list(curve.accuracy)
