"""Solo: one trial at a time with torch.nn and autograd.

Plain and obviously right: the oracle for the trial array, and what trains whatever the array cannot hold.
"""

from collections.abc import Sequence
from time import perf_counter

import torch
from torch import Tensor, nn

from objectives.batches import Batch, Batches
from objectives.convergence import End, Outcome, Progress, Trial
from objectives.network import Network, initial, right
from objectives.optimizers import Optimizer


class Solo:
    """A trainer with room for one trial.

    On a GPU the evaluations of a burst stay on the device and are read once: a trial that ended inside the burst is
    trained a little further, and its outcome is cut at the exact evaluation. On a CPU, reading costs nothing and is
    done each epoch.
    """

    def __init__(
        self,
        batches: Batches,
        target: float,
        hold: int,
        blind: bool | None = None,  # read evaluations once a burst; by default on a GPU
    ) -> None:
        self._batches, self._target, self._hold = batches, target, hold
        self._blind = batches.device.type != "cpu" if blind is None else blind
        self._progress: Progress | None = None
        self._run: _Run | None = None
        self._seconds = 0.0

    @property
    def room(self) -> int:
        return 0 if self._progress else 1

    @property
    def running(self) -> list[Progress]:
        return [self._progress] if self._progress else []

    @property
    def network(self) -> Network | None:
        """The network trained last."""
        return self._run.network if self._run else None

    def admit(self, trial: Trial) -> None:
        if self._progress:
            raise ValueError("the solo trainer has room for one trial")
        self._progress, self._run, self._seconds = Progress(trial, self._target, self._hold), None, 0.0

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        progress = self._progress
        if progress is None:
            return []
        started, end = perf_counter(), None
        try:
            self._train(progress, epochs)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            end, self._run = End.OUT_OF_MEMORY, None
        self._seconds += perf_counter() - started
        if end is None and progress.end is None:
            return []
        self._progress = None
        return [(progress.trial, progress.outcome(self._seconds, end))]

    def release(self) -> list[Trial]:
        released = [progress.trial for progress in self.running]
        self._progress = self._run = None
        return released

    def _train(self, progress: Progress, epochs: int) -> None:
        if self._run is None:
            self._run = _Run(self._batches, progress.trial)
        at_once = epochs if self._blind else 1
        while epochs > 0 and progress.end is None:
            burst = [self._run.step() for _ in range(min(at_once, epochs))]
            epochs -= len(burst)
            for told_apart, loss in torch.stack(burst).tolist():  # the one wait for the device
                if progress.end is None:
                    progress.observe(told_apart / self._run.samples, loss)


class _Run:
    """Network, optimizer and place in the data stream of one trial."""

    def __init__(self, batches: Batches, trial: Trial) -> None:
        self._batches, self._trial = batches, trial
        self._epoch = trial.stream_offset - 1
        self._minibatches: Sequence[Batch] = ()
        self._evaluated: Batch
        self._loss: Tensor
        self.network = Network(trial.configuration, initial(trial, batches))
        self._optimizer = Optimizer(trial.configuration, [list(layer.parameters()) for layer in self.network.layers])

    @property
    def samples(self) -> int:
        """That an evaluation is made on."""
        return len(self._evaluated.labels)

    def step(self) -> Tensor:  # (2,): how many samples are told apart, loss
        """Learn the minibatches that came with the last evaluation, then evaluate."""
        for batch in self._minibatches:
            loss = self._loss if batch is self._evaluated else self._forward(batch)[1]
            self.network.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
        self._epoch += 1
        which = self._trial.configuration, self._trial.data_seed, self._epoch
        self._evaluated, self._minibatches = self._batches.of(*which), self._batches.minibatches(*which)
        with torch.set_grad_enabled(self._evaluated is self._minibatches[0]):  # a wave batch is learned next
            logits, self._loss = self._forward(self._evaluated)
        logits = logits.detach()
        told_apart = right(logits, logits.gather(1, self._evaluated.labels.unsqueeze(1))).sum()
        return torch.stack([told_apart.to(logits.dtype), self._loss.detach()])

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:  # (n, classes), ()
        logits = self.network(batch.x * self._trial.configuration.gain)
        return logits, nn.functional.cross_entropy(logits, batch.labels)


def out_of_memory(error: Exception) -> bool:
    """True for NumPy's, the GPU's and the CPU allocator's way to say it; the last is a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
