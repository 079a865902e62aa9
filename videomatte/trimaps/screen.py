"""The coloured screen behind a subject: its hue, and how it would look at every pixel with the subject gone.

Colours are looked at in the plane of chroma, where grey is the origin, the angle is the hue (red 0°, green 120°, blue
240°) and light of another strength only moves a colour along the line through the origin. Towards a screen's hue a
colour has the key signal ``x - |z| / tan(θ/2)`` of van den Bergh & Lalioti, "Software chroma keying in an immersive
virtual environment" (South African Computer Journal 24, 1999): x along the screen's hue, z across it, θ the angle of
hues accepted. With θ = 120° and pure green this is the colour difference G - max(R, B) of Vlahos' patents; for other
hues it is the same turned round. A mixture of the screen and something grey, black or white has a key signal in
proportion to the screen that shows.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.components import by_label, label_components, without_specks
from videomatte.strips import Enlarged, strips
from videomatte.trimaps.morphology import dilate, erode
from videomatte.windows import box_mean, square_sums

__all__ = ["Screen", "chroma", "empty_screen", "find_hue", "fit_screen", "of_another_hue", "smoothed", "spread"]

_WIDE, _NARROW = 1 / math.tan(math.radians(60)), 1 / math.tan(math.radians(30))
"""1 / tan(θ/2) for θ of 120° and of 60°."""
_HUE_PIXELS, _PLATE_PIXELS = 64, 512
"""Longer side of the reduced pictures on which the hue and the plate are found: so small that grain is gone."""
_BLOCKS = 80
"""Blocks along the longer side whose means the plate is made of."""
_TINT, _FOREIGN_TURN = 0.08, math.sin(math.radians(10))
"""How far from the plate's tint (see `_tint`) a pixel may be and still show the screen, as creases are where cloth
lights cloth; and by how much a whole piece of the picture is of another hue that is none of it."""
_LEAST_ACROSS = 0.06
"""Chroma across the screen's hue, in units of the screen's own, below which a hue is noise."""
_BRIGHTER = 1.4
"""How many times the chroma of the screen around it an island has that shows something else: gaps are darker, and veils
paler."""
_LEAST_AREA = 0.005
"""Fraction of the picture below which a colour is no screen."""


@dataclass(frozen=True, slots=True)
class Screen:
    """A frame held against its own empty screen; maps without another shape are ``[H, W]`` float32."""

    colour: Tensor
    """``[2, H, W]``: the frame in the plane of chroma, averaged over 3 x 3 pixels."""
    plate: Tensor
    """``[3, H, W]``: RGB of the empty screen, as the picture would be with the subject gone; 1.0 at white."""
    share: Tensor
    """Key signal over the screen's own: 1 on the screen, 0 on grey things, below 0 on hues opposite to the screen's."""
    strict_share: Tensor
    """The same accepting only hues within 30° of the screen's: 0 or less on skin before a yellow wall."""
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


def chroma(rgb: Tensor) -> Tensor:
    """Colours in the plane of chroma.

    Args:
        rgb: ``[3, H, W]`` float32.

    Returns:
        ``[2, H, W]``: ``R - (G + B) / 2`` and ``√3/2 (G - B)``. The angle is the hue, red 0, green 2π/3, blue 4π/3; the
        length is at most 1 for colours in [0, 1].

    Convention:
        Every pixel by itself: nothing moves.
    """
    red, green, blue = rgb
    return torch.stack([red - (green + blue) / 2, (green - blue) * math.sqrt(0.75)])


def find_hue(rgb: Tensor, centre: float, reach: float, *, must_be_plain: bool) -> float | None:
    """Find the hue of the screen in a picture.

    It is the peak of a histogram of hues, weighted by chroma, in which the picture's border (where a screen nearly
    always shows, and a subject seldom) weighs as much as all the rest.

    Args:
        rgb: ``[3, H, W]`` float32, 1.0 at white.
        centre: the middle of the hues to look at, in radians.
        reach: how far these go on either side, in radians.
        must_be_plain: accept only what looks like a painted wall or hung cloth: at the border, of one even hue, with
            hardly any texture. Grass, foliage and water have more of it.

    Returns:
        The hue in radians, or ``None`` where the picture shows no such screen.
    """
    small = _shrink(rgb, _HUE_PIXELS)
    c, brightest = chroma(small), small.amax(0)
    strength, hue = torch.hypot(*c), torch.atan2(c[1], c[0]) % math.tau
    coloured = (strength > 0.2 * brightest) & (brightest > 0.08) & (_turn(hue, centre).abs() <= reach)
    border = torch.ones_like(coloured)
    margin = max(1, round(0.04 * max(border.shape)))
    border[margin:-margin, margin:-margin] = False
    weight = torch.where(border, (~border).sum().clamp(min=1) / border.sum(), 1.0) * strength * coloured

    bins = 72
    histogram = torch.bincount((hue / math.tau * bins).long().flatten() % bins, weight.flatten(), minlength=bins)
    smooth = sum((histogram.roll(s) * (3 - abs(s)) for s in range(-2, 3)), start=torch.zeros_like(histogram))
    peak = (int(smooth.argmax()) + 0.5) / bins * math.tau
    near = coloured & (_turn(hue, peak).abs() < math.radians(20))
    if near.float().mean() < (0.05 if must_be_plain else _LEAST_AREA):
        return None
    peak += float(_turn(hue, peak)[near].median())
    if must_be_plain:
        signal = _key_signal(c, _direction(peak, c), _WIDE)
        neighbours = near[:, 1:] & near[:, :-1]
        texture = signal.diff(dim=1).abs()[neighbours].median() / signal[near].median()
        at_border = (near & border).sum() / border.sum()
        in_one_piece = erode(near, 0.02 * max(near.shape)).float().mean()  # stripes and leaves are not
        # Measured: screens, creased, dark and grainy ones too, have a texture up to 0.03 and a hue that varies by up to
        # 4.5°; grass, foliage, water and brick have at least 0.037 and mostly 6° or more.
        if not (
            at_border > 0.1
            and in_one_piece > 0.05
            and texture < 0.035
            and _turn(hue, peak)[near].std() < math.radians(6.5)
        ):
            return None
    return peak


def fit_screen(rgb: Tensor, hue: float) -> Screen | None:
    """Estimate the empty screen under and around the subject, and hold the frame against it.

    Colours of pixels that surely show the screen are averaged over blocks and spread into the rest, first coarsely,
    then finer, each time telling anew which pixels show the screen. So falls of light, shadows and clipped highlights
    are followed, and no threshold is the same for the whole picture.

    Args:
        rgb: ``[3, H, W]`` float32, 1.0 at white.
        hue: about which the screen is looked for, in radians.

    Returns:
        The frame against its screen, or ``None`` where it shows none.

    Convention:
        The maps are of the frame's size, pixel on pixel; averaging over 3 x 3 pixels first takes off noise and evens
        out chroma that was stored at half the size.
    """
    small = _shrink(rgb, _PLATE_PIXELS)
    c, brightest = chroma(small), small.amax(0)
    x, z = _along(c, _direction(hue, c))
    signal = x - _WIDE * z.abs()
    candidate = (z.abs() < math.tan(math.radians(25)) * x) & (signal > 0.2 * brightest) & (brightest > 0.04)
    if candidate.float().mean() < _LEAST_AREA:
        return None
    saturation = signal / brightest.clamp(min=1e-4)
    known = candidate & (saturation > 0.5 * saturation[candidate].median())
    known &= signal > 0.25 * _upper_quartile(signal[candidate])  # black things lit by the screen are saturated too
    for blocks, least_slack in ((6, 0.3), (24, 0.2), (24, 0.12), (_BLOCKS, 0.06), (_BLOCKS, 0.02)):
        plate = spread(small, known[None].float(), max(small.shape[-2:]) / blocks)
        share, tint = _share(c, chroma(plate), _WIDE), _tint(small, plate)
        slack = max(least_slack, 3 * 1.4826 * float((share[known] - 1).abs().median()))
        most_tint = max(least_slack / 2, _TINT, 3 * 1.4826 * float(tint[known].median()))
        # Hair and soft edges show less of the screen and nothing shows more: lean to what shows more.
        known = candidate & (share > 1 - slack) & (share < 1 + 2 * slack) & (tint < most_tint)
        if known.float().mean() < _LEAST_AREA:
            return None
    coat = _foreign_islands(small, known)
    if coat.any():
        known &= ~coat
        plate = spread(small, known[None].float(), max(small.shape[-2:]) / blocks)

    turn = float(_turn(torch.atan2(c[1], c[0])[known], hue).median())
    return _against(rgb, plate, known, coat, hue + turn)


def _against(rgb: Tensor, plate: Tensor, known: Tensor, coat: Tensor, hue: float) -> Screen:
    """A frame held against its screen, of which there is a reduced picture, and where it shows and what is a coat."""
    size = rgb.shape[-2:]
    enlarged = Enlarged(plate, *size)
    # The outermost pixels are the next ones' again: scalers leave them darker, which would be an edge all around.
    edge = 1 if min(size) > 16 else 0
    inner = rgb[None, :, edge : size[0] - edge, edge : size[1] - edge]
    padded = F.pad(inner, [edge + 1] * 4, mode="replicate")[0]
    colour, share, strict_share, light = (rgb.new_empty(*lead, *size) for lead in ((2,), (), (), ()))
    plate, squares = torch.empty_like(rgb), rgb.new_empty(2, *size)
    for rows in strips(rgb):
        smooth = square_sums(padded[:, rows.start : rows.stop + 2], 3) / 9
        plate[:, rows] = enlarged.rows(rows)
        colour[:, rows], empty = chroma(smooth), chroma(plate[:, rows])
        share[rows], strict_share[rows] = (_share(colour[:, rows], empty, slope) for slope in (_WIDE, _NARROW))
        light[rows] = smooth.mean(0) / plate[:, rows].mean(0).clamp(min=1e-4) - 1
        squares[:, rows] = torch.stack([(share[rows] - 1).square(), light[rows].square()])
    # By the upper half alone, for the same reason as above: no edge gets into the noise.
    upper = (_enlarge_mask(known, size) & (share >= 1) & (share < 1.2))[None].float()
    noise = spread(squares, upper, max(size) / 16).clamp(min=0).sqrt()
    coat = _enlarge_mask(coat, size)
    return Screen(colour, plate, share, strict_share, light, noise[0], noise[1], coat, hue)


def smoothed(screen: Screen, noise: float, most: int) -> Screen:
    """The same with colours averaged over so many pixels more that no more than some noise is left of the frame's.

    Args:
        screen: a frame held against its screen, or a part of it.
        noise: standard deviation of ``share`` that may be left.
        most: pixels to each side that are averaged over at most.

    Returns:
        ``colour``, ``share`` and ``strict_share`` anew, the rest as it was; the same where there is no more noise.

    Convention:
        Squares are centred on their pixel: nothing moves.
    """
    # Noise of means falls with the side of the square; colours are means over 3 x 3 already.
    reach = min(most, math.ceil((3 * float(screen.share_noise.median()) / noise - 3) / 2))
    if reach < 1:
        return screen
    colour, empty = box_mean(screen.colour, reach), chroma(screen.plate)
    return replace(
        screen, colour=colour, share=_share(colour, empty, _WIDE), strict_share=_share(colour, empty, _NARROW)
    )


def of_another_hue(screen: Screen, reach: int) -> Tensor:
    """Where a frame's colours are of another hue than its screen's, by more than shadows, light and noise make.

    What is grey, black or white pales the screen behind it or darkens it, but does not turn it.

    Args:
        screen: a frame held against its screen, or a part of it.
        reach: pixels to each side that colours are averaged over.

    Returns:
        ``[H, W]`` bool.

    Convention:
        Squares are centred on their pixel: nothing moves.
    """
    empty = chroma(screen.plate)
    strength = torch.hypot(*empty).clamp(min=1e-4)
    along, across = _along(box_mean(screen.colour, reach), empty / strength)
    across = across.abs()
    plain = (3 * screen.share_noise).clamp(min=_LEAST_ACROSS)
    return (across > _FOREIGN_TURN * torch.hypot(along, across)) & (across > plain * strength)


def empty_screen(rgb: Tensor, screen: Tensor) -> Tensor:
    """The picture with the subject gone, from what surely is screen alone.

    The plate that a frame is held against learns from all that looks like the screen, so that no shadow is taken for
    subject; fair hair that the screen shines through looks so, too, and pales what is behind it.

    Args:
        rgb: ``[3, H, W]`` float32, 1.0 at white.
        screen: ``[H, W]`` bool: surely nothing but screen. True somewhere.

    Returns:
        ``[3, H, W]`` float32.

    Convention:
        As :func:`spread`; a screen of one colour comes back as it was.
    """
    known = _shrink(screen[None].float(), _PLATE_PIXELS) == 1
    if not known.any():
        return spread(rgb, screen[None].float(), max(rgb.shape[-2:]) / _BLOCKS)
    small = _shrink(rgb, _PLATE_PIXELS)
    plate = spread(small, known.float(), max(small.shape[-2:]) / _BLOCKS)
    return _enlarge(plate, rgb.shape[-2:])


def _foreign_islands(rgb: Tensor, known: Tensor) -> Tensor:
    """``[H, W]`` bool: pieces of what was taken for the screen that lie within the subject, or between it and the
    picture's lower border, and are of another hue than the screen around, or of much more chroma: a coat of the
    screen's hue. A gap under an arm shows the same screen, if darker."""
    size = max(known.shape)
    # Where one cloth ends before another.
    seams = _tint(box_mean(rgb, 1), box_mean(rgb, size // 20)) > _TINT / 2
    # Dark screens are full of holes: the grain's, not theirs.
    whole = ~without_specks(~known | seams, (size / 60) ** 2)
    labels, areas = label_components(erode(whole, size / 160))
    mainland = torch.zeros_like(areas, dtype=torch.bool)
    mainland[torch.cat([labels[0], labels[:, 0], labels[:, -1]])] = True
    mainland[0] = False
    if not mainland.any():
        return torch.zeros_like(known)
    around = spread(rgb, by_label(mainland, labels)[None].float(), size / 24)
    labels, areas = label_components(known & ~dilate(by_label(mainland, labels), size / 80))
    # By hue and chroma, not tint and light: smoke and veils pale the screen that shows through, but do not turn it.
    colour, empty = chroma(rgb), chroma(around)
    turn = (torch.atan2(colour[1], colour[0]) - torch.atan2(empty[1], empty[0])).sin()
    turn, strength, strength_around = (
        torch.bincount(labels.flatten(), values.flatten(), minlength=len(areas))
        for values in (turn, torch.hypot(*colour), torch.hypot(*empty))
    )
    turned, brighter = turn.abs() > _FOREIGN_TURN * areas, strength > _BRIGHTER * strength_around
    turned[0] = brighter[0] = False
    # Shadows where cloth lights cloth may be of a tint of their own, but only small ones are.
    if not (turned.any() and areas[turned].amax() > 0.005 * known.numel()):
        turned = torch.zeros_like(turned)
    return by_label(turned | (brighter & (areas > (size / 100) ** 2)), labels)


def spread(values: Tensor, weight: Tensor, block: float) -> Tensor:
    """Weighted means over blocks, filled in from ever coarser blocks where nothing has weight.

    The pull-push of Gortler et al., "The lumigraph", SIGGRAPH 1996.

    Args:
        values: ``[C, H, W]`` float32.
        weight: ``[1, H, W]`` float32 in [0, 1].
        block: side of the finest blocks, in pixels; more gives a smoother result.

    Returns:
        ``[C, H, W]`` float32; 0 where nothing at all has weight.

    Convention:
        Blocks tile the picture from the top left corner; between their centres the result is bilinear. A constant
        comes back as it was.
    """
    height, width = weight.shape[-2:]
    size = (max(1, round(height / block)), max(1, round(width / block)))
    sums = [F.adaptive_avg_pool2d(torch.cat([values * weight, weight]), size)]
    while max(size) > 1:
        size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        sums.append(F.adaptive_avg_pool2d(sums[-1], size))
    result = sums[-1][:-1] / sums[-1][-1:].clamp(min=1e-9)
    for finer in reversed(sums[:-1]):
        coarse = _enlarge(result, finer.shape[-2:])
        trust = (4 * finer[-1:]).clamp(max=1)  # a block of which a quarter is known speaks for itself
        result = coarse + trust * (finer[:-1] / finer[-1:].clamp(min=1e-9) - coarse)
    return _enlarge(result, (height, width))


def _upper_quartile(values: Tensor) -> Tensor:
    """As ``values.quantile(0.75)``, without sorting all of them."""
    place = 0.75 * (len(values) - 1)
    low = int(place)
    lower, higher = (values.kthvalue(min(at, len(values))).values for at in (low + 1, low + 2))
    return torch.lerp(lower, higher, place - low)


def _shrink(picture: Tensor, longer: int) -> Tensor:
    factor = max(picture.shape[-2:]) / longer
    height, width = (max(3, round(n / factor)) for n in picture.shape[-2:])
    return F.adaptive_avg_pool2d(picture, (height, width)) if factor > 1 else picture


def _enlarge(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    return Enlarged(picture, *size).rows(slice(0, size[0]))


def _enlarge_mask(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(mask[None, None].to(torch.uint8), size, mode="nearest")[0, 0] > 0


def _turn(hue: Tensor, origin: float) -> Tensor:
    return (hue - origin + math.pi) % math.tau - math.pi


def _direction(hue: float, like: Tensor) -> Tensor:
    return torch.tensor([math.cos(hue), math.sin(hue)], device=like.device).view(2, 1, 1)


def _along(c: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    return c[0] * direction[0] + c[1] * direction[1], c[1] * direction[0] - c[0] * direction[1]


def _key_signal(c: Tensor, direction: Tensor, slope: float) -> Tensor:
    x, z = _along(c, direction)
    return x - slope * z.abs()


def _tint(rgb: Tensor, plate: Tensor) -> Tensor:
    """How far colours lie from the ray from black through the screen's, in units of its length: 0 for the screen in any
    light. The chromaticity distortion of Horprasert et al., "A statistical approach for real-time robust background
    subtraction and shadow detection", ICCV Frame-Rate Workshop 1999."""
    length = plate.square().sum(0).clamp(min=1e-6)
    along = (rgb * plate).sum(0) / length
    return ((rgb - along * plate).square().sum(0) / length).sqrt()


def _share(c: Tensor, plate: Tensor, slope: float) -> Tensor:
    strength = torch.hypot(plate[0], plate[1]).clamp(min=1e-4)
    return _key_signal(c, plate / strength, slope) / strength
