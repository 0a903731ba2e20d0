"""Configuration: one point of the search space, everything that decides how a classifier trains.

Units: widths in units of a hidden layer, learning rates per update. No torch here, so that queries and `--help` stay
fast.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

ACTIVATIONS = ("sigmoid", "tanh", "relu", "gelu", "silu", "gaussian", "sine")
OPTIMIZERS = (
    "sgd",
    "momentum",
    "nesterov",
    "rmsprop",
    "adagrad",
    "adadelta",
    "adam",
    "adamax",
    "nadam",
    "adamw",
)
SCALINGS = ("none", "fixed", "batch", "minmax")
BIAS_INITS = ("zeros", "spread")
BATCH_SAMPLINGS = ("every_class", "random")

#: The choices of each categorical parameter.
CHOICES: dict[str, tuple[str, ...]] = {
    "activation": ACTIVATIONS,
    "optimizer": OPTIMIZERS,
    "scaling": SCALINGS,
    "bias_init": BIAS_INITS,
    "batch_sampling": BATCH_SAMPLINGS,
}
#: Lowest and highest meaningful value of each whole-number parameter.
WHOLE: dict[str, tuple[int, int]] = {
    "classes": (2, 1 << 20),
    "hidden_layers": (1, 2),
    "width": (1, 1 << 20),
    "width_2": (1, 1 << 20),
    "batch_size": (1, 1 << 20),
}
#: Lowest and highest meaningful value of each real parameter.
REAL: dict[str, tuple[float, float]] = {
    "lr": (1e-12, 1e6),
    "first_lr_ratio": (0.0, 1e6),
    "gain": (1e-6, 1e9),
}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A classifier and its training. Bad values raise ValueError with one line that names the parameter."""

    #: Number of classes, of waves also the batch size.
    classes: int
    #: 1 or 2.
    hidden_layers: int = 1
    #: Units of the first hidden layer.
    width: int
    #: Units of the second hidden layer; given exactly when there are two.
    width_2: int | None = None
    activation: str
    optimizer: str
    #: Learning rate.
    lr: float
    #: The first layer learns at `lr · first_lr_ratio`; 0 freezes it.
    first_lr_ratio: float = 1.0
    #: How inputs are normalised.
    scaling: str = "none"
    #: Factor on the normalised inputs: the highest frequency that the first layer starts with.
    gain: float = 1.0
    #: zeros, or spread: the first layer's units centred all over the input range.
    bias_init: str = "zeros"
    #: Of waves: every_class once a batch, or classes drawn at random.
    batch_sampling: str = "every_class"
    #: Samples that an update learns from; given exactly for a data set.
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (name in ("width_2", "batch_size") and value is None):
                check(name, value)
        if self.batch_size and self.batch_sampling != "every_class":
            raise ValueError("`batch_sampling` is for waves and `batch_size` for a data set; leave one out")
        if (self.width_2 is not None) != (self.hidden_layers == 2):
            raise ValueError("`width_2` is for exactly the configurations with `hidden_layers` = 2")

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Configuration":
        """The configuration with these parameters; ValueError names an unknown or a missing one."""
        known = {field.name: field for field in fields(cls)}
        for name in params:
            if name not in known:
                raise ValueError(unknown("parameter", name, known))
        missing = [n for n in ("classes", "width", "activation", "optimizer", "lr") if n not in params]
        if missing:
            raise ValueError(f"the configuration lacks `{'`, `'.join(missing)}`")
        return cls(**params)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that matter, by name."""
        without = "batch_sampling" if self.batch_size else "batch_size"
        return {name: value for name, value in asdict(self).items() if value is not None and name != without}

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of the hidden layers, first to last."""
        return (self.width,) if self.width_2 is None else (self.width, self.width_2)

    def weights(self, inputs: int) -> int:
        """How many numbers its network learns, weights and biases."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise((inputs, *self.widths, self.classes)))

    def in_words(self) -> str:
        """One line for people, such as `1 × 2035 sine, nesterov lr 0.47 (first layer ×0.0001), …`."""
        ratio = "" if self.first_lr_ratio == 1 else f" (first layer ×{self.first_lr_ratio:.2g})"
        batches = f"batches of {self.batch_size}" if self.batch_size else f"{self.batch_sampling} batches"
        scaling = "raw inputs" if self.scaling == "none" else f"{self.scaling} scaling"
        return (
            f"{'→'.join(map(str, self.widths))} {self.activation}, {self.optimizer} lr {self.lr:.3g}{ratio}, "
            f"{scaling}{'' if self.gain == 1 else f' ×{self.gain:.3g}'}, {self.bias_init} bias, "
            f"{batches.replace('_', ' ')}"
        )


def check(name: str, value: Any) -> None:
    """Raise ValueError, in one line, unless `value` is a possible value of the parameter `name`."""
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(unknown(f"`{name}`", value, CHOICES[name]))
        return
    low, high = WHOLE[name] if name in WHOLE else REAL[name]
    kind = "a whole number" if name in WHOLE else "a number"
    number = isinstance(value, int if name in WHOLE else (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"`{name}` must be {kind} from {low} to {high}, got {value!r}")


def unknown(what: str, got: Any, known: Iterable[str]) -> str:
    """The line that refuses a name and suggests the nearest known one."""
    names = list(known)
    near = difflib.get_close_matches(str(got), names, n=1)
    return f"unknown {what} {got!r}; " + (f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(names)}")
