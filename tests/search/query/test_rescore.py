"""A recorded curve tells what another target or hold would have recorded, and says where it cannot."""

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.configuration import Configuration
from objectives.convergence import CURVE_POINTS, Outcome, Progress, Trial, thinned
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.parameters import OPTIMIZERS
from objectives.trainers.solo import Solo
from search.query.records import RunRecord
from search.query.rescore import OPEN, judged, reached
from storage.curves import pack, unpack
from tests.support.records import run

GOALS = list(product((0.25, 0.5, 0.75, 0.95, 1.0), (1, 2, 5)))  # targets and holds
WAVES = Waves(inputs=16)


def record(outcome: Outcome) -> RunRecord:
    """An outcome as it is read back from a store."""
    curve = type(outcome.curve)(*unpack(pack(*vars(outcome.curve).values())))
    return run(converged=outcome.converged, epochs=outcome.epochs, end=outcome.end.value, curve=curve)


def compare(recorded: RunRecord, target: float, hold: int, again: Outcome) -> str:
    """Assert that what the curve tells is what training came to, and return how it ended."""
    found = judged(recorded, target, hold)
    if found.end == OPEN:
        assert again.epochs >= found.epochs
    else:
        assert (found.converged, found.epochs, found.end) == (again.converged, again.epochs, again.end)
    return str(found.end)


accuracies = st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.74, 0.75, 0.96, 1.0]), min_size=1, max_size=40)


@given(accuracies, st.sampled_from(GOALS), st.sampled_from(GOALS), st.integers(0, 30), st.booleans())
def test_judging_a_curve_anew_is_observing_it_anew(
    seen: list[float], own: tuple[float, int], asked: tuple[float, int], cap: int, diverges: bool
) -> None:
    """Whatever the evaluations, both targets and holds, and the cap."""
    configuration = Configuration(classes=20, width=3, activation="tanh", optimizer="sgd", lr=0.1)

    def observed(target: float, hold: int) -> Outcome:
        progress = Progress(Trial(0, configuration, 0, 0, cap), target, hold)
        for accuracy in seen + [0.0] * 40:  # it ends at its cap at last
            if progress.end is None:
                progress.observe(accuracy, float("nan") if diverges and progress.epoch + 2 == len(seen) else 1.0)
        return progress.outcome(0.0)

    compare(record(observed(*own)), *asked, observed(*asked))


def test_trained_trials_are_judged_as_training_with_that_goal_would() -> None:
    """Random configurations, trained once, then again for each of fifteen goals."""
    dice, ends = random.Random(4), []
    for seed in range(12):
        configuration = Configuration(
            classes=8,
            width=40,
            activation=dice.choice(["sine", "tanh"]),
            optimizer=dice.choice(OPTIMIZERS),
            lr=10 ** dice.uniform(-3, 0),
            first_lr_ratio=1e-3,
            scaling="fixed",
            gain=10 ** dice.uniform(1, 2.5),
            bias_init="spread",
        )

        def trained(
            target: float, hold: int, configuration: Configuration = configuration, seed: int = seed
        ) -> Outcome:
            solo = Solo(Batches(WAVES), target, hold)
            solo.admit(Trial(0, configuration, seed, 1, cap=25))
            ((_, outcome),) = solo.advance(1000)
            return outcome

        recorded = record(trained(0.75, 2))
        ends += [compare(recorded, *goal, trained(*goal)) for goal in GOALS]
    assert {"converged", "cap", OPEN} <= set(ends)


@pytest.mark.parametrize("accuracy", [0.95, 0.99, 2 / 3])
def test_a_target_that_is_reached_exactly_is_reached_in_the_record_too(accuracy: float) -> None:
    """Curves are stored in 32 bits, in which 0.95 is less than 0.95."""
    curve = thinned([accuracy, accuracy], [1.0, 1.0])
    assert reached(type(curve)(*unpack(pack(*vars(curve).values()))), accuracy, 2) == (0, 2)


def test_a_thinned_curve_is_judged_by_the_evaluations_it_keeps() -> None:
    """Of a long run the epochs-to-convergence is that of a kept evaluation, at most one step late."""
    n, at = 5000, 3210
    curve = thinned([0.5] * at + [1.0] * (n - at), [1.0] * n)
    found, _ = reached(curve, 0.99, 3)
    assert found is not None and at <= found < at + 2 * n // CURVE_POINTS + 2
