"""The screen's light taken off the subject, and what was taken too much given back: at its edges and where it is
translucent, nowhere else.

A screen tints what stands before it. What it adds lies, in the plane of chroma (see :mod:`videomatte.trimaps.hue`),
along its own hue, so the tint is how far a colour goes that way beyond what it may. A colour that is otherwise as the
subject's untouched inside near there may go as far as that does on average: so green shirts stay green, and skin does
not stay less red than skin. Any other may go as far as grey (the limit G ≤ (R + B) / 2 of the keyers that followed
Vlahos' patents, turned to the screen's hue), or as far as that inside, if it goes further. The excess is taken off at
constant luma, or edges would darken.

The other way lies the fault of alpha: where it is too small, too much of the screen is taken out of the mixture, and
strands turn purple before green, yellow before blue. So what is translucent may go away from the screen's hue as far as
grey, or as most of the inside there does, and no further.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.strips import Enlarged
from videomatte.trimaps.hue import chroma
from videomatte.trimaps.morphology import dilate_square
from videomatte.trimaps.spread import as_weight, enlarge
from videomatte.windows import box_mean

__all__ = ["despill", "edge_band"]

BAND = 1 / 80
"""How far the band goes into the subject from its edge, as a share of the picture's longer side."""
TRANSLUCENT = 0.25
"""Transparency from which on a pixel is despilled fully, however far from an edge."""
NEAR = 1 / 27
"""How far around a pixel the subject's inside is looked at, as a share of the longer side: thrice the band."""
ALIKE = 0.1
"""Difference of chroma across the screen's hue, over luma, up to which a colour is taken for the inside's own."""
USUAL = 2.0
"""Deviations from the inside's mean within which most of its colours lie."""


def edge_band(alpha: Tensor) -> Tensor:
    """How much of the despill each pixel gets.

    Args:
        alpha: ``[1, H, W]`` floating point in [0, 1].

    Returns:
        ``[1, H, W]`` in [0, 1]: 1 where the background shines through and half way inwards, then fading, exactly 0
        where all within 1/80 of the picture's longer side (a square) is opaque, or all is transparent: of colours
        further out than files are ever scaled over nothing is seen.

    Convention:
        Pixel on pixel with alpha; beyond the border the picture goes on as it ends.
    """
    reach = max(1, round(BAND * max(alpha.shape[1:])))
    clear = 1 - alpha
    # A straight edge leaves half a window empty, and a quarter half way in. Means of nothing but zeros are zero, to the
    # bit.
    band = enlarge(_means(clear, reach), alpha.shape[1:]).mul_(4)
    torch.maximum(band, clear.div_(TRANSLUCENT), out=band)
    return band.clamp_(0, 1).mul_(as_weight(dilate_square(alpha > 0, reach)))


def despill(foreground: Tensor, alpha: Tensor, hue: float) -> Tensor:
    """Take the light of a screen off a straight foreground.

    Args:
        foreground: ``[3, H, W]`` float32, straight.
        alpha: ``[1, H, W]`` float32 in [0, 1].
        hue: of the screen, in radians: red 0, green 2π/3, blue 4π/3.

    Returns:
        ``[3, H, W]`` float32 of the same BT.709 luma (of the encoded values), unless colours end at 0 or at
        white. Where :func:`edge_band` is 0 it is the foreground given, to the bit.

    Raises:
        ShapeError: the shapes are not as above.

    Convention:
        Pixel on pixel. Distances are shares of the picture's longer side.
    """
    if foreground.ndim != 3 or foreground.shape[0] != 3 or alpha.shape != (1, *foreground.shape[1:]):
        raise ShapeError(
            f"despill: foreground and alpha must be [3, H, W] and [1, H, W], "
            f"got {list(foreground.shape)} and {list(alpha.shape)}"
        )
    band = edge_band(alpha)
    inside = _Inside(foreground, alpha, band, hue)
    white = foreground.amax().clamp(min=1)  # what no output could hold would show in composites alone
    places = band.flatten().nonzero()[:, 0]
    rgb, alpha, band = (planes.flatten(1).index_select(1, places) for planes in (foreground, alpha, band))
    luma, towards, across = _axes(rgb, hue)
    means, deviations, known = inside.near(places)
    other = (means[:1] + deviations[:1]).clamp_(min=0)
    alike = across.div_(luma).clamp_(-3, 3).sub_(means[1:]).div_(deviations[1:].add_(ALIKE)).square_().neg_().exp_()
    limit = torch.lerp(other, torch.minimum(means[:1], other), alike).mul_(luma)
    excess = (towards - limit).clamp_(min=0).mul_(band)
    # Where no inside is around, the picture's whole inside decides.
    least = torch.where(known, means[:1].sub_(deviations[:1], alpha=USUAL), inside.least).sub_(ALIKE).clamp_(max=0)
    lack = least.mul_(luma).sub_(towards).clamp_(min=0).mul_((1 - alpha).div_(TRANSLUCENT).clamp_(max=1))
    change = lack.sub_(excess)
    # Of an excess and a lack there is never both, and mostly neither.
    changed = change[0].nonzero()[:, 0]
    places, rgb, change = places.index_select(0, changed), rgb.index_select(1, changed), change.index_select(1, changed)
    calmed = torch.minimum((rgb + change * _at_constant_luma(hue, foreground)[:, 0]).clamp_(min=0), white)
    return foreground.flatten(1).scatter(1, places.expand_as(calmed), calmed).view_as(foreground)


def _axes(rgb: Tensor, hue: float) -> tuple[Tensor, Tensor, Tensor]:
    """Luma, not quite 0, and chroma towards a hue and across it, each ``[1, N]``, of ``[3, N]``."""
    a, b = chroma(rgb)[:, None]
    towards, across = a * math.cos(hue) + b * math.sin(hue), b * math.cos(hue) - a * math.sin(hue)
    return _luma(rgb).clamp(min=1e-4), towards, across


class _Inside:
    """Means and deviations, around each pixel, of the inside's chroma towards a hue and across it, over luma.

    What is near decides; what is up to four times as far away has a say where nothing is.

    Args:
        rgb: ``[3, H, W]``.
        alpha: ``[1, H, W]``; inside is where it is 1, off the band.
        band: ``[1, H, W]``, :func:`edge_band`.
        hue: in radians.
    """

    def __init__(self, rgb: Tensor, alpha: Tensor, band: Tensor, hue: float) -> None:
        size = rgb.shape[1:]
        # Slow changes: some samples are enough.
        step = max(1, round(NEAR * max(size) / 16))
        rgb, alpha, band = (
            planes[:, step // 2 :: step, step // 2 :: step].contiguous() for planes in (rgb, alpha, band)
        )
        inside = (alpha == 1) & (band == 0)
        luma, *axes = _axes(rgb, hue)
        values = torch.cat(axes).div_(luma).clamp_(-3, 3).mul_(inside)
        planes = torch.cat([values, values.square(), inside])
        self.least = _least(*planes[::2].sum((1, 2), dtype=torch.float64).tolist())
        """What most of the picture's inside is above, of chroma towards the hue over luma; -∞ where it has none."""
        reach = NEAR * max(size) / step
        self._near, self._far = (Enlarged(_means(planes, reach * by), *size) for by in (1, 4))

    def near(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both at some pixels, numbered row by row, ``[2, N]``, zero where no inside is around; and whether any is,
        ``[1, N]`` bool."""
        sums = self._near.at(places).add_(self._far.at(places), alpha=0.01)
        means, squares = sums[:-1].div_(sums[-1:].clamp(min=1e-6)).chunk(2)
        return means, squares.sub_(means.square()).clamp_(min=0).sqrt_(), sums[-1:] > 1e-6


def _least(total: float, squares: float, count: float) -> float:
    """What most of some values are above, by their sum, that of their squares and their number."""
    if not count:  # with nothing to compare with, nothing is known to be at fault
        return -math.inf
    mean = total / count
    return mean - USUAL * math.sqrt(max(0.0, squares / count - mean**2))


def _means(planes: Tensor, reach: float) -> Tensor:
    """Means over squares of 2 · reach + 1 pixels, reduced; beyond the border the picture goes on as it ends."""
    step = max(1, round(reach / 8))  # slow changes: some samples across are enough
    small = _line_means(_line_means(planes, step).mT, step).mT
    return box_mean(small, max(1, round(reach / step)))


def _line_means(planes: Tensor, count: int) -> Tensor:
    """Means of so many rows, the last of those that are left: sums of slices take a tenth of the time of pooling."""
    total = planes[:, ::count].clone()
    for start in range(1, min(count, planes.shape[1])):
        rows = planes[:, start::count]
        total[:, : rows.shape[1]] += rows
    left = planes.shape[1] - count * (total.shape[1] - 1)
    total[:, :-1] /= count
    total[:, -1] /= left
    return total


def _luma(rgb: Tensor) -> Tensor:
    return 0.2126 * rgb[:1] + 0.7152 * rgb[1:2] + 0.0722 * rgb[2:]


def _at_constant_luma(hue: float, like: Tensor) -> Tensor:
    """``[3, 1, 1]``: the colour of luma 0 whose chroma is of length 1 and this hue."""
    a, b = math.cos(hue), math.sin(hue) / math.sqrt(0.75)
    rgb = torch.tensor([a + b / 2, b, 0.0], device=like.device).view(3, 1, 1)
    return rgb - _luma(rgb)
