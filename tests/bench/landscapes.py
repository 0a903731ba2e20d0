"""Landscapes whose outcome is a formula, to see what a search does with many of them in little time.

Each has a best activation and optimizer, a valley of learning rate, gain and first-layer ratio, and misses above CAP
epochs; one hides the good activations behind a step, one has a region that is good at first and ends badly.
"""

import math
from collections.abc import Mapping
from typing import Any

from objectives.convergence import Curve, End, Outcome
from objectives.parameters import PARAMETERS
from search.spec.study_spec import StudySpec

CAP = 300
LANDSCAPES = ("smooth", "step", "trap")
SPACE = StudySpec.of().space


def log_epochs(landscape: str, params: Mapping[str, Any], noise: float) -> float:
    """The outcome of a configuration: the natural logarithm of its epochs, or of what it would need past the cap.

    About 10 at best, so that the search is not over when it finds an epoch more than the least.
    """
    order = {name: place for each in PARAMETERS.values() for place, name in enumerate(reversed(each.choices))}
    found = 2.5 + 0.4 * order[params["activation"]] + 0.25 * order[params["optimizer"]] + 0.2 * order[params["scaling"]]
    found += 1.2 * (math.log10(params["lr"]) + 2) ** 2
    found += 0.8 * (math.log10(params["gain"]) + math.log10(params["first_lr_ratio"]) / 2 - 0.6) ** 2
    found += 0.4 * max(0.0, 3 - math.log10(params["width"])) ** 2 + 0.5 * (params["hidden_layers"] - 1)
    found += 0.5 * order[params["bias_init"]] + 0.5 * order[params["batch_sampling"]]
    if landscape == "step" and order[params["activation"]] > 1:
        found += 3.0
    if landscape == "trap" and params["activation"] in ("relu", "gelu"):
        found += -1.0 if found > 3 else 1.5
    return found + noise


def outcome(found: float) -> tuple[bool, int, float]:
    """Whether what `log_epochs` says converged, in how many epochs, and else its gap."""
    past_the_cap = max(found, math.log(CAP)) - math.log(CAP)
    return found <= math.log(CAP), max(1, round(math.exp(min(found, 10.0)))), 1 - math.exp(-past_the_cap / 4)


def made(converged: bool, epochs: int, gap: float, seconds: float = 0.0) -> Outcome:
    """That as a trainer says it."""
    end, accuracy, loss = (End.CONVERGED, 1.0, 0.1) if converged else (End.CAP, 1 - gap, 1 + gap)
    least = {"accuracy": accuracy, "loss": loss, "best_accuracy": accuracy, "best_loss": loss}
    curve = Curve([0], [accuracy], [loss])
    reached = epochs if converged else None
    return Outcome(
        end=end, epochs=min(epochs, CAP), cap=CAP, gap=gap, reached=reached, seconds=seconds, curve=curve, **least
    )
