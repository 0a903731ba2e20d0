"""Importance, on studies whose answer is known."""

import random
from dataclasses import replace

import pytest

from search.answer.report.importance import how_fast, midranks, whether
from search.query.records import TrialRecord
from tests.support.records import trial

ACTIVATIONS = ("sine", "tanh", "relu")


def made(n: int, seed: int) -> list[TrialRecord]:
    """Trials in which `activation` alone decides whether, and `lr` alone how fast; `gain` and `optimizer` nothing."""
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        params = {
            "activation": draw.choice(ACTIVATIONS),
            "optimizer": draw.choice("abcdefghij"),
            "lr": 10 ** draw.uniform(-4, 0),
            "gain": 10 ** draw.uniform(0, 3),
        }
        hit = params["activation"] == "sine"
        rows.append(trial(converged=hit, epochs=round(1 / params["lr"]) if hit else 4, params=params))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_whether_and_how_fast_are_told_apart(seed: int) -> None:
    """Each question names the one parameter that decides it, and gives the others next to nothing."""
    rows = made(300, seed)
    assert whether(rows, "activation") == 1
    assert all((whether(rows, name) or 0) < 0.05 for name in ("optimizer", "lr", "gain"))
    assert (how_fast(rows, "lr") or 0) > 0.9
    assert all((how_fast(rows, name) or 0) < 0.1 for name in ("optimizer", "gain"))
    assert how_fast(rows, "activation") is None  # all hits have one


def test_what_decides_nothing_is_worth_nothing_on_average() -> None:
    """Ten optimizers in 60 trials explain a sixth of any variance by chance; corrected, next to none of it."""
    found = [whether(made(60, seed), "optimizer") or 0 for seed in range(40)]
    assert sum(found) / len(found) < 0.05


def test_a_conditional_parameter_is_judged_where_it_is_there() -> None:
    """`width_2` decides all among trials that have it; those without it do not count."""
    rows = [trial(converged=i % 2 == 0, params={"hidden_layers": 1}) for i in range(40)]
    rows += [trial(converged=i >= 20, params={"hidden_layers": 2, "width_2": i}) for i in range(40)]
    assert (whether(rows, "width_2") or 0) > 0.8 and whether(rows, "hidden_layers") == 0


def test_too_little_to_tell_is_no_answer() -> None:
    """Few trials, or all of one kind, or all as fast."""
    assert whether(made(5, 0), "lr") is None
    assert whether([replace(row, converged=True) for row in made(50, 0)], "lr") is None
    assert how_fast([replace(row, epochs=1) for row in made(50, 0)], "lr") is None


def test_equal_epochs_share_a_rank() -> None:
    """Mid-ranks, from 0."""
    assert midranks([3, 1, 3, 7]) == [1.5, 0, 1.5, 3]
