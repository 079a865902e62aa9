"""Pictures fitted to a frame of another shape."""

from fractions import Fraction
from math import ceil
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Fit", "fit"]

Fit = Literal["cover", "contain", "stretch"]
"""``cover`` fills the frame and loses what stands over, ``contain`` shows all between black bars, ``stretch`` gives up
the picture's shape."""


def fit(picture: Tensor, height: int, width: int, how: Fit = "cover", aspect: Fraction = Fraction(1)) -> Tensor:
    """Scale a picture to a frame.

    Args:
        picture: ``[3, h, w]`` floating point.
        height: rows of the frame.
        width: columns of the frame.
        how: what happens where the shapes differ.
        aspect: width of the picture's pixels over that of the frame's.

    Returns:
        ``[3, height, width]``; the picture itself where nothing has to be scaled. Values stay within the picture's.

    Convention:
        Centres of pictures fall on one another; samples lie at pixel centres. Bicubic, with the kernel widened when
        a picture becomes smaller (Keys, "Cubic convolution interpolation for digital image processing", 1981). Bars
        are 0. Where an odd number of rows or columns is cut off or added, one more at the bottom or right.
    """
    rows, columns = picture.shape[1:]
    if how == "stretch":
        size = height, width
    else:
        ratios = Fraction(height, rows), Fraction(width, columns) / aspect
        scale = max(ratios) if how == "cover" else min(ratios)
        picture = _middle(picture, height / scale, width / scale / aspect)
        size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[2] * aspect * scale))
    if size != tuple(picture.shape[1:]):
        low, high = picture.aminmax()
        scaled = F.interpolate(picture[None], size, mode="bicubic", align_corners=False, antialias=True)[0]
        picture = scaled.clamp(low, high)  # a cubic swings beyond the values it goes through
    top, left = ((have - want) // 2 for have, want in zip(size, (height, width), strict=True))
    picture = picture[:, max(0, top) : max(0, top) + height, max(0, left) : max(0, left) + width]
    bars = [max(0, -left), width - picture.shape[2] - max(0, -left)]
    bars += [max(0, -top), height - picture.shape[1] - max(0, -top)]
    return F.pad(picture, bars) if any(bars) else picture


def _middle(picture: Tensor, rows: Fraction, columns: Fraction) -> Tensor:
    """What shows in the frame, and some more for the kernel: a strip scaled whole could take any amount of memory."""
    cut = [max(0, (have - ceil(want)) // 2 - 8) for have, want in zip(picture.shape[1:], (rows, columns), strict=True)]
    return picture[:, cut[0] : picture.shape[1] - cut[0], cut[1] : picture.shape[2] - cut[1]]
