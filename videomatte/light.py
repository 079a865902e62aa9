"""Code values to light and back: transfer functions, and pictures brought from one encoding into another.

Two kinds of light are meant, and they serve two ends.

* To **mix** as a lens mixes, by how much of each thing falls on a pixel, the numbers must be in proportion to the
  light at the sensor: `to_light` undoes the transfer that the file's tag names (ITU-T H.273, table 3), `from_light`
  applies it.
* To **bring a picture** from one encoding into another, it must look the same on the screen: `convert` goes by the
  light a screen gives. All encodings of standard dynamic range (BT.709, BT.601, sRGB) are shown on the same
  screens with the same code values, so between them code values stay as they are. Report ITU-R BT.2408 puts their
  white at 203 cd/m², which is 58 % in PQ and 75 % in HLG.
"""

import torch
from torch import Tensor

from videomatte.errors import UsageError
from videomatte.types import Colour

__all__ = ["convert", "from_light", "to_light"]

LINEAR, SRGB, PQ, HLG = 8, 13, 16, 18

# Each of these is V = slope L below a break and (1 + a) L^gamma - a above it: gamma, a, slope, break.
_BT709 = (0.45, 0.09929682680944, 4.5, 0.018053968510807)
_TOED = {
    4: (1 / 2.2, 0.0, 1.0, 0.0),
    5: (1 / 2.8, 0.0, 1.0, 0.0),
    7: (0.45, 0.111572195921731, 4.0, 0.022821585529445),
    13: (1 / 2.4, 0.055, 12.92, 0.0031308),
} | dict.fromkeys((None, 1, 2, 6, 11, 12, 14, 15), _BT709)
"""By transfer of H.273; what is unsaid is BT.709's."""

_PQ = (2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128)
"""m1, m2, c1, c2, c3 of SMPTE ST 2084."""
_HLG = (0.17883277, 0.28466892, 0.55991073)
"""a, b, c of ARIB STD-B67."""
_WHITE, _PQ_PEAK, _HLG_PEAK, _HLG_GAMMA = 203.0, 10000.0, 1000.0, 1.2
"""cd/m² of standard dynamic range's white (BT.2408) and of the two peaks; HLG's system gamma at its peak (BT.2100)."""

_BT2020_LUMINANCE = (0.2627, 0.6780, 0.0593)
_XY = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Chromaticities of red, green and blue, white D65. The others are near enough to BT.709's to be taken for them."""
_D65 = (0.3127, 0.3290)


def to_light(values: Tensor, transfer: int | None) -> Tensor:
    """Code values as light at the sensor.

    Args:
        values: any shape, floating point, 1.0 at the largest code. Values beyond [0, 1] go on as the curve does, below
            0 mirrored.
        transfer: transfer characteristics of H.273.

    Returns:
        The same shape: light, in units of the brightest the encoding can say (of 10000 cd/m² for PQ).

    Raises:
        UsageError: the transfer is not known.
    """
    if transfer == LINEAR:
        return values
    size = values.abs()
    if transfer == PQ:
        m1, m2, c1, c2, c3 = _PQ
        p = size.pow(1 / m2)
        light = ((p - c1).clamp(min=0) / (c2 - c3 * p)).pow(1 / m1)
    elif transfer == HLG:
        a, b, c = _HLG
        light = torch.where(size <= 0.5, size.square() / 3, (((size - c) / a).exp() + b) / 12)
    else:
        gamma, a, slope, toe = _curve(transfer)
        light = torch.where(size < slope * toe, size / slope, ((size + a) / (1 + a)).pow(1 / gamma))
    return light.copysign(values)


def from_light(light: Tensor, transfer: int | None) -> Tensor:
    """The inverse of `to_light`, which explains arguments and errors."""
    if transfer == LINEAR:
        return light
    size = light.abs()
    if transfer == PQ:
        m1, m2, c1, c2, c3 = _PQ
        p = size.pow(m1)
        values = ((c1 + c2 * p) / (1 + c3 * p)).pow(m2)
    elif transfer == HLG:
        a, b, c = _HLG
        values = torch.where(size <= 1 / 12, (3 * size).sqrt(), a * (12 * size - b).clamp(min=1e-9).log() + c)
    else:
        gamma, a, slope, toe = _curve(transfer)
        values = torch.where(size < toe, slope * size, (1 + a) * size.pow(gamma) - a)
    return values.copysign(light)


def convert(rgb: Tensor, source: Colour, target: Colour) -> Tensor:
    """A picture in another encoding, looking the same as far as that can say it.

    Args:
        rgb: ``[3, ...]`` floating point, 1.0 at the largest code, in the encoding of ``source``.
        source: primaries and transfer of the picture. What is unsaid is BT.709's.
        target: primaries and transfer to bring it to.

    Returns:
        The same shape; the picture itself where both say the same, or only differ in which curve of standard dynamic
        range they name. What is brighter or more saturated than the target can say is cut off there.

    Raises:
        UsageError: a transfer is not known.

    Convention:
        Every pixel by itself: nothing moves. Linear light has diffuse white at 1.0.
    """
    primaries = [c.primaries if c.primaries in _XY else 12 if c.primaries == 11 else 1 for c in (source, target)]
    kinds = [c.transfer if c.transfer in (LINEAR, PQ, HLG) else SRGB for c in (source, target)]
    if kinds[0] == kinds[1] and primaries[0] == primaries[1]:
        return rgb
    for colour in (source, target):
        to_light(torch.zeros(()), colour.transfer)  # an unknown one is refused, not taken for sRGB
    light = _screen_light(rgb, kinds[0])
    if primaries[0] != primaries[1]:
        matrix = torch.linalg.inv(_to_xyz(primaries[1])) @ _to_xyz(primaries[0])
        light = torch.tensordot(matrix.to(light), light, 1).clamp(min=0)
    values = _from_screen_light(light, kinds[1])
    return values if kinds[1] == LINEAR else values.clamp(0, 1)


def _screen_light(rgb: Tensor, kind: int) -> Tensor:
    """Light of a screen, 1.0 at diffuse white."""
    light = to_light(rgb, kind)
    if kind == PQ:
        return light * (_PQ_PEAK / _WHITE)
    if kind == HLG:
        return light * _luminance(light).pow(_HLG_GAMMA - 1) * (_HLG_PEAK / _WHITE)
    return light


def _from_screen_light(light: Tensor, kind: int) -> Tensor:
    if kind == PQ:
        light = light * (_WHITE / _PQ_PEAK)
    elif kind == HLG:
        light = light * (_WHITE / _HLG_PEAK)
        light = light * _luminance(light).clamp(min=1e-6).pow(1 / _HLG_GAMMA - 1)
    return from_light(light, kind)


def _luminance(rgb: Tensor) -> Tensor:
    red, green, blue = _BT2020_LUMINANCE
    return red * rgb[0] + green * rgb[1] + blue * rgb[2]


def _to_xyz(primaries: int) -> Tensor:
    """The matrix from linear RGB to CIE XYZ: columns scaled so that equal parts are white (SMPTE RP 177)."""
    columns = torch.tensor([(x / y, 1, (1 - x - y) / y) for x, y in _XY[primaries]], dtype=torch.float64).T
    x, y = _D65
    white = torch.tensor((x / y, 1, (1 - x - y) / y), dtype=torch.float64)
    scale: Tensor = torch.linalg.solve(columns, white)
    return columns * scale


def _curve(transfer: int | None) -> tuple[float, float, float, float]:
    if transfer not in _TOED:
        raise UsageError(f"transfer {transfer} (ITU-T H.273) is not supported here: --no-linear mixes without it")
    return _TOED[transfer]
