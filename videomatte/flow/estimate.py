"""Dense optical flow between two pictures, coarse to fine, on any device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow.description import WORKING_SIDE, Described, Level, describe
from videomatte.flow.matching import match_all_pairs, propagate, snap_to_whole, take_better
from videomatte.flow.variational import Effort, refine
from videomatte.flow.warp import Readable, resize_flow

__all__ = ["estimate_both_flows", "estimate_flow"]

MATCHING_LEVEL = 3
"""Level, in halvings, whose patches are all compared with one another: 60 pixels long."""
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
    one, other = (describe(picture, working_side=working_side) for picture in (first, second))
    _check_equal(one, other)
    return resize_flow(_search(one.levels, other.levels), *first.shape[2:])


def estimate_both_flows(first: Described, second: Described) -> tuple[Tensor, Tensor]:
    """The flow from the first picture to the second, and that from the second to the first.

    As two calls of :func:`estimate_flow` give them, but at the size they are worked out at.

    Raises:
        ShapeError: the pictures, or the sizes to work at, differ.
    """
    _check_equal(first, second)
    there = [Level(*map(torch.cat, zip(*pair, strict=True))) for pair in zip(first.levels, second.levels, strict=True)]
    # Slopes are asked of the picture alone whose flow is looked for.
    batch = first.shape[0]
    back = [
        level._replace(brightness=level.brightness.roll(batch, dims=0), features=level.features.roll(batch, dims=0))
        for level in there
    ]
    forward, backward = _search(there, back).chunk(2)
    return forward, backward


def _check_equal(first: Described, second: Described) -> None:
    sizes = [described.levels[0].brightness.shape for described in (first, second)]
    if first.shape != second.shape or sizes[0] != sizes[1]:
        raise ShapeError(
            f"flow: pictures must be equally large, got {list(first.shape)} at {list(sizes[0][2:])} and "
            f"{list(second.shape)} at {list(sizes[1][2:])}"
        )


def _search(firsts: Sequence[Level], seconds: Sequence[Level]) -> Tensor:
    """The flow from first to second pictures, described level by level, at working size."""
    flow = torch.zeros_like(firsts[-1].features)
    for level, (first, second) in reversed(list(enumerate(zip(firsts, seconds, strict=True)))):
        features, other = first.features, Readable(second.features)
        flow = resize_flow(flow, *features.shape[2:])
        if level == min(MATCHING_LEVEL, len(firsts) - 1):
            matches, mutual = match_all_pairs(first.brightness, second.brightness)
            flow = take_better(features, other, [flow, torch.lerp(flow, matches, mutual)])
            flow = propagate(features, other, flow, (4, 2, 1))
        elif level > 0:
            flow = propagate(features, other, flow, (6, 1))
        flow = refine(features, first.slopes, other, flow, COARSE if level else FINEST)
    return snap_to_whole(features, other, flow)
