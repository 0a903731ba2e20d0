"""The trial array: many different trials trained as few batched computations.

Trials of one padded shape share a bucket, whatever their activation, optimizer, scaling and seeds. What a bucket cannot
hold, or where it would gain nothing, trains by itself: `_bucketed` is the one rule for that.
"""

from collections.abc import Callable, Sequence

import torch

from objectives.convergence import End, Outcome, Progress, Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.trainers.bucket import Bucket, CompactBucket, Shape, grain, up
from objectives.trainers.graph_bucket import GraphBucket
from objectives.trainers.solo import Solo, out_of_memory

SLOTS = {"cpu": 16, "cuda": 64}  # at most: more trials in flight teach the sampler less
CACHE_BYTES = 6 << 20  # that the slots of a CPU worker may fill: beyond it an epoch takes longer, not shorter
ALONE_BYTES = 16 << 20  # a slot of a CPU worker from which on autograd costs nothing that could be saved
SHY = 16  # trials without company after one that met none of its shape
IDLE = 8  # empty buckets on a GPU kept with their graphs for the next trial of their shape


class TrialArray:
    """A trainer with as many slots as pay off on its device.

    On a GPU all that the memory holds, since buckets overlap there. On a CPU a trial gains by company of its own shape
    alone: beside others it only takes turns, and what is in flight teaches the sampler nothing. So another one is taken
    while all that run share a bucket, and after a misfit the next SHY trials are trained without company.
    """

    def __init__(self, batches: Batches, target: float, hold: int, *, always: bool = False) -> None:
        """`always`: fill every slot, and bucket every trial, also where that gains nothing."""
        self._batches, self._target, self._hold, self._always = batches, target, hold, always
        self._parts: list[Bucket | Solo] = []
        self._waiting: list[Trial] = []  # for memory
        self._slots, self._shy = SLOTS[batches.device.type], 0
        if batches.device.type == "cuda":
            self._always = True
            self._bytes = torch.cuda.mem_get_info(batches.device)[0] // 2
            self._alone = self._bytes // 8
        else:
            self._bytes = CACHE_BYTES
            self._alone = 1 << 30 if always else ALONE_BYTES
        if not isinstance(batches.problem, Waves):  # a bucket learns one batch an epoch, of as many samples as classes
            self._alone = 0

    @property
    def room(self) -> int:
        running = self.running
        if not running:
            return 1
        if self._waiting or len(running) >= self._slots:
            return 0
        if not any(self._bucketed(progress.trial) for progress in running):  # they would only take turns
            return 0
        if not self._always:
            busy = [part for part in self._parts if part.running]
            return int(not self._shy and len(busy) == 1 and busy[0].room > 0)
        return int(sum(self._bytes_of(self._shape(progress.trial)) for progress in running) < self._bytes)

    @property
    def running(self) -> Sequence[Progress]:
        placed = [progress for part in self._parts for progress in part.running]
        return placed + [Progress(trial, self._target, self._hold) for trial in self._waiting]

    def admit(self, trial: Trial) -> None:
        if not self.room:
            raise ValueError("every slot of the trial array is taken")
        self._shy = max(0, self._shy - 1)
        self._place(trial)
        if len([part for part in self._parts if part.running]) > 1:
            self._shy = SHY

    def advance(self, epochs: int) -> list[tuple[Trial, Outcome]]:
        if not any(part.running for part in self._parts):
            again, self._waiting = self._waiting[: self._slots], self._waiting[self._slots :]
            for trial in again:
                self._place(trial)
        graphs = [part for part in self._parts if isinstance(part, GraphBucket)]
        for part in graphs:  # all at once on the device
            self._guarded(part, part.begin, epochs)
        ended = [found for part in list(self._parts) for found in self._guarded(part, part.advance, epochs)]
        idle = [part for part in self._parts if part in graphs and not part.running][-IDLE:]
        self._parts = [part for part in self._parts if part.running or part in idle]
        return ended

    def release(self) -> list[Trial]:
        released = [trial for part in self._parts for trial in part.release()] + self._waiting
        self._waiting = []
        return released

    def _shape(self, trial: Trial) -> Shape:
        """Widths rounded up: a little on a CPU, where padding costs time; to powers of two on a GPU, to share."""
        cuda, configuration = self._batches.device.type == "cuda", trial.configuration
        fine = grain(configuration.classes)
        widths = (1 << (max(width, 32) - 1).bit_length() if cuda else up(width, fine) for width in configuration.widths)
        return Shape(self._batches.problem.inputs, tuple(widths), configuration.classes)

    def _bytes_of(self, shape: Shape) -> int:
        return shape.numbers * self._batches.dtype.itemsize

    def _bucketed(self, trial: Trial) -> bool:
        """Whether a trial trains in a bucket, else alone."""
        return not trial.configuration.objective and self._bytes_of(self._shape(trial)) <= self._alone

    def _place(self, trial: Trial) -> None:
        if not self._bucketed(trial):
            return self._put_alone(trial)
        shape = self._shape(trial)
        same = [part for part in self._parts if isinstance(part, Bucket) and part.shape == shape]
        try:
            part = next((part for part in same if part.room), None)
            if part is None:
                part = self._bucket(shape, len(same))
                self._parts.append(part)
            part.admit(trial)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            self._put_off([trial])

    def _bucket(self, shape: Shape, before: int) -> Bucket:
        """A bucket for a shape that has filled so many: on a CPU for what the cache holds, on a GPU twice as large."""
        common = self._batches, shape, self._target, self._hold
        if self._batches.device.type == "cuda":
            return GraphBucket(*common, min(8 << before, SLOTS["cuda"]))
        return CompactBucket(*common, min(max(1, self._bytes // self._bytes_of(shape)), SLOTS["cpu"]))

    def _put_alone(self, trial: Trial) -> None:
        solo = Solo(self._batches, self._target, self._hold)
        solo.admit(trial)
        self._parts.append(solo)

    def _guarded(
        self, part: Bucket | Solo, do: Callable[[int], list[tuple[Trial, Outcome]] | None], epochs: int
    ) -> list[tuple[Trial, Outcome]]:
        """What a part answers; nothing if the memory is short because of other trials, and its own are put off."""
        try:
            ended = do(epochs) or []
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            self._put_off(part.release())
            return []
        neighbours = any(other.running for other in self._parts)
        if neighbours and any(outcome.end is End.OUT_OF_MEMORY for _, outcome in ended):  # of a solo trainer's one
            self._waiting += [trial for trial, _ in ended]
            return []
        return ended

    def _put_off(self, trials: list[Trial]) -> None:
        """Begin these again, fewer at once, when nothing else runs; the last one left is tried by itself."""
        self._parts = [part for part in self._parts if part.running]
        if self._batches.device.type == "cuda":
            torch.cuda.empty_cache()
        running = sum(len(part.running) for part in self._parts)
        if not running and len(trials) == 1:
            return self._put_alone(trials[0])
        self._slots = max(1, (running + len(trials)) // 2)
        self._waiting += trials
