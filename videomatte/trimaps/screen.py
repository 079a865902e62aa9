"""The coloured screen behind a subject, as it would look at every pixel with the subject gone."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.pixels import places_of
from videomatte.strips import Enlarged, strips
from videomatte.trimaps.clothes import TINT, foreign_islands
from videomatte.trimaps.hue import LEAST_AREA, NARROW, WIDE, along, chroma, direction_of, share_of, tint_of, turn_from
from videomatte.trimaps.spread import as_weight, enlarge_mask, filled_blocks, shrink, shrink_whole, spread
from videomatte.types import finite_unit_range
from videomatte.windows import box_mean, square_sums

__all__ = ["Screen", "empty_screen", "fit_screen", "smoothed"]

_PLATE_PIXELS = 512
"""Longer side of the reduced picture on which the plate is found: so small that grain is gone."""
_BLOCKS = 80
"""Blocks along the longer side whose means the plate is made of."""


@dataclass(frozen=True, slots=True)
class Screen:
    """A frame held against its own empty screen; maps without another shape are ``[H, W]`` float32."""

    colour: Tensor
    """``[2, H, W]``: the frame in the plane of chroma, averaged over 3 x 3 pixels."""
    empty: Tensor
    """``[2, H, W]``: the empty screen in the plane of chroma, as it would be with the subject gone."""
    share: Tensor
    """Key signal over the screen's own: 1 on the screen, 0 on grey things, below 0 on hues opposite to the screen's."""
    light: Tensor
    """Brightness over the screen's own, less 1."""
    share_noise: Tensor
    """Standard deviation of ``share`` on the screen around here: sensor, codec and creases."""
    light_noise: Tensor
    """Standard deviation of ``light`` on the screen around here."""
    coat: Tensor
    """Bool: parts of the subject that are nearly of the screen's colour; their own edges not included."""
    hue: float
    """The screen's median hue in this frame, in radians."""
    reduced: Tensor
    """``[3, h, w]``: RGB of the frame, reduced; 1.0 at white."""
    plate: Tensor
    """``[3, h, w]``: RGB of the empty screen, reduced."""

    @property
    def strict_share(self) -> Tensor:
        """The share accepting only hues within 30° of the screen's: 0 or less on skin before a yellow wall."""
        return share_of(self.colour, self.empty, NARROW)

    def within(self, box: tuple[slice, slice]) -> "Screen":
        """Its maps in some rows and columns alone."""
        names = ("colour", "empty", "share", "light", "share_noise", "light_noise", "coat")
        return replace(self, **{name: getattr(self, name)[..., *box] for name in names})


def fit_screen(rgb: Tensor, hue: float, before: Tensor | None = None) -> Screen | None:
    """Estimate the empty screen under and around the subject, and hold the frame against it.

    Colours of pixels that surely show the screen are averaged over blocks and spread into the rest, first coarsely,
    then finer, each time telling anew which pixels show the screen. So falls of light, shadows and clipped highlights
    are followed, and no threshold is the same for the whole picture.

    Args:
        rgb: ``[3, H, W]``, pixels of any dtype.
        hue: about which the screen is looked for, in radians.
        before: ``[h, w]`` bool of any size, :attr:`Screen.coat` of the frame before, if there is one.

    Returns:
        The frame against its screen, or ``None`` where it shows none.

    Convention:
        The maps are of the frame's size, pixel on pixel; averaging over 3 x 3 pixels first takes off noise and evens
        out chroma that was stored at half the size.
    """
    small = shrink(rgb, _PLATE_PIXELS)
    c, brightest = chroma(small), small.amax(0)
    x, z = along(c, direction_of(hue, c))
    signal = x - WIDE * z.abs()
    candidate = (z.abs() < math.tan(math.radians(25)) * x) & (signal > 0.2 * brightest) & (brightest > 0.04)
    if candidate.count_nonzero() < LEAST_AREA * candidate.numel():
        return None
    saturation, places = signal / brightest.clamp(min=1e-4), places_of(candidate)
    known = candidate & (saturation > 0.5 * _at(saturation, places).median())
    known &= signal > 0.25 * _upper_quartile(_at(signal, places))  # black things lit by the screen are saturated too
    for blocks, least_slack in ((6, 0.3), (24, 0.2), (24, 0.12), (_BLOCKS, 0.06), (_BLOCKS, 0.02)):
        plate = spread(small, known[None], max(small.shape[-2:]) / blocks)
        share, tint = share_of(c, chroma(plate), WIDE), tint_of(small, plate)
        # Of a quarter of the pixels, medians are as good.
        places = places_of(known[::2, ::2])
        share_known, tint_known = (_at(plane[::2, ::2], places) for plane in (share, tint))
        slack = max(least_slack, 3 * 1.4826 * float((share_known - 1).abs_().median()))
        most_tint = max(least_slack / 2, TINT, 3 * 1.4826 * float(tint_known.median()))
        # Hair and soft edges show less of the screen and nothing shows more: lean to what shows more.
        known = candidate & (share > 1 - slack) & (share < 1 + 2 * slack) & (tint < most_tint)
        if known.count_nonzero() < LEAST_AREA * known.numel():
            return None
    coat = foreign_islands(small, known, None if before is None else enlarge_mask(before, known.shape))
    if coat.any():
        known &= ~coat
        plate = spread(small, known[None], max(small.shape[-2:]) / blocks)

    places = places_of(known)
    turn = float(turn_from(torch.atan2(_at(c[1], places), _at(c[0], places)), hue).median())
    return _against(rgb, small, plate, known, coat, hue + turn)


def _against(rgb: Tensor, reduced: Tensor, plate: Tensor, known: Tensor, coat: Tensor, hue: float) -> Screen:
    """A frame held against its screen, of which there is a reduced picture, and where it shows and what is a coat."""
    size = rgb.shape[-2:]
    # Chroma and brightness may be taken before enlarging: both are sums.
    enlarged = Enlarged(torch.cat([chroma(plate), plate.mean(0, keepdim=True)]), *size)
    # The outermost pixels are the next ones' again: scalers leave them darker, which would be an edge all around.
    edge = 1 if min(size) > 16 else 0
    colour, empty, noise, share, light = (reduced.new_empty(*lead, *size) for lead in ((2,), (2,), (2,), (), ()))
    rows_of_blocks, blocks_a_row = (max(1, round(n / (max(size) / 16))) for n in size)
    upper, sums = enlarge_mask(known, size), reduced.new_empty(3, size[0], blocks_a_row)
    for rows in strips(rgb):
        around = torch.arange(rows.start - 1, rows.stop + 1, device=rgb.device).clamp_(edge, size[0] - 1 - edge)
        inner = finite_unit_range(rgb.index_select(1, around))[..., edge : size[1] - edge]
        first, last = (inner[..., at : at + 1].expand(-1, -1, edge + 1) for at in (0, inner.shape[2] - 1))
        smooth = square_sums(torch.cat([first, inner, last], dim=2), 3).mul_(1 / 9)
        here, bright = (planes := enlarged.rows(rows))[:2], planes[2]
        own = chroma(smooth)
        colour[:, rows], empty[:, rows], share[rows] = own, here, share_of(own, here, WIDE)
        torch.div(smooth.mean(0), bright.clamp_(min=1e-4), out=light[rows]).sub_(1)
        # By the upper half alone, for the same reason as above: no edge gets into the noise.
        weight = as_weight(upper[rows] & (share[rows] >= 1) & (share[rows] < 1.2))
        squares = (share[rows] - 1).square_().mul_(weight), light[rows].square().mul_(weight)
        sums[:, rows] = F.adaptive_avg_pool2d(torch.stack([*squares, weight]), (len(weight), blocks_a_row))
    enlarged = Enlarged(filled_blocks(F.adaptive_avg_pool2d(sums, (rows_of_blocks, blocks_a_row))), *size)
    for rows in strips(rgb):
        torch.sqrt(enlarged.rows(rows).clamp_(min=0), out=noise[:, rows])
    coat = enlarge_mask(coat, size)
    return Screen(colour, empty, share, light, noise[0], noise[1], coat, hue, reduced, plate)


def smoothed(screen: Screen, noise: float, most: int) -> Screen:
    """The same with colours averaged over so many pixels more that no more than some noise is left of the frame's.

    Args:
        screen: a frame held against its screen, or a part of it.
        noise: standard deviation of ``share`` that may be left.
        most: pixels to each side that are averaged over at most.

    Returns:
        ``colour`` and ``share`` anew, the rest as it was; the same where there is no more noise.

    Convention:
        Squares are centred on their pixel: nothing moves.
    """
    # Noise of means falls with the side of the square; colours are means over 3 x 3 already.
    reach = min(most, math.ceil((3 * float(screen.share_noise[::8, ::8].median()) / noise - 3) / 2))
    if reach < 1:
        return screen
    colour = box_mean(screen.colour, reach)
    return replace(screen, colour=colour, share=share_of(colour, screen.empty, WIDE))


def empty_screen(rgb: Tensor, reduced: Tensor, screen: Tensor) -> Tensor:
    """The picture with the subject gone, from what surely is screen alone.

    The plate that a frame is held against learns from all that looks like the screen, so that no shadow is taken for
    subject; fair hair that the screen shines through looks so, too, and pales what is behind it.

    Args:
        rgb: ``[3, H, W]``, pixels of any dtype.
        reduced: ``[3, h, w]``, the same reduced, as :attr:`Screen.reduced`.
        screen: ``[H, W]`` bool: surely nothing but screen. True somewhere.

    Returns:
        ``[3, h, w]`` float32, or ``[3, H, W]`` where the screen is seen in so narrow places only that the reduced
        picture shows it nowhere alone.

    Convention:
        As :func:`spread`; a screen of one colour comes back as it was.
    """
    known = shrink_whole(screen, _PLATE_PIXELS)[None]
    picture, known = (reduced, known) if known.any() else (finite_unit_range(rgb), screen[None])
    return spread(picture, known, max(picture.shape[-2:]) / _BLOCKS)


def _at(plane: Tensor, places: Tensor) -> Tensor:
    return plane.flatten().index_select(0, places)


def _upper_quartile(values: Tensor) -> Tensor:
    """As ``values.quantile(0.75)``, without sorting all of them."""
    place = 0.75 * (len(values) - 1)
    low = int(place)
    upper = values.topk(len(values) - low, sorted=False).values
    lower, higher = upper.topk(min(2, len(upper)), largest=False).values[[0, -1]]
    return torch.lerp(lower, higher, place - low)
