"""Solo: one trial at a time with torch.nn, autograd and torch.optim.

Plain and obviously right: the oracle for any other trainer.
"""

from time import perf_counter

import torch
from torch import Tensor, nn

from objectives.convergence import End, Outcome, Progress, Trial
from objectives.network import Network, centres
from objectives.optimizers import optimizer
from objectives.scaling import affine
from objectives.waves import Waves


class Solo:
    """A trainer with room for one trial.

    On a GPU the evaluations of a burst stay on the device and are read once: a trial that ended inside the burst is
    trained a little further, and its outcome is cut at the exact evaluation. On a CPU, reading costs nothing and is
    done each epoch.
    """

    def __init__(
        self,
        problem: Waves,
        target: float,
        hold: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        blind: bool | None = None,  # read evaluations once a burst; by default on a GPU
    ) -> None:
        self._problem, self._target, self._hold = problem, target, hold
        self._device, self._dtype = torch.device(device), dtype
        self._blind = self._device.type != "cpu" if blind is None else blind
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
            if not _out_of_memory(error):
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
            self._run = _Run(self._problem, progress.trial, self._device, self._dtype)
        at_once = epochs if self._blind else 1
        while epochs > 0 and progress.end is None:
            burst = [self._run.step() for _ in range(min(at_once, epochs))]
            epochs -= len(burst)
            for accuracy, loss in torch.stack(burst).tolist():  # the one wait for the device
                if progress.end is None:
                    progress.observe(accuracy, loss)


class _Run:
    """Network, optimizer and place in the data stream of one trial."""

    def __init__(self, problem: Waves, trial: Trial, device: torch.device, dtype: torch.dtype) -> None:
        self._problem, self._trial, self._device, self._dtype = problem, trial, device, dtype
        self._epoch = trial.stream_offset
        self._loss: Tensor | None = None
        configuration = trial.configuration
        self.network = Network(configuration, problem.inputs, trial.seed).to(device, dtype)
        if configuration.bias_init == "spread":
            at = centres(trial.seed, configuration.width)
            anchors = torch.from_numpy(problem.anchors(configuration.classes, at)).to(device, dtype)
            scale, offset = affine(configuration.scaling, configuration.gain, self._batch()[0])
            self.network.spread(anchors * scale + offset)
        self._optimizer = optimizer(configuration, self.network)

    def step(self) -> Tensor:  # (2,): accuracy, loss
        """Learn from the batch evaluated last, then evaluate the next one."""
        if self._loss is not None:
            self._optimizer.zero_grad()
            torch.autograd.backward(self._loss)
            self._optimizer.step()
            self._epoch += 1
        x, labels = self._batch()
        scale, offset = affine(self._trial.configuration.scaling, self._trial.configuration.gain, x)
        logits = self.network(x * scale + offset)
        self._loss = nn.functional.cross_entropy(logits, labels)
        accuracy = (logits.detach().argmax(1) == labels).to(self._dtype).mean()
        return torch.stack([accuracy, self._loss.detach()])

    def _batch(self) -> tuple[Tensor, Tensor]:
        configuration = self._trial.configuration
        x, labels = self._problem.batch(
            configuration.classes, self._trial.data_seed, self._epoch, configuration.batch_sampling
        )
        return torch.from_numpy(x).to(self._device, self._dtype), torch.from_numpy(labels).to(self._device)


def _out_of_memory(error: Exception) -> bool:
    """True for NumPy's, the GPU's and the CPU allocator's way to say it; the last is a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
