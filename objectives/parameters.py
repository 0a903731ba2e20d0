"""Parameters: what each is, what it may be, and where it is searched unless a study says otherwise.

One table, from which all else that is known of a parameter follows: what a configuration checks, the default space, how
a range is searched, and what people read about it. Units: widths in units of a hidden layer, learning rates per update.
No torch and no Optuna here, so that queries and `--help` stay fast.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

#: Parameters by name, each a bool, a number or a text, as JSON has them.
Params = dict[str, Any]
#: An import path MODULE:NAME of user code.
IMPORT_PATH = re.compile(r"[\w.]+:\w+")

ACTIVATIONS = ("sigmoid", "tanh", "relu", "gelu", "silu", "gaussian", "sine")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamax", "nadam", "adamw")
SCALINGS = ("none", "fixed", "batch", "minmax")
BIAS_INITS = ("zeros", "spread")
BATCH_SAMPLINGS = ("every_class", "random")
_MANY = 1 << 20
_COUNT = 1, _MANY

#: The lowest and the highest number.
Limits = tuple[float, float]
#: Where a parameter applies: in our network (a user module has those of it that its constructor names), to waves, to
#: data of the user's own, or always.
Scope = Literal["always", "network", "waves", "data"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a configuration."""

    name: str
    #: What it is, in one line for people.
    about: str
    #: Of its values: int of whole numbers, float of real ones, str of choices.
    kind: type[int] | type[float] | type[str]
    #: Every choice, or the lowest and the highest meaningful number.
    values: tuple[Any, ...]
    #: The default range of a number, or what it is for the most classes and so many training samples.
    searched: Limits | Callable[[int, int], Limits] = (0, 0)
    scope: Scope = "always"
    #: A configuration must name it.
    required: bool = False
    #: A range of it is searched on a log scale.
    log: bool = True

    @property
    def choices(self) -> tuple[str, ...]:
        """Every choice; none of a number."""
        return self.values if self.kind is str else ()

    def default_range(self, most_classes: int, training: int) -> Limits:
        """The range that is searched by default, of a study of so many classes and training samples."""
        return self.searched(most_classes, training) if callable(self.searched) else self.searched

    def nearest(self, value: float) -> float:
        """The meaningful number that is nearest."""
        return float(min(max(value, self.values[0]), self.values[1]))

    def read(self, text: str) -> Any:
        """The value that a text says; the text itself, which `check` refuses, if that is none."""
        try:
            return self.kind(text.strip())
        except ValueError:
            return text

    def typed(self, value: Any) -> Any:
        """The value in this parameter's type, since JSON may write the real number 1.0 as 1."""
        real = self.kind is float and type(value) is int and self.values[0] <= value <= self.values[1]
        return float(value) if real else value

    def check(self, value: Any) -> None:
        """Raise ValueError, in one line, unless it is a possible value."""
        if self.kind is str:
            if value not in self.choices:
                raise ValueError(unknown(f"`{self.name}`", value, self.choices))
            return
        low, high = self.values
        number = isinstance(value, int if self.kind is int else (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            kind = "a whole number" if self.kind is int else "a number"
            raise ValueError(f"`{self.name}` must be {kind} from {low} to {high}, got {value!r}")


def _per_class(units: int) -> Callable[[int, int], Limits]:
    return lambda most_classes, _: (16, max(1024, units * most_classes))


def _batches(_: int, training: int) -> Limits:
    return min(8, training), min(512, training)


_TABLE = (
    Parameter("classes", "number of classes; of waves also the batch size", int, (2, _MANY), required=True),
    Parameter("hidden_layers", "1 or 2 hidden layers", int, (1, 2), (1, 2), "network", log=False),
    Parameter("width", "units of the first hidden layer", int, _COUNT, _per_class(8), "network", required=True),
    Parameter("width_2", "units of the second hidden layer, if there are two", int, _COUNT, _per_class(2), "network"),
    Parameter("lr", "learning rate", float, (1e-12, 1e6), (1e-4, 1), required=True),
    Parameter("first_lr_ratio", "the first layer learns at lr times this; 0 freezes it", float, (0.0, 1e6), (1e-5, 1)),
    Parameter("gain", "factor on the normalised inputs: the highest initial frequency", float, (1e-6, 1e9), (1, 1000)),
    Parameter("activation", "what follows each hidden layer", str, ACTIVATIONS, scope="network", required=True),
    Parameter("optimizer", "rule of an update", str, OPTIMIZERS, required=True),
    Parameter("scaling", "how inputs are normalised", str, SCALINGS),
    Parameter("bias_init", "zeros; spread: the first layer's units over all inputs", str, BIAS_INITS, scope="network"),
    Parameter("batch_sampling", "every_class once a batch, or random ones", str, BATCH_SAMPLINGS, scope="waves"),
    Parameter("batch_size", "samples per update; replaces batch_sampling with --data", int, _COUNT, _batches, "data"),
)
#: Every parameter by name. A space has this order, in which a sampler draws.
PARAMETERS = {parameter.name: parameter for parameter in _TABLE}
#: What describes our network.
ARCHITECTURE = tuple(name for name, parameter in PARAMETERS.items() if parameter.scope == "network")


def check(name: str, value: Any) -> None:
    """Raise ValueError, in one line, unless `value` is a possible value of the parameter `name`."""
    if name in PARAMETERS:
        PARAMETERS[name].check(value)
    elif name == "objective":
        if not isinstance(value, str) or not IMPORT_PATH.fullmatch(value):
            raise ValueError(f"`objective` must read MODULE:CLASS, such as mynet:Net, got {value!r}")
    elif not isinstance(value, bool | str | int) and not (isinstance(value, float) and math.isfinite(value)):
        # of a user module, of which we know no more than what JSON holds
        raise ValueError(f"`{name}` must be a finite number, true or false, or text, got {value!r}")


def described(names: Iterable[str]) -> str:
    """What these parameters are, in a line for people."""
    return "; ".join(f"{name} ({PARAMETERS[name].about})" for name in names)


def unknown(kind: str, got: Any, known: Iterable[str]) -> str:
    """The line that refuses a name and suggests the nearest known one."""
    names = list(known)
    near = difflib.get_close_matches(str(got), names, n=1)
    return f"unknown {kind} {got!r}; " + (f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(names)}")
