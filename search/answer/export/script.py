"""A script that trains one configuration without us, from the template of its framework beside this module.

A template has the script's text in its order, and what only some configurations need between conditions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from objectives.configuration import Configuration
from objectives.data.waves import span
from search import templates


class Framework(StrEnum):
    """What a script is written for."""

    TORCH = "torch"
    KERAS = "keras"

    @property
    def data_suffix(self) -> str:
        """What the name of the script's data has in place of .py."""
        return ".data.pt" if self is Framework.TORCH else ".data.npz"

    def data_file(self, script: Path) -> Path:
        """Where the script looks for its data."""
        return script.with_suffix(self.data_suffix)


@dataclass(frozen=True)
class Recipe:
    """What a script trains, and when it stops. A configuration with a batch size learns the data beside the script."""

    configuration: Configuration
    #: Inputs of a sample.
    inputs: int
    #: Of waves, the standard deviation of the noise on each input.
    sigma: float
    target: float
    hold: int
    max_epochs: int
    #: Whether it can load weights, and predict without training.
    loads: bool = False


def script(recipe: Recipe, framework: Framework, about: Sequence[str], seed: int) -> str:
    """The script, whose docstring has these lines."""
    configuration = recipe.configuration
    measured = configuration.scaling in ("batch", "minmax")
    scales = configuration.scaling != "none" or configuration.gain != 1
    # In the order in which our trainers compute it.
    formula = {"none": "x", "fixed": "(x - 0.5) / 0.289"}.get(configuration.scaling, "(x - low) / spread")

    def scaled(x: str, reference: str) -> str:
        """The expression for inputs `x` scaled, by the moments of `reference` if they are measured."""
        return f"scaled({x}, *moments({reference}))" if measured else f"scaled({x})" if scales else x

    name = "pytorch" if framework is Framework.TORCH else framework
    template = templates.environment("search.answer.export").get_template(f"{name}.py.jinja")
    return template.render(
        vars(configuration) | vars(recipe),
        about=about,
        seed=seed,
        batch_in_words="every class once" if configuration.batch_sampling == "every_class" else "classes at random",
        span=span(configuration.classes),
        measured=measured,
        scales=scales,
        scaled=scaled,
        formula=formula if configuration.gain == 1 else f"{formula} * GAIN",
        data_suffix=framework.data_suffix,
    )


def quoted(text: str) -> str:
    """A name that may hold anything, as it can stand in a docstring."""
    return repr(text).replace("\\", "\\\\").replace('"', "'")
