"""Hard cuts: pairs of pictures between which nothing can be followed."""

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
    if first.ndim != 4 or first.shape[1] != 3 or not first.is_floating_point() or first.shape != second.shape:
        raise ShapeError(
            f"continuity: pictures must be [B, 3, H, W] float, equally large, got {list(first.shape)} {first.dtype} "
            f"and {list(second.shape)} {second.dtype}"
        )
    first, second = _thumbnail(first), _thumbnail(second)
    colours = _histogram_overlap(first, second)
    brightness_first, brightness_second = rgb_to_grayscale(first), rgb_to_grayscale(second)
    return torch.minimum(
        _share_found(brightness_first, brightness_second, colours),
        _share_found(brightness_second, brightness_first, colours),
    )


def is_cut(first: Tensor, second: Tensor) -> Tensor:
    """Whether a new shot begins with the second picture.

    Args:
        first: ``[B, 3, H, W]`` floating point, 0..1.
        second: ``[B, 3, H, W]``, the next frame or one soon after.

    Returns:
        ``[B]`` bool.
    """
    return continuity(first, second) < CUT_BELOW


def _share_found(first: Tensor, second: Tensor, colours: Tensor) -> Tensor:
    height, width = first.shape[2:]
    asked, texture = describe_patches(first, STRIDE)
    offered, _ = describe_patches(second)
    similarity = asked.transpose(1, 2) @ offered
    # Rows and columns apart: all pairs of places would be made of large tensors of whole numbers.
    far_down, far_across = (_far(length, first.device) for length in (height, width))
    far = far_down[:, None, :, None] | far_across[None, :, None, :]
    similarity.masked_fill_(far.reshape(similarity.shape[1:]), 0)
    found = similarity.amax(dim=2)
    return (found.mean(dim=1) + COLOUR_SHARE * colours) / (texture.mean(dim=1) + COLOUR_SHARE)


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
