"""A bucket on a GPU: every slot keeps its row, and one epoch of all rows is one CUDA graph, replayed for a burst.

Nothing on the device looks at a value: which batch a slot learns, its optimizer's coefficients and whether it is live
are tables over the burst's epochs, written before it. Evaluations are written to such a table and read once, so the
epoch at which a trial ended is exact; until the burst is over its slot trains on, unread. Slots of several activations
compute each of them and choose.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from objectives.convergence import Outcome, Progress, Trial
from objectives.data.batches import Batch, Batches
from objectives.model.activations import ACTIVATIONS, Activation
from objectives.model.optimizers import RULES, update
from objectives.trainers.bucket import Bucket, Rows, Shape, Slot

BURST = 16  # epochs that the tables hold
DRAWN = 128  # different batches among them


class GraphBucket(Bucket):
    """At most DRAWN slots. On a CPU the same operations run one by one, for tests."""

    def __init__(self, batches: Batches, shape: Shape, target: float, hold: int, slots: int) -> None:
        super().__init__(batches, shape, target, hold, slots)
        device = batches.device
        new: dict[str, Any] = {"device": device, "dtype": batches.dtype}
        self._slots: list[Slot | None] = [None] * slots
        self._activations: dict[str, Activation] = {}  # of the trials so far
        self._kind = torch.zeros(slots, 1, 1, device=device, dtype=torch.long)  # which of them
        self._masks = [torch.ones(slots, 1, width, **new) for width in shape.widths]  # 0 for units of padding
        self._gain = torch.ones(slots, 1, 1, **new)
        self._drawn_x = torch.zeros(DRAWN, shape.classes, shape.inputs, **new)
        self._drawn_labels = torch.zeros(DRAWN, shape.classes, 1, device=device, dtype=torch.long)
        self._epoch = torch.zeros(1, device=device, dtype=torch.long)  # of the burst
        self._which = torch.zeros(BURST, slots, device=device, dtype=torch.long)  # of the drawn
        self._live = torch.zeros(BURST, slots, 1, device=device, dtype=torch.bool)
        self._coefficients = torch.zeros(BURST, slots, 8, **new)
        self._seen = torch.zeros(BURST, 2, slots, **new)  # how many classes are told apart, loss
        self._replay: Callable[[], None] | None = None  # one epoch
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._begun = 0  # epochs that are being computed
        self._started = 0.0

    @property
    def room(self) -> int:
        return self._slots.count(None)

    @property
    def running(self) -> Sequence[Progress]:
        return [slot.progress for slot in self._slots if slot]

    def admit(self, trial: Trial) -> None:
        if not self.room:
            raise ValueError("every slot of the bucket is taken")
        row, configuration = self._slots.index(None), trial.configuration
        if configuration.activation not in self._activations:
            self._activations[configuration.activation] = ACTIVATIONS[configuration.activation]
            self._replay = None
        self._load(row, trial)
        self._kind[row] = list(self._activations).index(configuration.activation)
        self._gain[row] = configuration.gain
        for mask, width in zip(self._masks, configuration.widths, strict=True):
            mask[row, 0] = torch.arange(mask.shape[2], device=mask.device) < width
        schedule = RULES[configuration.optimizer].schedule()
        self._slots[row] = Slot(Progress(trial, self._target, self._hold), schedule)

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        ended = []
        while epochs > 0:
            ended += self._leave()
            self.begin(epochs)
            if not self._begun:
                break
            epochs -= self._begun
            self._read()
        return ended + self._leave()

    def begin(self, epochs: int) -> None:
        """Start a burst without waiting for it, unless one is under way; `advance` takes it up."""
        taken = [(row, slot) for row, slot in enumerate(self._slots) if slot and slot.progress.end is None]
        if self._begun or not taken:
            return
        self._started = perf_counter()
        self._begun = self._write(taken, min(epochs, BURST))
        if self._stream is None:
            self._replay = self._replay or self._warmed_up()
            for _ in range(self._begun):
                self._replay()
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._batches.device))
        with torch.cuda.stream(self._stream):
            self._replay = self._replay or self._captured(self._stream)
            for _ in range(self._begun):
                self._replay()

    def release(self) -> list[Trial]:
        released = [slot.trial for slot in self._slots if slot]
        self._slots, self._begun = [None] * len(self._slots), 0
        return released

    def _leave(self) -> list[tuple[Trial, Outcome]]:
        ended = []
        for row, slot in enumerate(self._slots):
            if slot and not self._begun and slot.progress.end is not None:
                ended.append((slot.trial, slot.progress.outcome(slot.seconds)))
                self._slots[row] = None
        return ended

    def _write(self, taken: Sequence[tuple[int, Slot]], epochs: int) -> int:
        """Fill the burst's tables; how many epochs they hold, fewer if the slots see too many different batches."""
        draws: dict[int, tuple[int, Batch]] = {}  # by identity
        which = np.zeros((BURST, len(self._slots)), np.int64)
        live, coefficients = np.zeros((*which.shape, 1), np.bool_), np.zeros((*which.shape, 8))
        for k in range(epochs):
            found = []
            for _, slot in taken:
                trial = slot.trial
                epoch = trial.stream_offset + slot.progress.epoch + 1 + k
                found.append(self._batches.of(trial.configuration, trial.data_seed, epoch))
            if len(draws.keys() | {id(batch) for batch in found}) > DRAWN:
                epochs = k
                break
            for (row, slot), batch in zip(taken, found, strict=True):
                which[k, row] = draws.setdefault(id(batch), (len(draws), batch))[0]
                if slot.progress.epoch + k >= 0:  # else there is nothing to learn from yet
                    live[k, row] = 1
                    coefficients[k, row] = next(slot.schedule)
        for place, batch in draws.values():
            self._drawn_x[place] = batch.x
            self._drawn_labels[place, :, 0] = batch.labels
        for table, values in ((self._which, which), (self._live, live), (self._coefficients, coefficients)):
            table.copy_(torch.from_numpy(values))
        self._epoch.zero_()
        return epochs

    def _read(self) -> None:
        """Wait for the burst and observe its evaluations."""
        if self._stream is not None:
            torch.cuda.current_stream(self._batches.device).wait_stream(self._stream)
        seen = self._seen[: self._begun].tolist()
        slots = [(row, slot) for row, slot in enumerate(self._slots) if slot and slot.progress.end is None]
        for n_correct, losses in seen:
            for row, slot in slots:
                if slot.progress.end is None:
                    slot.progress.observe(n_correct[row] / self.shape.classes, losses[row])
        share = (perf_counter() - self._started) / max(1, len(slots))
        for _, slot in slots:
            slot.seconds += share
        self._begun = 0

    def _warmed_up(self) -> Callable[[], None]:
        """One epoch, tried out: no slot is live meanwhile, and what the last evaluation left is put back."""
        rows = self._all
        left = [self._live, rows.x, rows.labels, *rows.z, *rows.h, *rows.d]
        kept = [part.clone() for part in left]
        for _ in range(2):
            self._live.zero_()
            self._epoch.zero_()
            self._one_epoch()
        for part, value in zip(left, kept, strict=True):
            part.copy_(value)
        self._epoch.zero_()
        return self._one_epoch

    def _captured(self, stream: torch.cuda.Stream) -> Callable[[], None]:
        """The graph of one epoch."""
        one_epoch, graph = self._warmed_up(), torch.cuda.CUDAGraph()
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            one_epoch()
        return graph.replay

    def _one_epoch(self) -> None:
        """Learn from the batches evaluated last, then evaluate the next ones."""
        rows, now = self._all, self._epoch
        self._backward(rows)
        live, coefficients = (table.index_select(0, now)[0] for table in (self._live, self._coefficients))
        for part, lr in zip(
            (slice(self._first), slice(self._first, None)), self._lr.unsqueeze(2).unbind(1), strict=True
        ):
            p, g, m, v = (each[:, part] for each in (self._p, self._g, self._m, self._v))
            update(p, g, m, v, self._formula.unsqueeze(1), lr, coefficients, live)
        which = self._which.index_select(0, now)[0]
        torch.mul(self._drawn_x.index_select(0, which), self._gain, out=rows.x)
        rows.labels.copy_(self._drawn_labels.index_select(0, which))
        n_correct, loss = self._forward(rows)
        self._seen.index_copy_(0, now, torch.stack([n_correct.to(loss.dtype), loss]).unsqueeze(0))
        now += 1

    def _activate(self, place: int, rows: Rows) -> None:
        self._choose(rows.h[place], [a.forward(rows.z[place]) for a in self._activations.values()])
        rows.h[place].mul_(self._masks[place])

    def _before_activation(self, place: int, rows: Rows) -> None:
        z, h, d = rows.z[place], rows.h[place], rows.d[place]
        self._choose(d, [a.backward(d.clone(), z.clone(), h) for a in self._activations.values()])

    def _choose(self, out: Tensor, of_each: Sequence[Tensor]) -> None:
        """Each slot's own activation's result."""
        chosen, *others = of_each
        for kind, result in enumerate(others, start=1):
            chosen = torch.where(self._kind == kind, result, chosen)
        out.copy_(chosen)
