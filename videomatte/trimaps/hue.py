"""Hues, and how far a colour goes towards a screen's.

Colours are looked at in the plane of chroma, where grey is the origin, the angle is the hue (red 0°, green 120°, blue
240°) and light of another strength only moves a colour along the line through the origin. Towards a screen's hue a
colour has the key signal ``x - |z| / tan(θ/2)`` of van den Bergh & Lalioti, "Software chroma keying in an immersive
virtual environment" (South African Computer Journal 24, 1999): x along the screen's hue, z across it, θ the angle of
hues accepted. With θ = 120° and pure green this is the colour difference G - max(R, B) of Vlahos' patents; for other
hues it is the same turned round. A mixture of the screen and something grey, black or white has a key signal in
proportion to the screen that shows.
"""

import math

import torch
from torch import Tensor

from videomatte.trimaps.morphology import erode
from videomatte.trimaps.spread import shrink, shrink_whole

__all__ = [
    "LEAST_AREA",
    "NARROW",
    "SCREENS",
    "WIDE",
    "along",
    "chroma",
    "direction_of",
    "dot",
    "find_hue",
    "hue_behind",
    "key_signal",
    "plain_hue",
    "screen_hue",
    "share_of",
    "tint_of",
    "turn_from",
]

WIDE = 1 / math.tan(math.radians(60))
"""1 / tan(θ/2) for θ of 120°."""
NARROW = 1 / math.tan(math.radians(30))
"""1 / tan(θ/2) for θ of 60°."""
LEAST_AREA = 0.005
"""Fraction of the picture below which a colour is no screen."""
ONE_HUE, LEAST_CHROMA = 0.9, 0.1
"""A plate is a screen where its chromas hardly cancel and are, on average, at least this share of its brightness."""
SCREENS = 160.0, 110.0
"""Middle of the hues that screens have, and how far these go on either side, in degrees. Red to orange are left out:
skin, wood and brick are seldom a screen."""
_PURE, _PLAIN = 0.4, 0.1
"""Chroma over brightness that a plain screen has on average, and what it departs by from that on average, as a share of
it: none of 60 procedural screens by more, and 4 of 60 places by less that are as pure, all of them painted walls."""
_BLOCKS = 160
"""Blocks along the longer side whose means are looked at for a plain colour: grain is gone in them."""
_HUE_PIXELS = 64
"""Longer side of the reduced picture on which the hue is found: so small that grain is gone."""


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
    plane = rgb.new_empty(2, *rgb.shape[1:])
    torch.add(green, blue, out=plane[0]).mul_(-0.5).add_(red)
    torch.sub(green, blue, out=plane[1]).mul_(math.sqrt(0.75))
    return plane


def find_hue(rgb: Tensor, centre: float, reach: float, *, must_be_plain: bool) -> float | None:
    """Find the hue of the screen in a picture.

    It is the peak of a histogram of hues, weighted by chroma, in which the picture's border (where a screen nearly
    always shows, and a subject seldom) weighs as much as all the rest.

    Args:
        rgb: ``[3, H, W]``, pixels of any dtype.
        centre: the middle of the hues to look at, in radians.
        reach: how far these go on either side, in radians.
        must_be_plain: accept only what looks like a painted wall or hung cloth: at the border, of one even hue, with
            hardly any texture. Grass, foliage and water have more of it.

    Returns:
        The hue in radians, or ``None`` where the picture shows no such screen.
    """
    small = shrink(rgb, _HUE_PIXELS)
    c, brightest = chroma(small), small.amax(0)
    strength, hue = torch.hypot(*c), torch.atan2(c[1], c[0]) % math.tau
    coloured = (strength > 0.2 * brightest) & (brightest > 0.08) & (turn_from(hue, centre).abs() <= reach)
    border = torch.ones_like(coloured)
    margin = max(1, round(0.04 * max(border.shape)))
    border[margin:-margin, margin:-margin] = False
    weight = torch.where(border, (~border).sum().clamp(min=1) / border.sum(), 1.0) * strength * coloured

    bins = 72
    histogram = torch.bincount((hue / math.tau * bins).long().flatten() % bins, weight.flatten(), minlength=bins)
    smooth = sum((histogram.roll(s) * (3 - abs(s)) for s in range(-2, 3)), start=torch.zeros_like(histogram))
    peak = (int(smooth.argmax()) + 0.5) / bins * math.tau
    near = coloured & (turn_from(hue, peak).abs() < math.radians(20))
    if near.float().mean() < (0.05 if must_be_plain else LEAST_AREA):
        return None
    peak += float(turn_from(hue, peak)[near].median())
    if must_be_plain:
        signal = key_signal(c, direction_of(peak, c), WIDE)
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
            and turn_from(hue, peak)[near].std() < math.radians(6.5)
        ):
            return None
    return peak


def turn_from(hue: Tensor, origin: float) -> Tensor:
    """How far hues are turned from one, all in radians, from -π to π."""
    return (hue - origin + math.pi) % math.tau - math.pi


def direction_of(hue: float, like: Tensor) -> Tensor:
    """``[2, 1, 1]``, of length 1: a hue, in radians, as a direction in the plane of chroma."""
    return torch.tensor([math.cos(hue), math.sin(hue)], device=like.device).view(2, 1, 1)


def dot(one: Tensor, other: Tensor) -> Tensor:
    """Scalar products over a few planes, ``[C, ...]`` to ``[...]``: half of the time that a sum of products takes."""
    total = one[0] * other[0]
    for plane, factor in zip(one[1:], other[1:], strict=True):
        total.addcmul_(plane, factor)
    return total


def along(c: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Colours in the plane of chroma, ``[2, H, W]``, along a direction and across it, as multiples of its length."""
    (a, b), (x, y) = c, direction
    return (a * x).addcmul_(b, y), (b * x).addcmul_(a, y, value=-1)


def key_signal(c: Tensor, direction: Tensor, slope: float) -> Tensor:
    """``[H, W]``, the key signal of colours in the plane of chroma towards a direction; ``slope`` is 1 / tan(θ/2)."""
    x, z = along(c, direction)
    return x - slope * z.abs()


def tint_of(rgb: Tensor, plate: Tensor) -> Tensor:
    """How far colours lie from the ray from black through the screen's, in units of its length: 0 for the screen in any
    light. The chromaticity distortion of Horprasert et al., "A statistical approach for real-time robust background
    subtraction and shadow detection", ICCV Frame-Rate Workshop 1999."""
    length = dot(plate, plate).clamp_(min=1e-6)
    light = dot(rgb, plate).div_(length)
    apart = torch.addcmul(rgb, light, plate, value=-1)
    return dot(apart, apart).div_(length).sqrt_()


def share_of(c: Tensor, plate: Tensor, slope: float) -> Tensor:
    """The key signal over the screen's own, of colours and of the screen's in the plane of chroma."""
    towards, across = along(c, plate)
    strength = dot(plate, plate).clamp_(min=1e-8)
    return towards.sub_(across.abs_(), alpha=slope).div_(strength)


def screen_hue(plate: Tensor) -> float | None:
    """The hue of a coloured screen, in radians; ``None`` for plates that are none, such as a street or a grey wall.

    Args:
        plate: ``[3, H, W]`` float32, the picture with the subject gone.
    """
    step = max(1, max(plate.shape) // 160)
    plate = plate[:, ::step, ::step]
    colours = chroma(plate).flatten(1)
    mean = colours.mean(1)
    strength = float(colours.square().sum(0).sqrt().mean())
    if strength < LEAST_CHROMA * float(plate.amax(0).mean()) or float(mean.norm()) <= ONE_HUE * strength:
        return None
    return math.atan2(float(mean[1]), float(mean[0]))


def plain_hue(colours: Tensor, known: Tensor) -> float | None:
    """The hue of what is of one pure colour in light of any strength, as screens are; in radians.

    Args:
        colours: ``[3, H, W]`` float32, averaged so far that noise is gone.
        known: ``[H, W]`` bool, what is looked at.

    Returns:
        ``None`` for what is no such thing, of a hue that screens do not have, or too small to tell.
    """
    if known.count_nonzero() < LEAST_AREA * known.numel():
        return None
    colours = colours[:, known, None]
    purity = chroma(colours).div_(colours.amax(0).clamp(min=0.02))
    mean = purity.mean(1, keepdim=True)
    strength, apart = float(mean.norm()), purity - mean
    if strength < _PURE or float(dot(apart, apart).mean()) > (_PLAIN * strength) ** 2:
        return None
    hue, (middle, reach) = torch.atan2(mean[1], mean[0]), map(math.radians, SCREENS)
    return float(hue) if turn_from(hue, middle).abs() < reach else None


def hue_behind(rgb: Tensor, background: Tensor) -> float | None:
    """The hue of the screen that a picture's sure background shows, as :func:`plain_hue`; ``None`` where it is none.

    Args:
        rgb: ``[3, H, W]``, pixels of any dtype.
        background: ``[1, H, W]`` bool.
    """
    known = shrink_whole(background[0], _BLOCKS)
    return plain_hue(shrink(rgb, _BLOCKS), known)
