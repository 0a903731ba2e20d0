"""Train one configuration outside any study, and say what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from objectives.batches import Batches
from objectives.configuration import Configuration
from objectives.convergence import End, Outcome, Trial
from objectives.samples import Samples
from objectives.scaling import moments
from objectives.solo import Solo
from objectives.waves import Waves
from search.spec import SpecError, StudySpec, derive

BURST = 64  # epochs between two looks


def train(
    spec: StudySpec,
    samples: Samples | None,  # of a data set
    configuration: Configuration,
    device: str,
    save: Path | None,
    show: Callable[[str], None],
) -> dict[str, Any]:
    """The outcome as a record; with `save`, the parameters and trained weights are written there for `torch.load`."""
    torch.set_num_threads(1)  # as workers do: the same trial gives the same numbers
    trainer = Solo(Batches(samples or Waves(spec.inputs, spec.sigma), device), spec.target, spec.hold)
    trial = Trial(0, configuration, derive(spec.seed, "trial"), derive(spec.seed, "data"), spec.max_epochs)
    trainer.admit(trial)
    ended: list[tuple[Trial, Outcome]] = []
    while not ended:
        ended = trainer.advance(1 if save else BURST)  # at 1, a GPU too ends with the weights it evaluated last
        for progress in trainer.running:
            now = f"accuracy {progress.accuracy[-1]:.3f}, loss {progress.loss[-1]:.3g}"
            show(f"epoch {progress.epoch} of {spec.max_epochs}: {now}")
    ((_, outcome),) = ended
    if save and trainer.network:
        weights = {name: tensor.cpu() for name, tensor in trainer.network.state_dict().items()}
        part = save.with_name(save.name + ".part")  # so that a full disk leaves no half of a file
        try:
            saved = {"params": configuration.params, "inputs": spec.inputs, "state_dict": weights}
            torch.save(saved | (_of_data(samples, trial) if samples else {}), part)
            part.replace(save)
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            raise OSError(f"cannot write {save}: {str(error).splitlines()[0]}") from error
    if outcome.end is End.EXCEPTION:
        raise SpecError(f"`objective` {outcome.reason}")
    kept = {name: value for name, value in vars(outcome).items() if name not in ("curve", "reason")}
    return {"converged": outcome.converged, **kept, "seed": spec.seed, "device": device, "params": configuration.params}


def _of_data(samples: Samples, trial: Trial) -> dict[str, Any]:
    """What else it takes to use the network: what its classes are called, and by what its inputs are scaled."""
    scaling = trial.configuration.scaling
    if scaling not in ("batch", "minmax"):
        return {"labels": list(samples.names)}
    (x, _), _ = samples.parts(trial.configuration, trial.data_seed, 0)
    low, spread = moments(scaling, torch.from_numpy(x))
    return {"labels": list(samples.names), "low": low, "spread": spread}
