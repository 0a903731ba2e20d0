"""A trial's numbers in the array are those it has alone, whatever trains beside it."""

import random
from typing import Any

import pytest
import torch

from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.parameters import ACTIVATIONS, BATCH_SAMPLINGS, BIAS_INITS, OPTIMIZERS, SCALINGS
from objectives.trainers import trial_array
from objectives.trainers.bucket import Bucket
from objectives.trainers.compact_bucket import CompactBucket
from objectives.trainers.graph_bucket import GraphBucket
from objectives.trainers.rows import Shape
from objectives.trainers.solo import Solo
from objectives.trainers.trainer import Trainer
from objectives.trainers.trial_array import TrialArray

WAVES = Waves(inputs=20)
BASE: dict[str, Any] = {"classes": 12, "width": 9, "activation": "tanh", "optimizer": "adam", "lr": 0.02}
DOUBLE = Batches(WAVES, dtype=torch.float64)
BUCKETS = [CompactBucket, GraphBucket]


def configuration(dice: random.Random, layers: int, **fixed: Any) -> Configuration:
    """One with everything drawn that is not fixed."""
    choices = {"scaling": SCALINGS, "bias_init": BIAS_INITS, "batch_sampling": BATCH_SAMPLINGS}
    drawn = {name: dice.choice(values) for name, values in choices.items()}
    widths = {"width": dice.randint(6, 16)} | ({"width_2": dice.randint(6, 16)} if layers == 2 else {})
    numbers = {
        "lr": 10 ** dice.uniform(-4, -2.5),
        "first_lr_ratio": dice.choice([0.0, 0.1, 1.0]),
        "gain": dice.uniform(1, 4),
    }
    params = BASE | drawn | widths | numbers | {"hidden_layers": layers} | fixed
    if params["activation"] == "relu":  # min–max puts the lowest class on its kink, where rounding decides the gradient
        params["scaling"] = "fixed"
    return Configuration.of(params)


def trial(key: int, configuration: Configuration, cap: int = 12) -> Trial:
    return Trial(key, configuration, seed=key, data_seed=7, cap=cap)


def outcomes(trainer: Trainer, trials: list[Trial], burst: int = 5) -> dict[int, Outcome]:
    """Every trial's outcome by its key, the trainer refilled as soon as there is room."""
    waiting, found = list(trials), {}
    while waiting or trainer.running:
        while waiting and trainer.room:
            trainer.admit(waiting.pop(0))
        found |= {trial.key: outcome for trial, outcome in trainer.advance(burst)}
    return found


def alone(trial: Trial, batches: Batches = DOUBLE) -> Outcome:
    """What the solo trainer makes of a trial."""
    return outcomes(Solo(batches, 0.99, 3), [trial])[trial.key]


def bucket(
    kind: type[Bucket], batches: Batches = DOUBLE, layers: int = 1, slots: int = 8, width: int = 16, classes: int = 12
) -> Bucket:
    return kind(batches, Shape(batches.problem.inputs, (width,) * layers, classes), 0.99, 3, slots)


def assert_equal(found: Outcome, expected: Outcome, rel: float) -> None:
    assert (found.end, found.epochs, found.cap, found.reached) == (
        expected.end,
        expected.epochs,
        expected.cap,
        expected.reached,
    )
    assert list(found.curve.accuracy) == pytest.approx(list(expected.curve.accuracy), rel=rel)
    assert list(found.curve.loss) == pytest.approx(list(expected.curve.loss), rel=rel)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", BUCKETS)
def test_equals_the_solo_trainer(kind: type[Bucket], optimizer: str, layers: int) -> None:
    """In float64 to 1e-10: every optimizer with every activation in slots of one bucket, of unequal widths."""
    dice = random.Random(f"{optimizer} {layers}")
    trials = [
        trial(key, configuration(dice, layers, optimizer=optimizer, activation=name))
        for key, name in enumerate(ACTIVATIONS)
    ]
    found = outcomes(bucket(kind, layers=layers, slots=4), trials)
    for each in trials:
        assert_equal(found[each.key], alone(each), rel=1e-10)


@pytest.mark.parametrize("kind", BUCKETS)
def test_equals_the_solo_trainer_over_a_long_run(kind: type[Bucket]) -> None:
    """Also over 300 epochs, where rounding errors have had time to grow."""
    each = trial(1, configuration(random.Random(1), 2, activation="gelu", optimizer="nadam", lr=1e-3), cap=300)
    assert_equal(outcomes(bucket(kind, layers=2), [each])[1], alone(each), rel=1e-10)


def test_a_mixed_array_equals_the_solo_trainer() -> None:
    """Trials of other depths, widths and class counts train beside each other, each as if it were alone."""
    dice = random.Random(2)
    trials = [
        trial(
            key,
            configuration(
                dice,
                key % 2 + 1,
                activation=dice.choice(ACTIVATIONS),
                optimizer=dice.choice(OPTIMIZERS),
                classes=dice.choice([2, 7, 12]),
                width=dice.randint(6, 70),
            ),
            cap=dice.randint(0, 9),
        )
        for key in range(40)
    ]
    found = outcomes(TrialArray(DOUBLE, 0.99, 3), trials, burst=4)
    assert len(found) == 40
    for each in trials:
        assert_equal(found[each.key], alone(each), rel=1e-10)


def test_float32_begins_as_the_solo_trainer_does() -> None:
    """In float32 the first losses agree to 1e-5."""
    single, dice = Batches(Waves()), random.Random(3)
    for layers in (1, 2):
        each = trial(1, configuration(dice, layers, classes=64, width=100, activation="silu"), cap=5)
        found = outcomes(TrialArray(single, 0.99, 3), [each])[1]
        assert list(found.curve.loss) == pytest.approx(list(alone(each, single).curve.loss), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "layers", "inputs", "width", "classes"),
    [
        (CompactBucket, 1, 225, 208, 12),
        (CompactBucket, 2, 225, 32, 32),
        (CompactBucket, 2, 20, 32, 7),
        (GraphBucket, 1, 50, 16, 12),
        (GraphBucket, 2, 20, 32, 7),
    ],
)
def test_neighbours_change_no_bit(
    kind: type[Bucket], layers: int, inputs: int, width: int, classes: int, dtype: torch.dtype
) -> None:
    """Alone, in any order, beside one that diverges and after refills, a slot's numbers are the same to the bit."""
    batches, dice = Batches(Waves(inputs=inputs), dtype=dtype), random.Random(4)
    same = {"classes": classes, "width": width} | ({"width_2": width - 5} if layers == 2 else {})
    trials = [
        trial(key, configuration(dice, layers, **same, activation=name), cap=3 + 2 * key)
        for key, name in enumerate(ACTIVATIONS)
    ]
    explodes = trial(99, configuration(dice, layers, **same, activation="silu", optimizer="adamw", lr=1e6), cap=200)

    def made(slots: int) -> Bucket:
        return bucket(kind, batches, layers, slots, width, classes)

    beside, shuffled = outcomes(made(8), [*trials, explodes]), outcomes(made(3), [explodes, *reversed(trials)], burst=2)
    assert beside[99].end is End.DIVERGED
    for each in trials:
        on_its_own = outcomes(made(8), [each])[each.key]
        for found in (beside[each.key], shuffled[each.key]):
            assert (found.curve, found.epochs, found.end) == (on_its_own.curve, on_its_own.epochs, on_its_own.end)


def test_padding_changes_nothing() -> None:
    """Units that a bucket adds put out nothing, also where f(0) is not 0."""
    for name in ("sigmoid", "gaussian"):
        each = trial(1, configuration(random.Random(5), 2, activation=name, width=5, width_2=3), cap=8)
        assert_equal(outcomes(bucket(CompactBucket, layers=2, width=48), [each])[1], alone(each), rel=1e-10)


@pytest.mark.parametrize("kind", BUCKETS)
def test_a_lowered_cap_ends_a_slot_and_only_that(kind: type[Bucket]) -> None:
    """A cap lowered between bursts ends its trial where it stands; the others go on."""
    full = bucket(kind, slots=2)
    for key in (1, 2):
        full.admit(trial(key, configuration(random.Random(6), 1, activation="tanh", lr=1e-6), cap=20))
    assert full.advance(4) == []
    full.running[0].lower_cap(2)
    ((ended, outcome),) = full.advance(3)
    assert (ended.key, outcome.end, outcome.cap) == (1, End.CAP, full_epochs(kind))
    assert full.room == 1 and [progress.trial.key for progress in full.running] == [2]


def full_epochs(kind: type[Bucket]) -> int:
    """Epochs completed after a burst of four: a compact bucket evaluates once as it admits."""
    return 4 if kind is CompactBucket else 3


@pytest.mark.parametrize("kind", BUCKETS)
def test_a_full_bucket_refuses_and_releases(kind: type[Bucket]) -> None:
    """No trial is dropped silently; released ones come back without an outcome and leave their slots free."""
    full, trials = bucket(kind, slots=2), [trial(key, Configuration.of(BASE)) for key in range(3)]
    full.admit(trials[0])
    full.admit(trials[1])
    with pytest.raises(ValueError, match="slot"):
        full.admit(trials[2])
    assert full.release() == trials[:2] and full.room == 2 and full.advance(3) == []


def test_many_data_seeds_shorten_a_burst() -> None:
    """Slots that see more different batches than the burst's table holds still get every epoch."""
    trials = [Trial(key, Configuration.of(BASE), seed=1, data_seed=key, cap=9) for key in range(30)]
    found = outcomes(bucket(GraphBucket, slots=30), trials, burst=16)
    for each in trials[::7]:
        assert_equal(found[each.key], alone(each), rel=1e-10)


def test_the_array_takes_what_fits_the_cache() -> None:
    """Narrow trials fill every slot, wide ones fewer, and one is always taken."""

    def admitted(width: int) -> int:
        array, count = TrialArray(Batches(Waves()), 0.99, 3), 0
        while array.room:
            array.admit(trial(count, Configuration.of(BASE | {"classes": 32, "width": width})))
            count += 1
        return count

    assert admitted(64) == trial_array.MAX_SLOTS["cpu"]
    assert 1 < admitted(512) < 8
    assert admitted(8192) == 1


def test_a_network_too_large_for_any_memory_is_a_miss_and_the_others_go_on() -> None:
    """It is requeued until it is alone, then reported; no neighbour is lost."""
    huge = Configuration.of(BASE | {"hidden_layers": 2, "width": 1 << 20, "width_2": 1 << 20})
    small = [trial(key, Configuration.of(BASE)) for key in range(3)]
    array = TrialArray(DOUBLE, 0.99, 3)
    for each in [*small, trial(9, huge)]:
        array.admit(each)
    found = outcomes(array, [])
    assert found[9].end is End.OUT_OF_MEMORY and found[9].epochs == 0
    for each in small:
        assert_equal(found[each.key], alone(each), rel=1e-10)


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_bucket_that_runs_out_of_memory_begins_again_with_fewer_slots(
    fails: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that had to leave for want of memory have the same outcome in the end."""
    left = [fails]

    class Starved(CompactBucket):
        def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
            if left[0] and len(self.running) > 1:
                left[0] -= 1
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().advance(epochs)

    monkeypatch.setattr(trial_array, "CompactBucket", Starved)
    trials = [trial(key, configuration(random.Random(key), 1, width=9)) for key in range(12)]
    found = outcomes(TrialArray(DOUBLE, 0.99, 3), trials, burst=3)
    assert left[0] == 0
    for each in trials:
        assert_equal(found[each.key], alone(each), rel=1e-10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpus_array_equals_its_solo_trainer() -> None:
    """Captured graphs give what autograd gives, in float64 on the same GPU."""
    gpu, dice = Batches(WAVES, "cuda", torch.float64), random.Random(8)
    trials = [
        trial(
            key,
            configuration(dice, key % 2 + 1, activation=dice.choice(ACTIVATIONS), optimizer=dice.choice(OPTIMIZERS)),
        )
        for key in range(40)
    ]
    found = outcomes(TrialArray(gpu, 0.99, 3), trials, burst=16)
    for each in trials:
        assert_equal(found[each.key], alone(each, gpu), rel=1e-9)
