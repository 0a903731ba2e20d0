"""A torch module of a person's own: constructed, and trained in its own modes, with its randomness and its mistakes.

Construction depends on the trial's seed alone, and what is drawn in an epoch, such as dropout, on (seed, epoch): never
on the worker, and of torch's own generators only. The first layer, which learns at its own rate, is the first module in
the order of definition that has parameters to learn of its own, not counting its children's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from objectives.convergence import Trial
from objectives.data.batches import Batches
from objectives.data.waves import philox
from objectives.user_code.loader import Constructor, OwnCodeError


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """While torch's generators are at that seed; then they are as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)  # in a hundredth of the time of torch.manual_seed
        yield


def epoch_seed(seed: int, epoch: int) -> int:
    """What a trial of that seed draws from in one epoch."""
    return int(philox(seed, epoch).integers(1 << 63))


def constructed(trial: Trial, batches: Batches) -> nn.Module:
    """The trial's module as it begins; OwnCodeError if it is none that can be trained."""
    configuration, path = trial.configuration, trial.configuration.objective
    assert path is not None
    constructor, inputs = Constructor.of(path), batches.problem.inputs
    ours: dict[str, Any] = {"inputs": inputs, "classes": configuration.classes}
    if ("hidden_layers", 1) in configuration.arguments:
        ours["width_2"] = None
    given = {name: value for name, value in ours.items() if name in constructor.takes} | dict(configuration.arguments)
    with seeded(trial.seed, batches.device):
        module = constructor.call(**given)
        if not isinstance(module, nn.Module):
            raise OwnCodeError(f"{path} makes no torch.nn.Module, but {type(module).__name__}")
        if any(map(nn.parameter.is_lazy, module.parameters())):  # they have no size before they have seen an input
            module.eval()(torch.zeros(1, inputs))
    module.to(batches.device, batches.dtype)
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # as the optimizers need it
    return module


def layers(module: nn.Module, path: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters to learn of the first layer, and all others; OwnCodeError if there are none."""
    every = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not every:
        raise OwnCodeError(f"{path} has no parameters to learn")
    own = ([p for p in part.parameters(recurse=False) if p.requires_grad] for part in module.modules())
    first = next(filter(None, own))
    return first, [parameter for parameter in every if not any(parameter is each for each in first)]


def checked(logits: object, shape: tuple[int, int], path: str) -> Tensor:  # (batch, classes)
    """What the module put out, if it is logits of that shape; else OwnCodeError."""
    if not isinstance(logits, Tensor):
        raise OwnCodeError(f"{path} puts out no tensor of logits, but {type(logits).__name__}")
    if logits.shape != shape or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        must = f"not {tuple(shape)} of (batch, classes)"
        raise OwnCodeError(f"{path} puts out {kind} of shape {tuple(logits.shape)}, {must}")
    return logits
