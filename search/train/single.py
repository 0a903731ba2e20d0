"""Training of one configuration outside any study."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from objectives.convergence import End, Outcome, Progress, Trial
from objectives.data.samples import Samples
from objectives.data.scaling import moments
from objectives.trainers.solo import Solo
from search import files
from search.errors import Failure, UsageError
from search.spec.study_spec import StudySpec
from search.train.trainers import EPOCHS_AT_ONCE, alone, batches


def train(
    spec: StudySpec, samples: Samples | None, trial: Trial, device: str, save: Path | None, show: Callable[[str], None]
) -> Outcome:
    """The outcome on samples or, without any, waves; with `save`, `torch.load` reads parameters and weights there."""
    trainer = Solo(batches(spec, samples, device), spec.target, spec.hold)

    def shown(progress: Progress) -> None:
        now = f"accuracy {progress.accuracy[-1]:.3f}, loss {progress.loss[-1]:.3g}"
        show(f"epoch {progress.epoch} of {trial.cap}: {now}")

    at_once = 1 if save else EPOCHS_AT_ONCE  # at 1, a GPU too ends with what it evaluated last
    outcome = alone(trainer, trial, shown, at_once)
    if outcome.end is End.OUT_OF_MEMORY and save:
        raise Failure(f"it ran out of memory, so there are no weights for {save}")
    if save and trainer.network:
        file = io.BytesIO()
        torch.save(_kept(spec, samples, trial, trainer.network), file)
        files.write(save, file.getvalue())
    if outcome.end is End.EXCEPTION:
        raise UsageError(f"`objective` {outcome.reason}")
    return outcome


def _kept(spec: StudySpec, samples: Samples | None, trial: Trial, network: nn.Module) -> dict[str, Any]:
    """The parameters, the weights and the inputs of a network: all that it takes to use it.

    Of a data set: what its classes are called, which samples were not learned, and by what its inputs are scaled.
    """
    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    kept = {"params": trial.configuration.params, "inputs": spec.inputs, "state_dict": weights}
    if samples is None:
        return kept
    _, validation = samples.split(trial.data_seed)
    kept |= {"labels": list(samples.names), "validation": torch.from_numpy(validation)}
    if trial.configuration.scaling in ("batch", "minmax"):
        (x, _), _ = samples.parts(trial.configuration, trial.data_seed, 0)
        kept["low"], kept["spread"] = moments(trial.configuration.scaling, torch.from_numpy(x))
    return kept
