"""A bucket: trials of one padded shape, trained as one batched computation with forward and backward by hand.

The slot axis comes first: parameters and their optimizers' state are (slots, parameters), weights views (slots, out,
in) of them; a batch has as many samples as classes. Losses are summed over slots, never averaged, so a slot's gradient
is the one it would have alone; no operation mixes slots, so one that diverges hurts nobody. Units of padding have no
weights in or out and stay so: their gradient is 0 if their output is, so where f(0) ≠ 0 the output is masked.

By hand, since on a CPU autograd and Python cost more than the arithmetic of a narrow net, and on a GPU a captured graph
needs memory that stays in its place.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from objectives.convergence import Progress, Trial
from objectives.data.batches import Batches
from objectives.model.network import initial_parameters, is_correct
from objectives.model.optimizers import RULES, Coefficients
from objectives.trainers.rows import Rows, Shape, layer_views
from objectives.trainers.trainer import Trainer


@dataclass
class Slot:
    """A trial in its place."""

    progress: Progress
    #: The optimizer's coefficients, step by step.
    schedule: Iterator[Coefficients]
    seconds: float = 0.0

    @property
    def trial(self) -> Trial:
        """The trial that runs."""
        return self.progress.trial


class Bucket(Trainer):
    """A trainer of trials of one shape."""

    _slots: Sequence[Slot | None]

    def __init__(self, batches: Batches, shape: Shape, target: float, hold: int, slots: int) -> None:
        self.shape = shape
        self._batches, self._target, self._hold = batches, target, hold
        new: dict[str, Any] = {"device": batches.device, "dtype": batches.dtype}
        whole: dict[str, Any] = {"device": batches.device, "dtype": torch.long}
        self._p, self._g, self._m, self._v = (torch.empty(slots, shape.parameters, **new) for _ in range(4))
        weights, biases = layer_views(self._p, shape)
        gradients = layer_views(self._g, shape)
        x = torch.empty(slots, shape.classes, shape.inputs, **new)
        labels = torch.zeros(slots, shape.classes, 1, **whole)  # free rows have some, too
        z, h, d = ([torch.empty(slots, shape.classes, fan_out, **new) for _, fan_out in shape.layers] for _ in range(3))
        self._all_rows = Rows(x, labels, weights, biases, *gradients, z, h[:-1], d)
        self._first_layer = weights[1].storage_offset()  # its number of parameters
        self._formula = torch.zeros(slots, **whole)
        self._lr = torch.zeros(slots, 2, **new)  # of the first layer, of the others
        self._label_gradient = torch.full((slots, shape.classes, 1), -1 / shape.classes, **new)

    @property
    def room(self) -> int:
        """Free slots."""
        return len(self._p) - len(self.running)

    @property
    def running(self) -> list[Progress]:
        """Progress of each occupied slot, in the order of rows."""
        return [slot.progress for slot in self._slots if slot]

    @abstractmethod
    def _activate(self, place: int, rows: Rows) -> None:
        """Fill h of one hidden layer from its z."""

    @abstractmethod
    def _backpropagate(self, place: int, rows: Rows) -> None:
        """Turn d of one hidden layer from the loss's gradient by h into that by z."""

    def _load(self, row: int, trial: Trial) -> Slot:
        """Put a trial's initial parameters and its optimizer's state into a row; its slot."""
        configuration, rule = trial.configuration, RULES[trial.configuration.optimizer]
        if configuration.widths != self.shape.widths:
            self._p[row] = 0  # of units of padding
        self._m[row] = 0
        self._v[row] = rule.v
        for place, (weight, bias) in enumerate(initial_parameters(trial, self._batches)):
            fan_out, fan_in = weight.shape
            self._all_rows.weights[place][row, :fan_out, :fan_in] = weight
            self._all_rows.biases[place][row, 0, :fan_out] = bias
        self._lr[row, 0] = configuration.lr * configuration.first_lr_ratio
        self._lr[row, 1] = configuration.lr
        self._formula[row] = rule.formula
        return Slot(Progress(trial, self._target, self._hold), rule.schedule())

    def _forward(self, rows: Rows) -> tuple[Tensor, Tensor]:  # (slots,), (slots,): correct predictions, loss
        """Evaluate rows on their x and labels; the gradient by the logits is kept."""
        for place, z in enumerate(rows.z):
            torch.baddbmm(rows.biases[place], rows.inputs[place], rows.transposed[place], out=z)
            if place < len(rows.h):
                self._activate(place, rows)
        z, d = rows.z[-1], rows.d[-1]
        torch.softmax(z, -1, out=d)
        torch.log_softmax(z, -1, out=z)
        of_label = z.gather(-1, rows.labels)
        n_correct = is_correct(z, of_label, out=z).sum(-1)
        d.mul_(1 / self.shape.classes).scatter_add_(-1, rows.labels, self._label_gradient[: len(d)])
        return n_correct, of_label.squeeze(-1).mean(-1).neg_()

    def _backward(self, rows: Rows) -> None:
        """Compute the gradients of all parameters from the latest evaluation."""
        for place in reversed(range(len(rows.weights))):
            torch.bmm(rows.d_transposed[place], rows.inputs[place], out=rows.weight_gradients[place])
            torch.sum(rows.d[place], 1, keepdim=True, out=rows.bias_gradients[place])
            if place:
                torch.bmm(rows.d[place], rows.weights[place], out=rows.d[place - 1])
                self._backpropagate(place - 1, rows)
