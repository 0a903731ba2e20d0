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
from enum import StrEnum
from typing import Any

#: An import path MODULE:NAME of user code.
IMPORT_PATH = re.compile(r"[\w.]+:\w+")

ACTIVATIONS = ("sigmoid", "tanh", "relu", "gelu", "silu", "gaussian", "sine")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamax", "nadam", "adamw")
SCALINGS = ("none", "fixed", "batch", "minmax")
BIAS_INITS = ("zeros", "spread")
BATCH_SAMPLINGS = ("every_class", "random")
_MANY = 1 << 20

#: The lowest and the highest number.
Limits = tuple[float, float]


class Kind(StrEnum):
    """What the values of a parameter are."""

    CHOICE = "choice"
    WHOLE = "whole"
    REAL = "real"


class Scope(StrEnum):
    """Where a parameter applies."""

    ALWAYS = "always"
    NETWORK = "network"  # ours; a user module has those of them that its constructor names
    WAVES = "waves"
    DATA = "data"  # of the user's own


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a configuration."""

    name: str
    #: What it is, in one line for people.
    about: str
    kind: Kind
    #: What a choice may be.
    choices: tuple[str, ...] = ()
    #: The lowest and the highest meaningful number.
    limits: Limits = (0, 0)
    #: The default range of a number, or what it is for the most classes and so many training samples.
    searched: Limits | Callable[[int, int], Limits] = (0, 0)
    #: A range of it is searched on a log scale.
    log: bool = False
    scope: Scope = Scope.ALWAYS
    #: A configuration may leave it out.
    optional: bool = False

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind is Kind.WHOLE

    def default_range(self, most_classes: int, training: int) -> Limits:
        """The range that is searched by default, of a study of so many classes and training samples."""
        return self.searched(most_classes, training) if callable(self.searched) else self.searched

    def nearest(self, value: float) -> float:
        """The meaningful number that is nearest."""
        low, high = self.limits
        return min(max(value, low), high)

    def read(self, text: str) -> Any:
        """The value that a text says; the text itself, which `check` refuses, if that is none."""
        try:
            return int(text) if self.whole else float(text) if self.kind is Kind.REAL else text.strip()
        except ValueError:
            return text

    def typed(self, value: Any) -> Any:
        """The value in this parameter's type, since JSON may write the real number 1.0 as 1."""
        real = self.kind is Kind.REAL and type(value) is int and self.limits[0] <= value <= self.limits[1]
        return float(value) if real else value

    def check(self, value: Any) -> None:
        """Raise ValueError, in one line, unless it is a possible value."""
        if self.kind is Kind.CHOICE:
            if value not in self.choices:
                raise ValueError(unknown(f"`{self.name}`", value, self.choices))
            return
        low, high = self.limits
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            kind = "a whole number" if self.whole else "a number"
            raise ValueError(f"`{self.name}` must be {kind} from {low} to {high}, got {value!r}")


#: Every parameter by name. A space has this order, in which a sampler draws.
PARAMETERS = {
    each.name: each
    for each in (
        Parameter(
            name="classes", about="number of classes, of waves also the batch size", kind=Kind.WHOLE, limits=(2, _MANY)
        ),
        Parameter(
            name="hidden_layers",
            about="1 or 2 hidden layers",
            kind=Kind.WHOLE,
            limits=(1, 2),
            searched=(1, 2),
            scope=Scope.NETWORK,
            optional=True,
        ),
        Parameter(
            name="width",
            about="units of the first hidden layer",
            kind=Kind.WHOLE,
            limits=(1, _MANY),
            searched=lambda most_classes, _: (16, max(1024, 8 * most_classes)),
            log=True,
            scope=Scope.NETWORK,
        ),
        Parameter(
            name="width_2",
            about="units of the second hidden layer, given exactly when there are two",
            kind=Kind.WHOLE,
            limits=(1, _MANY),
            searched=lambda most_classes, _: (16, max(1024, 2 * most_classes)),
            log=True,
            scope=Scope.NETWORK,
            optional=True,
        ),
        Parameter(name="lr", about="learning rate", kind=Kind.REAL, limits=(1e-12, 1e6), searched=(1e-4, 1), log=True),
        Parameter(
            name="first_lr_ratio",
            about="the first layer learns at lr times this; 0 freezes it",
            kind=Kind.REAL,
            limits=(0.0, 1e6),
            searched=(1e-5, 1),
            log=True,
            optional=True,
        ),
        Parameter(
            name="gain",
            about="factor on the normalised inputs: the highest frequency that the first layer starts with",
            kind=Kind.REAL,
            limits=(1e-6, 1e9),
            searched=(1, 1000),
            log=True,
            optional=True,
        ),
        Parameter(
            name="activation",
            about="what follows each hidden layer",
            kind=Kind.CHOICE,
            choices=ACTIVATIONS,
            scope=Scope.NETWORK,
        ),
        Parameter(name="optimizer", about="rule of an update", kind=Kind.CHOICE, choices=OPTIMIZERS),
        Parameter(name="scaling", about="how inputs are normalised", kind=Kind.CHOICE, choices=SCALINGS, optional=True),
        Parameter(
            name="bias_init",
            about="zeros, or spread: the first layer's units centred all over the input range",
            kind=Kind.CHOICE,
            choices=BIAS_INITS,
            scope=Scope.NETWORK,
            optional=True,
        ),
        Parameter(
            name="batch_sampling",
            about="of waves: every_class once a batch, or classes drawn at random",
            kind=Kind.CHOICE,
            choices=BATCH_SAMPLINGS,
            scope=Scope.WAVES,
            optional=True,
        ),
        Parameter(
            name="batch_size",
            about="with --data in place of batch_sampling: samples that an update learns from",
            kind=Kind.WHOLE,
            limits=(1, _MANY),
            searched=lambda _, training: (min(8, training), min(512, training)),
            log=True,
            scope=Scope.DATA,
            optional=True,
        ),
    )
}
#: What describes our network.
ARCHITECTURE = tuple(name for name, each in PARAMETERS.items() if each.scope is Scope.NETWORK)


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


def unknown(what: str, got: Any, known: Iterable[str]) -> str:
    """The line that refuses a name and suggests the nearest known one."""
    names = list(known)
    near = difflib.get_close_matches(str(got), names, n=1)
    return f"unknown {what} {got!r}; " + (f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(names)}")
