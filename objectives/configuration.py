"""Configuration: one point of the search space, everything that decides how a classifier trains.

Units: widths in units of a hidden layer, learning rates per update. No torch here, so that queries and `--help` stay
fast.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
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
#: What describes our network; a module of a person's own has those of them that its constructor names.
ARCHITECTURE = ("hidden_layers", "width", "width_2", "activation", "bias_init")
#: Code of a person's own: MODULE:NAME, imported where it is used.
IMPORT_PATH = re.compile(r"[\w.]+:\w+")
_OPTIONAL = ("objective", "width_2", "batch_size")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A classifier and its training. Bad values raise ValueError with one line that names the parameter."""

    #: Import path of a module of a person's own, in place of our network.
    objective: str | None = None
    #: What that is constructed with besides `inputs` and `classes`, as (name, value).
    arguments: tuple[tuple[str, Any], ...] = ()
    #: Number of classes, of waves also the batch size.
    classes: int
    #: 1 or 2. This and the others of ARCHITECTURE are of our network and idle for another, which has `arguments`.
    hidden_layers: int = 1
    #: Units of the first hidden layer.
    width: int = 0
    #: Units of the second hidden layer; given exactly when there are two.
    width_2: int | None = None
    activation: str = ""
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
        for name, value in self._given().items():
            check(name, value)
        if self.batch_size and self.batch_sampling != "every_class":
            raise ValueError("`batch_sampling` is for waves and `batch_size` for a data set; leave one out")
        if (self.width_2 is not None) != (self.hidden_layers == 2):
            raise ValueError("`width_2` is for exactly the configurations with `hidden_layers` = 2")

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Configuration":
        """The configuration with these parameters; ValueError names an unknown or a missing one.

        With `objective` among them all that is no parameter of training is an argument of its constructor.
        """
        own = params.get("objective") is not None
        known = [field.name for field in fields(cls) if field.name not in ("arguments", *(ARCHITECTURE if own else ()))]
        arguments = tuple((name, value) for name, value in params.items() if name not in known)
        if arguments and not own:
            raise ValueError(unknown("parameter", arguments[0][0], known))
        needed = ("classes", "optimizer", "lr") if own else ("classes", "width", "activation", "optimizer", "lr")
        missing = [name for name in needed if name not in params]
        if missing:
            raise ValueError(f"the configuration lacks `{'`, `'.join(missing)}`")
        return cls(**{name: value for name, value in params.items() if name in known}, arguments=arguments)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that matter, by name."""
        without = "batch_sampling" if self.batch_size else "batch_size"
        return {name: value for name, value in self._given().items() if name != without}

    def _given(self) -> dict[str, Any]:
        aside = ("arguments", *(ARCHITECTURE if self.objective else ()))
        mine = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in aside}
        mine = {name: value for name, value in mine.items() if not (value is None and name in _OPTIONAL)}
        return mine | dict(self.arguments)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of the hidden layers, first to last."""
        return (self.width,) if self.width_2 is None else (self.width, self.width_2)

    def weights(self, inputs: int) -> int | None:
        """How many numbers its network learns, weights and biases; None of a person's own, which nobody has counted."""
        if self.objective:
            return None
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise((inputs, *self.widths, self.classes)))

    def in_words(self) -> str:
        """One line for people, such as `1 × 2035 sine, nesterov lr 0.47 (first layer ×0.0001), …`."""
        ratio = "" if self.first_lr_ratio == 1 else f" (first layer ×{self.first_lr_ratio:.2g})"
        batches = f"batches of {self.batch_size}" if self.batch_size else f"{self.batch_sampling} batches"
        scaling = "raw inputs" if self.scaling == "none" else f"{self.scaling} scaling"
        bias = "" if self.objective else f", {self.bias_init} bias"
        return (
            f"{self._network_in_words()}, {self.optimizer} lr {self.lr:.3g}{ratio}, "
            f"{scaling}{'' if self.gain == 1 else f' ×{self.gain:.3g}'}{bias}, {batches.replace('_', ' ')}"
        )

    def _network_in_words(self) -> str:
        if not self.objective:
            return f"{'→'.join(map(str, self.widths))} {self.activation}"
        given = (
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in self.arguments
        )
        return " ".join((self.objective, *given))


def check(name: str, value: Any) -> None:
    """Raise ValueError, in one line, unless `value` is a possible value of the parameter `name`."""
    if name == "objective":
        if not isinstance(value, str) or not IMPORT_PATH.fullmatch(value):
            raise ValueError(f"`objective` must read MODULE:CLASS, such as mynet:Net, got {value!r}")
        return
    if not known(name):  # a person's own, of which we know no more than what JSON holds
        if not isinstance(value, bool | str | int) and not (isinstance(value, float) and math.isfinite(value)):
            raise ValueError(f"`{name}` must be a finite number, true or false, or text, got {value!r}")
        return
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(unknown(f"`{name}`", value, CHOICES[name]))
        return
    low, high = WHOLE[name] if name in WHOLE else REAL[name]
    kind = "a whole number" if name in WHOLE else "a number"
    number = isinstance(value, int if name in WHOLE else (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"`{name}` must be {kind} from {low} to {high}, got {value!r}")


def known(name: str) -> bool:
    """Whether that is a parameter of ours, whatever the network."""
    return name in CHOICES or name in WHOLE or name in REAL


def unknown(what: str, got: Any, known: Iterable[str]) -> str:
    """The line that refuses a name and suggests the nearest known one."""
    names = list(known)
    near = difflib.get_close_matches(str(got), names, n=1)
    return f"unknown {what} {got!r}; " + (f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(names)}")
