"""The small picture of a frame that beliefs live on, and what is worked out of it once."""

from __future__ import annotations

from functools import cached_property
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow import Described, describe
from videomatte.trimaps.statistics import colour_bins
from videomatte.types import finite_unit_range, unit_range

__all__ = ["SmallPicture", "reduced", "reduced_picture"]

SIDE = 480
"""Long side of the pictures on which beliefs are carried."""
FLOW_SIDE = 240
"""Long side at which motion is estimated here: at 480, three times the work, masks overlap by a hundredth more."""


class SmallPicture:
    """A frame's picture, reduced.

    Args:
        rgb: ``[1, 3, h, w]`` float32 in 0..1.
    """

    def __init__(self, rgb: Tensor) -> None:
        self.rgb = rgb

    @classmethod
    def of(cls, rgb: Tensor) -> Self:
        """Of a frame's picture, ``[3, H, W]`` of any of its types."""
        return cls(reduced_picture(rgb, SIDE))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rgb.shape[2], self.rgb.shape[3]

    @cached_property
    def described(self) -> Described:
        """What flow needs of it."""
        return describe(self.rgb, working_side=FLOW_SIDE)

    @cached_property
    def bins(self) -> Tensor:
        """What colour statistics need of it."""
        return colour_bins(self.rgb)


def reduced_picture(rgb: Tensor, side: int) -> Tensor:
    """A frame's picture with no more than so many pixels along its longer side, and at least 8 along the other.

    Args:
        rgb: ``[3, H, W]`` of any of a frame's types.
        side: pixels.

    Returns:
        ``[1, 3, h, w]`` float32 in 0..1, as by :func:`reduced`.

    Convention:
        As :func:`reduced`.
    """
    if rgb.is_floating_point():
        rgb = finite_unit_range(rgb).clamp_(0, 1)
    height, width = rgb.shape[1:]
    scale = side / max(height, width)
    if scale < 1:
        height, width = max(8, round(height * scale)), max(8, round(width * scale))
    return reduced(rgb, height, width)


def reduced(planes: Tensor, height: int, width: int) -> Tensor:
    """Planes averaged down, with weights that fall off linearly.

    Args:
        planes: ``[C, H, W]`` uint8, uint16 or float.
        height: rows wanted.
        width: columns wanted.

    Returns:
        ``[1, C, height, width]`` float32, of full range 0..1; of uint8 on a CPU rounded to its steps, for so it takes
        a fraction of the time.

    Convention:
        The pictures' outer edges coincide.
    """
    planes = planes[None]
    if planes.dtype != torch.uint8 or planes.device.type != "cpu":
        planes = unit_range(planes)
    if planes.shape[2:] != (height, width):
        planes = F.interpolate(planes, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return unit_range(planes)
