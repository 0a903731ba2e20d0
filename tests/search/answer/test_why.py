"""What held a trial back is found where it was put in, and following the advice helps."""

import json
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from objectives.configuration import Configuration
from objectives.convergence import Curve, Trial
from objectives.data.samples import Samples
from search.answer.why.causes import cut, diverged, fell_silent, improving, loud
from search.answer.why.miss_diagnosis import Cause, MissedTrial, Tried
from search.answer.why.why import Step, Why
from search.query.records import RunRecord
from search.spec.study_spec import DataRef, StudySpec
from tests.support.records import run

#: Learns 32 classes in an epoch or two.
GOOD: dict[str, Any] = {"classes": 32, "width": 256, "activation": "sine", "optimizer": "nesterov", "lr": 0.5}
GOOD |= {"first_lr_ratio": 1e-5, "scaling": "fixed", "gain": 250.0, "bias_init": "spread"}
WHY = Why(StudySpec.of(inputs=32, max_epochs=12), None)


def recorded(why: Why, params: dict[str, Any], cap: int) -> RunRecord:
    """A trial of these parameters, as the store gives it."""
    outcome = why.trained(Trial(0, Configuration.of(params), seed=3, data_seed=5, cap=cap))
    measured = {name: value for name, value in vars(outcome).items() if name != "best_loss"}
    return run(**measured, converged=outcome.converged, seed=3, data_seed=5, params=params)


def steps(why: Why = WHY, cap: int = 12, **params: Any) -> tuple[list[Step], Tried]:
    """What is found of a trial that misses, and what it came to by itself."""
    missed = recorded(why, GOOD | params, cap)
    assert missed.end != "converged"
    own = Tried(False, missed.epochs, missed.best_accuracy, missed.gap)
    return why.steps(missed), own


@pytest.mark.parametrize(
    ("cause", "params"),
    [
        (Cause.COARSE, {"gain": 1.0}),
        (Cause.COARSE, {"activation": "sigmoid", "gain": 2.0}),
        (Cause.NOISE, {"scaling": "batch", "batch_sampling": "random"}),
        (Cause.SATURATED, {"activation": "tanh", "gain": 1e6, "bias_init": "zeros", "scaling": "none"}),
        (Cause.SATURATED, {"activation": "gaussian", "gain": 1e5, "lr": 0.01}),
        (Cause.FIRST_LAYER, {"first_lr_ratio": 1.0}),
        (Cause.TOO_LOW, {"lr": 1e-4}),
        (Cause.TOO_HIGH, {"optimizer": "adam", "lr": 50.0, "first_lr_ratio": 1e-9, "hidden_layers": 2, "width_2": 64}),
        (Cause.NOT_SHOWN, {"batch_sampling": "random", "optimizer": "adam", "lr": 0.05}),
    ],
)
def test_a_cause_is_found_and_its_advice_helps(cause: Cause, params: dict[str, Any]) -> None:
    """The first step names what was done to a good configuration, and all steps together undo it."""
    chain, own = steps(cap=3, **params)
    assert chain[0].finding.cause is cause
    assert chain[-1].tried.better_than(own)
    assert all(step.finding.advice and "With " in step.sentences for step in chain)


def test_a_target_that_is_not_held_is_a_matter_of_smaller_steps() -> None:
    """All 256 classes are known after one update of Adam, and fewer after the second."""
    params = {"classes": 256, "width": 982, "optimizer": "adamw", "lr": 0.228, "first_lr_ratio": 3e-5, "gain": 304.0}
    chain, _ = steps(Why(StudySpec.of(), None), cap=1, **params)
    assert chain[0].finding.cause is Cause.UNSTEADY and chain[0].finding.sentence.startswith("It reached 0.99 after 1")
    assert chain[-1].tried.converged


def test_units_that_training_killed_are_told_from_those_that_began_dead() -> None:
    """Large steps of the first layer leave no unit of a rectifier above 0."""
    params = GOOD | {"activation": "relu", "gain": 1.0, "lr": 30.0, "first_lr_ratio": 1.0}
    miss, _ = WHY.examined(Trial(0, Configuration.of(params), 3, 5, cap=3))
    finding = fell_silent(miss)
    assert finding and finding.cause is Cause.DEAD
    assert finding.measured["silent_before"] == 0 and finding.measured["dead"] > 0.9
    assert finding.sentence.startswith("Training left") and finding.advice == {"lr": 3.0}


@pytest.fixture(scope="module")
def own_data() -> Why:
    """A study of 160 samples in four overlapping classes."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    x = (np.eye(4)[labels] @ draw.normal(size=(4, 12)) + 0.5 * draw.normal(size=(160, 12))).astype(np.float32)
    samples = Samples(x, labels, tuple("abcd"))
    reference = {"name": "own", "digest": samples.digest, "samples": 160, "features": 12, "classes": 4}
    data = DataRef(**reference, training=samples.training)
    return Why(StudySpec.of(data=data, target=0.95, max_epochs=12), samples)


OWN = {"classes": 4, "batch_size": 32, "optimizer": "adam", "lr": 0.01}


def test_samples_learned_by_heart_are_told_from_samples_understood(own_data: Why) -> None:
    """A gain that makes noise of the inputs is found by what is held out, and a lower one helps there."""
    chain, own = steps(own_data, **{**OWN, "gain": 100.0})
    assert chain[0].finding.cause in (Cause.NOISE, Cause.OVERFITTED)
    assert chain[-1].tried.better_than(own) and chain[-1].tried.accuracy > 0.9


def test_outputs_that_begin_too_large_are_told_by_their_loss(own_data: Why) -> None:
    """Rectifiers pass a large gain on; with one that brings the loss to that of guessing the trial gets farther."""
    trial = Trial(0, Configuration.of(GOOD | OWN | {"activation": "relu", "gain": 1e5, "lr": 1e-4}), 3, 5, cap=4)
    miss, own = own_data.examined(trial)
    finding = loud(miss)
    assert finding and finding.measured["loss"] > 1000 * finding.measured["guessing"]
    assert Tried.of(own_data.trained(own_data.changed(trial, finding.advice))).better_than(own)


def test_what_only_needed_longer_is_said_to_have_been_stopped() -> None:
    """A trial that converges when it is trained on gets no other advice."""
    chain, _ = steps(cap=1, optimizer="adam", lr=0.02, hidden_layers=2, width_2=16)
    assert [step.finding.cause for step in chain] == [Cause.CUT]
    assert chain[0].tried.converged and "--max-epochs 12" in chain[0].sentences


def curved(accuracy: list[float], loss: list[float], max_epochs: int = 12) -> MissedTrial:
    """A missed trial of which nothing but its curve was measured."""
    curve, nothing = Curve(range(len(accuracy)), accuracy, loss), cast(Any, None)
    spec, trial = StudySpec.of(inputs=32, target=0.9, max_epochs=max_epochs), Trial(0, Configuration.of(GOOD), 3, 5, 12)
    unmeasured = dict.fromkeys(("start", "end", "first", "last", "legible"), nothing)
    return MissedTrial(spec, trial, epochs=12, reached=None, curve=curve, **unmeasured)


def test_a_pace_is_told_only_where_it_is_steady() -> None:
    """A straight rise is extrapolated; one that has slowed down, or is too slow, is not; nor one that was cut short."""
    straight = [0.05 * epoch for epoch in range(13)]
    finding = improving(curved(straight, straight))
    assert finding and finding.measured["more"] == 6 and "about 6 more" in finding.sentence
    assert improving(curved([0.6 - 0.5**epoch for epoch in range(13)], straight)) is None
    assert improving(curved([value / 100 for value in straight], straight)) is None
    assert improving(curved(straight, straight, max_epochs=100)) is None
    assert cut(curved(straight, straight)) is None


def test_a_trial_whose_loss_is_infinite_is_examined_too(own_data: Why) -> None:
    """After large steps, or from the start because of the inputs; and what is not finite is null for programs."""
    chain, own = steps(cap=3, activation="relu", gain=1e9, scaling="none", hidden_layers=2, width_2=64, lr=1e6)
    assert chain[0].finding.cause is Cause.LOUD and chain[-1].tried.better_than(own)
    assert own_data.samples
    huge = replace(own_data.samples, x=own_data.samples.x * np.float32(1e30))
    chain, _ = steps(Why(own_data.spec, huge), **{**OWN, "activation": "relu", "gain": 1e9, "scaling": "none"})
    assert chain[0].finding.cause is Cause.DIVERGED and chain[0].finding.advice == {"gain": 1e6}
    assert json.loads(json.dumps([step.record for step in chain], allow_nan=False))


def test_divergence_is_told_with_its_epoch() -> None:
    """The first loss that is not finite."""
    finding = diverged(curved([0.1] * 3, [3.0, 1e30, math.inf]))
    assert finding and finding.measured["epoch"] == 2 and finding.advice["lr"] < GOOD["lr"]
