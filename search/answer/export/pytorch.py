"""The script for PyTorch. It needs nothing else, and its optimizers are torch.optim's, which equal ours."""

from collections.abc import Sequence
from itertools import pairwise

from objectives.data.waves import span
from search.answer.export.script import Recipe, begin_spread, constants, docstring, formula, joined, train, widths

DATA = ".data.pt"  # what the name of its data has in place of .py

#: Class and arguments of each optimizer.
OPTIMIZERS = {
    "sgd": ("SGD", ""),
    "momentum": ("SGD", "momentum=0.9"),
    "nesterov": ("SGD", "momentum=0.9, nesterov=True"),
    "rmsprop": ("RMSprop", "alpha=0.9, eps=1e-7"),
    "adagrad": ("Adagrad", "initial_accumulator_value=0.1, eps=1e-7"),
    "adadelta": ("Adadelta", "rho=0.95, eps=1e-7"),
    "adam": ("Adam", "eps=1e-7"),
    "adamax": ("Adamax", "eps=1e-7"),
    "nadam": ("NAdam", "momentum_decay=0.004, eps=1e-7"),
    "adamw": ("AdamW", "weight_decay=0.004, eps=1e-7"),
}
_ACTIVATIONS = {
    "sigmoid": "torch.sigmoid({})",
    "tanh": "torch.tanh({})",
    "relu": "torch.relu({})",
    "gelu": "nn.functional.gelu({})",
    "silu": "nn.functional.silu({})",
    "gaussian": "torch.exp(-({} ** 2))",
    "sine": "torch.sin({})",
}
_MOMENTS = {"batch": "x.mean(0), x.std(0, correction=0)", "minmax": "x.amin(0), x.amax(0) - x.amin(0)"}


def script(recipe: Recipe, seed: int, about: Sequence[str]) -> str:
    """The script, with what its docstring says of it."""
    imports = ["import argparse"] * recipe.loads + ["from pathlib import Path"] * recipe.data
    imports += [""] * bool(imports) + ["import torch", "from torch import nn", ""]
    needs = "Needs torch alone" + ("; with `--load FILE` it uses trained weights." if recipe.loads else ".")
    head = docstring([*about, needs]) + "\n" + "\n".join(imports) + "\n" + constants(recipe, seed)
    data = (_LOAD, _SPLIT) if recipe.data else (_batch(recipe),)
    blocks = head, *data, _scaling(recipe), _classifier(recipe), _spread(recipe), _train(recipe), _predict(recipe)
    return joined(*blocks, _LOADING if recipe.loads else 'if __name__ == "__main__":\n    train()\n')


def _batch(recipe: Recipe) -> str:
    which, labels = {
        "every_class": ("every class once", "torch.arange(CLASSES)"),
        "random": ("classes at random", "torch.randint(CLASSES, (CLASSES,))"),
    }[recipe.configuration.batch_sampling]
    distance = span(recipe.configuration.classes)
    return f'''\
def batch():
    """What one epoch learns: {which}. Class i is i/{distance} in each input, and noise."""
    labels = {labels}
    return labels[:, None] / {distance} + SIGMA * torch.randn(CLASSES, INPUTS), labels
'''


_LOAD = f'''\
def load():
    """Samples and their labels."""
    data = torch.load(Path(__file__).with_suffix("{DATA}"))
    return data["X"], data["y"]
'''

_SPLIT = '''\
def split(labels):
    """Indices of a training and a validation part: a fifth of each class, at random, is never learned."""
    training, validation = [], []
    for label in range(CLASSES):
        members = torch.nonzero(labels == label).flatten()
        members = members[torch.randperm(len(members))]
        held_out = max(1, round(len(members) / 5))
        validation.append(members[:held_out])
        training.append(members[held_out:])
    return torch.cat(training), torch.cat(validation)
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
    return low, torch.where(spread > 0, spread, 1.0)


def scaled(x, low, spread):
    return {formula(recipe)}
'''


def _classifier(recipe: Recipe) -> str:
    sizes = ["INPUTS", *widths(recipe.configuration), "CLASSES"]
    layers = [f"nn.Linear({fan_in}, {fan_out})" for fan_in, fan_out in pairwise(sizes)]
    names = ["first", "second"][: len(layers) - 1]
    activation = _ACTIVATIONS[recipe.configuration.activation]
    hidden = "".join(f"        x = {activation.format(f'{name}(x)')}\n" for name in names)
    return f"""\
class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([{", ".join(layers)}])
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        {", ".join(names)}, last = self.layers
{hidden}        return last(x)
"""


def _spread(recipe: Recipe) -> str:
    if not recipe.spreads:
        return ""
    if recipe.data:
        given, points = ", x", "x[torch.randint(len(x), (WIDTH,))]"
        where, scaled = "a sample of its own", "points"
    else:
        given, points = "", f"(torch.rand(WIDTH, 1) * (CLASSES - 1) / {span(recipe.configuration.classes)})"
        points += ".expand(-1, INPUTS)"
        where, scaled = "a point of its own, all over the range of the inputs", recipe.scaled("points", "batch()[0]")
    return f'''\
@torch.no_grad()
def spread_biases(layer{given}):
    """Put the zero of each unit on {where}."""
    points = {points}
    layer.bias.copy_(-(layer.weight * {scaled}).sum(1))
'''


def _train(recipe: Recipe) -> str:
    begin = f"    model = Classifier()\n{begin_spread(recipe)}    optimizer = {_optimizer(recipe)}\n"
    evaluate, learn = (_EVALUATE_HELD_OUT, _LEARN_MINIBATCHES) if recipe.data else (_evaluate(recipe), _LEARN)
    return train(recipe, "torch.manual_seed(SEED)", begin, evaluate, learn, ", loss {loss:.4f}")


def _optimizer(recipe: Recipe) -> str:
    name, arguments = OPTIMIZERS[recipe.configuration.optimizer]
    if not recipe.first_rate:
        return f"torch.optim.{name}({', '.join(filter(None, ['model.parameters()', 'lr=LR', arguments]))})"
    groups = """\
[
            {"params": model.layers[0].parameters(), "lr": LR * FIRST_LR_RATIO},
            {"params": model.layers[1:].parameters()},
        ]"""
    rows = "".join(f"        {row},\n" for row in [groups, "lr=LR", *filter(None, arguments.split(", "))])
    return f"torch.optim.{name}(\n{rows}    )"


def _evaluate(recipe: Recipe) -> str:
    return f"""\
        x, labels = batch()
        logits = model({recipe.scaled("x")})
        loss = nn.functional.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).sum().item() / CLASSES  # before it is learned
"""


_EVALUATE_HELD_OUT = """\
        with torch.no_grad():
            logits = model(x_new)
        loss = nn.functional.cross_entropy(logits, labels_new)
        accuracy = (logits.argmax(1) == labels_new).sum().item() / len(labels_new)
"""

_LEARN = """\
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

_LEARN_MINIBATCHES = """\
        for part in torch.randperm(len(x)).split(BATCH_SIZE):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[part]), labels[part]).backward()
            optimizer.step()
"""


def _predict(recipe: Recipe) -> str:
    if not recipe.loads:
        return ""
    parts = "    x, labels = batch()\n"
    scaled, which = recipe.scaled("x"), "of a fresh batch"
    if recipe.data:
        parts = '    x, labels = (part[saved["validation"]] for part in load())\n'
        scaled = 'scaled(x, saved["low"], saved["spread"])' if recipe.measured else scaled
        which = "that were never learned"
    return f'''\
@torch.no_grad()
def predict(file):
    """Tell samples apart by trained weights."""
    saved = torch.load(file)
    model = Classifier()
    model.load_state_dict(saved["state_dict"])
{parts}    right = (model({scaled}).argmax(1) == labels).sum()
    print(f"{{right}} of {{len(labels)}} samples {which} are told right")
'''


_LOADING = """\
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", metavar="FILE", help="predict with these weights, without training")
    file = parser.parse_args().load
    predict(file) if file else train()
"""
