"""Solo: one trial at a time with torch.nn and autograd.

Plain and obviously right: the oracle for the trial array, and the trainer of whatever the array cannot hold, such as a
user module.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from time import perf_counter

import torch
from torch import Tensor, nn

from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Progress, Trial
from objectives.data.batches import Batch, Batches, Problem
from objectives.model.network import Network, correct_predictions, initial_parameters
from objectives.model.optimizers import Optimizer
from objectives.user_code import module as user_module
from objectives.user_code.loader import UserCodeError, reporting_errors

REHEARSAL_SAMPLES = 2  # as few as batch normalisation takes


class Solo:
    """A trainer with room for one trial.

    On a GPU the evaluations of a burst stay on the device and are read once: a trial that ended inside the burst trains
    a little further, and its outcome is cut at the exact evaluation. On a CPU, reading costs nothing and happens each
    epoch.
    """

    def __init__(self, batches: Batches, target: float, hold: int, blind: bool | None = None) -> None:
        """`blind`: whether to read evaluations once a burst; by default on a GPU."""
        self._batches, self._target, self._hold = batches, target, hold
        self._blind = batches.device.type != "cpu" if blind is None else blind
        self._progress: Progress | None = None
        self._run: _Run | None = None
        self._seconds = 0.0

    @property
    def room(self) -> int:
        """1 if no trial runs, else 0."""
        return 0 if self._progress else 1

    @property
    def running(self) -> list[Progress]:
        """The trial, if one runs."""
        return [self._progress] if self._progress else []

    @property
    def network(self) -> nn.Module | None:
        """The network trained last."""
        return self._run.network if self._run else None

    def admit(self, trial: Trial) -> None:
        """Take a trial; ValueError if another one runs."""
        if self._progress:
            raise ValueError("the solo trainer has room for one trial")
        self._progress, self._run, self._seconds = Progress(trial, self._target, self._hold), None, 0.0

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        """Train by up to `epochs` epochs; an exception of a user module, and a lack of memory, end the trial."""
        progress = self._progress
        if progress is None:
            return []
        started, end, reason = perf_counter(), None, None
        try:
            self._train(progress, epochs)
        except UserCodeError as error:
            end, reason, self._run = End.EXCEPTION, str(error), None
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            end, self._run = End.OUT_OF_MEMORY, None
        self._seconds += perf_counter() - started
        if end is None and progress.end is None:
            return []
        self._progress = None
        return [(progress.trial, progress.outcome(self._seconds, end, reason))]

    def release(self) -> list[Trial]:
        """Forget the trial without an outcome."""
        released = [progress.trial for progress in self.running]
        self._progress = self._run = None
        return released

    def _train(self, progress: Progress, epochs: int) -> None:
        if self._run is None:
            self._run = _run(self._batches, progress.trial)
        at_once = epochs if self._blind else 1
        while epochs > 0 and progress.end is None:
            burst = [self._run.step() for _ in range(min(at_once, epochs))]
            epochs -= len(burst)
            for n_correct, loss in torch.stack(burst).tolist():  # the one wait for the device
                if progress.end is None:
                    progress.observe(n_correct / self._run.samples, loss)  # in 64 bits: 190 of 200 are 0.95


class _Run:
    """Network, optimizer and place in the data stream of one trial."""

    _reuses_evaluation = True  # to learn the batch that it was made on

    def __init__(self, batches: Batches, trial: Trial) -> None:
        self._batches, self._trial = batches, trial
        self._epoch = -1  # of the latest evaluation
        self._minibatches: Sequence[Batch] = ()
        self.samples = 0  # of the latest evaluation
        self._loss: Tensor | None = None  # of the latest evaluation, if the one minibatch is its batch
        self.network, layers = self._construct()
        self._optimizer = Optimizer(trial.configuration, layers)

    def step(self) -> Tensor:  # (2,): correct predictions, loss
        """Learn the minibatches that came with the last evaluation, then evaluate."""
        self._learn()
        self._epoch += 1
        key = self._trial.batch_key(self._epoch)
        batch, self._minibatches = self._batches.evaluation_batch(*key), self._batches.minibatches(*key)
        return self._evaluate(batch)

    def _construct(self) -> tuple[nn.Module, Sequence[Sequence[Tensor]]]:
        """The network, and the parameters of each layer."""
        network = Network(self._trial.configuration, initial_parameters(self._trial, self._batches))
        return network, [list(layer.parameters()) for layer in network.layers]

    def _learn(self) -> None:
        for batch in self._minibatches:
            loss = self._forward(batch)[1] if self._loss is None else self._loss
            self.network.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()

    def _evaluate(self, batch: Batch) -> Tensor:  # (2,)
        self.samples = len(batch.labels)
        learned_next = self._reuses_evaluation and batch is self._minibatches[0]  # as a wave batch is
        with torch.set_grad_enabled(learned_next):
            logits, loss = self._forward(batch)
        self._loss = loss if learned_next else None
        logits = logits.detach()
        n_correct = correct_predictions(logits, batch.labels).to(logits.dtype).sum()
        return torch.stack([n_correct, loss.detach()])

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:  # (batch, classes), ()
        logits = self._logits(batch.x * self._trial.configuration.gain)
        return logits, nn.functional.cross_entropy(logits, batch.labels)

    def _logits(self, x: Tensor) -> Tensor:  # (batch, inputs), (batch, classes)
        logits: Tensor = self.network(x)
        return logits


class _UserRun(_Run):
    """A run of a user module, which may compute otherwise in evaluation, draw at random, and raise."""

    _reuses_evaluation = False

    def step(self) -> Tensor:  # (2,)
        """Make the step with the module's random draws keyed by the epoch."""
        seed = user_module.epoch_seed(self._trial.seed, self._trial.stream_offset + self._epoch + 1)
        with self._reporting_errors(), user_module.seeded(seed, self._batches.device):
            return super().step()

    def _construct(self) -> tuple[nn.Module, Sequence[Sequence[Tensor]]]:
        with self._reporting_errors():
            module = user_module.construct(self._trial, self._batches)
            return module, user_module.split_first_layer(module, self._path)

    def _learn(self) -> None:
        self.network.train()
        super()._learn()

    def _evaluate(self, batch: Batch) -> Tensor:
        self.network.eval()
        return super()._evaluate(batch)

    def _logits(self, x: Tensor) -> Tensor:
        return user_module.check_logits(self.network(x), (len(x), self._trial.configuration.classes), self._path)

    @property
    def _path(self) -> str:
        return str(self._trial.configuration.objective)

    def _reporting_errors(self) -> AbstractContextManager[None]:
        return reporting_errors(self._path, unless=lambda error: out_of_memory(error) or _device_failed(error))


def _run(batches: Batches, trial: Trial) -> _Run:
    return _UserRun(batches, trial) if trial.configuration.objective else _Run(batches, trial)


def dry_run(configuration: Configuration, problem: Problem, device: str) -> None:
    """Train and evaluate a user module on a few samples; UserCodeError if that fails."""
    run = _run(_RehearsalBatches(problem, device), Trial(0, configuration, seed=0, data_seed=0, cap=1))
    run.step()
    run.step()


class _RehearsalBatches(Batches):
    """The first samples of each batch."""

    def evaluation_batch(self, configuration: Configuration, data_seed: int, epoch: int) -> Batch:
        """The first samples of it."""
        return Batch(*(part[:REHEARSAL_SAMPLES] for part in super().evaluation_batch(configuration, data_seed, epoch)))

    def minibatches(self, configuration: Configuration, data_seed: int, epoch: int) -> Sequence[Batch]:
        """The first samples of the first one."""
        first = super().minibatches(configuration, data_seed, epoch)[0]
        return (Batch(*(part[:REHEARSAL_SAMPLES] for part in first)),)


def _device_failed(error: BaseException) -> bool:
    """Whether the error leaves a GPU useless to this process, whoever caused it."""
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


def out_of_memory(error: BaseException) -> bool:
    """Whether NumPy, the GPU or the CPU's allocator lacks memory; the last raises a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
