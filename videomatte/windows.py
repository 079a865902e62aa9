"""Sums and means over windows of pixels, exact and quick."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["box_mean", "slopes", "square_sums", "window_sums"]


def window_sums(planes: Tensor, count: int, dim: int) -> Tensor:
    """Sums of neighbours along an axis.

    Windows are doubled again and again: pooling costs more the wider they are, and running sums carry the rounding of
    all that they have run over, so that windows of nothing but zeros would not sum up to zero, to the bit.

    Args:
        planes: of any shape, at least ``count`` long along the axis.
        count: neighbours summed, at least 1.
        dim: the axis.

    Returns:
        As ``planes``, shorter by ``count - 1`` along the axis.

    Convention:
        The first sum is that of the first ``count``. A count of 1 gives ``planes`` itself.
    """
    length = planes.shape[dim] - count + 1
    total, taken, width = None, 0, 1
    while width <= count:
        if count & width:
            part = planes.narrow(dim, taken, length)
            total, taken = part if total is None else total + part, taken + width
        if 2 * width <= count:
            doubled = planes.shape[dim] - width
            planes = planes.narrow(dim, 0, doubled) + planes.narrow(dim, width, doubled)
        width *= 2
    assert total is not None
    return total


def square_sums(planes: Tensor, side: int) -> Tensor:
    """Sums over squares of ``[..., H, W]``, by :func:`window_sums`; shorter by ``side - 1`` down and across."""
    return window_sums(window_sums(planes, side, -2), side, -1)


def box_mean(picture: Tensor, reach: int) -> Tensor:
    """Means over squares of ``2 reach + 1`` pixels a side; beyond the border lie repeats of its pixels.

    Args:
        picture: ``[C, H, W]`` float32.
        reach: pixels to each side, at least 0; more is hardly more work.

    Convention:
        Squares are centred on their pixel: nothing moves.
    """
    side = 2 * reach + 1
    padded = F.pad(picture, [reach] * 4, mode="replicate")
    return square_sums(padded, side) / side**2


def slopes(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences across and down, a pixel being 1 long; beyond the border lie repeats of its pixels.

    Args:
        plane: ``[1, H, W]`` floating point.
    """
    padded = F.pad(plane[None], [1] * 4, mode="replicate")[0]
    return (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2, (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
