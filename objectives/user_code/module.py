"""A user module: a torch module constructed and trained in its own modes, with its own randomness and its own errors.

Construction depends on the trial's seed alone, and what an epoch draws, such as dropout, on (seed, epoch): never on the
worker, and of torch's own generators only. The first layer, which learns at its own rate, is the first module in the
order of definition that has parameters to learn of its own, not counting its children's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from objectives.convergence import Trial
from objectives.data.batches import Batches
from objectives.data.waves import philox
from objectives.user_code.loader import Constructor, UserCodeError


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators, and restore their state at the end."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)  # in a hundredth of the time of torch.manual_seed
        yield


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of torch's generators in one epoch of a trial of that seed."""
    return int(philox(seed, epoch).integers(1 << 63))


def construct(trial: Trial, batches: Batches) -> nn.Module:
    """The trial's module before training; UserCodeError if it is no module that can be trained."""
    configuration, path = trial.configuration, trial.configuration.objective
    assert path is not None
    constructor, inputs = Constructor.of(path), batches.problem.inputs
    absent = {"width_2": None} if ("hidden_layers", 1) in configuration.arguments else {}
    offered = {"inputs": inputs, "classes": configuration.classes, **absent}
    accepted = {name: value for name, value in offered.items() if name in constructor.parameters}
    with seeded(trial.seed, batches.device):
        module = constructor.call(**accepted | dict(configuration.arguments))
        if not isinstance(module, nn.Module):
            raise UserCodeError(f"{path} makes no torch.nn.Module, but {type(module).__name__}")
        if any(map(nn.parameter.is_lazy, module.parameters())):  # they have no size before they have seen an input
            module.eval()(torch.zeros(1, inputs))
    module.to(batches.device, batches.dtype)
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # as the optimizers need it
    return module


def split_first_layer(module: nn.Module, path: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The first layer's parameters to learn, and all others; UserCodeError if there are none."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not learned:
        raise UserCodeError(f"{path} has no parameters to learn")
    by_module = ([p for p in part.parameters(recurse=False) if p.requires_grad] for part in module.modules())
    first = next(filter(None, by_module))
    return first, [parameter for parameter in learned if not any(parameter is each for each in first)]


def check_logits(output: object, shape: tuple[int, int], path: str) -> Tensor:  # (batch, classes)
    """The module's output as logits of that shape; UserCodeError if it is anything else."""
    if not isinstance(output, Tensor):
        raise UserCodeError(f"{path} puts out no tensor of logits, but {type(output).__name__}")
    if output.shape != shape or not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        expected = f"not {tuple(shape)} of (batch, classes)"
        raise UserCodeError(f"{path} puts out {kind} of shape {tuple(output.shape)}, {expected}")
    return output
