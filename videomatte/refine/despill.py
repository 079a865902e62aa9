"""The screen's light taken off the subject, and what was taken too much given back: at its edges, where it is
translucent and where alpha was not sure beforehand, nowhere else.

A screen tints what stands before it. What it adds lies, in the plane of chroma (see :mod:`videomatte.trimaps.hue`),
along its own hue, so the tint is how far a colour goes that way beyond what it may. A colour may go as far as the
subject's inside near there does, on average over what is otherwise as it is, that is of like chroma across the screen's
hue: so green shirts stay green, and hair beside a white dress turns as brown as hair. A colour of which there is none
may go as far as grey (the limit G ≤ (R + B) / 2 of the keyers that followed Vlahos' patents, turned to the screen's
hue), or as far as that inside, if it goes further. The excess is taken off at constant luma, or edges would darken.

Averages over what is near in place and in colour are kept on a grid of three axes (Chen, Paris, Durand, "Real-time
Edge-Aware Image Processing with the Bilateral Grid", SIGGRAPH 2007).

The other way lies the fault of alpha: where it is too small, too much of the screen is taken out of the mixture, and
strands turn purple before green, yellow before blue. So what is translucent may go away from the screen's hue as far as
grey, or as most of the inside there does, and no further.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
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
SURE, LIKELY = (0.98, 0.1), (0.9, 0.5)
"""Alpha above and band below which a pixel is the subject's inside, if it was not unknown, and may be. Where alpha had
to be found all over a shirt of nearly the screen's colour, nothing of it is sure."""
DOUBT = 0.01
"""Weight of what may be inside."""
SHADES, MOST = 17, 1.6
"""Steps of the grid's axis of chroma across the screen's hue, and how far it goes either way from grey, over the
brightness in what a pure light of that hue lacks: neither a tint nor a mixture with the screen changes it much."""
ENOUGH = 0.02
"""Share of the inside that is of like colour from which on that alone decides."""
USUAL, SLACK = 2.0, 0.1
"""Deviations from the inside's mean within which most of its colours lie, and what is let pass beyond."""


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


def despill(foreground: Tensor, alpha: Tensor, hue: float, unknown: Tensor | None = None) -> Tensor:
    """Take the light of a screen off a straight foreground.

    Args:
        foreground: ``[3, H, W]`` float32, straight.
        alpha: ``[1, H, W]`` float32 in [0, 1].
        hue: of the screen, in radians: red 0, green 2π/3, blue 4π/3.
        unknown: ``[1, H, W]`` bool, where alpha was not sure beforehand, and the screen may show through whatever it
            says; nowhere if not given.

    Returns:
        ``[3, H, W]`` float32 of the same BT.709 luma (of the encoded values), unless colours end at 0 or at
        white. Where :func:`edge_band` is 0 and nothing unknown it is the foreground given, to the bit.

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
    unknown = torch.zeros_like(alpha) if unknown is None else as_weight(unknown)
    inside = _Inside(foreground, alpha, band, unknown, hue)
    band = torch.maximum(band, unknown)
    white = foreground.amax().clamp(min=1)  # what no output could hold would show in composites alone
    places = band.flatten().nonzero()[:, 0]
    rgb, alpha, band = (planes.flatten(1).index_select(1, places) for planes in (foreground, alpha, band))
    luma, towards, across = _axes(rgb, hue)
    mean, deviation, known, own, share = inside.around(places, across)
    other = (mean + deviation).clamp_(min=0)
    limit = torch.lerp(other, own, share.div_(ENOUGH).clamp_(max=1)).mul_(luma)
    excess = (towards - limit).clamp_(min=0).mul_(band)
    # Where no inside is around, the picture's whole inside decides.
    least = torch.where(known, mean.sub_(deviation, alpha=USUAL), inside.least).sub_(SLACK).clamp_(max=0)
    lack = least.mul_(luma).sub_(towards).clamp_(min=0).mul_((1 - alpha).div_(TRANSLUCENT).clamp_(max=1))
    change = lack.sub_(excess)
    # Of an excess and a lack there is never both, and mostly neither.
    changed = change[0].nonzero()[:, 0]
    places, rgb, change = places.index_select(0, changed), rgb.index_select(1, changed), change.index_select(1, changed)
    calmed = torch.minimum((rgb + change * _at_constant_luma(hue, foreground)[:, 0]).clamp_(min=0), white)
    return foreground.flatten(1).scatter(1, places.expand_as(calmed), calmed).view_as(foreground)


def _axes(rgb: Tensor, hue: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of colours ``[3, ...]``: luma, not quite 0; chroma towards a hue; and chroma across it over brightness in what a
    pure light of the hue lacks. Each ``[1, ...]``."""
    a, b = chroma(rgb)[:, None]
    towards, across = a * math.cos(hue) + b * math.sin(hue), b * math.cos(hue) - a * math.sin(hue)
    pure = _of_chroma(hue)
    pure = (pure - pure.min()) / (pure.max() - pure.min())
    lacking = (1 - pure * (pure.sum() / pure.square().sum())).clamp(min=0)
    red, green, blue = (lacking / lacking.sum()).tolist()
    brightness = red * rgb[:1] + green * rgb[1:2] + blue * rgb[2:]
    return _luma(rgb).clamp(min=1e-4), towards, across.div_(brightness.clamp_(min=1e-4))


class _Inside:
    """The inside's chroma towards a hue, over luma, around each pixel: of all, and of what is like it across that hue.

    What is near decides; what is up to four times as far away has a say where nothing is.

    Args:
        rgb: ``[3, H, W]``.
        alpha: ``[1, H, W]``.
        band: ``[1, H, W]``, :func:`edge_band`.
        unknown: ``[1, H, W]``, 1 where alpha was not sure beforehand, else 0.
        hue: in radians.
    """

    def __init__(self, rgb: Tensor, alpha: Tensor, band: Tensor, unknown: Tensor, hue: float) -> None:
        self._size = size = rgb.shape[1:]
        # Slow changes: some samples are enough.
        step = max(1, round(NEAR * max(size) / 8))
        rgb, alpha, band, unknown = (
            planes[:, step // 2 :: step, step // 2 :: step].contiguous() for planes in (rgb, alpha, band, unknown)
        )
        sure, likely = (as_weight((alpha > least) & (band < most)) for least, most in (SURE, LIKELY))
        inside = sure.mul_(1 - unknown).add_(likely, alpha=DOUBT)
        luma, towards, across = _axes(rgb, hue)
        towards = towards.div_(luma).clamp_(-3, 3)
        shades = torch.arange(SHADES, device=rgb.device)[:, None, None]
        weights = _shade(across).sub(shades).abs_().neg_().add_(1).clamp_(min=0).mul_(inside)
        values = towards * inside
        planes = torch.cat([values * towards, weights, weights * towards])
        self.least = _least(*(float(p.sum(dtype=torch.float64)) for p in (values, planes[0], inside)))
        """What most of the picture's inside is above, of chroma towards the hue over luma; -∞ where it has none."""
        reach = NEAR * max(size) / step
        near, far = (_means(planes, reach * by) for by in (1, 4))
        far = F.interpolate(far[None], near.shape[1:], mode="bilinear", align_corners=False)[0]
        grid = near.add_(far, alpha=0.01)
        self._shades = grid[1:].view(2, SHADES, *grid.shape[1:])
        self._all = Enlarged(torch.cat([self._shades.sum(1), grid[:1]]), *size)

    def around(self, places: Tensor, across: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What is around some pixels, each ``[1, N]``: mean and deviation, zero where no inside is; whether any is,
        bool; the mean over what is of like colour, and its share in all.

        Args:
            places: the pixels' numbers, row by row, ``[N]``.
            across: ``[1, N]``, their chroma across the hue, as of :func:`_axes`.
        """
        weight, total, squares = self._all.at(places)[:, None]
        known, weight = weight > 1e-6, weight.clamp(min=1e-6)
        mean = total / weight
        deviation = squares.div_(weight).sub_(mean.square()).clamp_(min=0).sqrt_()
        height, width = self._size
        down = places // width
        at = (places - down * width, width), (down, height), (_shade(across[0]), SHADES)
        points = torch.stack([(2 * along + 1) / length - 1 for along, length in at], dim=-1)
        # Linear along all three axes; beyond the border as at it.
        read = F.grid_sample(
            self._shades[None], points.view(1, -1, 1, 1, 3), padding_mode="border", align_corners=False
        )
        of_like, total = read.view(2, 1, -1)
        return mean, deviation, known, total / of_like.clamp(min=1e-7), of_like / weight


def _shade(across: Tensor) -> Tensor:
    """Places on the grid's axis of chroma, 0 to ``SHADES - 1``."""
    return across.clamp(-MOST, MOST).add_(MOST).mul_((SHADES - 1) / (2 * MOST))


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


def _of_chroma(hue: float) -> Tensor:
    """``[3]``: a colour whose chroma is of length 1 and this hue."""
    a, b = math.cos(hue), math.sin(hue) / math.sqrt(0.75)
    return torch.tensor([a + b / 2, b, 0.0])


def _at_constant_luma(hue: float, like: Tensor) -> Tensor:
    """``[3, 1, 1]``: the colour of luma 0 whose chroma is of length 1 and this hue."""
    rgb = _of_chroma(hue).to(like).view(3, 1, 1)
    return rgb - _luma(rgb)
