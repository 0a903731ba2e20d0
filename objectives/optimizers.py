"""The ten optimizers by name, with the constants that Keras gives them, since that is what the page ran.

All are elementwise, so one formula serves one trial or many. The first layer has its own learning rate: when all inputs
of a sample carry the same number, a step of `lr` on each of D weights moves a unit's slope by D · lr.
"""

from typing import Any

import torch
import torch._dynamo  # the first optimizer would import it, and a second of that counted as training
from torch.optim import Optimizer

from objectives.configuration import Configuration
from objectives.network import Network

_RULES: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-7}),
    "adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.1, "eps": 1e-7}),
    "adadelta": (torch.optim.Adadelta, {"rho": 0.95, "eps": 1e-7}),
    "adam": (torch.optim.Adam, {"eps": 1e-7}),
    "adamax": (torch.optim.Adamax, {"eps": 1e-7}),
    "nadam": (torch.optim.NAdam, {"eps": 1e-7}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.004, "eps": 1e-7}),
}


def optimizer(configuration: Configuration, network: Network) -> Optimizer:
    """The configuration's optimizer over the network's parameters, first layer apart."""
    first, *rest = [list(layer.parameters()) for layer in network.linear]
    rule, constants = _RULES[configuration.optimizer]
    groups = [
        {"params": first, "lr": configuration.lr * configuration.first_lr_ratio},
        {"params": [p for layer in rest for p in layer], "lr": configuration.lr},
    ]
    return rule(groups, **constants)
