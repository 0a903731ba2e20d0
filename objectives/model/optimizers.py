"""The ten optimizers, with the constants of Keras, which the page ran.

All are elementwise, so one formula serves one trial or many. Symbols: parameter p, its gradient g, state m and v;
learning rate lr; the coefficients a, b, c, d, α, β, δ and weight decay w of one step. Eight of the ten are

    m ← a·m + b·g,  v ← c·v + d·g²,  p ← p − lr·(w·p + (α·m + β·g)/(√v + δ))

and differ only in their coefficients, which depend on nothing but the number of the step.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numba
import torch
from torch import Tensor

from objectives.configuration import Configuration

#: a, b, c, d, α, β, δ, w of one step.
Coefficients = tuple[float, float, float, float, float, float, float, float]
EPSILON = 1e-7


def _sgd(momentum: float = 0.0, nesterov: bool = False) -> Iterator[Coefficients]:
    """Momentum and Nesterov's as in Sutskever et al. 2013."""
    return repeat((momentum, 1.0, 0.0, 0.0, momentum if nesterov else 1.0, float(nesterov), 1.0, 0.0))


def _adam(decay: float = 0.0) -> Iterator[Coefficients]:
    """Kingma & Ba 2015, algorithm 1, the corrections of both moments taken into α and δ."""
    power1 = power2 = 1.0
    while True:
        power1, power2 = 0.9 * power1, 0.999 * power2
        root = math.sqrt(1 - power2)
        yield 0.9, 0.1, 0.999, 0.001, root / (1 - power1), 0.0, EPSILON * root, decay


def _adamax() -> Iterator[Coefficients]:
    """Kingma & Ba 2015, algorithm 2."""
    power = 1.0
    while True:
        power *= 0.9
        yield 0.9, 0.1, 0.999, 0.0, 1 / (1 - power), 0.0, EPSILON, 0.0


def _nadam() -> Iterator[Coefficients]:
    """Dozat 2016, with the momentum's schedule of its section 3.2."""
    product, power2, step = 1.0, 1.0, 1
    while True:
        now, after = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (step, step + 1))
        product, power2, step = product * now, 0.999 * power2, step + 1
        root = math.sqrt(1 - power2)
        alpha, beta = after / (1 - product * after), (1 - now) / (1 - product)
        yield 0.9, 0.1, 0.999, 0.001, root * alpha, root * beta, EPSILON * root, 0.0


_compiled = numba.njit(error_model="numpy")  # compiles at the first call


def _cached(function: Any) -> Any:
    """Compile at the first call, and cache on disk for the next process where there is a place to write."""
    try:
        return numba.njit(error_model="numpy", cache=True)(function)
    except RuntimeError:  # there is none
        return _compiled(function)


# The formulas, on numbers or on tensors: each returns the next p, m and v.


@_compiled
def _moments(sqrt, maximum, p, g, m, v, lr, a, b, c, d, alpha, beta, delta, w):  # type: ignore[no-untyped-def]
    m = a * m + b * g
    v = c * v + d * g * g
    return p - lr * (w * p + (alpha * m + beta * g) / (sqrt(v) + delta)), m, v


@_compiled
def _largest(sqrt, maximum, p, g, m, v, lr, a, b, c, d, alpha, beta, delta, w):  # type: ignore[no-untyped-def]
    m = a * m + b * g
    v = maximum(c * v, abs(g) + delta)
    return p - lr * alpha * m / v, m, v


@_compiled
def _matched(sqrt, maximum, p, g, m, v, lr, a, b, c, d, alpha, beta, delta, w):  # type: ignore[no-untyped-def]
    v = c * v + d * g * g
    step = sqrt(m + delta) / sqrt(v + delta) * g
    return p - lr * step, a * m + b * step * step, v


FORMULAS = _moments, _largest, _matched


@dataclass(frozen=True)
class Rule:
    """An optimizer."""

    #: Coefficients of the first step, the second, ….
    schedule: Callable[[], Iterator[Coefficients]]
    #: Index in FORMULAS.
    formula: int = 0
    #: v before the first step.
    v: float = 0.0


RULES: dict[str, Rule] = {
    "sgd": Rule(_sgd),
    "momentum": Rule(lambda: _sgd(momentum=0.9)),
    "nesterov": Rule(lambda: _sgd(momentum=0.9, nesterov=True)),
    "rmsprop": Rule(lambda: repeat((0.0, 0.0, 0.9, 0.1, 0.0, 1.0, EPSILON, 0.0))),
    "adagrad": Rule(lambda: repeat((0.0, 0.0, 1.0, 1.0, 0.0, 1.0, EPSILON, 0.0)), v=0.1),  # Duchi et al. 2011
    "adadelta": Rule(lambda: repeat((0.95, 0.05, 0.95, 0.05, 1.0, 0.0, EPSILON, 0.0)), formula=2),  # Zeiler 2012
    "adam": Rule(_adam),
    "adamax": Rule(_adamax, formula=1),
    "nadam": Rule(_nadam),
    "adamw": Rule(lambda: _adam(decay=0.004)),
}


def update(
    p: Tensor, g: Tensor, m: Tensor, v: Tensor, formula: Tensor, lr: Tensor, coefficients: Tensor, live: Tensor
) -> None:
    """Make one step of every live slot, in place and without reading any value, so that a CUDA graph can hold it.

    p, g, m and v are (slots, parameters), formula (slots, 1), whole; lr (slots, parameters) or (slots, 1); coefficients
    (slots, 8); live (slots, 1), bool: other slots stay as they are.
    """
    columns = coefficients.unsqueeze(2).unbind(1)
    old, new = (p, m, v), [p, m, v]
    for index, rule in enumerate(FORMULAS):
        chosen = live & (formula == index)
        next_state = rule.py_func(torch.sqrt, torch.maximum, p, g, m, v, lr, *columns)  # type: ignore[no-untyped-call]
        new = [torch.where(chosen, *pair) for pair in zip(next_state, new, strict=True)]
    for into, value in zip(old, new, strict=True):
        into.copy_(value)


@_cached
def update_cpu(p, g, m, v, formula, lr, coefficients, first):  # type: ignore[no-untyped-def]
    """Do `update` in one pass over memory on a CPU: in half the time of torch's fused Adam, a fifth of plain ones'.

    p, g, m and v are (slots, parameters), formula (slots,), lr (slots, 2): of the `first` parameters of the first layer
    and of the others; coefficients (slots, 8). All are NumPy arrays of one type but `formula`.
    """
    for s in range(p.shape[0]):
        a, b, c, d, alpha, beta, delta, w = coefficients[s]
        for part in range(2):
            at, rate = slice(0, first) if part == 0 else slice(first, p.shape[1]), lr[s, part]
            ps, gs, ms, vs = p[s, at], g[s, at], m[s, at], v[s, at]
            rates = rate, a, b, c, d, alpha, beta, delta, w
            if formula[s] == 0:
                for i in range(ps.size):
                    ps[i], ms[i], vs[i] = _moments(math.sqrt, max, ps[i], gs[i], ms[i], vs[i], *rates)
            elif formula[s] == 1:
                for i in range(ps.size):
                    ps[i], ms[i], vs[i] = _largest(math.sqrt, max, ps[i], gs[i], ms[i], vs[i], *rates)
            else:
                for i in range(ps.size):
                    ps[i], ms[i], vs[i] = _matched(math.sqrt, max, ps[i], gs[i], ms[i], vs[i], *rates)


class Optimizer:
    """A configuration's optimizer over one network's parameters, the first layer with its own learning rate.

    When all inputs of a sample carry the same number, a step of `lr` on each of D weights moves a unit's slope by
    D · lr.
    """

    def __init__(self, configuration: Configuration, layers: Sequence[Sequence[Tensor]]) -> None:
        rule = RULES[configuration.optimizer]
        self._schedule = rule.schedule()
        self._states = []
        for place, layer in enumerate(layers):
            lr = configuration.lr * (1 if place else configuration.first_lr_ratio)
            for parameter in layer:
                m, v = torch.zeros_like(parameter), torch.full_like(parameter, rule.v)
                formula = torch.full((1,), rule.formula, device=parameter.device)
                self._states.append((parameter, m, v, formula, parameter.new_full((1, 2), lr)))

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter by its gradient; one without a gradient stays as it is."""
        coefficients = next(self._schedule)
        for parameter, m, v, formula, lr in self._states:
            if parameter.grad is None:
                continue
            row = torch.tensor([coefficients], device=lr.device, dtype=lr.dtype)
            p, g, m, v = (part.view(1, -1) for part in (parameter, parameter.grad, m, v))
            if parameter.device.type == "cpu":
                update_cpu(*(part.numpy() for part in (p, g, m, v, formula, lr, row)), parameter.numel())
            else:
                update(p, g, m, v, formula.unsqueeze(1), lr[:, :1], row, torch.ones_like(formula, dtype=torch.bool))
