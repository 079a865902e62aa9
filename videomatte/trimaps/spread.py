"""What is known in some places, spread smoothly into all others; and pictures reduced and enlarged."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.strips import Enlarged, strips
from videomatte.types import finite_unit_range, from_unit_range

__all__ = [
    "as_weight",
    "enlarge",
    "enlarge_mask",
    "enlarge_nearest",
    "enlarge_pixels",
    "filled_blocks",
    "shrink",
    "shrink_whole",
    "spread",
]


def spread(values: Tensor, weight: Tensor, block: float) -> Tensor:
    """Weighted means over blocks, filled in from ever coarser blocks where nothing has weight.

    The pull-push of Gortler et al., "The lumigraph", SIGGRAPH 1996.

    Args:
        values: ``[C, H, W]`` float32.
        weight: ``[1, H, W]``, float32 in [0, 1] or bool.
        block: side of the finest blocks, in pixels; more gives a smoother result.

    Returns:
        ``[C, H, W]`` float32; 0 where nothing at all has weight.

    Convention:
        Blocks tile the picture from the top left corner; between their centres the result is bilinear. A constant
        comes back as it was.
    """
    (height, width), weight = values.shape[-2:], as_weight(weight)
    blocks = max(1, round(height / block)), max(1, round(width / block))
    means = [F.adaptive_avg_pool2d(planes, blocks) for planes in (values * weight, weight)]
    return enlarge(filled_blocks(torch.cat(means)), (height, width))


def as_weight(mask: Tensor) -> Tensor:
    """A mask as float32, by way of bytes: a tenth of the time that bools take. Floats are left as they are."""
    return mask.view(torch.uint8).float() if mask.dtype == torch.bool else mask


def filled_blocks(weighted: Tensor) -> Tensor:
    """The same block by block, ``[C, h, w]``; of values times their weight and the weight, means over each block,
    ``[C + 1, h, w]``."""
    sums, size = [weighted], tuple(weighted.shape[-2:])
    while max(size) > 1:
        size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        sums.append(F.adaptive_avg_pool2d(sums[-1], size))
    result = sums[-1][:-1] / sums[-1][-1:].clamp(min=1e-9)
    for finer in reversed(sums[:-1]):
        coarse = F.interpolate(result[None], finer.shape[-2:], mode="bilinear", align_corners=False)[0]
        trust = (4 * finer[-1:]).clamp(max=1)  # a block of which a quarter is known speaks for itself
        result = coarse + trust * (finer[:-1] / finer[-1:].clamp(min=1e-9) - coarse)
    return result


def shrink(picture: Tensor, longer: int) -> Tensor:
    """Pixels of any dtype, ``[C, H, W]``, as float32; reduced to so many along the longer side, if there are more."""
    size = _shrunk(picture, longer)
    if size is None:
        return finite_unit_range(picture)
    # Plane by plane: asking the system for the memory of whole pictures takes longer than filling it.
    return torch.stack([F.adaptive_avg_pool2d(finite_unit_range(plane)[None], size)[0] for plane in picture])


def shrink_whole(mask: Tensor, longer: int) -> Tensor:
    """A mask, ``[H, W]`` bool, reduced as pictures are by :func:`shrink`: true where all that a pixel covers is."""
    size, shrunk = _shrunk(mask, longer), mask.view(torch.uint8)
    for axis, count in enumerate(size or ()):
        first, last = _blocks(mask.shape[axis], count, mask.device)
        every, widest = shrunk.index_select(axis, first), int((last - first).max())
        for step in range(1, widest + 1):
            every &= shrunk.index_select(axis, torch.minimum(first + step, last))
        shrunk = every
    return shrunk.view(torch.bool)


def _shrunk(picture: Tensor, longer: int) -> tuple[int, int] | None:
    """Rows and columns of a picture that is reduced to so many along the longer side; ``None`` if it has no more."""
    factor = max(picture.shape[-2:]) / longer
    if factor <= 1:
        return None
    height, width = (max(3, round(n / factor)) for n in picture.shape[-2:])
    return height, width


def _blocks(length: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First and last pixel of each of the blocks that adaptive pooling makes of a line, ``[count]``."""
    number = torch.arange(count, device=device)
    return number * length // count, (number * length + length + count - 1) // count - 1


def enlarge(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    """A reduced picture, ``[C, h, w]`` float32, as large as the frame: as :class:`videomatte.strips.Enlarged`."""
    return Enlarged(picture, *size).rows(slice(0, size[0]))


def enlarge_pixels(picture: Tensor, like: Tensor) -> Tensor:
    """The same as pixels of a frame's size and dtype."""
    enlarged, pixels = Enlarged(picture, *like.shape[-2:]), torch.empty_like(like)
    for rows in strips(like):
        pixels[:, rows] = from_unit_range(enlarged.rows(rows), like.dtype)
    return pixels


def enlarge_nearest(planes: Tensor, size: Sequence[int]) -> Tensor:
    """Planes, ``[C, h, w]`` of uint8 or floats, at another size, by the nearest pixel."""
    # Along rows, of which whole ones are then taken: a fraction of the time.
    wide = F.interpolate(planes, size[1], mode="nearest")
    rows = torch.arange(planes.shape[1], dtype=torch.float32, device=planes.device)
    return wide.index_select(1, F.interpolate(rows[None, None], size[0], mode="nearest")[0, 0].int())


def enlarge_mask(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    """A mask, ``[h, w]`` bool, at another size, by the nearest pixel."""
    return enlarge_nearest(mask.view(torch.uint8)[None], size)[0].view(torch.bool)
