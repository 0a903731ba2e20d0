"""A bucket on a GPU: every slot keeps its row, and one epoch of all rows is one CUDA graph, replayed for a burst.

Nothing on the device looks at a value: tables over the burst's epochs, filled before it, say which batch a slot learns,
its optimizer's coefficients and whether it is live. Evaluations go to such a table and are read once, so the epoch at
which a trial ended is exact; until the burst is over its slot trains on, unread. Slots of several activations compute
each of them and select their own.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from objectives.convergence import Outcome, Trial
from objectives.data.batches import Batch, Batches
from objectives.model.activations import ACTIVATIONS, Activation
from objectives.model.optimizers import update
from objectives.trainers.bucket import Bucket, Slot
from objectives.trainers.rows import Rows, Shape

MAX_EPOCHS = 16  # of a burst, which the tables hold
MAX_BATCHES = 128  # different ones in a burst, which its table holds


class GraphBucket(Bucket):
    """A bucket of at most MAX_BATCHES slots. On a CPU the same operations run one by one, for tests."""

    def __init__(self, batches: Batches, shape: Shape, target: float, hold: int, slots: int) -> None:
        super().__init__(batches, shape, target, hold, slots)
        device = batches.device
        new: dict[str, Any] = {"device": device, "dtype": batches.dtype}
        self._slots: list[Slot | None] = [None] * slots
        self._activations: dict[str, Activation] = {}  # of all trials so far
        self._activation_index = torch.zeros(slots, 1, 1, device=device, dtype=torch.long)  # among `_activations`
        self._masks = [torch.ones(slots, 1, width, **new) for width in shape.widths]  # 0 for units of padding
        self._gain = torch.ones(slots, 1, 1, **new)
        self._batch_x = torch.zeros(MAX_BATCHES, shape.classes, shape.inputs, **new)
        self._batch_labels = torch.zeros(MAX_BATCHES, shape.classes, 1, device=device, dtype=torch.long)
        self._burst_epoch = torch.zeros(1, device=device, dtype=torch.long)  # which one of the burst is computed
        self._batch_index = torch.zeros(MAX_EPOCHS, slots, device=device, dtype=torch.long)  # among the burst's batches
        self._live = torch.zeros(MAX_EPOCHS, slots, 1, device=device, dtype=torch.bool)
        self._coefficients = torch.zeros(MAX_EPOCHS, slots, 8, **new)
        self._evaluations = torch.zeros(MAX_EPOCHS, 2, slots, **new)  # correct predictions, loss
        self._run_epoch: Callable[[], None] | None = None  # of all rows
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._under_way, self._started = 0, 0.0  # epochs that the device computes, and since when

    def admit(self, trial: Trial) -> None:
        """Take a trial into a free row; ValueError if there is none. A new activation needs a new graph."""
        if not self.room:
            raise ValueError("every slot of the bucket is taken")
        row, configuration = self._slots.index(None), trial.configuration
        if configuration.activation not in self._activations:
            self._activations[configuration.activation] = ACTIVATIONS[configuration.activation]
            self._run_epoch = None
        slot = self._load(row, trial)
        self._activation_index[row] = list(self._activations).index(configuration.activation)
        self._gain[row] = configuration.gain
        for mask, width in zip(self._masks, configuration.widths, strict=True):
            mask[row, 0] = torch.arange(mask.shape[2], device=mask.device) < width
        self._slots[row] = slot

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        """Train in bursts, the first of them the one under way, and observe each at its end."""
        ended = []
        while epochs > 0:
            ended += self._remove_ended()
            self.begin(epochs)
            if not self._under_way:
                break
            epochs -= self._under_way
            self._observe()
        return ended + self._remove_ended()

    def begin(self, epochs: int) -> None:
        """Start a burst without waiting for it, unless one is under way; `advance` takes it up."""
        live = self._live_slots()
        if self._under_way or not live:
            return
        self._started = perf_counter()
        self._under_way = self._fill_tables(live, min(epochs, MAX_EPOCHS))
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._batches.device))
        with torch.cuda.stream(self._stream):
            self._run_epoch = self._run_epoch or self._capture()
            for _ in range(self._under_way):
                self._run_epoch()

    def release(self) -> list[Trial]:
        """Free every slot without an outcome, and drop the burst under way."""
        released = [slot.trial for slot in self._slots if slot]
        self._slots, self._under_way = [None] * len(self._slots), 0
        return released

    def _live_slots(self) -> list[tuple[int, Slot]]:
        """Row and slot of each trial that is not over."""
        return [(row, slot) for row, slot in enumerate(self._slots) if slot and slot.progress.end is None]

    def _remove_ended(self) -> list[tuple[Trial, Outcome]]:
        """Free the slots of trials that are over, unless a burst is under way."""
        ended = []
        for row, slot in enumerate(self._slots):
            if slot and not self._under_way and slot.progress.end is not None:
                ended.append((slot.trial, slot.progress.outcome(slot.seconds)))
                self._slots[row] = None
        return ended

    def _fill_tables(self, slots: Sequence[tuple[int, Slot]], epochs: int) -> int:
        """Fill the burst's tables; how many epochs they hold, fewer if the slots see too many different batches."""
        drawn: dict[int, tuple[int, Batch]] = {}  # place and batch, by its identity
        index = np.zeros((MAX_EPOCHS, len(self._slots)), np.int64)
        live, coefficients = np.zeros((*index.shape, 1), np.bool_), np.zeros((*index.shape, 8))
        for k in range(epochs):
            keys = (slot.trial.batch_key(slot.progress.epoch + 1 + k) for _, slot in slots)
            batches = [self._batches.evaluation_batch(*key) for key in keys]
            if len(drawn.keys() | {id(batch) for batch in batches}) > MAX_BATCHES:
                epochs = k
                break
            for (row, slot), batch in zip(slots, batches, strict=True):
                index[k, row] = drawn.setdefault(id(batch), (len(drawn), batch))[0]
                if slot.progress.epoch + k >= 0:  # else there is nothing to learn from yet
                    live[k, row] = 1
                    coefficients[k, row] = next(slot.schedule)
        for place, batch in drawn.values():
            self._batch_x[place] = batch.x
            self._batch_labels[place, :, 0] = batch.labels
        for table, values in ((self._batch_index, index), (self._live, live), (self._coefficients, coefficients)):
            table.copy_(torch.from_numpy(values))
        self._burst_epoch.zero_()
        return epochs

    def _observe(self) -> None:
        """Wait for the burst and observe its evaluations."""
        if self._stream is not None:
            torch.cuda.current_stream(self._batches.device).wait_stream(self._stream)
        slots = self._live_slots()
        for n_correct, losses in self._evaluations[: self._under_way].tolist():
            for row, slot in slots:
                if slot.progress.end is None:
                    slot.progress.observe(n_correct[row] / self.shape.classes, losses[row])
        share = (perf_counter() - self._started) / max(1, len(slots))
        for _, slot in slots:
            slot.seconds += share
        self._under_way = 0

    def _capture(self) -> Callable[[], None]:
        """One epoch as a replay of its graph, tried out with no slot live; the last evaluation is kept."""
        rows = self._all_rows
        left = [self._live, rows.x, rows.labels, *rows.z, *rows.h, *rows.d]
        kept = [part.clone() for part in left]
        for _ in range(2):
            self._live.zero_()
            self._burst_epoch.zero_()
            self._one_epoch()
        for part, value in zip(left, kept, strict=True):
            part.copy_(value)
        self._burst_epoch.zero_()
        if self._stream is None:
            return self._one_epoch
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._one_epoch()
        return graph.replay

    def _one_epoch(self) -> None:
        """Learn from the batches evaluated last, then evaluate the next ones."""
        rows, now = self._all_rows, self._burst_epoch
        self._backward(rows)
        live, coefficients = (table.index_select(0, now)[0] for table in (self._live, self._coefficients))
        parts = slice(self._first_layer), slice(self._first_layer, None)
        for part, lr in zip(parts, self._lr.unsqueeze(2).unbind(1), strict=True):
            p, g, m, v = (each[:, part] for each in (self._p, self._g, self._m, self._v))
            update(p, g, m, v, self._formula.unsqueeze(1), lr, coefficients, live)
        index = self._batch_index.index_select(0, now)[0]
        torch.mul(self._batch_x.index_select(0, index), self._gain, out=rows.x)
        rows.labels.copy_(self._batch_labels.index_select(0, index))
        n_correct, loss = self._forward(rows)
        self._evaluations.index_copy_(0, now, torch.stack([n_correct.to(loss.dtype), loss]).unsqueeze(0))
        now += 1

    def _activate(self, place: int, rows: Rows) -> None:
        self._select(rows.h[place], [a.forward(rows.z[place]) for a in self._activations.values()])
        rows.h[place].mul_(self._masks[place])

    def _backpropagate(self, place: int, rows: Rows) -> None:
        z, h, d = rows.z[place], rows.h[place], rows.d[place]
        self._select(d, [a.backward(d.clone(), z.clone(), h) for a in self._activations.values()])

    def _select(self, out: Tensor, of_each: Sequence[Tensor]) -> None:  # (slots, classes, units) all
        """Fill `out` with the results of each slot's own activation, from those of each activation."""
        selected, *others = of_each
        for index, result in enumerate(others, start=1):
            selected = torch.where(self._activation_index == index, result, selected)
        out.copy_(selected)
