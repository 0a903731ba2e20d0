"""Each scaling is the affine map that its name says."""

import pytest
import torch

from objectives.data.scaling import scaled

X = torch.tensor([[0.0, 3.0], [0.5, 3.0], [1.0, 3.0]])


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("none", [0.0, 0.5, 1.0]),
        ("fixed", [-0.5 / 0.289, 0.0, 0.5 / 0.289]),
        ("batch", [-1.224745, 0.0, 1.224745]),
        ("minmax", [0.0, 0.5, 1.0]),
    ],
)
def test_scaled_column(scaling: str, expected: list[float]) -> None:
    """A column of 0, ½, 1: `fixed` is the page's (x − 0.5)/0.289, `batch` has mean 0 and deviation 1."""
    assert scaled(scaling, X, X)[:, 0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scaling", ["batch", "minmax"])
def test_a_constant_input_stays_finite(scaling: str) -> None:
    """An input that never changes becomes 0, not infinite."""
    assert scaled(scaling, X, X)[:, 1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("scaling", "expected"), [("batch", 2 * 1.224745), ("minmax", 1.5)])
def test_other_points_are_scaled_as_the_batch_is(scaling: str, expected: float) -> None:
    """Moments and range are the batch's, whatever is scaled by them."""
    assert scaled(scaling, torch.tensor([[1.5, 0.0]]), X)[0, 0].item() == pytest.approx(expected, abs=1e-5)
