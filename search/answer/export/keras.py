"""The script for Keras 3, on any of its backends.

Its optimizers are Keras's own, with their defaults, which are where our constants are from. They put ε elsewhere in
some, and Nadam's momentum rises sooner: that a script converges as recorded is for a run of it to show.
"""

from collections.abc import Sequence

from objectives.data.waves import span
from search.answer.export.script import Recipe, begin_spread, constants, docstring, formula, joined, train, widths

DATA = ".data.npz"  # what the name of its data has in place of .py

_DECAY = "weight_decay=0.004"

#: Class and arguments of each optimizer.
OPTIMIZERS = {
    "sgd": ("SGD", ""),
    "momentum": ("SGD", "momentum=0.9"),
    "nesterov": ("SGD", "momentum=0.9, nesterov=True"),
    "rmsprop": ("RMSprop", "epsilon=1e-14"),  # it is added below the root, where 1e-7 would be a great deal
    "adagrad": ("Adagrad", ""),
    "adadelta": ("Adadelta", ""),
    "adam": ("Adam", ""),
    "adamax": ("Adamax", ""),
    "nadam": ("Nadam", ""),
    "adamw": ("AdamW", _DECAY),
}
_ACTIVATIONS = {"gaussian": "lambda z: keras.ops.exp(-(z**2))", "sine": "keras.ops.sin"}
_MOMENTS = {"batch": "x.mean(0), x.std(0)", "minmax": "x.min(0), x.max(0) - x.min(0)"}


def script(recipe: Recipe, seed: int, about: Sequence[str]) -> str:
    """The script, with what its docstring says of it."""
    imports = ["from pathlib import Path", ""] * recipe.data + ["import keras", "import numpy as np", ""]
    head = docstring([*about, "Needs Keras 3, on any backend."]) + "\n" + "\n".join(imports) + "\n"
    head += constants(recipe, seed) + "\nrng = np.random.default_rng(SEED)\n"
    data = (_LOAD, _SPLIT) if recipe.data else (_batch(recipe),)
    blocks = head, *data, _scaling(recipe), _rates(recipe), _classifier(recipe), _spread(recipe), _train(recipe)
    return joined(*blocks, 'if __name__ == "__main__":\n    train()\n')


def _batch(recipe: Recipe) -> str:
    which, labels = {
        "every_class": ("every class once", "np.arange(CLASSES)"),
        "random": ("classes at random", "rng.integers(CLASSES, size=CLASSES)"),
    }[recipe.configuration.batch_sampling]
    distance = span(recipe.configuration.classes)
    return f'''\
def batch():
    """What one epoch learns: {which}. Class i is i/{distance} in each input, and noise."""
    labels = {labels}
    x = labels[:, None] / {distance} + SIGMA * rng.standard_normal((CLASSES, INPUTS))
    return x.astype("float32"), labels
'''


_LOAD = f'''\
def load():
    """Samples and their labels."""
    with np.load(Path(__file__).with_suffix("{DATA}")) as data:
        return data["X"], data["y"]
'''

_SPLIT = '''\
def split(labels):
    """Indices of a training and a validation part: a fifth of each class, at random, is never learned."""
    training, validation = [], []
    for label in range(CLASSES):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out = max(1, round(len(members) / 5))
        validation.append(members[:held_out])
        training.append(members[held_out:])
    return np.concatenate(training), np.concatenate(validation)
'''


def _scaling(recipe: Recipe) -> str:
    if not recipe.scales:
        return ""
    if not recipe.measured:
        return f"def scaled(x):\n    return {formula(recipe)}\n"
    return f'''\
def moments(x):
    """What is taken off each input, and by what the rest is divided."""
    low, spread = {_MOMENTS[recipe.configuration.scaling]}
    return low, np.where(spread > 0, spread, np.float32(1))


def scaled(x, low, spread):
    return {formula(recipe)}
'''


def _rates(recipe: Recipe) -> str:
    """The optimizer with two learning rates. AdamW's own decay would be by one of them, so Adam is made to decay."""
    if not recipe.first_rate:
        return ""
    name, _ = OPTIMIZERS[recipe.configuration.optimizer]
    decays = name == "AdamW"
    decay = "        self.assign_sub(variable, variable * 0.004 * learning_rate)\n" if decays else ""
    return f'''\
class Layerwise{name}(keras.optimizers.{"Adam" if decays else name}):
    """{name} with a learning rate of its own for the first layer."""

    def update_step(self, gradient, variable, learning_rate):
        if "first/" in variable.path:
            learning_rate = learning_rate * FIRST_LR_RATIO
{decay}        super().update_step(gradient, variable, learning_rate)
'''


def _classifier(recipe: Recipe) -> str:
    activation = recipe.configuration.activation
    function = _ACTIVATIONS.get(activation, f'"{activation}"')
    names = zip(widths(recipe.configuration), ("first", "second"), strict=False)
    hidden = "".join(
        f'            keras.layers.Dense({width}, activation={function}, name="{name}"),\n' for width, name in names
    )
    return f"""\
def classifier():
    return keras.Sequential(
        [
            keras.Input((INPUTS,)),
{hidden}            keras.layers.Dense(CLASSES, name="last"),
        ]
    )
"""


def _spread(recipe: Recipe) -> str:
    if not recipe.spreads:
        return ""
    if recipe.data:
        given, points = ", x", "x[rng.integers(len(x), size=WIDTH)]"
        where, scaled = "a sample of its own", "points"
    else:
        given, points = "", f"rng.random((WIDTH, 1)) * (CLASSES - 1) / {span(recipe.configuration.classes)}"
        where = "a point of its own, all over the range of the inputs"
        scaled = recipe.scaled("points", "batch()[0]")
    return f'''\
def spread_biases(layer{given}):
    """Put the zero of each unit on {where}."""
    weights, _ = layer.get_weights()
    points = {points}
    layer.set_weights([weights, -(weights.T * {scaled}).sum(1)])
'''


def _train(recipe: Recipe) -> str:
    name, arguments = OPTIMIZERS[recipe.configuration.optimizer]
    optimizer = f"keras.optimizers.{name}({', '.join(filter(None, ['LR', arguments]))})"
    if recipe.first_rate:
        optimizer = f"Layerwise{name}({', '.join(filter(None, ['LR', arguments.removeprefix(_DECAY)]))})"
    begin = f"""\
    model = classifier()
{begin_spread(recipe)}    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer={optimizer}, loss=loss)
"""
    evaluate, learn = (_EVALUATE_HELD_OUT, _LEARN_MINIBATCHES) if recipe.data else (_evaluate(recipe), _LEARN)
    return train(recipe, "keras.utils.set_random_seed(SEED)", begin, evaluate, learn)


def _evaluate(recipe: Recipe) -> str:
    x = recipe.scaled("x")
    scale = "" if x == "x" else f"        x = {x}\n"
    return f"""\
        x, labels = batch()
{scale}        accuracy = (model.predict_on_batch(x).argmax(1) == labels).mean()  # before it is learned
"""


_EVALUATE_HELD_OUT = "        accuracy = (model.predict_on_batch(x_new).argmax(1) == labels_new).mean()\n"

_LEARN = "        model.train_on_batch(x, labels)\n"

_LEARN_MINIBATCHES = """\
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH_SIZE):
            part = order[start : start + BATCH_SIZE]
            model.train_on_batch(x[part], labels[part])
"""
