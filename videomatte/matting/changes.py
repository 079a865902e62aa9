"""What changes from one frame to the next: where nothing does, nothing has to be found out again."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["changed"]

BLOCK = 32
"""Side of the blocks that are compared, in pixels."""
REACH = 2
"""Blocks around a change that count as changed: what a network reads beside a pixel, but for distant context."""


def changed(rgb: Tensor, trimap: Tensor) -> Tensor:
    """Where pictures differ from the one before in the batch, to the bit: coded still parts of a shot do not.

    Convention: blocks start at row 0, column 0.

    Args:
        rgb: ``[B, 3, H, W]``.
        trimap: ``[B, 1, H, W]``.

    Returns:
        ``[B, 1, H, W]`` bool; true all over the first picture.
    """
    height, width = rgb.shape[2:]
    differs = torch.ones_like(trimap, dtype=torch.bool)
    differs[1:] = (rgb[1:] != rgb[:-1]).any(1, keepdim=True) | (trimap[1:] != trimap[:-1])
    blocks = F.max_pool2d(differs.float(), BLOCK, ceil_mode=True)
    blocks = F.max_pool2d(blocks, 2 * REACH + 1, 1, REACH) > 0
    return blocks.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)[:, :, :height, :width]
