"""Configuration: one point of the search space, everything that decides how a classifier trains.

What each parameter is and may be stands in `objectives.parameters`. No torch here, so that queries and `--help` stay
fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from objectives.parameters import ARCHITECTURE, PARAMETERS, Params, check, unknown


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A classifier and its training. Bad values raise ValueError with one line that names the parameter.

    Another network than ours has `arguments`; the parameters of ARCHITECTURE are idle for it.
    """

    #: Import path of a user module, in place of our network.
    objective: str | None = None
    #: What that is constructed with besides `inputs` and `classes`, as (name, value).
    arguments: tuple[tuple[str, Any], ...] = ()
    #: These are PARAMETERS, which says of each what it is.
    classes: int
    hidden_layers: int = 1
    width: int = 0
    width_2: int | None = None
    activation: str = ""
    optimizer: str
    lr: float
    first_lr_ratio: float = 1.0
    scaling: str = "none"
    gain: float = 1.0
    bias_init: str = "zeros"
    batch_sampling: str = "every_class"
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
        aside = ("arguments", *(ARCHITECTURE if own else ()))
        known = [field.name for field in fields(cls) if field.name not in aside]
        arguments = tuple((name, value) for name, value in params.items() if name not in known)
        if arguments and not own:
            raise ValueError(unknown("parameter", arguments[0][0], known))
        required = {name for name, parameter in PARAMETERS.items() if parameter.required}
        missing = [name for name in known if name in required and name not in params]
        if missing:
            raise ValueError(f"the configuration lacks `{'`, `'.join(missing)}`")
        return cls(**{name: value for name, value in params.items() if name in known}, arguments=arguments)

    @property
    def params(self) -> Params:
        """The parameters that matter, by name."""
        without = "batch_sampling" if self.batch_size else "batch_size"
        return {name: value for name, value in self._given().items() if name != without}

    def _given(self) -> Params:
        aside = ("arguments", *(ARCHITECTURE if self.objective else ()))
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in aside}
        absent = {field.name for field in fields(self) if field.default is None and own.get(field.name) is None}
        return {name: value for name, value in own.items() if name not in absent} | dict(self.arguments)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of the hidden layers, first to last."""
        return (self.width,) if self.width_2 is None else (self.width, self.width_2)

    def weights(self, inputs: int) -> int | None:
        """How many numbers its network learns, weights and biases; None of a user module, which nobody has counted."""
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
        given = (f"{name} {value:.3g}" if type(value) is float else f"{name} {value}" for name, value in self.arguments)
        return " ".join((self.objective, *given))
