"""A bucket on a CPU: the first rows are occupied, and the last of them moves into a row that becomes free."""

from collections.abc import Sequence
from itertools import pairwise
from time import perf_counter
from typing import TypeVar

import torch

from objectives.convergence import Outcome, Trial
from objectives.data.batches import Batches
from objectives.model.activations import ACTIVATIONS
from objectives.model.optimizers import update_cpu
from objectives.trainers.bucket import Bucket, Slot
from objectives.trainers.rows import Rows, Shape

Key = TypeVar("Key")


class CompactBucket(Bucket):
    """A bucket whose work grows with its occupied slots alone."""

    def __init__(self, batches: Batches, shape: Shape, target: float, hold: int, slots: int) -> None:
        super().__init__(batches, shape, target, hold, slots)
        self._slots: list[Slot] = []
        self._gain = torch.zeros(slots, 1, 1, dtype=batches.dtype)
        self._coefficients = torch.zeros(slots, 8, dtype=batches.dtype).numpy()
        self._use_rows()

    def admit(self, trial: Trial) -> None:
        """Take a trial into the next row, and evaluate it before any training; ValueError if there is no room."""
        if not self.room:
            raise ValueError("every slot of the bucket is taken")
        started, row = perf_counter(), len(self._slots)
        self._slots.append(self._load(row, trial))
        self._gain[row] = trial.configuration.gain
        self._use_rows(row)
        self._evaluate(row)
        self._use_rows()
        self._slots[row].seconds += perf_counter() - started

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        """Train and evaluate every slot epoch by epoch; each outcome is taken at once."""
        ended = self._remove_ended()
        for _ in range(epochs):
            if not self._slots:
                break
            started, n = perf_counter(), len(self._slots)
            self._backward(self._rows)
            for row, slot in enumerate(self._slots):
                self._coefficients[row] = next(slot.schedule)
            update_cpu(*self._arrays, self._first_layer)
            self._evaluate()
            share = (perf_counter() - started) / n
            for slot in self._slots:
                slot.seconds += share
            ended += self._remove_ended()
        return ended

    def release(self) -> list[Trial]:
        """Free every slot without an outcome."""
        released = [slot.trial for slot in self._slots]
        self._slots.clear()
        return released

    def _use_rows(self, start: int = 0) -> None:
        """Compute with the occupied rows from `start` on."""
        occupied, slots = slice(start, len(self._slots)), self._slots[start:]
        self._rows = self._all_rows.part(occupied)
        state = self._p, self._g, self._m, self._v, self._formula, self._lr
        self._arrays = [*(part[occupied].numpy() for part in state), self._coefficients[occupied]]
        names = [slot.trial.configuration.activation for slot in slots]
        self._activations = [(at, ACTIVATIONS[name]) for name, at in _adjoining(names)]
        self._gains = self._gain[occupied]
        # Row and width of each slot whose padding in a hidden layer would put out something.
        widths = [slot.trial.configuration.widths for slot in slots]
        masked = [row for row, name in enumerate(names) if not ACTIVATIONS[name].keeps_zero]
        self._padding = [
            [(row, widths[row][place]) for row in masked if widths[row][place] < padded]
            for place, padded in enumerate(self.shape.widths)
        ]

    def _remove_ended(self) -> list[tuple[Trial, Outcome]]:
        """Take the trials that are over out of their rows."""
        ended = []
        for row in reversed(range(len(self._slots))):
            slot = self._slots[row]
            if slot.progress.end is not None:
                ended.append((slot.trial, slot.progress.outcome(slot.seconds)))
                self._move_last(row)
        if ended:
            self._use_rows()
        return ended

    def _move_last(self, row: int) -> None:
        """Put the last slot in the place of another, with all that the next epoch reads of it."""
        last = self._slots.pop()
        if row == len(self._slots):
            return
        self._slots[row] = last
        rows = self._all_rows
        state = self._p, self._m, self._v, self._formula, self._lr, self._gain
        for part in (*state, rows.x, rows.labels, *rows.z, *rows.h, rows.d[-1]):
            part[row] = part[len(self._slots)]

    def _evaluate(self, start: int = 0) -> None:
        """Evaluate each slot from `start` on on its next batch."""
        slots = self._slots[start:]
        batches = [self._batches.evaluation_batch(*slot.trial.batch_key(slot.progress.epoch + 1)) for slot in slots]
        for batch, at in _adjoining(batches):
            torch.mul(batch.x, self._gains[at], out=self._rows.x[at])
            self._rows.labels[at, :, 0] = batch.labels
        n_correct, losses = self._forward(self._rows)
        for slot, count, loss in zip(slots, n_correct.tolist(), losses.tolist(), strict=True):
            slot.progress.observe(count / self.shape.classes, loss)

    def _activate(self, place: int, rows: Rows) -> None:
        for part, activation in self._activations:
            activation.forward(rows.z[place][part], out=rows.h[place][part])
        for row, width in self._padding[place]:
            rows.h[place][row, :, width:] = 0

    def _backpropagate(self, place: int, rows: Rows) -> None:
        for part, activation in self._activations:
            activation.backward(rows.d[place][part], rows.z[place][part], rows.h[place][part])


def _adjoining(keys: Sequence[Key]) -> list[tuple[Key, slice]]:
    """Slices of adjoining rows that have the very same key."""
    starts = [i for i, key in enumerate(keys) if i == 0 or key is not keys[i - 1]]
    return [(keys[start], slice(start, stop)) for start, stop in pairwise([*starts, len(keys)])]
