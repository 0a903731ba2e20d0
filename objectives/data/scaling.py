"""Input scalings, each an affine map per input, before the gain.

`none` leaves inputs as they are; `fixed` is the page's (x − 0.5)/0.289, the moments of a uniform variable; `batch`
standardises with a batch's moments; `minmax` maps a batch's range to [0, 1].
"""

import torch
from torch import Tensor


def scaled(scaling: str, x: Tensor, batch: Tensor) -> Tensor:  # (n, inputs), (batch, inputs) → (n, inputs)
    """Inputs scaled by the moments or the range of a batch. An input that is constant in it is only shifted."""
    if scaling == "none":
        return x
    if scaling == "fixed":
        return (x - 0.5) / 0.289
    low, spread = moments(scaling, batch)
    return (x - low) / spread


def moments(scaling: str, batch: Tensor) -> tuple[Tensor, Tensor]:  # (batch, inputs) → (inputs,), (inputs,)
    """The number that `batch` or `minmax` subtracts from each input, and the one that divides the difference."""
    if scaling == "batch":
        low, spread = batch.mean(0), batch.std(0, correction=0)
    else:
        low, spread = batch.amin(0), batch.amax(0) - batch.amin(0)
    return low, torch.where(spread > 0, spread, torch.ones_like(spread))
