"""Measurements of how a network responds to its samples, at one moment or across one epoch of training.

A unit *responds* to a sample where its activation's slope is at least FLAT: elsewhere no gradient passes through it.
*Readable* is the fraction of new samples that one small update of the output layer, from zero weights, would predict
correctly. Such an update gives each class the mean of its samples' hidden outputs less the mean of all (softmax
regression's gradient), and predicts the class whose weights have the largest product with a sample's outputs. It is
near 0 where neighbours look alike, where noise moves the outputs as much as the class does, and where no unit responds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from objectives.convergence import Trial
from objectives.data.batches import Batch, Batches
from objectives.model.activations import ACTIVATIONS
from objectives.model.network import Network, correct_predictions, initial_parameters

FLAT = 0.01  # slope of an activation below which its unit does not respond; the largest slopes are 0.25 to 1.1
SILENT_UNITS = 0.01  # a sample is silent if at most this fraction of a layer's units responds to it
MAX_SAMPLES = 4096  # of a batch, evenly thinned
SCALES = tuple(10 ** (k / 2) for k in range(-6, 11))  # factors on an update


@dataclass(frozen=True)
class Snapshot:
    """A network at one moment, in fractions."""

    #: Samples to which hardly any unit of some hidden layer responds.
    silent: float
    #: Units that respond to no sample, of the hidden layer that has most of them.
    dead: float
    #: New samples whose class the last hidden layer shows, as defined above.
    readable: float
    #: The same of the samples that give the classes' means: noise takes what `readable` lacks of it.
    recalled: float
    #: New samples whose class is in the epoch at all, which bounds `readable`.
    shown: float

    @property
    def legible(self) -> float:
        """New samples that are readable and not silent, more or less."""
        return self.readable * (1 - self.silent)


@dataclass(frozen=True)
class UpdateEffect:
    """The effect of one epoch's learning on the samples that are evaluated after it."""

    #: Root mean square change of the first layer's pre-activations: an activation's own scale is about 1.
    moved: float
    #: Mean correlation of the first layer's outputs before and after.
    kept: float
    #: Loss before it.
    before: float
    #: Loss after it.
    after: float
    #: Loss after it with the first layer as before.
    frozen: float
    #: Loss with the first layer as before, by the factor of SCALES on the step of the others.
    scaled: Mapping[float, float]


def initial_network(trial: Trial, batches: Batches) -> Network:
    """A trial's network before training."""
    return Network(trial.configuration, initial_parameters(trial, batches))


@torch.no_grad()
def snapshot(trial: Trial, batches: Batches, network: Network, epoch: int) -> Snapshot:
    """Measure the network before an epoch's learning; new samples are those evaluated after it."""
    learned, new = _learned(trial, batches, epoch), _evaluated(trial, batches, epoch + 1)
    layers = _hidden_layers(network, learned.x)
    backward = ACTIVATIONS[trial.configuration.activation].backward
    responds = [backward(torch.ones_like(z), z.clone(), h).abs() >= FLAT for z, h in layers]
    h, templates = layers[-1][1], _templates(layers[-1][1], learned.labels, trial.configuration.classes)
    return Snapshot(
        silent=max(_fraction(each.float().mean(1) <= SILENT_UNITS) for each in responds),
        dead=max(_fraction(~each.any(0)) for each in responds),
        readable=_accuracy(_hidden_layers(network, new.x)[-1][1] @ templates.T, new.labels),
        recalled=_accuracy(h @ templates.T, learned.labels),
        shown=_fraction(torch.isin(new.labels, learned.labels)),
    )


@torch.no_grad()
def update_effect(trial: Trial, batches: Batches, before: Network, after: Network, epoch: int) -> UpdateEffect:
    """Measure the learning of an epoch (0 is the first) that turned one network into the other."""
    new = _evaluated(trial, batches, epoch + 1)
    (z0, h0), (z1, h1) = (_hidden_layers(network, new.x)[0] for network in (before, after))
    old, now = (list(network.parameters()) for network in (before, after))
    first = len(list(before.layers[0].parameters()))

    def loss(first_scale: float, scale: float) -> float:
        """The loss at a point on the way from `before` to `after` or beyond."""
        scales = chain([first_scale] * first, [scale] * (len(old) - first))
        pairs = [torch.lerp(a, b, s) if s != 1 else b for a, b, s in zip(old, now, scales, strict=True)]
        between = Network(trial.configuration, list(zip(pairs[::2], pairs[1::2], strict=True)))
        return nn.functional.cross_entropy(between(new.x), new.labels).item()

    return UpdateEffect(
        moved=(z1 - z0).square().mean().sqrt().item(),
        kept=nn.functional.cosine_similarity(h0 - h0.mean(0), h1 - h1.mean(0), dim=1).mean().item(),
        before=loss(0, 0),
        after=loss(1, 1),
        frozen=loss(0, 1),
        scaled={scale: loss(0, scale) for scale in SCALES},
    )


@torch.no_grad()
def accuracy_learned(trial: Trial, batches: Batches, network: Network, epoch: int) -> float:
    """Accuracy on the samples that an epoch learns."""
    batch = _learned(trial, batches, epoch)
    return _accuracy(network(batch.x), batch.labels)


def _learned(trial: Trial, batches: Batches, epoch: int) -> Batch:
    """Samples that an epoch learns, gain included."""
    parts = batches.minibatches(*trial.batch_key(epoch))
    return _thinned(trial, Batch(torch.cat([part.x for part in parts]), torch.cat([part.labels for part in parts])))


def _evaluated(trial: Trial, batches: Batches, epoch: int) -> Batch:
    """Samples that are evaluated before an epoch, gain included."""
    return _thinned(trial, batches.evaluation_batch(*trial.batch_key(epoch)))


def _thinned(trial: Trial, batch: Batch) -> Batch:
    step = -(-len(batch.labels) // MAX_SAMPLES)
    return Batch(batch.x[::step] * trial.configuration.gain, batch.labels[::step])


def _hidden_layers(network: Network, x: Tensor) -> list[tuple[Tensor, Tensor]]:  # (n, inputs) → (n, units), (n, units)
    """Of each hidden layer, what goes into its activation and what comes out of it."""
    layers = []
    for layer in list(network.layers)[:-1]:
        z = layer(x)
        x = network.activation(z)
        layers.append((z, x))
    return layers


def _templates(h: Tensor, labels: Tensor, classes: int) -> Tensor:  # (n, units), (n,) → (classes, units)
    """Each class's mean less the mean of all; 0 of a class that has no sample."""
    sums = h.new_zeros(classes, h.shape[1]).index_add_(0, labels, h - h.mean(0))
    return sums / torch.bincount(labels, minlength=classes).clamp(min=1).unsqueeze(1)


def _accuracy(logits: Tensor, labels: Tensor) -> float:  # (n, classes), (n,)
    return _fraction(correct_predictions(logits, labels))


def _fraction(holds: Tensor) -> float:  # (n,), bool
    return holds.float().mean().item()
