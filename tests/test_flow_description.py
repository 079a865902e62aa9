"""What flow compares, against kornia's and SciPy's filters."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from scipy.ndimage import correlate1d, median_filter

from videomatte.errors import ShapeError
from videomatte.flow import describe
from videomatte.flow.description import CONTRAST
from videomatte.flow.variational import derivatives, median

GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


@pytest.mark.parametrize(("height", "width"), [(61, 90), (28, 28), (8, 40)])
def test_levels_are_those_of_a_gaussian_pyramid(height: int, width: int) -> None:
    picture = torch.rand(2, 3, height, width)
    expected = (picture * GREY).sum(dim=1, keepdim=True)
    levels = describe(picture).levels
    assert len(levels) == 1 + sum(min(height, width) >> halvings >= 14 for halvings in (1, 2, 3))
    for level in levels:
        # Sums of at most 13 x 13 products, rounded in float32.
        torch.testing.assert_close(level.brightness, expected, rtol=0, atol=1e-5)
        mean, square = (
            gaussian_blur2d(x, 13, (3.0, 3.0), border_type="replicate") for x in (expected, expected.square())
        )
        normalised = (expected - mean) / ((square - mean.square()).clamp(min=0) + CONTRAST**2).sqrt()
        # 1 / CONTRAST times as much: what is divided by may be as small.
        torch.testing.assert_close(level.features, derivatives(normalised), rtol=0, atol=3e-4)
        blurred = gaussian_blur2d(expected, 5, (1.0, 1.0), border_type="replicate")
        expected = F.interpolate(blurred, (expected.shape[2] // 2, expected.shape[3] // 2), mode="bilinear")


def test_a_picture_is_described_at_the_working_size() -> None:
    described = describe(torch.rand(1, 3, 90, 160), working_side=40)
    assert described.shape == (1, 3, 90, 160)
    assert described.levels[0].brightness.shape == (1, 1, 22, 40)
    with pytest.raises(ShapeError, match=">= 8"):
        describe(torch.rand(1, 3, 7, 160))


def test_derivatives_agree_with_scipys() -> None:
    planes = torch.rand(2, 3, 17, 23)
    taps = np.array([1, -8, 0, 8, -1]) / 12
    expected = [correlate1d(planes.double().numpy(), taps, axis=axis, mode="nearest") for axis in (3, 2)]
    np.testing.assert_allclose(derivatives(planes).numpy(), np.concatenate(expected, axis=1), atol=1e-6)


def test_the_median_agrees_with_scipys() -> None:
    planes = torch.randn(2, 3, 17, 23).round(decimals=1)  # with many a tie
    expected = median_filter(planes.numpy(), size=(1, 1, 3, 3), mode="nearest")
    assert np.array_equal(median(planes).numpy(), expected)
