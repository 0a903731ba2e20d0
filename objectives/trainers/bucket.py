"""A bucket: trials of one padded shape, trained as one batched computation with forward and backward by hand.

Symbols: S slots, n of them occupied, C classes (also the batch), D inputs, H units of a hidden layer after padding, P
parameters. Slots come first: parameters and their optimizers' state are rows (S, P), weights views (S, H, D) of them.
Losses are summed over slots, never averaged, so a slot's gradient is the one it would have alone; no operation mixes
slots, so one that diverges hurts nobody. Units of padding have no weights in or out and stay so: their gradient is 0 if
what they put out is, so where f(0) ≠ 0 that is masked.

By hand, since on a CPU autograd and Python cost more than the arithmetic of a narrow net, and on a GPU a captured graph
needs memory that stays in its place.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from objectives.convergence import Outcome, Progress, Trial
from objectives.data.batches import Batches
from objectives.model.activations import ACTIVATIONS
from objectives.model.network import initial_parameters, is_correct
from objectives.model.optimizers import RULES, Coefficients, update_cpu

Key = TypeVar("Key")
ALIGNED = 16  # numbers: 64 bytes, since a BLAS may round differently at another alignment
VECTOR = 32  # numbers that torch's elementwise loops take at once, and round otherwise than what is left over


class Shape(NamedTuple):
    """What the trials of a bucket have in common."""

    inputs: int
    #: Units of each hidden layer, padded.
    widths: tuple[int, ...]
    classes: int

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return list(pairwise((self.inputs, *self.widths, self.classes)))

    @property
    def parameters(self) -> int:
        """Of one slot, each layer's weights and biases on a boundary of their own."""
        return sum(up(fan_in * fan_out) + up(fan_out) for fan_in, fan_out in self.layers)

    @property
    def numbers(self) -> int:
        """That one slot keeps: parameters, their gradients and state, and what goes in and out of each layer."""
        return 4 * self.parameters + 3 * self.classes * (sum(self.widths) + self.inputs + self.classes)


def up(number: int, grain: int = ALIGNED) -> int:
    """Rounded up to whole grains."""
    return -(-number // grain) * grain


def grain(classes: int) -> int:
    """Units that a hidden layer is padded to, so that no vector and no alignment depends on a slot's place."""
    return max(ALIGNED, VECTOR // math.gcd(classes, VECTOR))


@dataclass
class Rows:
    """Adjoining rows of all that an epoch reads and writes: views, since making them costs as much as using them."""

    x: Tensor  # (n, C, D), gain included
    labels: Tensor  # (n, C, 1)
    weights: list[Tensor]  # (n, out, in) of each layer
    biases: list[Tensor]  # (n, 1, out)
    weight_gradients: list[Tensor]
    bias_gradients: list[Tensor]
    z: list[Tensor]  # (n, C, out) of each layer: what goes into its activation, of the last the logits
    h: list[Tensor]  # what comes out of the hidden ones
    d: list[Tensor]  # the loss's gradient by z

    def __post_init__(self) -> None:
        self.inputs = [self.x, *self.h]  # of each layer
        self.transposed = [weight.mT for weight in self.weights]
        self.d_transposed = [d.mT for d in self.d]

    def part(self, part: slice) -> "Rows":
        """Some of the rows."""
        cut: dict[str, Any] = {
            field.name: [each[part] for each in value] if isinstance(value, list) else value[part]
            for field in fields(self)
            for value in [getattr(self, field.name)]
        }
        return Rows(**cut)


@dataclass
class Slot:
    """A trial in its place."""

    progress: Progress
    schedule: Iterator[Coefficients]
    seconds: float = 0.0

    @property
    def trial(self) -> Trial:
        return self.progress.trial


class Bucket(ABC):
    """A trainer of trials of one shape."""

    def __init__(self, batches: Batches, shape: Shape, target: float, hold: int, slots: int) -> None:
        self.shape = shape
        self._batches, self._target, self._hold = batches, target, hold
        new: dict[str, Any] = {"device": batches.device, "dtype": batches.dtype}
        whole: dict[str, Any] = {"device": batches.device, "dtype": torch.long}
        self._p, self._g, self._m, self._v = (torch.empty(slots, shape.parameters, **new) for _ in range(4))
        weights, biases = _views(self._p, shape)
        gradients = _views(self._g, shape)
        x = torch.empty(slots, shape.classes, shape.inputs, **new)
        labels = torch.zeros(slots, shape.classes, 1, **whole)  # free rows have some, too
        z, h, d = ([torch.empty(slots, shape.classes, fan_out, **new) for _, fan_out in shape.layers] for _ in range(3))
        self._all = Rows(x, labels, weights, biases, *gradients, z, h[:-1], d)
        self._first = weights[1].storage_offset()  # parameters of the first layer
        self._formula = torch.zeros(slots, **whole)
        self._lr = torch.zeros(slots, 2, **new)  # of the first layer, of the others
        self._one = torch.full((slots, shape.classes, 1), -1 / shape.classes, **new)

    @property
    @abstractmethod
    def room(self) -> int: ...

    @property
    @abstractmethod
    def running(self) -> Sequence[Progress]: ...

    @abstractmethod
    def admit(self, trial: Trial) -> None: ...

    @abstractmethod
    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]: ...

    @abstractmethod
    def release(self) -> list[Trial]: ...

    @abstractmethod
    def _activate(self, place: int, rows: Rows) -> None:
        """Fill h of one hidden layer from its z."""

    @abstractmethod
    def _before_activation(self, place: int, rows: Rows) -> None:
        """Turn d of one hidden layer from the loss's gradient by h into that by z."""

    def _load(self, row: int, trial: Trial) -> None:
        """Put a trial's initial parameters and its optimizer's state into a row."""
        configuration, rule = trial.configuration, RULES[trial.configuration.optimizer]
        if configuration.widths != self.shape.widths:
            self._p[row] = 0  # of units of padding
        self._m[row] = 0
        self._v[row] = rule.v
        for place, (weight, bias) in enumerate(initial_parameters(trial, self._batches)):
            fan_out, fan_in = weight.shape
            self._all.weights[place][row, :fan_out, :fan_in] = weight
            self._all.biases[place][row, 0, :fan_out] = bias
        self._lr[row, 0] = configuration.lr * configuration.first_lr_ratio
        self._lr[row, 1] = configuration.lr
        self._formula[row] = rule.formula

    def _forward(self, rows: Rows) -> tuple[Tensor, Tensor]:  # (n,), (n,): how many classes are told apart, loss
        """Evaluate rows on their x and labels; the gradient by the logits is kept."""
        for place, z in enumerate(rows.z):
            torch.baddbmm(rows.biases[place], rows.inputs[place], rows.transposed[place], out=z)
            if place < len(rows.h):
                self._activate(place, rows)
        z, d = rows.z[-1], rows.d[-1]
        torch.softmax(z, -1, out=d)
        torch.log_softmax(z, -1, out=z)
        own = z.gather(-1, rows.labels)
        n_correct = is_correct(z, own, out=z).sum(-1)
        d.mul_(1 / self.shape.classes).scatter_add_(-1, rows.labels, self._one[: len(d)])
        return n_correct, own.squeeze(-1).mean(-1).neg_()

    def _backward(self, rows: Rows) -> None:
        """Gradients of all parameters, from the evaluation made last."""
        for place in reversed(range(len(rows.weights))):
            torch.bmm(rows.d_transposed[place], rows.inputs[place], out=rows.weight_gradients[place])
            torch.sum(rows.d[place], 1, keepdim=True, out=rows.bias_gradients[place])
            if place:
                torch.bmm(rows.d[place], rows.weights[place], out=rows.d[place - 1])
                self._before_activation(place - 1, rows)


class CompactBucket(Bucket):
    """A bucket on a CPU: the first n rows are occupied, the last one moves into a row that is left."""

    def __init__(self, batches: Batches, shape: Shape, target: float, hold: int, slots: int) -> None:
        super().__init__(batches, shape, target, hold, slots)
        self._slots: list[Slot] = []
        self._gain = torch.zeros(slots, 1, 1, dtype=batches.dtype)
        self._coefficients = torch.zeros(slots, 8, dtype=batches.dtype).numpy()
        self._occupy()

    @property
    def room(self) -> int:
        return len(self._p) - len(self._slots)

    @property
    def running(self) -> list[Progress]:
        return [slot.progress for slot in self._slots]

    def admit(self, trial: Trial) -> None:
        """Take a trial into the next row, and evaluate it before any training."""
        if not self.room:
            raise ValueError("every slot of the bucket is taken")
        started, row = perf_counter(), len(self._slots)
        self._load(row, trial)
        self._gain[row] = trial.configuration.gain
        schedule = RULES[trial.configuration.optimizer].schedule()
        self._slots.append(Slot(Progress(trial, self._target, self._hold), schedule))
        self._occupy(row)
        self._evaluate(row)
        self._occupy()
        self._slots[row].seconds += perf_counter() - started

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        ended = self._leave()
        for _ in range(epochs):
            if not self._slots:
                break
            started, n = perf_counter(), len(self._slots)
            self._backward(self._rows)
            for row, slot in enumerate(self._slots):
                self._coefficients[row] = next(slot.schedule)
            update_cpu(*self._arrays, self._first)
            self._evaluate()
            share = (perf_counter() - started) / n
            for slot in self._slots:
                slot.seconds += share
            ended += self._leave()
        return ended

    def release(self) -> list[Trial]:
        released = [slot.trial for slot in self._slots]
        self._slots.clear()
        return released

    def _occupy(self, start: int = 0) -> None:
        """Compute with the rows from `start` on."""
        taken, slots = slice(start, len(self._slots)), self._slots[start:]
        self._rows = self._all.part(taken)
        state = self._p, self._g, self._m, self._v, self._formula, self._lr
        self._arrays = [*(part[taken].numpy() for part in state), self._coefficients[taken]]
        self._runs = [(at, ACTIVATIONS[name]) for name, at in _runs([s.trial.configuration.activation for s in slots])]
        self._gains = self._gain[taken]
        self._masks = [  # units of padding that put out something, of each hidden layer
            [
                (row, slot.trial.configuration.widths[place])
                for row, slot in enumerate(slots)
                if slot.trial.configuration.widths[place] < padded
                and not ACTIVATIONS[slot.trial.configuration.activation].keeps_zero
            ]
            for place, padded in enumerate(self.shape.widths)
        ]

    def _leave(self) -> list[tuple[Trial, Outcome]]:
        """Take the trials that are over out of their rows."""
        ended = []
        for row in reversed(range(len(self._slots))):
            slot = self._slots[row]
            if slot.progress.end is not None:
                ended.append((slot.trial, slot.progress.outcome(slot.seconds)))
                last = self._slots.pop()
                if last is not slot:
                    self._slots[row] = last
                    rows = self._all
                    state = self._p, self._m, self._v, self._formula, self._lr, self._gain
                    for part in (*state, rows.x, rows.labels, *rows.z, *rows.h, rows.d[-1]):
                        part[row] = part[len(self._slots)]
        if ended:
            self._occupy()
        return ended

    def _evaluate(self, start: int = 0) -> None:
        """Each slot's next batch."""
        slots, batches = self._slots[start:], []
        for slot in slots:
            trial, epoch = slot.trial, slot.progress.epoch + 1
            batches.append(self._batches.of(trial.configuration, trial.data_seed, trial.stream_offset + epoch))
        for batch, at in _runs(batches):
            torch.mul(batch.x, self._gains[at], out=self._rows.x[at])
            self._rows.labels[at, :, 0] = batch.labels
        counts, losses = self._forward(self._rows)
        for slot, count, loss in zip(slots, counts.tolist(), losses.tolist(), strict=True):
            slot.progress.observe(count / self.shape.classes, loss)

    def _activate(self, place: int, rows: Rows) -> None:
        for part, activation in self._runs:
            activation.forward(rows.z[place][part], out=rows.h[place][part])
        for row, width in self._masks[place]:
            rows.h[place][row, :, width:] = 0

    def _before_activation(self, place: int, rows: Rows) -> None:
        for part, activation in self._runs:
            activation.backward(rows.d[place][part], rows.z[place][part], rows.h[place][part])


def _runs(keys: Sequence[Key]) -> list[tuple[Key, slice]]:
    """Adjoining rows that have the same key."""
    starts = [i for i, key in enumerate(keys) if i == 0 or key is not keys[i - 1]]
    return [(keys[start], slice(start, stop)) for start, stop in pairwise([*starts, len(keys)])]


def _views(flat: Tensor, shape: Shape) -> tuple[list[Tensor], list[Tensor]]:
    """Weights (S, out, in) and biases (S, 1, out) of each layer, as they lie in rows of parameters."""
    at, weights, biases = 0, [], []
    for fan_in, fan_out in shape.layers:
        weights.append(flat[:, at : at + fan_in * fan_out].view(-1, fan_out, fan_in))
        at += up(fan_in * fan_out)
        biases.append(flat[:, at : at + fan_out].unsqueeze(1))
        at += up(fan_out)
    return weights, biases
