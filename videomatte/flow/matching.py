"""Matches found by looking rather than by following gradients: what lets fast and small things be caught.

Linearised flow only ever sees a pixel or two about where it stands, and coarse levels, where the large motions become
small, have lost the small objects. Two searches give it better places to start from:

* on a coarse level every patch is compared with every other, however far;
* on the levels below, each pixel tries on its neighbours' flows and keeps what fits best (the propagation of
  PatchMatch, Barnes et al., "PatchMatch: A Randomized Correspondence Algorithm", SIGGRAPH 2009).
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow.warp import Readable, step

__all__ = ["describe_patches", "match_all_pairs", "propagate", "snap_to_whole", "take_better"]

PATCH = 9
"""Side of the patches compared, in pixels of the coarse level."""
CONTRAST = 0.02
"""Contrast, as a fraction of white, below which a patch counts as flat."""
WINDOW = 3
"""Side of the window over which a candidate's fit is judged."""
STRIDE = 2
"""Every how many pixels a patch of the first picture is looked for."""
MISFIT_LIMIT = 1.0
"""Misfit of one pixel from which it counts as no match at all: occlusions must not outvote their surroundings."""


def match_all_pairs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The best match of every pixel of a small picture anywhere in another.

    Zero-mean normalised cross-correlation of patches, which no change of gain or offset alters, as one matrix product
    (the all-pairs volume of Teed and Deng, "RAFT", ECCV 2020, with patches for features).

    Args:
        first: ``[B, 1, h, w]`` float in 0..1; memory and time grow with (h * w) squared: some 60 pixels a side.
        second: ``[B, 1, h, w]``.

    Returns:
        The flow from first to second in whole pixels, ``[B, 2, h, w]``, and ``[B, 1, h, w]``, 1 where the match's own
        best match leads back to nearby, else 0. Every second pixel is asked; the others are told what its neighbour
        was.
    """
    height, width = first.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=first.device), torch.arange(width, device=first.device), indexing="ij"
    )
    places = torch.stack([columns, rows]).to(first.dtype)
    asked, places = places[:, ::STRIDE, ::STRIDE], places.flatten(1)
    (asked_patches, _), (patches, _) = describe_patches(first, STRIDE), describe_patches(second)
    similarity = asked_patches.transpose(1, 2) @ patches
    # Where there is an argmax, max finds it as well, and along rows in half the time.
    there, back = similarity.max(dim=2).indices, similarity.max(dim=1).indices
    start = asked.flatten(1)
    flow = (places[:, there] - start[:, None]).transpose(0, 1)
    returned = start[:, back.gather(1, there)]
    mutual = (returned - start[:, None]).square_().sum(dim=0) <= 2 * STRIDE**2
    flow, mutual = (part.reshape(len(first), -1, *asked.shape[1:]) for part in (flow, mutual.to(first.dtype)))
    return _spread(flow, height, width), _spread(mutual, height, width)


def propagate(first: Tensor, second: Readable, flow: Tensor, reaches: Iterable[int]) -> Tensor:
    """Let every pixel take over the flow of a neighbour where that fits better.

    Args:
        first: features ``[B, C, H, W]``.
        second: features ``[B, C, H, W]``.
        flow: ``[B, 2, H, W]`` from first to second.
        reaches: distances of the neighbours asked, in pixels; for each, those to the left, right, above and below.

    Returns:
        ``[B, 2, H, W]``: flows of ``flow``, rearranged.
    """
    for reach in reaches:
        flow = take_better(first, second, [flow, *_neighbours(flow, reach)])
    return flow


def take_better(first: Tensor, second: Readable, candidates: list[Tensor]) -> Tensor:
    """Pixel by pixel, the candidate that explains a small window best, of equal ones the first.

    Args:
        first: features ``[B, C, H, W]``.
        second: features ``[B, C, H, W]``.
        candidates: ``[B, 2, H, W]`` each, from first to second.

    Returns:
        ``[B, 2, H, W]``.
    """
    flow, *others = candidates
    best, *misfits = _misfits(first, second, candidates)
    for candidate, misfit in zip(others, misfits, strict=True):
        flow = torch.lerp(flow, candidate, step(best - misfit))
        best = torch.minimum(misfit, best)
    return flow


def snap_to_whole(first: Tensor, second: Readable, flow: Tensor) -> Tensor:
    """Round the flow to whole pixels where that explains a small window at least twice as well.

    Where the motion is one of whole pixels, a still background's above all, refinement ends some hundredths beside it,
    and the rounded flow leaves no misfit at all. Elsewhere rounding is never twice as good.

    Args:
        first: features ``[B, C, H, W]``.
        second: features ``[B, C, H, W]``.
        flow: ``[B, 2, H, W]`` from first to second.

    Returns:
        ``[B, 2, H, W]``.
    """
    whole = flow.round()
    # One after the other: at the finest level both at once are more than the processor keeps at hand.
    (misfit,), (misfit_of_whole,) = (_misfits(first, second, [candidate]) for candidate in (flow, whole))
    return torch.lerp(flow, whole, step(misfit - 2 * misfit_of_whole))


def describe_patches(image: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Patches about every stride-th pixel as unit vectors, whose products are correlations.

    Args:
        image: ``[B, 1, h, w]`` float in 0..1.
        stride: of the pixels described.

    Returns:
        ``[B, PATCH², N]`` of zero mean and length at most 1, and the lengths squared, ``[B, N]``: near 1 on texture,
        near 0 where there is nothing but noise on a flat wall.
    """
    padded = F.pad(image, (PATCH // 2,) * 4, mode="replicate")
    patches = F.unfold(padded, PATCH, stride=stride)
    patches = patches - patches.mean(dim=1, keepdim=True)
    energy = patches.square().sum(dim=1, keepdim=True)
    floor = energy + PATCH**2 * CONTRAST**2
    return patches * floor.rsqrt(), (energy / floor)[:, 0]


def _misfits(first: Tensor, second: Readable, flows: list[Tensor]) -> list[Tensor]:
    """How badly each flow explains the window about each pixel, ``[B, 1, H, W]`` each."""
    warped, outside = second.read(torch.stack(flows, dim=2))
    u, *others = warped.sub_(first[:, :, None]).abs_().unbind(dim=1)
    misfit = sum(others, start=u).add_(outside[:, 0], alpha=MISFIT_LIMIT).clamp_(max=MISFIT_LIMIT)
    # The window's sum by slices takes a tenth of the time of pooling.
    height, width = first.shape[2:]
    padded = F.pad(misfit, (WINDOW // 2,) * 4, mode="replicate")
    rows = _sum_slices(padded, width, dim=3)
    return list(_sum_slices(rows, height, dim=2)[:, :, None].unbind(dim=1))


def _sum_slices(planes: Tensor, length: int, dim: int) -> Tensor:
    """Of every WINDOW neighbours along an axis."""
    total = planes.narrow(dim, 0, length) + planes.narrow(dim, 1, length)
    for start in range(2, WINDOW):
        total += planes.narrow(dim, start, length)
    return total


def _neighbours(flow: Tensor, reach: int) -> list[Tensor]:
    """The flow as seen ``reach`` pixels to the left, right, above and below, borders repeated."""
    height, width = flow.shape[2:]
    padded = F.pad(flow, (reach,) * 4, mode="replicate")
    starts = ((0, reach), (2 * reach, reach), (reach, 0), (reach, 2 * reach))
    return [padded[:, :, y : y + height, x : x + width] for x, y in starts]


def _spread(sparse: Tensor, height: int, width: int) -> Tensor:
    """What was found at every STRIDE-th pixel, repeated over the pixels between."""
    return F.interpolate(sparse, scale_factor=STRIDE, mode="nearest")[:, :, :height, :width]
