"""Hard cuts: pairs of pictures between which nothing can be followed."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow.matching import STRIDE, describe_patches

__all__ = ["continuity", "is_cut"]

THUMBNAIL_SIDE = 48
"""Long side of the pictures compared."""
REACH = 9
"""How far a patch may have moved, in pixels of the thumbnail: a fifth of the picture."""
COLOUR_SHARE = 0.1
"""Weight of the colours against a picture full of texture; where there is none they decide alone."""
BINS = 8
"""Bins per channel of the colour histogram."""
CUT_BELOW = 0.62
"""Continuity of a cut, at most. Unrelated pictures reach 0.6 by chance, violent motion leaves 0.65."""


def continuity(first: Tensor, second: Tensor) -> Tensor:
    """How much of one picture is found again in another.

    On thumbnails, every patch is looked for within a fifth of the picture's length by zero-mean normalised
    cross-correlation: so neither motion nor a change of light passes for a cut. What counts is the mean correlation of
    the best matches, weighted by texture, of the worse direction of the two. The overlap of the colour histograms
    (Swain and Ballard, "Color Indexing", 1991) stands in where there is no texture to follow.

    Args:
        first: ``[B, 3, H, W]`` floating point, 0..1.
        second: ``[B, 3, H, W]``.

    Returns:
        ``[B]``, about 1 for neighbouring frames of a shot, around one half for unrelated pictures.

    Raises:
        ShapeError: the shapes differ or are not as above.
    """
    return _continuity(*_compared(first, second), _best_matches)


def is_cut(first: Tensor, second: Tensor) -> Tensor:
    """Whether a new shot begins with the second picture: whether :func:`continuity` is below ``CUT_BELOW``.

    Args:
        first: ``[B, 3, H, W]`` floating point, 0..1.
        second: ``[B, 3, H, W]``, the next frame or one soon after.

    Returns:
        ``[B]`` bool.

    Raises:
        ShapeError: the shapes differ or are not as above.
    """
    compared = _compared(first, second)
    # More is found by looking further, never less; and next to nothing moves further than this from frame to frame.
    cut = _continuity(*compared, _best_matches_nearby) < CUT_BELOW
    return _continuity(*compared, _best_matches) < CUT_BELOW if bool(cut.any()) else cut


class _Patches(NamedTuple):
    vectors: Tensor
    """``[B, PATCH², h, w]``, see :func:`describe_patches`."""
    texture: Tensor
    """``[B]``, mean of those that are asked."""


def _compared(first: Tensor, second: Tensor) -> tuple[_Patches, _Patches, Tensor]:
    """Two pictures' patches, and how far their colours overlap, ``[B]``."""
    if first.ndim != 4 or first.shape[1] != 3 or not first.is_floating_point() or first.shape != second.shape:
        raise ShapeError(
            f"continuity: pictures must be [B, 3, H, W] float, equally large, got {list(first.shape)} {first.dtype} "
            f"and {list(second.shape)} {second.dtype}"
        )
    first, second = _thumbnail(first), _thumbnail(second)
    patches = []
    for picture in (first, second):
        described = describe_patches(rgb_to_grayscale(picture))
        vectors, texture = (part.view(*part.shape[:-1], *picture.shape[2:]) for part in described)
        patches.append(_Patches(vectors, texture[:, ::STRIDE, ::STRIDE].mean((1, 2))))
    return patches[0], patches[1], _histogram_overlap(first, second)


def _continuity(
    first: _Patches, second: _Patches, colours: Tensor, best_matches: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    shares = [
        (best_matches(asked.vectors, offered.vectors).mean(1) + COLOUR_SHARE * colours) / (asked.texture + COLOUR_SHARE)
        for asked, offered in ((first, second), (second, first))
    ]
    return torch.minimum(*shares)


def _best_matches(asked: Tensor, offered: Tensor) -> Tensor:
    """Correlation of every STRIDE-th patch with the best in reach, ``[B, N]``; 0 where all contradict it."""
    similarity = asked[..., ::STRIDE, ::STRIDE].flatten(2).transpose(1, 2) @ offered.flatten(2)
    # Rows and columns apart: all pairs of places would be made of large tensors of whole numbers.
    far_down, far_across = (_far(length, asked.device) for length in asked.shape[2:])
    far = far_down[:, None, :, None] | far_across[None, :, None, :]
    return similarity.masked_fill_(far.reshape(similarity.shape[1:]), 0).amax(dim=2)


def _best_matches_nearby(asked: Tensor, offered: Tensor) -> Tensor:
    """The same, of places at most one pixel of the thumbnail away."""
    height, width = asked.shape[2:]
    asked, padded = asked[..., ::STRIDE, ::STRIDE].contiguous(), F.pad(offered, (1, 1, 1, 1))
    shifted = (padded[:, :, y : y + height : STRIDE, x : x + width : STRIDE] for y in range(3) for x in range(3))
    similarities = [(asked * patches).sum(1) for patches in shifted]
    return torch.stack(similarities).amax(0).clamp_(min=0).flatten(1)


def _far(length: int, device: torch.device) -> Tensor:
    """Which places along an axis, ``[length]``, are out of reach of each that is asked, ``[length / STRIDE]``."""
    places = torch.arange(length, device=device)
    return (places[::STRIDE, None] - places).abs() > REACH


def _histogram_overlap(first: Tensor, second: Tensor) -> Tensor:
    bins = [(picture.clamp(0, 1) * BINS).long().clamp_(max=BINS - 1).flatten(2) for picture in (first, second)]
    histograms = []
    for red, green, blue in (bin_.unbind(dim=1) for bin_ in bins):
        index = (red * BINS + green) * BINS + blue
        counts = first.new_zeros(index.shape[0], BINS**3)
        histograms.append(counts.scatter_add_(1, index, torch.ones_like(index, dtype=counts.dtype)) / index.shape[1])
    return torch.minimum(*histograms).sum(dim=1)


def _thumbnail(picture: Tensor) -> Tensor:
    height, width = picture.shape[2:]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # Sixteen samples make a thumbnail's pixel; to average all of a large picture's would take most of the time.
    step = max(1, int(0.25 / scale))
    picture = picture[:, :, ::step, ::step]
    return F.interpolate(picture.float(), size=size, mode="area")
