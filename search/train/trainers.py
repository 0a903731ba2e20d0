"""Trainers of a study's trials on one device, the same for a worker, a replay and a single training."""

import platform
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import torch

from objectives.configuration import Configuration
from objectives.convergence import Outcome, Progress, Trial
from objectives.data.batches import Batches
from objectives.data.samples import Samples
from objectives.data.waves import Waves
from objectives.trainers.solo import Solo
from objectives.trainers.trainer import Trainer, TrainerKind
from objectives.trainers.trial_array import TrialArray
from search.query.records import RunRecord
from search.spec.study_spec import StudySpec

EPOCHS_AT_ONCE = 64  # epochs between two looks at a trial that trains alone

_TRAINERS: dict[TrainerKind, Callable[[Batches, float, int], Trainer]] = {
    TrainerKind.AUTO: TrialArray,
    TrainerKind.ARRAY: partial(TrialArray, always=True),
    TrainerKind.SOLO: Solo,
}


def trainer(spec: StudySpec, samples: Samples | None, device: str, kind: TrainerKind) -> Trainer:
    """The trainer of that kind for a study, which learns the samples or, without any, waves."""
    return _TRAINERS[kind](batches(spec, samples, device), spec.target, spec.hold)


def batches(spec: StudySpec, samples: Samples | None, device: str) -> Batches:
    """The batches that a study's trials learn and are evaluated on."""
    torch.set_num_threads(1)  # several in each of several workers make all slower, and another number rounds otherwise
    return Batches(samples or Waves(spec.inputs, spec.sigma), device)


def as_recorded(recorded: RunRecord) -> Trial:
    """A trial with an outcome, to be trained again with the cap that it had in the end."""
    which = recorded.trial or 0, Configuration.of(recorded.params)
    seeds = recorded.seed, recorded.data_seed
    return Trial(*which, *seeds, cap=recorded.cap or 0, stream_offset=recorded.stream_offset or 0)


def alone(trainer: Trainer, trial: Trial, show: Callable[[Progress], None], at_once: int = EPOCHS_AT_ONCE) -> Outcome:
    """The outcome of one trial that an idle trainer trains by itself, `at_once` epochs between two looks."""
    trainer.admit(trial)
    while True:
        for _, outcome in trainer.advance(at_once):
            return outcome
        for progress in trainer.running:
            show(progress)


def software(kind: TrainerKind, device: str) -> Mapping[str, str | None]:
    """All that decides a trial's numbers besides itself: trainer, hardware, versions, and the commit of a checkout."""
    # of another repository, perhaps, where an installed copy lies: then this file is not among its files
    commit = _git("rev-parse", "HEAD") if _git("ls-files", __file__) else None
    packages = {name: metadata.version(name) for name in ("fewest", "torch", "numpy", "numba", "optuna")}
    versions = {"python": platform.python_version(), **packages}
    return {"trainer": kind, "hardware": _hardware(device), **versions, "commit": commit}


def _hardware(device: str) -> str:
    """The GPU, or the vectors of the CPU: by these the libraries choose how they add up."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
