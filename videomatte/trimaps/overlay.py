"""A trimap laid over its frame, to look at."""

import torch
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.types import BACKGROUND, UNKNOWN, unit_range

__all__ = ["overlay"]

DIMMED = 0.35
"""Brightness left of the background."""
TINT, SHARE = (1.0, 0.7, 0.0), 0.6
"""Colour of the unknown band, and how much of it is mixed in."""


def overlay(rgb: Tensor, trimap: Tensor) -> Tensor:
    """The frame with its background dimmed and its unknown band in amber; the subject is left as it is.

    Args:
        rgb: ``[3, H, W]`` of any pixel type.
        trimap: ``[1, H, W]`` uint8.

    Returns:
        ``[3, H, W]`` float32 in 0..1.

    Raises:
        ShapeError: the sizes differ.

    Convention:
        Every pixel by itself: nothing moves.
    """
    if rgb.shape[1:] != trimap.shape[1:]:
        raise ShapeError(f"overlay: sizes must be equal, got {list(rgb.shape)} and {list(trimap.shape)}")
    picture = unit_range(rgb).nan_to_num().clamp(0, 1)
    tint = torch.tensor(TINT, device=rgb.device).view(3, 1, 1)
    picture = torch.where(trimap == UNKNOWN, torch.lerp(picture, tint, SHARE), picture)
    return torch.where(trimap == BACKGROUND, DIMMED * picture, picture)
