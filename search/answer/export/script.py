"""A script that trains one configuration without us: what it must know, and the lines that any of them begins with.

A script is put together from small pieces, of which it gets those that its configuration needs and no others.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from objectives.configuration import Configuration

LINE = 120  # characters


class Framework(StrEnum):
    """What a script is written for."""

    TORCH = "torch"
    KERAS = "keras"


@dataclass(frozen=True)
class Recipe:
    """What a script trains, and when it stops."""

    configuration: Configuration
    #: Inputs of a sample.
    inputs: int
    #: Of waves, the standard deviation of the noise on each input.
    sigma: float
    target: float
    hold: int
    max_epochs: int
    #: It learns the data in a file beside the script, in place of waves.
    data: bool
    #: It can load weights, and predict without training.
    loads: bool = False

    @property
    def first_rate(self) -> bool:
        """The first layer has a learning rate of its own."""
        return self.configuration.first_lr_ratio != 1

    @property
    def measured(self) -> bool:
        """The scaling is by what the inputs are, so that it must be measured."""
        return self.configuration.scaling in ("batch", "minmax")

    @property
    def scales(self) -> bool:
        """Inputs are not learned as they are."""
        return self.configuration.scaling != "none" or self.configuration.gain != 1

    @property
    def spreads(self) -> bool:
        """Biases are not all zero."""
        return self.configuration.bias_init == "spread"

    def scaled(self, x: str, of: str = "") -> str:
        """The expression for scaled inputs, by the moments of the inputs `of`; those of `x` unless given."""
        if not self.scales:
            return x
        return f"scaled({x}, *moments({of or x}))" if self.measured else f"scaled({x})"


def docstring(lines: Sequence[str]) -> str:
    """The script's own, the first of the lines apart."""
    first, *others = (textwrap.fill(line, LINE, break_long_words=False) for line in lines)
    return '"""' + "\n".join([first, "", *others]) + '\n"""\n'


def quoted(text: str) -> str:
    """A name that may hold anything, as it can stand in a docstring."""
    return repr(text).replace("\\", "\\\\").replace('"', "'")


def constants(recipe: Recipe, seed: int) -> str:
    """The lines that somebody may want to change."""
    configuration = recipe.configuration
    rows = [f"SEED = {seed}", f"CLASSES, INPUTS = {configuration.classes}, {recipe.inputs}"]
    if not recipe.data:
        rows.append(f"SIGMA = {recipe.sigma!r}  # standard deviation of the noise on each input")
    rows.append(f"{', '.join(widths(configuration))} = {', '.join(map(str, configuration.widths))}  # hidden units")
    rows.append(f"LR = {configuration.lr!r}")
    if recipe.first_rate:
        rows.append(f"FIRST_LR_RATIO = {configuration.first_lr_ratio!r}  # the first layer learns at LR times this")
    if configuration.gain != 1:
        rows.append(f"GAIN = {configuration.gain!r}  # factor on the scaled inputs")
    if configuration.batch_size:
        rows.append(f"BATCH_SIZE = {configuration.batch_size}")
    rows.append(f"TARGET, HOLD = {recipe.target!r}, {recipe.hold}  # accuracy, for so many evaluations in a row")
    rows.append(f"MAX_EPOCHS = {recipe.max_epochs}")
    return "\n".join(rows) + "\n"


def widths(configuration: Configuration) -> list[str]:
    """What the script calls them."""
    return ["WIDTH"] if len(configuration.widths) == 1 else ["WIDTH", "WIDTH_2"]


def formula(recipe: Recipe) -> str:
    """The expression for scaled inputs `x`, in the order in which our trainers compute it."""
    found = {"none": "x", "fixed": "(x - 0.5) / 0.289"}.get(recipe.configuration.scaling, "(x - low) / spread")
    return found if recipe.configuration.gain == 1 else f"{found} * GAIN"


def train(recipe: Recipe, seed: str, begin: str, evaluate: str, learn: str, shown: str = "") -> str:
    """The function that trains, of these lines: a loop that evaluates what is not learned yet, then learns."""
    return f"""\
def train():
    {seed}
{_parts(recipe) if recipe.data else ""}{begin}    held = 0
    for epoch in range(MAX_EPOCHS + HOLD):
{evaluate}        print(f"after {{epoch}} epochs: accuracy {{accuracy:.4f}}{shown}")
        held = held + 1 if accuracy >= TARGET else 0
        if held == HOLD:
            print(f"converged after {{epoch - HOLD + 1}} epochs")
            return
{learn}    print(f"not converged in {{MAX_EPOCHS}} epochs")
"""


def _parts(recipe: Recipe) -> str:
    """The data in two parts, scaled by what the first one is."""
    scale = ""
    if recipe.measured:
        scale = "    of_training = moments(x)\n"
        scale += "    x, x_new = scaled(x, *of_training), scaled(x_new, *of_training)\n"
    elif recipe.scales:
        scale = "    x, x_new = scaled(x), scaled(x_new)\n"
    return f"""\
    x, labels = load()
    training, validation = split(labels)
    x, x_new, labels, labels_new = x[training], x[validation], labels[training], labels[validation]
{scale}"""


def begin_spread(recipe: Recipe) -> str:
    """The line that spreads the biases, of `spread_biases`."""
    return f"    spread_biases(model.layers[0]{', x' if recipe.data else ''})\n" if recipe.spreads else ""


def joined(*blocks: str) -> str:
    """A script of these blocks: two empty lines between them, none of those that are empty."""
    return "\n\n".join(block for block in blocks if block)
