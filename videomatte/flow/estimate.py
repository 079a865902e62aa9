"""Dense optical flow between two pictures, coarse to fine, on any device."""

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale
from kornia.filters import gaussian_blur2d
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow.matching import match_all_pairs, propagate, snap_to_whole, take_better
from videomatte.flow.variational import Effort, derivatives, refine
from videomatte.flow.warp import resize_flow

__all__ = ["WORKING_SIDE", "estimate_both_flows", "estimate_flow"]

WORKING_SIDE = 480
"""Long side flow is worked out at, in pixels. Finer pictures cost time by its square and gain little."""
COARSEST_SIDE = 14
"""Short side of the coarsest level, at least."""
MATCHING_LEVEL = 3
"""Level, in halvings, whose patches are all compared with one another: 60 pixels long."""
CONTRAST = 0.04
"""Local standard deviation, as a fraction of white, below which brightness counts as flat."""
COARSE, FINEST = Effort(2, 1, 12), Effort(1, 1, 12)


def estimate_flow(first: Tensor, second: Tensor, *, working_side: int = WORKING_SIDE) -> Tensor:
    """Where every pixel of the first picture has gone in the second.

    From the coarsest level of a Gaussian pyramid to the finest, the flow found so far is enlarged, compared with other
    candidates (matching.py) and refined to sub-pixels (variational.py). What is compared is not brightness but the
    gradient of locally normalised brightness, (I - mean) / deviation: no change of gain or offset that is smooth over a
    window of some 15 pixels alters it, be it exposure, a moving shadow or a flash's fall-off.

    Args:
        first: ``[B, 3, H, W]`` floating point, 0..1, at least 8 pixels a side.
        second: ``[B, 3, H, W]``.
        working_side: long side to work at; larger pictures are reduced to it, smaller ones stay.

    Returns:
        ``[B, 2, H, W]`` float32, see Note [flow] in warp.py.

    Raises:
        ShapeError: the shapes differ or are not as above.

    Convention:
        dx right, dy down, in pixels of the pictures given, living on the first: ``first(x) ≈ second(x + flow(x))``.
        Equal pictures give zero exactly.
    """
    levels = _describe(first, second, working_side)
    firsts, seconds = ([level.chunk(2)[place] for level in levels] for place in (0, 1))
    return resize_flow(_search(firsts, seconds), *first.shape[2:])


def estimate_both_flows(first: Tensor, second: Tensor, *, working_side: int = WORKING_SIDE) -> tuple[Tensor, Tensor]:
    """The flow from the first picture to the second, and that from the second to the first.

    As two calls of :func:`estimate_flow` give them, but each picture is prepared once.
    """
    there = _describe(first, second, working_side)
    back = [level.roll(first.shape[0], dims=0) for level in there]
    flows = resize_flow(_search(there, back), *first.shape[2:])
    return flows[: len(first)], flows[len(first) :]


def _describe(first: Tensor, second: Tensor, working_side: int) -> list[Tensor]:
    """Per level, finest first, brightness and features of the first pictures and of the second: ``[2 B, 3, h, w]``."""
    if first.ndim != 4 or first.shape[1] != 3 or not first.is_floating_point() or min(first.shape[2:]) < 8:
        raise ShapeError(f"estimate_flow: pictures must be [B, 3, H, W] float, H and W >= 8, got {list(first.shape)}")
    if first.shape != second.shape:
        raise ShapeError(
            f"estimate_flow: pictures must be equally large, got {list(first.shape)} and {list(second.shape)}"
        )
    brightness = torch.cat([_working_brightness(picture, working_side) for picture in (first, second)])
    pyramid = [brightness]
    while min(brightness.shape[2:]) >> len(pyramid) >= COARSEST_SIDE:
        pyramid.append(_halve(pyramid[-1]))
    return [torch.cat([level, _features(level)], dim=1) for level in pyramid]


def _search(firsts: list[Tensor], seconds: list[Tensor]) -> Tensor:
    """The flow from first to second pictures, described level by level, at working size."""
    flow = firsts[-1].new_zeros(firsts[-1].shape[0], 2, *firsts[-1].shape[2:])
    for level in reversed(range(len(firsts))):
        (first, features_first), (second, features_second) = (
            (described[level][:, :1], described[level][:, 1:].contiguous()) for described in (firsts, seconds)
        )
        flow = resize_flow(flow, *first.shape[2:])
        if level == min(MATCHING_LEVEL, len(firsts) - 1):
            matches, mutual = match_all_pairs(first, second)
            flow = take_better(features_first, features_second, flow, [torch.where(mutual, matches, flow)])
            flow = propagate(features_first, features_second, flow, (4, 2, 1))
        elif level > 0:
            flow = propagate(features_first, features_second, flow, (6, 1))
        flow = refine(features_first, features_second, flow, COARSE if level else FINEST)
    return snap_to_whole(features_first, features_second, flow)


def _working_brightness(picture: Tensor, side: int) -> Tensor:
    brightness: Tensor = rgb_to_grayscale(picture.float())
    height, width = picture.shape[2:]
    scale = side / max(height, width)
    if scale >= 1:
        return brightness
    size = (max(8, round(height * scale)), max(8, round(width * scale)))
    return F.interpolate(brightness, size=size, mode="bilinear", antialias=True, align_corners=False)


def _halve(image: Tensor) -> Tensor:
    # As kornia's pyrdown, whose own 5x5 convolution takes eight times as long as its separable blur.
    blurred = gaussian_blur2d(image, 5, (1.0, 1.0), border_type="replicate")
    size = (image.shape[2] // 2, image.shape[3] // 2)
    return F.interpolate(blurred, size=size, mode="bilinear", align_corners=False)


def _features(brightness: Tensor) -> Tensor:
    """Gradient of the locally normalised brightness: ``[B, 1, H, W]`` to ``[B, 2, H, W]``."""
    moments = torch.cat([brightness, brightness.square()], dim=1)
    moments = gaussian_blur2d(moments, 13, (3.0, 3.0), border_type="replicate")
    mean, square = moments[:, :1], moments[:, 1:]
    variance = (square - mean.square()).clamp_(min=0)
    normalised = (brightness - mean) * (variance + CONTRAST**2).rsqrt_()
    return torch.cat(derivatives(normalised), dim=1)
