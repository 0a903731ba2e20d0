"""Trains the same configurations by exported Keras scripts and by the solo trainer; prints how far weights are apart.

With an ε next to nothing, since where it stands in the formula is Keras's and else shows where a gradient is small. A
process of its own, since Keras keeps its backend and its number type for the whole of one.
"""

import json
import os
from typing import Any

import numpy as np
import torch

from objectives.configuration import Configuration
from objectives.convergence import Trial
from objectives.data.batches import Batches
from objectives.model import optimizers
from objectives.model.network import initial_parameters
from objectives.trainers.solo import Solo
from search.answer.export.script import Framework, script
from tests.search.answer.test_export import BASE, EPOCHS, HOLD, WAVES, recipe

EPSILON = 1e-30
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamax", "adamw")
CASES: list[dict[str, Any]] = [
    *({"optimizer": name} for name in OPTIMIZERS),
    {"optimizer": "adamw", "first_lr_ratio": 1.0},
    *({"activation": name, "optimizer": "momentum"} for name in ("gaussian", "sine", "gelu")),
    {"scaling": "minmax", "hidden_layers": 2, "width_2": 9},
    {"scaling": "fixed", "batch_sampling": "random", "optimizer": "sgd"},
]


def apart(configuration: Configuration) -> float:
    """The largest difference of a weight after training, in units of the largest weight."""
    batches = Batches(WAVES, dtype=torch.float64)
    trial = Trial(0, configuration, seed=3, data_seed=4, cap=EPOCHS + HOLD)
    solo = Solo(batches, 2.0, HOLD)
    solo.admit(trial)
    solo.advance(EPOCHS + HOLD + 1)  # which learns once fewer
    names: dict[str, Any] = {"__name__": "script", "print": lambda line: None}
    exec(script(recipe(configuration), Framework.KERAS, ["It."], 0), names)
    epochs, made, classifier = iter(range(EPOCHS + HOLD)), [], names["classifier"]

    def begun() -> Any:
        made.append(classifier())
        made[0].set_weights([part.numpy().T for layer in initial_parameters(trial, batches) for part in layer])
        return made[0]

    def batch() -> tuple[Any, Any]:
        made[0].optimizer.epsilon = EPSILON
        x, y = WAVES.batch(configuration.classes, trial.data_seed, next(epochs), configuration.batch_sampling)
        return x.astype(float), y

    names |= {"classifier": begun, "batch": batch}
    names["train"]()
    assert solo.network is not None
    ours = [parameter.detach().numpy().T for parameter in solo.network.parameters()]
    theirs = made[0].get_weights()
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.config.set_floatx("float64")
    torch.set_num_threads(1)
    optimizers.EPSILON = EPSILON
    print(json.dumps({str(case): apart(Configuration.of(BASE | case)) for case in CASES}))
