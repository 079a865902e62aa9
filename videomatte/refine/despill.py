"""The screen's light taken off the subject, and what was taken too much given back: at its edges, where it is
translucent and where the screen shows in what was unknown, nowhere else.

A screen tints what stands before it. What it adds lies, in the plane of chroma (see :mod:`videomatte.trimaps.hue`),
along its own hue, so the tint is how far a colour goes that way beyond what it may. A colour may go as far as the
subject's inside near there does, on average over what is otherwise as it is, that is of like chroma across the screen's
hue, and further where that is of several colours: so green shirts stay green, and hair beside a white dress turns as
brown as hair. A colour of which there is none may go as far as grey (the limit G ≤ (R + B) / 2 of the keyers that
followed Vlahos' patents, turned to the screen's hue), or as far as that inside, if it goes further. The excess is taken
off at constant luma, or edges would darken.

Averages over what is near in place and in colour are kept on a grid of three axes (Chen, Paris, Durand, "Real-time
Edge-Aware Image Processing with the Bilateral Grid", SIGGRAPH 2007).

The other way lies the fault of alpha: where it is too small, too much of the screen is taken out of the mixture, and
strands turn purple before green, yellow before blue. So what is translucent may go away from the screen's hue as far as
grey, or as most of the inside there does, and no further.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.pixels import pixels_at, places_of, put_at, rows_and_columns
from videomatte.strips import Enlarged
from videomatte.trimaps.hue import along, chroma, direction_of
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
"""Alpha above and band below which a pixel is the subject's inside, if the screen is not shown, and may be. Where alpha
had to be found all over a shirt of nearly the screen's colour, nothing of it is sure."""
DOUBT = 0.01
"""Weight of what may be inside."""
SHADES, MOST = 17, 1.6
"""Steps of the grid's axis of chroma across the screen's hue, and how far it goes either way from grey, over the
brightness in what a pure light of that hue lacks: neither a tint nor a mixture with the screen changes it much."""
ENOUGH = 0.02
"""Share of the inside that is of like colour from which on that alone decides."""
ONE_COLOUR = 0.1
"""Deviation of what is of one colour. What is alike across the hue and deviates by more is of several, as magenta hair
and a pale green shirt are, and a colour may go as far beyond their mean."""
SHOWN = 0.25, 0.5
"""Chroma towards the hue, over luma, from which on what was unknown may show the screen though alpha says that it is
opaque, and surely does: pale green shirts have less, and keep it."""
ROUNDING = 1e-6
"""Excess or lack that sums in float32 make of colours right at the limit: these stay as they are, to the bit."""
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
    band = enlarge(_means(clear, reach, steps=8), alpha.shape[1:]).mul_(4)
    torch.maximum(band, clear.div_(TRANSLUCENT), out=band)
    return band.clamp_(0, 1).mul_(as_weight(dilate_square(alpha > 0, reach)))


def despill(foreground: Tensor, alpha: Tensor, hue: float, unknown: Tensor | None = None) -> Tensor:
    """Take the light of a screen off a straight foreground.

    Args:
        foreground: ``[3, H, W]`` float32, straight.
        alpha: ``[1, H, W]`` float32 in [0, 1].
        hue: of the screen, in radians: red 0, green 2π/3, blue 4π/3.
        unknown: ``[1, H, W]`` bool, where alpha was not sure beforehand, and what has much of the screen's hue shows
            the screen whatever alpha says, as between locks of hair; nowhere if not given.

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
    shown = torch.zeros_like(alpha) if unknown is None else _shown(foreground, unknown, hue)
    inside = _Inside(foreground, alpha, band, shown, hue)
    band = torch.maximum(band, shown)
    white = foreground.amax().clamp(min=1)  # what no output could hold would show in composites alone
    places = places_of(band > 0)
    rgb, alpha, band = (pixels_at(planes, places) for planes in (foreground, alpha, band))
    luma, towards, across = _axes(rgb, hue)
    every, like = inside.around(places, across)
    other = (every.mean + every.deviation).clamp_(min=0)
    own = (like.deviation - ONE_COLOUR).clamp_(min=0).add_(like.mean)
    share = like.weight / every.weight.clamp(min=1e-6)
    limit = torch.lerp(other, own, share.div_(ENOUGH).clamp_(max=1)).mul_(luma)
    excess = (towards - limit).clamp_(min=0).mul_(band)
    # Where no inside is around, the picture's whole inside decides.
    least = torch.where(every.weight > 1e-6, every.mean - USUAL * every.deviation, inside.least)
    least = least.sub_(SLACK).clamp_(max=0)
    lack = least.mul_(luma).sub_(towards).clamp_(min=0).mul_((1 - alpha).div_(TRANSLUCENT).clamp_(max=1))
    change = lack.sub_(excess)
    # Of an excess and a lack there is never both, and mostly neither.
    changed = places_of(change[0].abs() > ROUNDING)
    places, rgb, change = places.index_select(0, changed), rgb.index_select(1, changed), change.index_select(1, changed)
    calmed = torch.minimum((rgb + change * _at_constant_luma(hue, foreground)[:, 0]).clamp_(min=0), white)
    return put_at(foreground, places, calmed)


def _axes(rgb: Tensor, hue: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of colours ``[3, ...]``: luma, not quite 0; chroma towards a hue; and chroma across it over brightness in what a
    pure light of the hue lacks. Each ``[1, ...]``."""
    luma, towards, across = _chroma_along(rgb, hue)
    pure = _of_chroma(hue)
    pure = (pure - pure.min()) / (pure.max() - pure.min())
    lacking = (1 - pure * (pure.sum() / pure.square().sum())).clamp(min=0)
    red, green, blue = (lacking / lacking.sum()).tolist()
    brightness = red * rgb[:1] + green * rgb[1:2] + blue * rgb[2:]
    return luma, towards, across.div_(brightness.clamp_(min=1e-4))


def _chroma_along(rgb: Tensor, hue: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of colours ``[3, ...]``: luma, not quite 0, and chroma towards a hue and across it, each ``[1, ...]``."""
    c = chroma(rgb)[:, None]
    return _luma(rgb).clamp(min=1e-4), *along(c, direction_of(hue, c))


def _shown(rgb: Tensor, unknown: Tensor, hue: float) -> Tensor:
    """``[1, H, W]`` in 0..1: how surely what was unknown shows the screen by its colour, whatever alpha says."""
    places = places_of(unknown)
    luma, towards, _ = _chroma_along(pixels_at(rgb, places), hue)
    surely = towards.div_(luma).sub_(SHOWN[0]).div_(SHOWN[1] - SHOWN[0]).clamp_(0, 1)
    return torch.zeros_like(rgb[:1]).flatten().index_copy(0, places, surely[0]).view_as(unknown)


class _Inside:
    """The inside's chroma towards a hue, over luma, around each pixel: of all, and of what is like it across that hue.

    What is near decides; what is up to four times as far away has a say where nothing is.

    Args:
        rgb: ``[3, H, W]``.
        alpha: ``[1, H, W]``.
        band: ``[1, H, W]``, :func:`edge_band`.
        shown: ``[1, H, W]``, as of :func:`_shown`.
        hue: in radians.
    """

    def __init__(self, rgb: Tensor, alpha: Tensor, band: Tensor, shown: Tensor, hue: float) -> None:
        self._size = size = rgb.shape[1:]
        # Slow changes: some samples are enough.
        step = max(1, round(NEAR * max(size) / 8))
        rgb, alpha, band, shown = (
            planes[:, step // 2 :: step, step // 2 :: step].contiguous() for planes in (rgb, alpha, band, shown)
        )
        sure, likely = (as_weight((alpha > least) & (band < most)) for least, most in (SURE, LIKELY))
        inside = sure.mul_(1 - shown).add_(likely, alpha=DOUBT)
        luma, towards, across = _axes(rgb, hue)
        towards = towards.div_(luma).clamp_(-3, 3)
        shades = torch.arange(SHADES, device=rgb.device)[:, None, None]
        weights = _shade(across).sub(shades).abs_().neg_().add_(1).clamp_(min=0).mul_(inside)
        values = weights * towards
        planes = torch.cat([weights, values, values * towards])
        sums = planes.view(3, -1).sum(1, dtype=torch.float64)
        self.least = _least(*sums.tolist())
        """What most of the picture's inside is above, of chroma towards the hue over luma; -∞ where it has none."""
        reach = NEAR * max(size) / step
        near, far = (_means(planes, reach * by, steps=4) for by in (1, 4))
        far = F.interpolate(far[None], near.shape[1:], mode="bilinear", align_corners=False)[0]
        grid = near.add_(far, alpha=0.01)
        self._shades = grid.view(3, SHADES, *grid.shape[1:])
        self._all = Enlarged(self._shades.sum(1), *size)

    def around(self, places: Tensor, across: Tensor) -> tuple[_Moments, _Moments]:
        """Of what is around some pixels: of all, and of what is of like colour.

        Args:
            places: the pixels' numbers, row by row, ``[N]``.
            across: ``[1, N]``, their chroma across the hue, as of :func:`_axes`.
        """
        height, width = self._size
        down, aside = rows_and_columns(places, width)
        at = (aside, width), (down, height), (_shade(across[0]), SHADES)
        # In double precision: near a shade's foot a weight is so small that float32's coordinates would make it up.
        points = torch.stack([(2 * along.double() + 1) / length - 1 for along, length in at], dim=-1)
        # Linear along all three axes; beyond the border as at it.
        read = F.grid_sample(
            self._shades[None].double(), points.view(1, -1, 1, 1, 3), padding_mode="border", align_corners=False
        )
        return _Moments.of(self._all.at(places)), _Moments.of(read.view(3, -1).to(across.dtype))


class _Moments(NamedTuple):
    """Of some colours around each pixel; each ``[1, N]``."""

    weight: Tensor
    """As much of the inside as there is."""
    mean: Tensor
    """0 where there is none."""
    deviation: Tensor
    """Likewise."""

    @classmethod
    def of(cls, sums: Tensor) -> Self:
        """Of weights, sums and sums of squares, ``[3, N]``."""
        weight, total, squares = sums[:, None]
        mean, square = (part / weight.clamp(min=1e-7) for part in (total, squares))
        return cls(weight, mean, square.sub_(mean.square()).clamp_(min=0).sqrt_())


def _shade(across: Tensor) -> Tensor:
    """Places on the grid's axis of chroma, 0 to ``SHADES - 1``."""
    return across.clamp(-MOST, MOST).add_(MOST).mul_((SHADES - 1) / (2 * MOST))


def _least(count: float, total: float, squares: float) -> float:
    """What most of some values are above, by their number, their sum and that of their squares."""
    if not count:  # with nothing to compare with, nothing is known to be at fault
        return -math.inf
    mean = total / count
    return mean - USUAL * math.sqrt(max(0.0, squares / count - mean**2))


def _means(planes: Tensor, reach: float, steps: int) -> Tensor:
    """Means over squares of 2 · reach + 1 pixels, reduced to so many steps in the reach, for they change slowly; beyond
    the border the picture goes on as it ends."""
    step = max(1, round(reach / steps))
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
