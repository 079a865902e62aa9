"""What estimating flow needs of a picture by itself: worked out once, though a frame has a neighbour on either side."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale
from kornia.filters import get_gaussian_kernel1d
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow.variational import derivatives

__all__ = ["WORKING_SIDE", "Described", "Level", "describe"]

WORKING_SIDE = 480
"""Long side flow is worked out at, in pixels. Finer pictures cost time by its square and gain little."""
COARSEST_SIDE = 14
"""Short side of the coarsest level, at least."""
CONTRAST = 0.04
"""Local standard deviation, as a fraction of white, below which brightness counts as flat."""


class Level(NamedTuple):
    """A picture at one size."""

    brightness: Tensor
    """``[B, 1, h, w]``."""
    features: Tensor
    """``[B, 2, h, w]``, what is compared: the gradient of the locally normalised brightness."""
    slopes: Tensor
    """``[B, 4, h, w]``, its derivatives."""


class Described(NamedTuple):
    """What :func:`describe` gives."""

    shape: torch.Size
    """Of the picture, ``[B, 3, H, W]``."""
    levels: tuple[Level, ...]
    """Finest first, each half as large as the one before; the finest is of the size that flow is worked out at."""


def describe(picture: Tensor, *, working_side: int = WORKING_SIDE) -> Described:
    """Prepare a picture for :func:`videomatte.flow.estimate_both_flows`.

    Args:
        picture: ``[B, 3, H, W]`` floating point, 0..1, at least 8 pixels a side.
        working_side: long side to work at; larger pictures are reduced to it, smaller ones stay.

    Raises:
        ShapeError: the shape is not as above.
    """
    if picture.ndim != 4 or picture.shape[1] != 3 or not picture.is_floating_point() or min(picture.shape[2:]) < 8:
        raise ShapeError(f"describe: pictures must be [B, 3, H, W] float, H and W >= 8, got {list(picture.shape)}")
    pyramid = [_working_brightness(picture, working_side)]
    while min(pyramid[0].shape[2:]) >> len(pyramid) >= COARSEST_SIDE:
        pyramid.append(_along_both(_halving, pyramid[-1]))
    levels = []
    for brightness in pyramid:
        features = _features(brightness)
        levels.append(Level(brightness, features, derivatives(features)))
    return Described(picture.shape, tuple(levels))


def _working_brightness(picture: Tensor, side: int) -> Tensor:
    brightness: Tensor = rgb_to_grayscale(picture.float())
    height, width = picture.shape[2:]
    scale = side / max(height, width)
    if scale >= 1:
        return brightness
    size = (max(8, round(height * scale)), max(8, round(width * scale)))
    return F.interpolate(brightness, size=size, mode="bilinear", antialias=True, align_corners=False)


def _features(brightness: Tensor) -> Tensor:
    """Gradient of the locally normalised brightness: ``[B, 1, H, W]`` to ``[B, 2, H, W]``."""
    moments = torch.cat([brightness, brightness.square()], dim=1)
    mean, square = _along_both(_window, moments).chunk(2, dim=1)
    variance = (square - mean.square()).clamp_(min=0)
    normalised = (brightness - mean) * (variance + CONTRAST**2).rsqrt_()
    return derivatives(normalised)


def _along_both(filter_of: Callable[[int, torch.device], Tensor], planes: Tensor) -> Tensor:
    """A linear filter along columns and rows, as products with its matrices: on pictures this small a fraction of the
    time of convolutions."""
    down, across = (filter_of(length, planes.device) for length in planes.shape[2:])
    return down @ (planes @ across.T)


@lru_cache(32)
def _halving(length: int, device: torch.device) -> Tensor:
    """``[length // 2, length]``: blurred and resampled bilinearly, as kornia's ``pyrdown`` does."""
    blur = _gaussian(length, 5, 1.0, device)
    return F.interpolate(blur.T[None], size=length // 2, mode="linear", align_corners=False)[0].T.contiguous()


@lru_cache(32)
def _window(length: int, device: torch.device) -> Tensor:
    """``[length, length]``: the mean over a window of some 15 pixels."""
    return _gaussian(length, 13, 3.0, device)


def _gaussian(length: int, taps: int, sigma: float, device: torch.device) -> Tensor:
    """``[length, length]``, borders repeated."""
    weights = get_gaussian_kernel1d(taps, sigma, device=device)
    places = torch.arange(length, device=device)[:, None] + torch.arange(taps, device=device) - taps // 2
    matrix = torch.zeros(length, length, device=device)
    return matrix.scatter_add_(1, places.clamp_(0, length - 1), weights.expand(length, taps))
