"""Scores lead the sampler; replicates name the winner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.ask.scoring import (
    CANDIDATES,
    FINALISTS,
    REPLICATES,
    SHARE,
    Evidence,
    challenge,
    due,
    front,
    score,
    tied,
)


@given(st.integers(0, 300), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_every_miss_scores_above_every_converged_trial(epochs: int, gap: float, other: float) -> None:
    """A converged trial scores its epochs; misses score at least max_epochs, in the order of their gaps."""
    assert score(True, epochs, 0, 300) == epochs <= score(False, 4, gap, 300) <= 600
    assert (score(False, 9, gap, 300) < score(False, 4, other, 300)) == (300 * (1 + gap) < 300 * (1 + other))


def test_the_best_candidates_are_due_on_every_seed() -> None:
    """FINALISTS candidates with fewest epochs get all their replicates, best first."""
    known = [Evidence(trial, epochs) for trial, epochs in ((7, 9), (3, 1), (5, 2), (4, 1), (8, 9), (9, 9))]
    asked = due([*known, Evidence(6, 1, loss=0.5)])
    assert len(asked) == FINALISTS * REPLICATES
    assert [(candidate.trial, k) for candidate, k in asked[:FINALISTS]] == [(3, 1), (4, 1), (6, 1), (5, 1), (7, 1)]


def test_a_refuted_candidate_makes_room_for_the_next() -> None:
    """Two misses are too many for 4 of 5; one miss is not."""
    refuted, shaky = Evidence(1, 1, (300.0, 300.0), 0), Evidence(2, 1, (300.0, 2.0), 1)
    asked = due([refuted, shaky, *(Evidence(trial, trial) for trial in range(3, 9))])
    assert {candidate.trial for candidate, _ in asked} == {2, 3, 4, 5, 6}
    assert refuted.refuted and not shaky.refuted and not shaky.confirmed


@pytest.mark.parametrize(("hits", "seeds", "confirmed"), [(4, 5, True), (3, 5, False), (8, 10, True), (7, 10, False)])
def test_more_seeds_may_miss_as_large_a_part(hits: int, seeds: int, confirmed: bool) -> None:
    """Four of five, and of ten eight."""
    evidence = Evidence(1, 1, (1.0,) * hits + (300.0,) * (seeds - hits), hits)
    assert evidence.confirmed is confirmed is not evidence.refuted


@given(st.lists(st.lists(st.booleans(), min_size=REPLICATES, max_size=REPLICATES), min_size=0, max_size=40))
def test_the_race_ends_with_finalists_or_without_candidates(truth: list[list[bool]]) -> None:
    """Whatever the replicates do, asking and answering ends, and what is left is confirmed or refuted."""
    known: dict[int, list[bool]] = {trial: [] for trial in range(len(truth))}

    def candidates() -> list[Evidence]:
        return [Evidence(t, 1, [1.0 if hit else 300.0 for hit in seen], sum(seen)) for t, seen in known.items()]

    for _ in range(len(truth) + 1):
        asked = due(candidates())
        for candidate, k in asked:
            assert k == len(known[candidate.trial]) + 1 or (candidate, k - 1) in asked
        for candidate, k in asked:
            known[candidate.trial].append(truth[candidate.trial][k - 1])
    assert due(candidates()) == []
    confirmed = [candidate for candidate in candidates() if candidate.confirmed]
    good = [t for t in range(min(len(truth), CANDIDATES)) if sum(truth[t]) >= 4]
    assert [candidate.trial for candidate in confirmed] == good[:FINALISTS]


def test_rank_prefers_evidence() -> None:
    """Confirmed before untried before refuted, whatever their own epochs."""
    confirmed, untried, refuted = Evidence(1, 9, (9.0,) * 5, 5), Evidence(2, 1), Evidence(3, 1, (300.0,) * 2, 0)
    assert sorted([refuted, untried, confirmed], key=lambda candidate: candidate.rank) == [confirmed, untried, refuted]


def test_the_front_leaves_out_what_more_classes_do_in_as_few_epochs() -> None:
    """Of 8 classes in 2 epochs, 16 in 2 and 32 in 5, the middle one makes the first pointless."""
    assert front({8: 2, 16: 2, 32: 5}) == [32, 16]
    assert front({8: 1, 16: 2}) == [16, 8] and front({}) == []


def test_who_could_lead_is_challenged_when_that_is_cheap() -> None:
    """Two replicates of the quickest, once re-running has a small share of all epochs; then the others."""
    known = [Evidence(1, 9), Evidence(2, 4), Evidence(3, 4, loss=-1.0)]
    enough = 4 * REPLICATES * SHARE
    assert challenge(known, enough - 1, 0) == challenge(known, enough, 1) == challenge([], enough, 0) == []
    assert [(c.trial, k) for c, k in challenge(known, enough, 0)] == [(3, 1), (3, 2)]
    begun = Evidence(2, 4, (4.0, 5.0), 2)
    assert [(c.trial, k) for c, k in challenge([known[0], begun, known[2]], enough, 0)] == [(2, k) for k in range(1, 6)]


def test_what_is_as_quick_on_fresh_seeds_is_not_challenged_by_its_equals() -> None:
    """Only by what could be quicker than it is there, and was not refuted."""
    champion, lucky = Evidence(1, 4, (4.0,) * 5, 5), Evidence(1, 1, (4.0,) * 5, 5)
    assert challenge([champion, Evidence(2, 4)], 10_000, 0) == challenge([lucky, Evidence(2, 4)], 10_000, 0) == []
    assert {c.trial for c, _ in challenge([champion, Evidence(3, 2)], 10_000, 0)} == {3}
    assert {c.trial for c, _ in challenge([lucky, Evidence(3, 1)], 10_000, 0)} == {3}
    assert challenge([champion, Evidence(3, 2, (300.0, 300.0), 0)], 10_000, 0) == []


@pytest.mark.parametrize(
    ("best", "other", "same"),
    [
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], True),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 2], True),  # once in 2 of all ways to deal these ten out
        ([1, 1, 1, 1, 1], [2, 2, 2, 2, 2], False),  # 1 of 252
        ([1, 1, 2, 2, 3], [2, 2, 3, 3, 4], True),
        ([3, 4, 4, 5, 6], [6, 7, 9, 300, 300], False),
        ([1, 1, 1, 1, 1], [1, 1, 2, 2, 2], True),  # 21 of 252
        ([1, 1, 1, 1, 1], [1, 2, 2, 2, 2], False),  # 6 of 252
        ([4.0] * 30, [4.0] * 29 + [5.0], True),
        ([4.0] * 30, [5.0] * 30, False),
    ],
)
def test_ties_are_what_the_test_does_not_tell_apart(best: list[float], other: list[float], same: bool) -> None:
    """Five replicates against five, at 5 %: the figures are those of the exact distribution."""
    assert tied(best, other) is same
