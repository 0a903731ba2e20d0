"""A data set is split by its seed, learned whole and once an epoch, and evaluated on what was never learned."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Trial
from objectives.data.batches import Batches
from objectives.data.samples import Samples
from objectives.model.network import glorot_uniform
from objectives.parameters import BIAS_INITS, SCALINGS
from objectives.trainers.solo import Solo
from objectives.trainers.trainer import Trainer
from objectives.trainers.trial_array import TrialArray

BASE: dict[str, Any] = {"classes": 3, "width": 9, "activation": "tanh", "optimizer": "sgd", "lr": 0.1, "batch_size": 16}


def made(counts: list[int]) -> Samples:
    """Clouds of so many samples around different points; their first input is each sample's own number."""
    dice = np.random.default_rng(1)
    labels = dice.permutation(np.repeat(np.arange(len(counts)), counts))
    x = dice.normal(size=(len(labels), 4)) / 4 + labels[:, None] * [0, 1, -1, 2]
    x[:, 0] = np.arange(len(labels))
    return Samples(x.astype(np.float32), labels, tuple(map(str, range(len(counts)))))


CLOUDS = made([50, 30, 43])


@given(st.lists(st.integers(2, 40), min_size=2, max_size=6), st.integers(0, 2**63 - 1))
def test_every_class_is_in_both_parts(counts: list[int], data_seed: int) -> None:
    """Both parts are the whole, without a sample in common, with a fifth of each class held out and at least one."""
    samples = made(counts)
    training, validation = samples.split(data_seed)
    assert sorted([*training, *validation]) == list(range(sum(counts))) and len(training) == samples.training
    assert np.bincount(samples.labels[validation]).tolist() == [max(1, (n + 2) // 5) for n in counts]
    assert (np.bincount(samples.labels[training]) > 0).all()


def test_the_split_and_the_order_depend_on_their_seed_and_epoch_alone() -> None:
    """The same key gives the same; another seed gives another split, another epoch another order."""
    configuration = Configuration.of(BASE)
    for one, other, same in ((5, 5, True), (5, 6, False)):
        assert (CLOUDS.split(one)[1].tolist() == CLOUDS.split(other)[1].tolist()) == same
        assert (CLOUDS.order(configuration, one, 0).tolist() == CLOUDS.order(configuration, other, 0).tolist()) == same
    assert CLOUDS.order(configuration, 5, 0).tolist() != CLOUDS.order(configuration, 5, 1).tolist()


@pytest.mark.parametrize("batch_size", [1, 16, 98, 500])
def test_an_epoch_is_the_training_part_once_in_minibatches(batch_size: int) -> None:
    """Every minibatch but the last is full; every sample of the training part is in one, none of the others in any."""
    batches, configuration = Batches(CLOUDS), Configuration.of(BASE | {"batch_size": batch_size})
    training, validation = CLOUDS.split(5)
    seen = []
    for epoch in (0, 1):
        minibatches = batches.minibatches(configuration, 5, epoch)
        assert {len(batch.labels) for batch in minibatches[:-1]} <= {batch_size}
        order = [int(number) for batch in minibatches for number in batch.x[:, 0]]
        assert sorted(order) == training.tolist()
        assert [int(label) for batch in minibatches for label in batch.labels] == CLOUDS.labels[order].tolist()
        assert batches.evaluation_batch(configuration, 5, epoch).x[:, 0].tolist() == validation.tolist()
        seen.append(order)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scalings_know_the_training_part_alone(scaling: str) -> None:
    """What is evaluated is scaled by what is learned: a validation sample far out changes no number but its own."""
    configuration, (_, validation) = Configuration.of(BASE | {"scaling": scaling}), CLOUDS.split(5)
    x = CLOUDS.x.copy()
    x[validation[0]] = 1e6
    plain, changed = (Batches(Samples(each, CLOUDS.labels, CLOUDS.names)) for each in (CLOUDS.x, x))
    for one, other in zip(
        plain.minibatches(configuration, 5, 3), changed.minibatches(configuration, 5, 3), strict=True
    ):
        assert torch.equal(one.x, other.x)
    assert torch.equal(
        plain.evaluation_batch(configuration, 5, 3).x[1:], changed.evaluation_batch(configuration, 5, 3).x[1:]
    )
    learned = torch.cat([batch.x for batch in plain.minibatches(configuration, 5, 3)])
    if scaling == "batch":
        assert learned.mean(0).abs().max() < 1e-5 and (learned.std(0, correction=0) - 1).abs().max() < 1e-5
    if scaling == "minmax":
        assert learned.amin(0).tolist() == [0] * 4 and learned.amax(0).tolist() == [1] * 4


def test_anchors_are_samples_of_the_training_part() -> None:
    """Fractions of the training part, the last one for what rounds up to 1."""
    at = np.array([0, 0.5, np.nextafter(np.float32(1), np.float32(0)), 1], dtype=np.float32)
    training, _ = CLOUDS.split(5)
    found = Batches(CLOUDS).anchors(Configuration.of(BASE), 5, 0, at)[:, 0].tolist()
    assert found == training[[0, len(training) // 2, -1, -1]].tolist()


def outcome(trainer: Trainer, configuration: Configuration, cap: int = 6, burst: int = 4) -> Outcome:
    """The outcome of one trial."""
    trainer.admit(Trial(1, configuration, seed=5, data_seed=6, cap=cap))
    assert trainer.room == 0
    while not (ended := trainer.advance(burst)):
        pass
    return ended[0][1]


def by_hand(epochs: int) -> list[float]:
    """Validation losses of a plain torch.nn loop over CLOUDS in float64."""
    layers = [nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise([4, 9, 3])]
    for key, layer in enumerate(layers):
        layer.weight.data = torch.from_numpy(glorot_uniform(5, key, layer.out_features, layer.in_features)).double()
        layer.bias.data.zero_()
    net = nn.Sequential(layers[0], nn.Tanh(), layers[1])
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    training, validation = (torch.from_numpy(part) for part in CLOUDS.split(6))
    x, labels = torch.from_numpy(CLOUDS.x).double(), torch.from_numpy(CLOUDS.labels)
    x = (x - x[training].mean(0)) / x[training].std(0, correction=0)
    losses = []
    for epoch in range(epochs + 1):
        losses.append(nn.functional.cross_entropy(net(x[validation]), labels[validation]).item())
        for at in training[torch.from_numpy(CLOUDS.order(Configuration.of(BASE), 6, epoch))].split(16):
            rule.zero_grad()
            nn.functional.cross_entropy(net(x[at]), labels[at]).backward()  # type: ignore[no-untyped-call]
            rule.step()
    return losses


def test_equals_a_plain_torch_loop() -> None:
    """Evaluation i is made after i passes over the training part, on the validation part."""
    solo = Solo(Batches(CLOUDS, dtype=torch.float64), target=1.0, hold=1000)
    found = outcome(solo, Configuration.of(BASE | {"scaling": "batch"}))
    assert found.end is End.CAP and found.epochs == 6
    assert list(found.curve.loss) == pytest.approx(by_hand(6), rel=1e-10)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("bias_init", BIAS_INITS)
def test_every_combination_converges(scaling: str, bias_init: str) -> None:
    """Clouds that lie apart are told apart, however inputs are scaled and biases set."""
    params = BASE | {"scaling": scaling, "bias_init": bias_init, "optimizer": "adam", "lr": 0.01, "width": 32}
    found = outcome(Solo(Batches(made([50, 50, 50])), target=0.95, hold=2), Configuration.of(params), cap=200)
    assert found.converged and found.epochs > 0 and found.curve.accuracy[0] < 0.95


@pytest.mark.parametrize("always", [False, True])
def test_the_trial_array_trains_a_data_set_alone(always: bool) -> None:
    """One trial at a time, with the numbers of the solo trainer."""
    array = TrialArray(Batches(CLOUDS), target=0.9, hold=3, always=always)
    solo = Solo(Batches(CLOUDS), target=0.9, hold=3)
    assert outcome(array, Configuration.of(BASE)).curve == outcome(solo, Configuration.of(BASE)).curve


@pytest.mark.parametrize("burst", [1, 3, 64])
@pytest.mark.parametrize("blind", [False, True])
def test_the_outcome_does_not_depend_on_when_it_is_read(burst: int, blind: bool) -> None:
    """Evaluations read each epoch or once a burst, as on a GPU, give the same outcome to the bit."""
    params = Configuration.of(BASE | {"scaling": "batch", "width": 32, "lr": 0.5})
    one, other = Solo(Batches(CLOUDS), 0.9, 3, blind=blind), Solo(Batches(CLOUDS), 0.9, 3)
    found = outcome(one, params, 40, burst)
    assert found.converged and found.curve == outcome(other, params, 40, 7).curve


def test_what_is_packed_comes_back() -> None:
    """The store's copy is the same to the bit, and so is its digest; other data have another."""
    again = Samples.unpacked(CLOUDS.packed())
    assert (again.x == CLOUDS.x).all() and again.x.dtype == np.float32
    assert (again.labels == CLOUDS.labels).all() and again.names == CLOUDS.names
    assert again.digest == CLOUDS.digest and len(again.digest) == 64
    others = (-CLOUDS.x, CLOUDS.labels, CLOUDS.names), (CLOUDS.x, 2 - CLOUDS.labels, CLOUDS.names)
    renamed = CLOUDS.x, CLOUDS.labels, ("a", "b", "c")
    assert len({Samples(*fields).digest for fields in (*others, renamed)} | {CLOUDS.digest}) == 4
