"""Training losses against NumPy and SciPy written from the same formulas."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from videomatte.training.losses import (
    LEVELS,
    gradient_penalty,
    laplacian_pyramid,
    matting_loss,
    temporal,
    unknown_l1,
)


@pytest.fixture
def mattes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two predictions, their truths and unknown regions; the second region is a quarter of the first's size."""
    generator = torch.Generator().manual_seed(3)
    alpha, truth = torch.rand(2, 2, 1, 64, 96, generator=generator)
    unknown = torch.zeros(2, 1, 64, 96, dtype=torch.bool)
    unknown[0, :, 8:40, 16:80] = True
    unknown[1, :, 8:24, 16:48] = True
    return alpha, truth, unknown


def test_unknown_l1_counts_pictures_alike(mattes: tuple[torch.Tensor, ...]) -> None:
    alpha, truth, unknown = mattes
    error, region = np.abs(alpha.numpy() - truth.numpy()), unknown.numpy()
    expected = np.mean([error[i][region[i]].mean() for i in range(2)])
    assert float(unknown_l1(alpha, truth, unknown)) == pytest.approx(expected, rel=1e-5)


def test_a_picture_without_a_region_counts_for_nothing(mattes: tuple[torch.Tensor, ...]) -> None:
    alpha, truth, unknown = mattes
    unknown[1] = False
    assert float(unknown_l1(alpha, truth, unknown)) == pytest.approx(
        float(unknown_l1(alpha[:1], truth[:1], unknown[:1]))
    )
    for loss in (unknown_l1, laplacian_pyramid, gradient_penalty):
        assert float(loss(alpha, truth, torch.zeros_like(unknown))) == 0


def test_gradient_penalty_is_sobel(mattes: tuple[torch.Tensor, ...]) -> None:
    alpha, truth, unknown = (x[:1] for x in mattes)

    def sobel(x: torch.Tensor) -> np.ndarray:
        # SciPy's Sobel is eight times a derivative; "nearest" holds the border.
        return np.stack([ndimage.sobel(x[0, 0].numpy(), axis=axis, mode="nearest") / 8 for axis in (0, 1)])

    predicted, true = sobel(alpha), sobel(truth)
    per_pixel = np.abs(predicted - true).sum(0) + 0.01 * np.abs(predicted).sum(0)
    expected = per_pixel[unknown[0, 0].numpy()].mean()
    assert float(gradient_penalty(alpha, truth, unknown)) == pytest.approx(expected, rel=1e-5)


def test_laplacian_pyramid_is_the_bands_of_the_difference(mattes: tuple[torch.Tensor, ...]) -> None:
    alpha, truth, unknown = (x[:1] for x in mattes)
    region = unknown[0, 0].numpy()
    level = np.where(region, (alpha - truth)[0, 0].numpy(), 0)
    total = 0.0
    for k in range(LEVELS):
        smooth = level
        for axis in (0, 1):
            smooth = ndimage.correlate1d(smooth, np.array([1, 4, 6, 4, 1]) / 16, axis=axis, mode="nearest")
        coarse = smooth.reshape(smooth.shape[0] // 2, 2, smooth.shape[1] // 2, 2).mean((1, 3))
        # Bilinear enlargement of areas: sample i of the double size lies at (i - 1/2) / 2 of the single.
        rows, columns = ((np.arange(n) - 0.5) / 2 for n in level.shape)
        up = ndimage.map_coordinates(coarse, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")
        total += 2**k * np.abs(level - up).mean() / region.mean()
        level = coarse
    assert float(laplacian_pyramid(alpha, truth, unknown)) == pytest.approx(total / LEVELS, rel=1e-4)


def test_temporal_sees_flicker_and_not_an_error_that_stays() -> None:
    truth = torch.full((2, 1, 8, 8), 0.5)
    unknown = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    follows = torch.tensor([False, True])
    steady, flicker = truth + 0.2, truth + torch.tensor([0.2, -0.2])[:, None, None, None]
    assert float(temporal(steady, truth, unknown, follows)) == pytest.approx(0, abs=1e-7)
    # The change is 0.4 off on one of two pictures.
    assert float(temporal(flicker, truth, unknown, follows)) == pytest.approx(0.2)
    assert float(temporal(flicker, truth, unknown, torch.tensor([False, False]))) == 0


def test_minimum_is_the_truth(mattes: tuple[torch.Tensor, ...]) -> None:
    alpha, truth, unknown = mattes
    follows = torch.tensor([False, True])
    free = alpha.clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.04)
    for _ in range(100):
        optimizer.zero_grad()
        torch.stack(list(matting_loss(free, truth, unknown, follows).values())).sum().backward()
        optimizer.step()
    # The hundredth of the gradient's own size in the penalty pulls a little toward flat, hence not exactly the truth.
    found = free.detach()
    assert float((found - truth).abs()[unknown].mean()) < 0.1 * float((alpha - truth).abs()[unknown].mean())
