"""What a matte is trained on: ViTMatte's losses, and one that keeps two moments consistent.

Source: Yao et al., "ViTMatte", 2024, section 3.5: L1 apart for the unknown and the known region, the Laplacian pyramid
of Hou and Liu ("Context-Aware Image Matting", 2019) and the gradient penalty of Dai et al. ("Boosting Robustness of
Image Matting with Context Assembling and Strong Data Augmentation", 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["gradient_penalty", "laplacian_pyramid", "matting_loss", "temporal", "unknown_l1"]

LEVELS = 5
"""Octaves of the Laplacian pyramid."""


def matting_loss(alpha: Tensor, truth: Tensor, unknown: Tensor, follows: Tensor) -> dict[str, Tensor]:
    """All parts, weighted as they are summed.

    Args:
        alpha: ``[B, 1, H, W]`` predicted.
        truth: ``[B, 1, H, W]`` in 0..1.
        unknown: ``[B, 1, H, W]`` bool.
        follows: ``[B]`` bool, true for a picture that is the one before it a moment later.

    Returns:
        Scalars by name; their sum is the loss.
    """
    return {
        "unknown": unknown_l1(alpha, truth, unknown),
        "known": 0.2 * unknown_l1(alpha, truth, ~unknown),
        "laplacian": 0.5 * laplacian_pyramid(alpha, truth, unknown),
        "gradient": 0.5 * gradient_penalty(alpha, truth, unknown),
        "temporal": temporal(alpha, truth, unknown, follows),
    }


def unknown_l1(alpha: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean absolute difference within a region, each picture counting alike whatever its region's size."""
    return _mean(_per_picture((alpha - truth).abs(), region), region)


def laplacian_pyramid(alpha: Tensor, truth: Tensor, unknown: Tensor) -> Tensor:
    """Absolute differences of band-pass levels, level k weighted 2^k, over the unknown region.

    Known pixels are taken from the truth first, so that they add nothing but their part in the unknown ones' bands.
    """
    difference = torch.where(unknown, alpha - truth, torch.zeros_like(alpha))
    total = alpha.new_zeros(alpha.shape[0])
    area = unknown.float().mean((1, 2, 3)).clamp(min=1e-6)
    for level in range(LEVELS):
        if min(difference.shape[2:]) < 2:
            break
        coarse = F.avg_pool2d(_smooth(difference), 2, ceil_mode=True)
        up = F.interpolate(coarse, size=difference.shape[2:], mode="bilinear", align_corners=False)
        # Mean over the picture by the unknown share: the mean over unknown pixels, whatever the level's size.
        total = total + 2.0**level * (difference - up).abs().mean((1, 2, 3)) / area
        difference = coarse
    return _mean(total / LEVELS, unknown)


def gradient_penalty(alpha: Tensor, truth: Tensor, unknown: Tensor) -> Tensor:
    """Absolute differences of Sobel gradients in the unknown region, and a hundredth of the gradient itself."""
    predicted, true = _sobel(alpha), _sobel(truth)
    error = (predicted - true).abs().sum(1, keepdim=True) + 0.01 * predicted.abs().sum(1, keepdim=True)
    return _mean(_per_picture(error, unknown), unknown)


def temporal(alpha: Tensor, truth: Tensor, unknown: Tensor, follows: Tensor) -> Tensor:
    """How much the change between two moments differs from the true change, where both are unknown.

    Source: the temporal coherence loss of Lin et al., "Robust High-Resolution Video Matting with Temporal Guidance",
    2022.
    """
    if not bool(follows.any()):
        return alpha.new_zeros(())
    later = follows.nonzero()[:, 0]
    region = unknown[later] & unknown[later - 1]
    change = (alpha[later] - alpha[later - 1]) - (truth[later] - truth[later - 1])
    return _mean(_per_picture(change.abs(), region), region) * len(later) / len(follows)


def _per_picture(values: Tensor, region: Tensor) -> Tensor:
    """Mean of ``[B, 1, H, W]`` over each picture's region, ``[B]``, 0 where there is none."""
    inside = region.to(values.dtype)
    return (values * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)


def _mean(values: Tensor, region: Tensor) -> Tensor:
    """Mean of ``[B]`` over pictures that have a region at all."""
    some = region.flatten(1).any(1).to(values.dtype)
    return (values * some).sum() / some.sum().clamp(min=1)


def _smooth(x: Tensor) -> Tensor:
    """The binomial 1 4 6 4 1 along both axes."""
    kernel = x.new_tensor([1, 4, 6, 4, 1]) / 16
    x = F.conv2d(F.pad(x, (0, 0, 2, 2), mode="replicate"), kernel.view(1, 1, 5, 1))
    return F.conv2d(F.pad(x, (2, 2, 0, 0), mode="replicate"), kernel.view(1, 1, 1, 5))


def _sobel(x: Tensor) -> Tensor:
    """Gradient along columns and rows ``[B, 2, H, W]``, 1 for a ramp of 1 a pixel; borders are held."""
    across = x.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    kernels = torch.stack([across, across.T])[:, None]
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels)
