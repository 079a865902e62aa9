"""Sums over windows against SciPy's."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from videomatte.windows import box_mean, square_sums, window_sums


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13, 17, 30])
@pytest.mark.parametrize("dim", [1, 2])
def test_equals_scipys(count: int, dim: int) -> None:
    planes = torch.rand(2, 30, 41, dtype=torch.float64)
    length = planes.shape[dim] - count + 1
    means = scipy.ndimage.uniform_filter1d(planes.numpy(), count, axis=dim, origin=-(count // 2))
    expected = count * np.take(means, range(length), axis=dim)
    np.testing.assert_allclose(window_sums(planes, count, dim).numpy(), expected, atol=1e-12)


def test_nothing_but_zeros_sums_up_to_zero_after_anything() -> None:
    planes = torch.cat([1e6 * torch.rand(1, 1, 500), torch.zeros(1, 1, 40)], dim=2)
    assert (window_sums(planes, 21, 2)[0, 0, -20:] == 0).all()


def test_one_neighbour_is_the_picture() -> None:
    planes = torch.rand(3, 4, 5)
    assert torch.equal(window_sums(planes, 1, 1), planes)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_sums_over_squares_are_those_of_pooling(side: int) -> None:
    planes = torch.rand(2, 3, 11, 14)
    expected = torch.nn.functional.avg_pool2d(planes, side, 1) * side**2
    torch.testing.assert_close(square_sums(planes, side), expected, rtol=1e-6, atol=1e-6)
    assert side > 1 or torch.equal(square_sums(planes, side), planes)


@pytest.mark.parametrize("reach", [0, 1, 4])
def test_means_over_squares_are_scipys_with_the_border_repeated(reach: int) -> None:
    planes = torch.rand(2, 9, 13)
    side = 2 * reach + 1
    expected = scipy.ndimage.uniform_filter(planes.double().numpy(), (1, side, side), mode="nearest")
    np.testing.assert_allclose(box_mean(planes, reach).numpy(), expected, atol=1e-6)  # float32's rounding
    assert reach > 0 or torch.equal(box_mean(planes, reach), planes)
