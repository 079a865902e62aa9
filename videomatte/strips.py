"""Whole pictures worked on a few rows at a time.

Chains of formulas on every pixel make a picture of every step. In strips the steps stay in a core's cache, which takes
half the time or less, and no memory is asked of the system for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Enlarged", "strips"]

PIXELS = 2**16
"""Pixels of a strip: 256 KiB a plane of float32. Shorter operations would hold up those of other threads."""


def strips(picture: Tensor) -> Iterator[slice]:
    """The rows of a picture in strips, from the top down; all at once where that is no processor's work.

    Args:
        picture: ``[..., H, W]``.
    """
    height, width = picture.shape[-2:]
    rows = max(1, PIXELS // max(1, width)) if picture.device.type == "cpu" else height
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


class Enlarged:
    """A picture enlarged bilinearly, of which strips can be had, and single pixels.

    Args:
        picture: ``[C, h, w]`` float32.
        height: rows of the enlarged one.
        width: its columns.

    Convention:
        As ``F.interpolate`` with ``align_corners=False``: the pictures' outer edges coincide. Of equal size, it is the
        picture itself.
    """

    def __init__(self, picture: Tensor, height: int, width: int) -> None:
        self._picture = picture
        self._size = height, width

    @cached_property
    def _wide(self) -> Tensor:
        size = self._picture.shape[1], self._size[1]
        return F.interpolate(self._picture[None], size, mode="bilinear", align_corners=False)[0]

    def rows(self, rows: slice) -> Tensor:
        """``[C, n, W]``: some rows of it."""
        wide, last = self._wide, self._wide.shape[1] - 1
        at = torch.arange(rows.start, rows.stop, device=wide.device, dtype=wide.dtype)
        at = at.add_(0.5).mul_((last + 1) / self._size[0]).sub_(0.5).clamp_(0, last)
        above = at.long()
        upper, lower = (wide.index_select(1, row) for row in (above, (above + 1).clamp_(max=last)))
        return upper.lerp_(lower, at.sub_(above)[:, None])

    def at(self, places: Tensor) -> Tensor:
        """``[C, N]``: some pixels of it, given by their numbers, row by row, ``[N]`` int64; up to rounding."""
        height, width = self._size
        grid = self._picture.new_empty(2, len(places))
        torch.add(places % width, 0.5, out=grid[0]).mul_(2 / width).sub_(1)
        torch.add(places // width, 0.5, out=grid[1]).mul_(2 / height).sub_(1)
        read = F.grid_sample(self._picture[None], grid.T[None, None], padding_mode="border", align_corners=False)
        return read[0, :, 0]
