"""How many trial-epochs a second does one core train, and how many with the usual ways to do it?

`python -m tests.bench.training [--rounds 5] [--cases NAME,…]`: for each case the contenders train the same trials from
their initial weights for the same number of epochs on the same batches, drawn beforehand for all, in turn, one thread
each. Each gives every trial's loss and accuracy of every epoch. Printed as Markdown: ms per trial-epoch (median of the
rounds), how many times as long as the trial array (median and range of the rounds), and how much longer its first call
took, which is its compilation. Adam throughout, but in the mixed draw: 16 configurations of the default space. JAX and
Keras take part where installed.
"""

import argparse
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn

from objectives.configuration import Configuration
from objectives.convergence import End, Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.model.activations import ACTIVATIONS, Activation
from objectives.model.network import initial_parameters
from objectives.trainers.solo import Solo
from objectives.trainers.trainer import Trainer
from objectives.trainers.trial_array import TrialArray
from search.spec import space
from search.spec.study_spec import StudySpec
from tests.objectives.trainers.test_solo import TORCH

DATA_SEED = 1
FUSES = ("sgd", "momentum", "nesterov", "adagrad", "adam", "adamw")  # those that torch fuses on a CPU
Layers = Sequence[tuple[Tensor, Tensor]]


def preset(classes: int, *widths: int) -> Configuration:
    params = {"classes": classes, "hidden_layers": len(widths), "width": widths[0], "activation": "sigmoid"}
    params |= {"optimizer": "adam", "lr": 1e-3} | ({"width_2": widths[1]} if len(widths) == 2 else {})
    return Configuration.of(params)


def drawn(number: int, epochs: int) -> list[Configuration]:
    """Random configurations of the default space that do not diverge in so many epochs."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found: list[Configuration] = []
    while len(found) < number:
        configuration = Configuration.of(space.suggest(StudySpec.of().space, study.ask()))
        solo = Solo(Batches(Waves()), 1.0, 1000)
        solo.admit(Trial(0, configuration, seed=len(found), data_seed=DATA_SEED, cap=epochs))
        if solo.advance(epochs + 1)[0][1].end is End.CAP:
            found.append(configuration)
    return found


#: Trials and epochs of each case.
CASES: dict[str, Callable[[], tuple[list[Configuration], int]]] = {
    "225→64→32": lambda: ([preset(32, 64)] * 16, 100),
    "question-32": lambda: ([preset(32, 32, 64)] * 16, 100),
    "225→256→512→32": lambda: ([preset(32, 256, 512)] * 4, 100),
    "question-64": lambda: ([preset(64, 64, 128)] * 8, 100),
    "question-256": lambda: ([preset(256, 256, 512)] * 2, 50),
    "225→2048→256": lambda: ([preset(256, 2048)] * 2, 20),
    "mixed": lambda: (drawn(16, 12), 12),
}


@dataclass(frozen=True)
class Task:
    """What every contender has to do."""

    trials: Sequence[Trial]
    epochs: int
    batches: Batches

    def data(self, c: Configuration, epoch: int) -> tuple[Tensor, Tensor]:
        batch = self.batches.evaluation_batch(c, DATA_SEED, epoch)
        return (batch.x if c.gain == 1 else batch.x * c.gain), batch.labels

    def initial_parameters(self, trial: Trial) -> list[tuple[Tensor, Tensor]]:
        return initial_parameters(trial, self.batches)


def array(task: Task) -> Callable[[], None]:
    """Ours, with all that a worker has of it."""
    return partial(ours, task, partial(TrialArray, task.batches, 1.0, 1000))


def solo(task: Task) -> Callable[[], None]:
    """Ours, one by one."""
    return partial(ours, task, partial(Solo, task.batches, 1.0, 1000))


def ours(task: Task, trainer: Callable[[], Trainer]) -> None:
    trains, waiting = trainer(), list(task.trials)
    while waiting or trains.running:
        while waiting and trains.room:
            trains.admit(waiting.pop())
        trains.advance(16)


def logits(activation: Activation, layers: Layers, x: Tensor) -> Tensor:
    *hidden, last = layers
    for weight, bias in hidden:
        x = activation.forward(nn.functional.linear(x, weight, bias))
    return nn.functional.linear(x, *last)


def evaluated(activation: Activation, layers: Layers, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and accuracy."""
    found = logits(activation, layers, x)
    return nn.functional.cross_entropy(found, labels), (found.argmax(1) == labels).float().mean()


def eager(task: Task, fused: bool = False, compiled: bool = False) -> Callable[[], None]:
    """torch.optim and autograd, one trial after the other; unless fused, each evaluation is read as it is made."""
    evaluate = torch.compile(evaluated, dynamic=False) if compiled else evaluated

    def train() -> None:
        for trial in task.trials:
            c = trial.configuration
            layers = [(nn.Parameter(w), nn.Parameter(b)) for w, b in task.initial_parameters(trial)]
            (first, *rest), seen = layers, []
            others = [parameter for layer in rest for parameter in layer]
            groups = [{"params": first, "lr": c.lr * c.first_lr_ratio}, {"params": others, "lr": c.lr}]
            optimizer = TORCH[c.optimizer]([group | {"fused": fused and c.optimizer in FUSES} for group in groups])
            for epoch in range(task.epochs):
                loss, accuracy = evaluate(ACTIVATIONS[c.activation], layers, *task.data(c, epoch))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen.append((loss.detach(), accuracy) if fused else (loss.item(), accuracy.item()))

    return train


def vmapped(task: Task) -> Callable[[], None]:
    """torch.func: the gradients of all trials by vmap over stacked parameters, and Adam on the stacks."""
    c = task.trials[0].configuration
    activation = ACTIVATIONS[c.activation]

    def loss(layers: Layers, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return evaluated(activation, layers, x, labels)

    gradient = torch.func.vmap(torch.func.grad_and_value(loss, has_aux=True), in_dims=(0, None, None))

    def train() -> None:
        stacks = [
            tuple(map(torch.stack, zip(*layer, strict=True)))
            for layer in zip(*map(task.initial_parameters, task.trials), strict=True)
        ]
        moments = [[(torch.zeros_like(p), torch.zeros_like(p)) for p in layer] for layer in stacks]
        for epoch in range(task.epochs):
            gradients, _ = gradient(stacks, *task.data(c, epoch))
            root = (1 - 0.999 ** (epoch + 1)) ** 0.5
            for of_layer in zip(stacks, gradients, moments, strict=True):
                for p, g, (m, v) in zip(*of_layer, strict=True):
                    m.lerp_(g, 0.1)
                    v.mul_(0.999).addcmul_(g, g, value=0.001)
                    p.addcdiv_(m, v.sqrt().add_(1e-7 * root), value=-c.lr * root / (1 - 0.9 ** (epoch + 1)))

    return train


def jaxed(task: Task) -> Callable[[], None]:
    """JAX: vmap over trials, scan over epochs, jit."""
    import jax
    import jax.numpy as jnp

    c = task.trials[0].configuration
    xs = jnp.asarray(np.stack([task.data(c, epoch)[0].numpy() for epoch in range(task.epochs)]))
    labels = jnp.arange(c.classes)

    def loss(layers: Any, x: Any) -> tuple[Any, Any]:
        *hidden, (weight, bias) = layers
        for w, b in hidden:
            x = jax.nn.sigmoid(x @ w.T + b)
        found = x @ weight.T + bias
        return -jax.nn.log_softmax(found)[labels, labels].mean(), (found.argmax(1) == labels).mean()

    gradients = jax.vmap(jax.value_and_grad(loss, has_aux=True), in_axes=(0, None))

    def step(state: Any, batch: Any) -> tuple[Any, Any]:
        (p, m, v), (x, t) = state, batch
        seen, g = gradients(p, x)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        moved = jax.tree.map(
            lambda p, m, v: p - c.lr * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-7), p, m, v
        )
        return (moved, m, v), seen

    run = jax.jit(lambda p, zeros: jax.lax.scan(step, (p, zeros, zeros), (xs, 1.0 + jnp.arange(len(xs)))))

    def train() -> None:
        layers = zip(*map(task.initial_parameters, task.trials), strict=True)
        p = [[jnp.asarray(torch.stack(parts).numpy()) for parts in zip(*layer, strict=True)] for layer in layers]
        jax.block_until_ready(run(p, jax.tree.map(jnp.zeros_like, p)))

    return train


def kerased(task: Task) -> Callable[[], None]:
    """Keras: train_on_batch, one trial after the other, in a model that is compiled once."""
    os.environ.setdefault("KERAS_BACKEND", "torch")  # the one that is there for certain
    import keras

    c = task.trials[0].configuration
    layers = [keras.layers.Dense(width, activation="sigmoid") for width in c.widths]
    model = keras.Sequential([keras.Input((225,)), *layers, keras.layers.Dense(c.classes, activation="softmax")])
    loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(keras.optimizers.Adam(c.lr), loss, metrics=["accuracy"])

    def train() -> None:
        for trial in task.trials:
            model.set_weights([part.numpy().T for layer in task.initial_parameters(trial) for part in layer])
            for variable in model.optimizer.variables[2:]:
                variable.assign(np.zeros(variable.shape, np.float32))
            for epoch in range(task.epochs):
                x, labels = task.data(c, epoch)
                model.train_on_batch(x.numpy(), labels.numpy())

    return train


def contenders(task: Task) -> dict[str, Callable[[], None]]:
    """Those that can train these trials, the array first."""
    found = {
        "trial array": array(task),
        "solo": solo(task),
        "eager torch": eager(task),
        "eager, fused, unread": eager(task, fused=True),
    }
    if len({trial.configuration for trial in task.trials}) == 1:
        found |= {"vmap": vmapped(task), "torch.compile": eager(task, fused=True, compiled=True)}
        found |= {"JAX vmap + scan": jaxed(task)} if importlib.util.find_spec("jax") else {}
        found |= {"Keras": kerased(task)} if importlib.util.find_spec("keras") else {}
    return found


def seconds(train: Callable[[], None]) -> float:
    started = time.perf_counter()
    train()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default=",".join(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"One thread, torch {torch.__version__}, {platform.machine()}\n")
    print("| case | contender | ms per trial-epoch | ÷ trial array | first call, s more |\n|---|---|---|---|---|")
    for name in arguments.cases.split(","):
        configurations, epochs = CASES[name]()
        trials = [Trial(key, c, seed=key, data_seed=DATA_SEED, cap=epochs) for key, c in enumerate(configurations)]
        task = Task(trials, epochs, Batches(Waves()))
        for epoch in range(epochs + 1):
            for c in configurations:
                task.data(c, epoch)
        entered = contenders(task)
        firsts = {who: seconds(train) for who, train in entered.items()}
        rounds = [{who: seconds(train) for who, train in entered.items()} for _ in range(arguments.rounds)]
        for who in entered:
            took = statistics.median(each[who] for each in rounds)
            ratios = [each[who] / each["trial array"] for each in rounds]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            per_epoch = took / epochs / len(trials) * 1e3
            print(f"| {name} | {who} | {per_epoch:.3f} | {spread} | {max(0, firsts[who] - took):.1f} |", flush=True)


if __name__ == "__main__":
    main()
