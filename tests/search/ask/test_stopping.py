"""The horizon opens, caps follow the incumbent, rungs keep a third, and some trials are judged late."""

import pytest

from objectives.configuration import Configuration
from objectives.convergence import Progress, Trial
from search.ask.stopping import BRACKETS, FLOOR, HORIZON, OPEN, RUNGS, SMALL, STEP, Stopping, at_rungs, burst

LARGE = 10_000  # trials of a budget with all rungs
EARLY = 7  # trials with a multiple of this number are judged from the first rung on


def opened() -> Stopping:
    """What a study knows whose budget is so small that its horizon is open."""
    return Stopping(300, LARGE, OPEN)


def running(epoch: int, accuracy: float, cap: int = 300, classes: int = 8) -> Progress:
    """A trial after so many epochs at one accuracy."""
    configuration = Configuration(classes=classes, width=4, activation="tanh", optimizer="sgd", lr=0.1)
    progress = Progress(Trial(1, configuration, 0, 0, cap), target=0.99, hold=3)
    for _ in range(epoch + 1):
        progress.observe(accuracy, 1.0)
    return progress


def test_the_cap_follows_the_incumbent_of_the_same_class_count() -> None:
    """Twice the incumbent, no lower than the floor, apart for each class count."""
    stopping = opened()
    assert stopping.cap(8) == 300
    stopping.learn(0, 8, True, 40, [0.6, 0.5, 0.4, 0.0, 0.0])
    assert (stopping.cap(8), stopping.cap(16)) == (80, 300)
    stopping.learn(1, 8, True, 2, [0.5, 0.0, 0.0, 0.0, 0.0])
    assert stopping.cap(8) == FLOOR
    progress = running(6, 0.1)
    stopping.judge(2, progress)
    assert progress.cap == FLOOR


def test_a_refuted_incumbent_bounds_no_trial() -> None:
    """The cap is that of what stands, or there is none."""
    stopping = opened()
    stopping.learn(0, 8, True, 2, [0.5, 0.0, 0.0, 0.0, 0.0])
    stopping.correct(8, 50)
    assert stopping.cap(8) == 100
    stopping.correct(8, None)
    assert stopping.cap(8) == 300


def test_the_horizon_doubles_with_the_trials_told() -> None:
    """All trials of a class count get few epochs at first, then ever more; a small budget opens sooner."""
    caps = []
    stopping, small = Stopping(300, LARGE, LARGE), Stopping(300, 18, 18)
    for _ in range(8 * STEP):
        caps.append(stopping.cap(8))
        stopping.learn(EARLY, 8, False, 1, [0.9, *[None] * 4])
    assert caps[::STEP] == [HORIZON, 8, 16, 32, 64, 128, 256, 300] and stopping.cap(16) == HORIZON
    for _ in range(18 // OPEN + 1):
        small.learn(EARLY, 8, False, 1, [0.9, *[None] * 4])
    assert small.cap(8) == 300 and Stopping(3, 10, 10).cap(8) == 3


def test_a_rung_keeps_what_is_among_the_best_third() -> None:
    """At its rung a trial worse than a third of the others ends there; a better one goes on."""
    stopping = opened()
    for number, found in enumerate([0.2, 0.3, 0.4, 0.6, 0.8, 0.9]):
        stopping.learn(EARLY * number, 8, False, 1, [found, None, None, None, None])
    bad, good = running(RUNGS[0], 0.01), running(RUNGS[0], 0.9)
    stopping.judge(0, bad)
    stopping.judge(0, good)
    assert (bad.cap, good.cap) == (RUNGS[0], 300)


def test_trials_that_run_together_are_compared_before_any_has_ended() -> None:
    """Of a cohort that reaches its first rung at once, those behind the best third end there, and count once."""
    stopping, cohort = opened(), [running(RUNGS[0], accuracy) for accuracy in (0.9, 0.5, 0.3, 0.2, 0.1, 0.05)]
    for about in (stopping.note, stopping.judge):
        for number, progress in enumerate(cohort):
            about(EARLY * number, progress)
    assert [progress.cap for progress in cohort] == [300, 300, 300, RUNGS[0], RUNGS[0], RUNGS[0]]
    seen = {rung: len(found) for (_, rung), found in stopping._shortfalls.items()}
    for number, progress in enumerate(cohort):
        stopping.learn(EARLY * number, 8, False, RUNGS[0], [progress.shortfall(), None, None, None, None])
    assert seen[RUNGS[0]] == len(stopping._shortfalls[8, RUNGS[0]]) == 6


def test_no_more_than_a_third_pass_however_good_each_is() -> None:
    """Where every trial is better than all before, still only one in three goes on."""
    stopping, passed = opened(), 0
    for i in range(60):
        progress = running(RUNGS[0], i / 100)
        stopping.judge(0, progress)
        passed += progress.cap == 300
        found = [progress.shortfall(), *[0.5 if progress.cap == 300 else None] * 4]
        stopping.learn(0, 8, False, progress.cap, found)
    assert passed == 20


@pytest.mark.parametrize(("budget", "compared"), [(SMALL - 1, False), (SMALL, True)])
def test_a_small_budget_has_no_rungs(budget: int, compared: bool) -> None:
    """There trials are what is scarce, and none is compared away."""
    stopping, progress = Stopping(300, budget, OPEN), running(RUNGS[0], 0.01)
    for number in range(6):
        stopping.learn(EARLY * number, 8, False, 300, [0.1] * len(RUNGS))
    stopping.judge(0, progress)
    assert (progress.cap == RUNGS[0]) is compared


def test_late_brackets_are_spared_at_early_rungs() -> None:
    """A trial of the third bracket meets its first judge at the third rung."""
    stopping = opened()
    for number in range(6):
        stopping.learn(EARLY * number, 8, False, 300, [0.1, 0.1, 0.1, 0.1, 0.1])
    late = BRACKETS.index(2)
    for rung, spared in zip(RUNGS, (True, True, False, False, False), strict=True):
        progress = running(rung, 0.01)
        stopping.judge(late, progress)
        assert (progress.cap == 300) is spared


def test_shortfalls_at_rungs_come_from_the_curve() -> None:
    """A rung that was reached has its shortfall, one beyond convergence 0, one beyond a miss none."""
    missed = running(20, 0.5, cap=20)
    found = at_rungs(missed.trial, missed.outcome(0.0), 0.99)
    assert found == [missed.shortfall(1), missed.shortfall(4), missed.shortfall(12), None, None]
    hit = running(2, 1.0)
    assert at_rungs(hit.trial, hit.outcome(0.0), 0.99)[1:] == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("epoch", "expected"), [(-1, 2), (0, 1), (1, 3), (4, 8), (12, 16), (35, 1), (200, 16)])
def test_a_burst_ends_at_the_next_rung(epoch: int, expected: int) -> None:
    """The worker looks at a trial exactly at its rungs, and never later than after 16 epochs."""
    assert burst([running(epoch, 0.1)]) == expected
