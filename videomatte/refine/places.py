"""The pixels of a frame that the calm over time may change, where most of a frame stays as it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videomatte.pixels import places_of, rows_and_columns
from videomatte.trimaps.morphology import box_around, dilate_square

__all__ = ["Places"]

SAMPLED = 29
"""Every how many pixels the noise of two pictures is measured."""


@dataclass(frozen=True, slots=True)
class Places:
    """The pixels that cost time: those that may change, a twentieth of a frame or so, those next to them, and a sample
    of the box around them. Planes read there are ``[C, N]``."""

    near: Tensor
    """``[N]`` int64: all of them, numbered row by row through the frame."""
    changing: Tensor
    """Which of them may change, numbers into the N."""
    sample: Tensor
    """Which of them are the sample, numbers into the N."""
    box: tuple[int, int]
    """Rows and columns of the box, with a margin of one pixel."""
    in_box: Tensor
    """``[N]`` int64: all of them, numbered row by row through it."""
    within: Tensor
    """``[M]`` int64: those that may change, numbered row by row through the box without its margin."""
    counted: Tensor
    """``[h, w]``: how many of the 3 x 3 pixels around each of the box are no margin."""

    @classmethod
    def of(cls, changing: Tensor, size: tuple[int, int]) -> Places:
        """Of the pixels that may change, numbered row by row, ``[M]`` int64, in order."""
        mask = torch.zeros(size, dtype=torch.bool, device=changing.device)
        mask.view(-1)[changing] = True
        box = box_around(mask)
        assert box is not None
        rows, columns = box
        inner = mask[rows, columns]
        width = inner.shape[1]
        near = dilate_square(inner, 1)
        near.view(-1)[::SAMPLED] = True
        places = places_of(near)
        row, column = rows_and_columns(places, width)
        which = places_of(inner.flatten().index_select(0, places))
        down, across = (torch.full((n,), 3.0, device=changing.device) for n in inner.shape)
        for counts in (down, across):
            counts[0] -= 1
            counts[-1] -= 1
        return cls(
            (rows.start + row) * size[1] + columns.start + column,
            which,
            places_of(places % SAMPLED == 0),
            (len(inner) + 2, width + 2),
            (row + 1) * (width + 2) + column + 1,
            places.index_select(0, which),
            down[:, None] * across,
        )

    def means(self, values: Tensor) -> Tensor:
        """Over the 3 x 3 pixels around those that may change, as far as they lie in the box: ``[N]`` to ``[M]``."""
        plane = values.new_zeros(self.box)
        plane.view(-1).scatter_(0, self.in_box, values)
        # Sums of slices take a tenth of the time of pooling.
        rows = (plane[:-2] + plane[1:-1]).add_(plane[2:])
        means = (rows[:, :-2] + rows[:, 1:-1]).add_(rows[:, 2:]).div_(self.counted)
        return means.view(-1).index_select(0, self.within)
