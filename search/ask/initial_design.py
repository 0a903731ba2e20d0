"""How a study begins: with what it is told to start from, the page's two models, and points that cover its space.

Point n is a function of the spec and of n alone, and a trial's number is given in the transaction that creates it: any
number of workers share one beginning, and nothing of it is tried twice. The points are a scrambled Sobol sequence (Owen
1998, with the directions of Joe & Kuo 2008), as even in every single parameter as in all together: each choice of a
parameter occurs in the first 32. They also serve whoever wants a parameter drawn anew later on.
"""

from typing import Any

import torch
from torch.quasirandom import SobolEngine

from objectives.parameters import Params
from search.spec import space
from search.spec.study_spec import StudySpec, derive

COVER = 32  # points that cover the space before a sampler that learns takes over
BLOCK = 256  # points drawn at once


class Design:
    """The points of one study."""

    def __init__(self, spec: StudySpec) -> None:
        self._space, self._classes = spec.space, spec.class_counts[0]
        names = () if spec.objective else space.PRESETS  # which are of our network
        presets = [space.preset(name, self._classes, spec.training).params for name in names]
        self._given = [space.fitted(spec.space, params) for params in (*spec.start, *presets)]
        self._engine: Any = SobolEngine(len(spec.space), scramble=True, seed=derive(spec.seed, "design") >> 32)  # type: ignore[no-untyped-call]
        self._drawn: list[list[float]] = []
        self._block = -1  # which is drawn

    def __len__(self) -> int:
        """Points to be tried first."""
        return len(self._given) + COVER

    def point(self, number: int) -> Params:
        """The parameters of the `number`-th point; what a given one leaves open is taken from the sequence.

        Where class counts are searched, all are for the lowest but for what is given.
        """
        given = self._given[number] if number < len(self._given) else {}
        return space.consistent({**self.drawn(number), "classes": self._classes, **given})

    def drawn(self, number: int) -> Params:
        """The sequence's `number`-th value of every parameter, also of those that depend on another."""
        block, place = divmod(number, BLOCK)
        if block != self._block:
            self._engine.reset().fast_forward(block * BLOCK)
            self._drawn, self._block = self._engine.draw(BLOCK, dtype=torch.float64).tolist(), block
        at = zip(self._space.items(), self._drawn[place], strict=True)
        return {name: dimension.at(u) for (name, dimension), u in at}
