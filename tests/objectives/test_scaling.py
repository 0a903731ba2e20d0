"""Each scaling is the affine map that its name says, gain included."""

import pytest
import torch

from objectives.scaling import affine

X = torch.tensor([[0.0, 3.0], [0.5, 3.0], [1.0, 3.0]])


def test_fixed_scaling_is_the_pages() -> None:
    """`fixed` is (x − 0.5)/0.289, times the gain."""
    scale, offset = affine("fixed", 2.0, X)
    assert torch.allclose(X * scale + offset, 2 * (X - 0.5) / 0.289)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [("none", [0.0, 1.5, 3.0]), ("batch", [-3.674235, 0.0, 3.674235]), ("minmax", [0.0, 1.5, 3.0])],
)
def test_scaled_column(scaling: str, expected: list[float]) -> None:
    """A column of 0, ½, 1 with gain 3; `batch` has mean 0 and deviation 3."""
    scale, offset = affine(scaling, 3.0, X)
    assert (X * scale + offset)[:, 0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scaling", ["batch", "minmax"])
def test_a_constant_input_stays_finite(scaling: str) -> None:
    """An input that never changes becomes 0, not infinite."""
    scale, offset = affine(scaling, 5.0, X)
    assert (X * scale + offset)[:, 1].tolist() == [0.0, 0.0, 0.0]
