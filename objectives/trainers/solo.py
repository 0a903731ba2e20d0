"""Solo: one trial at a time with torch.nn and autograd.

Plain and obviously right: the oracle for the trial array, and what trains whatever the array cannot hold, such as a
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
from objectives.model.network import Network, initial_parameters, is_correct
from objectives.model.optimizers import Optimizer
from objectives.user_code import module as user_module
from objectives.user_code.loader import UserCodeError, reporting_errors

FEW = 2  # samples to rehearse with: as few as batch normalisation takes


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
    def network(self) -> nn.Module | None:
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

    _reuses = True  # a batch's evaluation to learn it

    def __init__(self, batches: Batches, trial: Trial) -> None:
        self._batches, self._trial = batches, trial
        self._epoch = trial.stream_offset - 1
        self._minibatches: Sequence[Batch] = ()
        self.samples = 0  # that the last evaluation was made on
        self._loss: Tensor | None = None  # of the evaluation, where the one minibatch is what was evaluated
        self.network, layers = self._made()
        self._optimizer = Optimizer(trial.configuration, layers)

    def step(self) -> Tensor:  # (2,): samples told apart, loss
        """Learn the minibatches that came with the last evaluation, then evaluate."""
        self._learn()
        self._epoch += 1
        which = self._trial.configuration, self._trial.data_seed, self._epoch
        evaluated, self._minibatches = self._batches.of(*which), self._batches.minibatches(*which)
        return self._evaluate(evaluated)

    def _made(self) -> tuple[nn.Module, Sequence[Sequence[Tensor]]]:
        """The network, and the parameters of its layers."""
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
        learned_next = self._reuses and batch is self._minibatches[0]  # as a wave batch is
        with torch.set_grad_enabled(learned_next):
            logits, loss = self._forward(batch)
        self._loss = loss if learned_next else None
        logits = logits.detach()
        n_correct = is_correct(logits, logits.gather(1, batch.labels.unsqueeze(1))).to(logits.dtype).sum()
        return torch.stack([n_correct, loss.detach()])

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:  # (n, classes), ()
        logits = self.network(batch.x * self._trial.configuration.gain)
        return logits, nn.functional.cross_entropy(logits, batch.labels)


class _UserRun(_Run):
    """The same with a user module, which may do otherwise in evaluation, draw at random, and raise."""

    _reuses = False

    def step(self) -> Tensor:
        seed = user_module.epoch_seed(self._trial.seed, self._epoch + 1)
        with self._guarded(), user_module.seeded(seed, self._batches.device):
            return super().step()

    def _made(self) -> tuple[nn.Module, Sequence[Sequence[Tensor]]]:
        with self._guarded():
            module = user_module.construct(self._trial, self._batches)
            return module, user_module.split_first_layer(module, self._path)

    def _learn(self) -> None:
        self.network.train()
        super()._learn()

    def _evaluate(self, batch: Batch) -> Tensor:
        self.network.eval()
        return super()._evaluate(batch)

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        configuration = self._trial.configuration
        logits = self.network(batch.x * configuration.gain)
        logits = user_module.check_logits(logits, (len(batch.x), configuration.classes), self._path)
        return logits, nn.functional.cross_entropy(logits, batch.labels)

    @property
    def _path(self) -> str:
        return str(self._trial.configuration.objective)

    def _guarded(self) -> AbstractContextManager[None]:
        return reporting_errors(self._path, unless=lambda error: out_of_memory(error) or _of_device(error))


def _run(batches: Batches, trial: Trial) -> _Run:
    return _UserRun(batches, trial) if trial.configuration.objective else _Run(batches, trial)


def rehearse(configuration: Configuration, problem: Problem, device: str) -> None:
    """Let a user module learn a few samples and be evaluated on others; UserCodeError if it cannot."""
    run = _run(_Few(problem, device), Trial(0, configuration, seed=0, data_seed=0, cap=1))
    run.step()
    run.step()


class _Few(Batches):
    """Only a few samples of each batch."""

    def of(self, configuration: Configuration, data_seed: int, epoch: int) -> Batch:
        x, labels = super().of(configuration, data_seed, epoch)
        return Batch(x[:FEW], labels[:FEW])

    def minibatches(self, configuration: Configuration, data_seed: int, epoch: int) -> Sequence[Batch]:
        x, labels = super().minibatches(configuration, data_seed, epoch)[0]
        return (Batch(x[:FEW], labels[:FEW]),)


def _of_device(error: Exception) -> bool:
    """True for what leaves a GPU useless to this process, whoever caused it."""
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


def out_of_memory(error: Exception) -> bool:
    """True for NumPy's, the GPU's and the CPU allocator's way to say it; the last is a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
