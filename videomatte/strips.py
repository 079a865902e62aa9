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

from videomatte.pixels import rows_and_columns

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
        # Of rows, in a quarter of the time that it takes of pictures.
        return F.interpolate(self._picture, self._size[1], mode="linear", align_corners=False)

    @cached_property
    def _lines(self) -> tuple[Tensor, Tensor, Tensor]:
        at = torch.arange(self._size[0], device=self._picture.device, dtype=self._picture.dtype)
        return _between(at, self._picture.shape[1], self._size[0])

    def rows(self, rows: slice) -> Tensor:
        """``[C, n, W]``: some rows of it."""
        above, below, down = (places[rows] for places in self._lines)
        return self._wide.index_select(1, above).lerp_(self._wide.index_select(1, below), down[:, None])

    def at(self, places: Tensor) -> Tensor:
        """``[C, N]``: some pixels of it, given by their numbers, row by row, ``[N]`` int64."""
        (_, small_height, small_width), (height, width) = self._picture.shape, self._size
        pixels, dtype = self._picture.flatten(1), self._picture.dtype
        row, column = rows_and_columns(places, width)
        left, right, aside = _between(column.to(dtype), small_width, width)
        above, below, down = _between(row.to(dtype), small_height, height)
        upper, lower = (
            pixels.index_select(1, row + left).lerp_(pixels.index_select(1, row + right), aside)
            for row in (above * small_width, below * small_width)
        )
        return upper.lerp_(lower, down)


def _between(at: Tensor, small: int, large: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels ``at`` of a line enlarged from ``small`` to ``large``: the two small ones that each lies between, and how
    far from the first to the second. ``at`` is used up."""
    at = at.add_(0.5).mul_(small / large).sub_(0.5).clamp_(0, small - 1)
    first = at.long()
    return first, (first + 1).clamp_(max=small - 1), at.sub_(first)
