"""Masks grown and shrunk by a disc, and the trimaps made that way from a matte or a mask.

A disc of radius r holds the pixels whose centres lie at most r from its own: dx² + dy² ≤ r². A square, the usual
shortcut, reaches 1.4 times as far along diagonals and gives the unknown band corners. Sums of small discs would not be
discs either; here each row of the disc is applied exactly: for each row offset dy the mask, grown along its rows by the
disc's half-width √(r² - dy²), is laid over itself dy rows further up and down.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.errors import ShapeError
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN

__all__ = [
    "BAND",
    "box_around",
    "boxes_around",
    "dilate",
    "dilate_square",
    "erode",
    "trimap_from_alpha",
    "trimap_from_mask",
    "trimap_of",
]

BAND = 128
"""Rows of a picture that stay in a CPU's cache, with all that is made of them."""
OPAQUE, TRANSPARENT = 253.5 / 255, 1.5 / 255
"""Alphas surely in front and surely behind: the last 8-bit step at either end is dirt more often than softness."""


def dilate(mask: Tensor, radius: float) -> Tensor:
    """Grow a mask by a disc.

    Args:
        mask: ``[..., H, W]`` bool.
        radius: of the disc, in pixels, at least 0; below 1 nothing changes.

    Returns:
        ``[..., H, W]`` bool: true within ``radius`` of a true pixel.

    Raises:
        ShapeError: the mask is not bool, or has less than two dimensions.

    Convention:
        Distances are between pixel centres, rows downwards, columns to the right. Nothing grows in from outside the
        picture: what lies outside is taken to be as the nearest border pixel is.
    """
    if mask.ndim < 2 or mask.dtype != torch.bool:
        raise ShapeError(f"dilate and erode: mask must be [..., H, W] bool, got {list(mask.shape)} {mask.dtype}")
    reach = math.floor(radius)
    if reach < 1 or mask.numel() == 0:
        return mask.clone()
    height, width = mask.shape[-2:]
    most = min(reach, width - 1)
    # Each row of wide holds windows of so many pixels, by where they begin, so that one step widens them on both sides.
    # Bytes are quicker than bools, and |= would store each part once more.
    grown, wide, count = mask.clone().view(torch.uint8), F.pad(mask.view(torch.uint8), (most, most)), 1
    for dy in range(min(reach, height - 1), -1, -1):
        # Rows of the disc from its top to its middle: each is wider than the one before.
        half = min(math.isqrt(math.floor(radius * radius - dy * dy)), most)
        while count < 2 * half + 1:
            step = min(count, 2 * half + 1 - count)
            wide, count = wide[..., :-step] | wide[..., step:], count + step
        row = wide[..., most - half : most - half + width]
        grown[..., dy:, :].bitwise_or_(row[..., : height - dy, :])
        grown[..., : height - dy, :].bitwise_or_(row[..., dy:, :])
    return grown.view(torch.bool)


def dilate_square(mask: Tensor, reach: int) -> Tensor:
    """Grow a mask by a square, where corners do not matter and time does.

    Args:
        mask: ``[..., H, W]`` bool.
        reach: pixels to each side, at least 0.

    Returns:
        ``[..., H, W]`` bool: true where a pixel at most ``reach`` rows and ``reach`` columns away is.

    Convention:
        As :func:`dilate`.
    """
    grown = mask.clone().view(torch.uint8)
    for axis in (-1, -2):
        most = max(0, min(reach, mask.shape[axis] - 1))
        wide, count = F.pad(grown, (most, most) if axis == -1 else (0, 0, most, most)), 1
        while count < 2 * most + 1:  # as in dilate
            step = min(count, 2 * most + 1 - count)
            left = wide.shape[axis] - step
            wide, count = wide.narrow(axis, 0, left) | wide.narrow(axis, step, left), count + step
        grown = wide
    return grown.view(torch.bool)


def erode(mask: Tensor, radius: float) -> Tensor:
    """Shrink a mask by a disc: what stays is further than ``radius`` from every false pixel.

    Arguments, errors and convention as :func:`dilate`; the picture's border shrinks nothing.
    """
    return ~dilate(~mask, radius)


def box_around(mask: Tensor, margin: int = 0) -> tuple[slice, slice] | None:
    """The rows and columns that hold a mask and some pixels around it.

    Args:
        mask: ``[H, W]`` bool.
        margin: pixels to each side, as far as the picture goes.

    Returns:
        Rows and columns; ``None`` of an empty mask.

    Convention:
        The same pixel numbers as the mask's.
    """
    # The largest byte of lines is found in a twentieth of the time that any true pixel is.
    lines = [mask.view(torch.uint8).amax(dim).nonzero() for dim in (1, 0)]
    if not len(lines[0]):
        return None
    rows, columns = (
        slice(max(0, int(at[0]) - margin), min(int(at[-1]) + 1 + margin, length))
        for at, length in zip(lines, mask.shape, strict=True)
    )
    return rows, columns


def boxes_around(mask: Tensor, margin: int = 0) -> Iterator[tuple[slice, slice]]:
    """Boxes as :func:`box_around`'s that together hold a mask and some pixels around it; none has a pixel in common.

    On a CPU the picture is cut into bands of 128 rows, and what holds nothing is left out; elsewhere there is one box.

    Args:
        mask: ``[H, W]`` bool.
        margin: pixels to each side, as far as the picture goes.

    Convention:
        Whole bands, which begin at multiples of 128, from the top down.
    """
    height = len(mask)
    step = BAND if mask.device.type == "cpu" else height
    for top in range(0, height, step):
        box = box_around(mask[max(0, top - margin) : top + step + margin], margin)
        if box is not None:
            yield slice(top, min(top + step, height)), box[1]


def trimap_of(foreground: Tensor, background: Tensor) -> Tensor:
    """The trimap of two masks: 255 in the first, 0 in the second, 128 in neither or both.

    Args:
        foreground: ``[..., H, W]`` bool.
        background: ``[..., H, W]`` bool.

    Returns:
        ``[..., H, W]`` uint8.

    Convention:
        Every pixel by itself: nothing moves.
    """
    # Sums of bytes take a hundredth of the time of assignments by mask.
    trimap = (foreground > background).view(torch.uint8).mul_(FOREGROUND - UNKNOWN).add_(UNKNOWN)
    return trimap.sub_((background > foreground).view(torch.uint8).mul_(UNKNOWN - BACKGROUND))


def trimap_from_alpha(alpha: Tensor, radius: float) -> Tensor:
    """The trimap a known matte would be found from: unknown within ``radius`` of any soft pixel or hard edge.

    Args:
        alpha: ``[..., H, W]`` floating point in [0, 1]; up to 1.5/255 counts as behind, from 253.5/255 as in front.
        radius: pixels the opaque and the transparent areas are shrunk by; more gives a wider band.

    Returns:
        ``[..., H, W]`` uint8.

    Convention:
        As :func:`dilate`.
    """
    return trimap_of(erode(alpha >= OPAQUE, radius), erode(alpha <= TRANSPARENT, radius))


def trimap_from_mask(mask: Tensor, width: float) -> Tensor:
    """A trimap from a hard mask: an unknown band along its edge.

    Args:
        mask: ``[..., H, W]`` bool, true on the subject.
        width: of the band across the edge, in pixels, half of it on either side.

    Returns:
        ``[..., H, W]`` uint8.

    Raises:
        ShapeError: the mask is not bool, or has less than two dimensions.

    Convention:
        As :func:`dilate`.
    """
    return trimap_of(erode(mask, width / 2), erode(~mask, width / 2))
