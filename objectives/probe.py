"""What a network makes of its samples, measured at one moment or across one epoch of training.

A unit *responds* to a sample where its activation's slope is at least FLAT: elsewhere no gradient passes through it.
*Readable* is the fraction of new samples whose class one small update of the output layer, from zero weights, would
tell. Such an update gives each class the mean of its samples' hidden outputs less the mean of all (softmax regression's
gradient), and a sample goes to the class whose weights have the largest product with its own outputs. It is near 0
where neighbours look alike, where noise moves the outputs as much as the class does, and where no unit responds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from objectives.convergence import Trial
from objectives.data.batches import Batch, Batches
from objectives.model.activations import ACTIVATIONS
from objectives.model.network import Network, initial_parameters, is_correct

FLAT = 0.01  # slope of an activation below which its unit does not respond; at most it is 0.25 to 1.1
FEW = 0.01  # a sample is silent if at most so many of a layer's units respond to it
SAMPLES = 4096  # looked at
SCALES = tuple(10 ** (k / 2) for k in range(-6, 11))  # of an update


@dataclass(frozen=True)
class Snapshot:
    """A network at one moment; all are fractions."""

    #: Samples to which hardly any unit of some hidden layer responds.
    silent: float
    #: Units that respond to no sample, of the hidden layer that has most of them.
    dead: float
    #: New samples whose class can be read off the last hidden layer.
    readable: float
    #: The same of the samples that the classes' means are taken from: what `readable` lacks of it, noise takes.
    recalled: float
    #: New samples whose class the epoch shows at all: more cannot be readable.
    shown: float

    @property
    def legible(self) -> float:
        """New samples that can be read and, more or less, be learned from."""
        return self.readable * (1 - self.silent)


@dataclass(frozen=True)
class UpdateEffect:
    """What one epoch's learning did, seen on the samples that are evaluated after it."""

    #: Root mean square change of the first layer's pre-activations: an activation's own scale is about 1.
    moved: float
    #: Correlation of the first layer's outputs before and after.
    kept: float
    #: Loss before it, after it, and after it but for the first layer, which stays as it was.
    before: float
    after: float
    frozen: float
    #: Loss after so many times the same step of the other layers, by SCALES, the first left as it was.
    scaled: Mapping[float, float]


def initial_network(trial: Trial, batches: Batches) -> Network:
    """A trial's network as it begins."""
    return Network(trial.configuration, initial_parameters(trial, batches))


@torch.no_grad()
def snapshot(trial: Trial, batches: Batches, network: Network, epoch: int) -> Snapshot:
    """The network as it is before an epoch's learning; new samples are those evaluated after it."""
    learned, new = _learned(trial, batches, epoch), _evaluated(trial, batches, epoch + 1)
    layers = _hidden(network, learned.x)
    responds = [_slope(trial, z).abs() >= FLAT for z, _ in layers]
    h, templates = layers[-1][1], _templates(layers[-1][1], learned.labels, trial.configuration.classes)
    return Snapshot(
        silent=max(_fraction(each.float().mean(1) <= FEW) for each in responds),
        dead=max(_fraction(~each.any(0)) for each in responds),
        readable=_read(templates, _hidden(network, new.x)[-1][1], new.labels),
        recalled=_read(templates, h, learned.labels),
        shown=_fraction(torch.isin(new.labels, learned.labels)),
    )


@torch.no_grad()
def update_effect(trial: Trial, batches: Batches, before: Network, after: Network, epoch: int) -> UpdateEffect:
    """What the learning of that epoch (0 is the first) made of one network the other."""
    new = _evaluated(trial, batches, epoch + 1)
    (z0, h0), (z1, h1) = (_hidden(network, new.x)[0] for network in (before, after))
    old, now = (list(network.parameters()) for network in (before, after))
    first = len(list(before.layers[0].parameters()))

    def loss(first_scale: float, scale: float) -> float:
        """At a point on the way from `before` to `after` or beyond."""
        scales = chain([first_scale] * first, [scale] * (len(old) - first))
        pairs = [torch.lerp(a, b, s) if s != 1 else b for a, b, s in zip(old, now, scales, strict=True)]
        between = Network(trial.configuration, list(zip(pairs[::2], pairs[1::2], strict=True)))
        return nn.functional.cross_entropy(between(new.x), new.labels).item()

    return UpdateEffect(
        moved=(z1 - z0).square().mean().sqrt().item(),
        kept=_alike(h0, h1),
        before=loss(0, 0),
        after=loss(1, 1),
        frozen=loss(0, 1),
        scaled={scale: loss(0, scale) for scale in SCALES},
    )


@torch.no_grad()
def accuracy_learned(trial: Trial, batches: Batches, network: Network, epoch: int) -> float:
    """Accuracy on what an epoch learns."""
    batch = _learned(trial, batches, epoch)
    return _read_logits(network(batch.x), batch.labels)


def _learned(trial: Trial, batches: Batches, epoch: int) -> Batch:
    """What an epoch learns, as the network takes it."""
    parts = batches.minibatches(trial.configuration, trial.data_seed, trial.stream_offset + epoch)
    return _some(trial, Batch(torch.cat([part.x for part in parts]), torch.cat([part.labels for part in parts])))


def _evaluated(trial: Trial, batches: Batches, epoch: int) -> Batch:
    """What is evaluated before an epoch, as the network takes it."""
    return _some(trial, batches.of(trial.configuration, trial.data_seed, trial.stream_offset + epoch))


def _some(trial: Trial, batch: Batch) -> Batch:
    every = -(-len(batch.labels) // SAMPLES)
    return Batch(batch.x[::every] * trial.configuration.gain, batch.labels[::every])


def _hidden(
    network: Network,
    x: Tensor,  # (n, inputs)
) -> list[tuple[Tensor, Tensor]]:  # of each hidden layer: (n, units) into its activation, (n, units) out of it
    found = []
    for layer in list(network.layers)[:-1]:
        z = layer(x)
        x = network.activation(z)
        found.append((z, x))
    return found


def _slope(
    trial: Trial,
    z: Tensor,  # (n, units)
) -> Tensor:  # (n, units)
    activation = ACTIVATIONS[trial.configuration.activation]
    return activation.backward(torch.ones_like(z), z.clone(), activation.forward(z))


def _templates(
    h: Tensor,  # (n, units)
    labels: Tensor,  # (n,)
    classes: int,
) -> Tensor:  # (classes, units), 0 of a class that has no sample
    sums = h.new_zeros(classes, h.shape[1]).index_add_(0, labels, h - h.mean(0))
    return sums / torch.bincount(labels, minlength=classes).clamp(min=1).unsqueeze(1)


def _read(
    templates: Tensor,  # (classes, units)
    h: Tensor,  # (n, units)
    labels: Tensor,  # (n,)
) -> float:
    return _read_logits(h @ templates.T, labels)


def _read_logits(
    logits: Tensor,  # (n, classes)
    labels: Tensor,  # (n,)
) -> float:
    return _fraction(is_correct(logits, logits.gather(1, labels.unsqueeze(1))))


def _alike(
    one: Tensor,  # (n, units)
    other: Tensor,  # (n, units)
) -> float:
    """Mean correlation of two networks' outputs for the same samples."""
    return nn.functional.cosine_similarity(one - one.mean(0), other - other.mean(0), dim=1).mean().item()


def _fraction(
    holds: Tensor,  # (n,), bool
) -> float:
    return holds.float().mean().item()
