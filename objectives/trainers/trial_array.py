"""The trial array: many different trials trained as few batched computations.

Trials of one padded shape share a bucket, whatever their activation, optimizer, scaling and seeds. What a bucket cannot
hold, or where it would gain nothing, trains by itself: `_fits_bucket` is the one rule for that.
"""

from collections.abc import Callable, Sequence

import torch

from objectives.convergence import End, Outcome, Progress, Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.trainers.bucket import Bucket
from objectives.trainers.compact_bucket import CompactBucket
from objectives.trainers.graph_bucket import GraphBucket
from objectives.trainers.rows import Shape, round_up, width_grain
from objectives.trainers.solo import Solo, out_of_memory

MAX_SLOTS = {"cpu": 16, "cuda": 64}  # of an array: more trials in flight teach the sampler less
CACHE_BYTES = 6 << 20  # that the slots of a CPU worker may fill: beyond it an epoch takes longer, not shorter
MAX_SLOT_BYTES = 16 << 20  # of a bucket on a CPU: beyond it autograd costs nothing that a bucket could save
COOL_DOWN_TRIALS = 16  # trained without company after one that met none of its shape
MAX_IDLE_BUCKETS = 8  # on a GPU: empty ones kept with their graphs for the next trial of their shape


class TrialArray:
    """A trainer with as many slots as pay off on its device.

    On a GPU these are all that the memory holds, since buckets overlap there. On a CPU a trial gains by company of its
    own shape alone: beside others it only takes turns, and trials in flight teach the sampler nothing. So the array
    takes another one while all that run share a bucket, and after a misfit it trains COOL_DOWN_TRIALS without company.
    """

    def __init__(self, batches: Batches, target: float, hold: int, *, always: bool = False) -> None:
        """`always`: fill every slot, and bucket every trial, also where that gains nothing."""
        self._batches, self._target, self._hold, self._always = batches, target, hold, always
        self._trainers: list[Bucket | Solo] = []
        self._queue: list[Trial] = []  # to be tried again when there is memory
        self._slots, self._cool_down = MAX_SLOTS[batches.device.type], 0
        if batches.device.type == "cuda":
            self._always = True
            self._bytes = torch.cuda.mem_get_info(batches.device)[0] // 2
            self._slot_bytes = self._bytes // 8
        else:
            self._bytes = CACHE_BYTES
            self._slot_bytes = 1 << 30 if always else MAX_SLOT_BYTES
        if not isinstance(batches.problem, Waves):  # a bucket learns one batch an epoch, of as many samples as classes
            self._slot_bytes = 0

    @property
    def room(self) -> int:
        """1 if another trial gains by training now, else 0."""
        running = self.running
        if not running:
            return 1
        take_turns = not any(self._fits_bucket(progress.trial) for progress in running)
        if self._queue or len(running) >= self._slots or take_turns:
            return 0
        if not self._always:
            busy = self._busy()
            return int(not self._cool_down and len(busy) == 1 and busy[0].room > 0)
        return int(sum(self._bytes_of(self._shape(progress.trial)) for progress in running) < self._bytes)

    @property
    def running(self) -> Sequence[Progress]:
        """The admitted trials, those in the queue last."""
        placed = [progress for trainer in self._trainers for progress in trainer.running]
        return placed + [Progress(trial, self._target, self._hold) for trial in self._queue]

    def admit(self, trial: Trial) -> None:
        """Take a trial into a bucket or by itself; ValueError if there is no room."""
        if not self.room:
            raise ValueError("every slot of the trial array is taken")
        self._cool_down = max(0, self._cool_down - 1)
        self._place(trial)
        if len(self._busy()) > 1:
            self._cool_down = COOL_DOWN_TRIALS

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        """Advance every bucket and solo trial, the queue if none of them runs."""
        if not self._busy():
            retried, self._queue = self._queue[: self._slots], self._queue[self._slots :]
            for trial in retried:
                self._place(trial)
        graphs = [trainer for trainer in self._trainers if isinstance(trainer, GraphBucket)]
        for bucket in graphs:  # all at once on the device
            self._retry_on_out_of_memory(bucket, bucket.begin, epochs)
        ended = []
        for trainer in list(self._trainers):
            ended += self._retry_on_out_of_memory(trainer, trainer.advance, epochs)
        idle = [trainer for trainer in self._trainers if trainer in graphs and not trainer.running][-MAX_IDLE_BUCKETS:]
        self._trainers = [trainer for trainer in self._trainers if trainer.running or trainer in idle]
        return ended

    def release(self) -> list[Trial]:
        """Forget every trial without an outcome, and empty the queue."""
        released = [trial for trainer in self._trainers for trial in trainer.release()] + self._queue
        self._queue = []
        return released

    def _busy(self) -> list[Bucket | Solo]:
        return [trainer for trainer in self._trainers if trainer.running]

    def _shape(self, trial: Trial) -> Shape:
        """Widths rounded up: a little on a CPU, where padding costs time; to powers of two on a GPU, to share."""
        cuda, configuration = self._batches.device.type == "cuda", trial.configuration
        grain = width_grain(configuration.classes)
        widths = (
            1 << (max(width, 32) - 1).bit_length() if cuda else round_up(width, grain) for width in configuration.widths
        )
        return Shape(self._batches.problem.inputs, tuple(widths), configuration.classes)

    def _bytes_of(self, shape: Shape) -> int:
        return shape.numbers * self._batches.dtype.itemsize

    def _fits_bucket(self, trial: Trial) -> bool:
        """Whether a trial trains in a bucket, else alone."""
        return not trial.configuration.objective and self._bytes_of(self._shape(trial)) <= self._slot_bytes

    def _place(self, trial: Trial) -> None:
        """Begin a trial in a bucket or alone; requeue it if there is no memory for that."""
        if not self._fits_bucket(trial):
            return self._train_alone(trial)
        shape = self._shape(trial)
        same = [trainer for trainer in self._trainers if isinstance(trainer, Bucket) and trainer.shape == shape]
        try:
            bucket = next((bucket for bucket in same if bucket.room), None)
            if bucket is None:
                bucket = self._bucket(shape, len(same))
                self._trainers.append(bucket)
            bucket.admit(trial)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            self._requeue([trial])

    def _bucket(self, shape: Shape, existing: int) -> Bucket:
        """Another bucket of a shape: on a CPU for what the cache holds, on a GPU twice as large as the last one."""
        common = self._batches, shape, self._target, self._hold
        if self._batches.device.type == "cuda":
            return GraphBucket(*common, min(8 << existing, MAX_SLOTS["cuda"]))
        return CompactBucket(*common, min(max(1, self._bytes // self._bytes_of(shape)), MAX_SLOTS["cpu"]))

    def _train_alone(self, trial: Trial) -> None:
        solo = Solo(self._batches, self._target, self._hold)
        solo.admit(trial)
        self._trainers.append(solo)

    def _retry_on_out_of_memory(
        self, trainer: Bucket | Solo, train: Callable[[int], list[tuple[Trial, Outcome]] | None], epochs: int
    ) -> list[tuple[Trial, Outcome]]:
        """The trials that ended; none if other trials fill the memory, and the trainer's own are requeued."""
        try:
            ended = train(epochs) or []
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            self._requeue(trainer.release())
            return []
        if self._busy() and any(outcome.end is End.OUT_OF_MEMORY for _, outcome in ended):  # a solo trainer's one trial
            self._queue += [trial for trial, _ in ended]
            return []
        return ended

    def _requeue(self, trials: list[Trial]) -> None:
        """Begin these again, fewer at once, when nothing else runs; the last one left is tried by itself."""
        self._trainers = self._busy()
        if self._batches.device.type == "cuda":
            torch.cuda.empty_cache()
        running = sum(len(trainer.running) for trainer in self._trainers)
        if not running and len(trials) == 1:
            return self._train_alone(trials[0])
        self._slots = max(1, (running + len(trials)) // 2)
        self._queue += trials
