"""Input scalings, each an affine map `x · scale + offset` per input.

`none` leaves inputs as they are; `fixed` is the page's (x − 0.5)/0.289, the moments of a uniform variable; `batch`
standardises with the batch's own moments; `minmax` maps the batch's range to [0, 1]. The gain then multiplies the
result.
"""

import torch
from torch import Tensor


def affine(
    scaling: str,
    gain: float,
    x: Tensor,  # (batch, inputs)
) -> tuple[Tensor, Tensor]:  # (inputs,), (inputs,)
    """Scale and offset of one batch, gain included. A constant input gets scale 1 before the gain."""
    ones = torch.ones_like(x[0])
    if scaling == "none":
        return gain * ones, 0 * ones
    if scaling == "fixed":
        return gain / 0.289 * ones, -0.5 * gain / 0.289 * ones
    if scaling == "batch":
        low, spread = x.mean(0), x.std(0, correction=0)
    else:
        low, spread = x.amin(0), x.amax(0) - x.amin(0)
    scale = gain / torch.where(spread > 0, spread, ones)
    return scale, -low * scale
