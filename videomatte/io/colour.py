"""YUV to RGB and back, on any device: the one home of matrices, ranges, chroma siting and bit depth.

The formulas are those of ITU-T H.273, clause 8.3 (matrix coefficients and quantisation).
For a normalised luma ``E'Y`` in [0, 1] and colour differences ``E'Pb``, ``E'Pr`` in [-1/2, 1/2], at ``n`` bits::

    E'Y  = Kr R + (1 - Kr - Kb) G + Kb B        E'Pb = (B - E'Y) / (2 (1 - Kb))      E'Pr = (R - E'Y) / (2 (1 - Kr))

    limited   Y = (219 E'Y + 16) 2^(n-8)        C = (224 E'P + 128) 2^(n-8)
    full      Y = (2^n - 1) E'Y                 C = (2^n - 1) E'P + 2^(n-1)

Convention:
    Images are ``[3, H, W]`` in the order R, G, B, row 0 at the top; planes are ``[rows, samples]`` as the pixel layout
    says. Samples lie at pixel centres; subsampled chroma lies, is interpolated and averaged as `chroma` says, co-sited
    horizontally for siting ``left``. RGB is full range in the source's own transfer; nothing is ever linearised here.

Rules for what a file does not say (`resolve_colour`):
    * RGB formats are RGB, full range;
    * matrix: BT.709 for pictures of at least 1280 columns or 720 rows, BT.601 for smaller ones;
    * range: limited, except formats that say full themselves (``yuvj420p``) and gray, which is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from videomatte.errors import InputError, ShapeError
from videomatte.io.chroma import Array, average, interpolate
from videomatte.io.pixel_layout import PixelLayout, pixel_layout
from videomatte.types import Colour

__all__ = [
    "PixelLayout",
    "decoding_matrix",
    "pixel_layout",
    "planes_to_alpha",
    "planes_to_rgb",
    "resolve_colour",
    "rgb_to_planes",
]

MATRIX_RGB, MATRIX_BT709, MATRIX_BT601, MATRIX_YCGCO = 0, 1, 6, 8

_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 BG, BT.601 625 lines
    6: (0.299, 0.114),  # SMPTE 170M, BT.601 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020 non-constant luminance
}
"""Kr and Kb by H.273 matrix coefficients."""

_UNSAID = (None, 2, 3)
"""Code points that say nothing: absent, unspecified, reserved."""

_BAND_ROWS = 64
"""Rows converted at a time on a CPU, so that what is in between stays in its cache; a multiple of 4 for chroma."""


def resolve_colour(colour: Colour, layout: PixelLayout, height: int, width: int) -> Colour:
    """The colour with matrix and range filled in by the module's rules where the tags do not say.

    Args:
        colour: the tags, as found.
        layout: layout of the decoded planes.
        height: rows of the picture.
        width: columns of the picture.
    """
    if layout.is_rgb:
        return replace(colour, matrix=MATRIX_RGB, full_range=colour.full_range is not False or layout.is_float)
    matrix = colour.matrix
    if matrix in _UNSAID or matrix == MATRIX_RGB:  # a YUV format tagged RGB is a wrong tag
        matrix = MATRIX_BT709 if width >= 1280 or height >= 720 else MATRIX_BT601
    full_range = colour.full_range
    if layout.implies_full_range or full_range is None:
        full_range = layout.implies_full_range or layout.is_gray
    return replace(colour, matrix=matrix, full_range=full_range)


def decoding_matrix(matrix: int) -> tuple[tuple[float, float, float], ...]:
    """The rows R, G, B of the 3x3 matrix that takes ``(E'Y, E'Pb, E'Pr)`` to RGB.

    Args:
        matrix: H.273 matrix coefficients.

    Raises:
        InputError: the matrix is not a linear one (constant luminance, ICtCp) or unknown.
    """
    if matrix == MATRIX_YCGCO:  # Cg in the place of Cb, Co in the place of Cr
        return (1.0, -1.0, 1.0), (1.0, 1.0, 0.0), (1.0, -1.0, -1.0)
    if matrix not in _LUMA_WEIGHTS:
        raise InputError(
            f"colour matrix {matrix} (ITU-T H.273) is not supported: convert the clip to BT.709 or BT.2020 "
            "non-constant luminance first"
        )
    kr, kb = _LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    return (
        (1.0, 0.0, 2 * (1 - kr)),
        (1.0, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg),
        (1.0, 2 * (1 - kb), 0.0),
    )


def planes_to_rgb(planes: Sequence[Tensor], layout: PixelLayout, colour: Colour, height: int, width: int) -> Tensor:
    """The picture a decoder's planes stand for.

    Args:
        planes: ``[rows, samples]`` each, as ``layout.plane_shape`` says, native byte order; alpha's is not read.
        layout: layout of the planes.
        colour: matrix and range; what is ``None`` follows the module's rules.
        height: rows of the picture.
        width: columns of the picture.

    Returns:
        ``[3, height, width]``: uint8 for depths up to 8, uint16 with 65535 at white for deeper ones, float32 with
        values untouched for float planes. Values outside full range (superwhite) are clamped to it.

    Raises:
        InputError: the matrix is not supported.
        ShapeError: a plane has the wrong shape.
    """
    colour = resolve_colour(colour, layout, height, width)
    _check_planes(planes, layout, height, width)
    components = [_array(planes[c.plane])[:, c.offset :: c.step] for c in layout.components[: layout.colour_count]]
    peak, dtype = (255, torch.uint8) if layout.depth <= 8 else (65535, torch.uint16)
    rgb = torch.empty((3, height, width), dtype=torch.float32 if layout.is_float else dtype, device=planes[0].device)
    target = _array(rgb)
    if layout.is_rgb or layout.is_gray:
        scale, zero, _, _ = _quantisation(layout, colour)
        as_stored = layout.is_float or (scale == peak and not zero)
        for k, component in enumerate(components * 3 if layout.is_gray else components):
            target[k] = (
                component
                if as_stored
                else (_float(component) * (peak / scale) + (0.5 - zero * peak / scale)).clip(0, peak)
            )
        return rgb
    for band in _bands(rgb, height):
        for k, channel in enumerate(_components_to_band(components, layout, colour, band, width, peak)):
            target[k, band] = channel
    return rgb


def planes_to_alpha(planes: Sequence[Tensor], layout: PixelLayout) -> Tensor | None:
    """The alpha a decoder's planes carry, ``[1, H, W]`` in the dtype of `planes_to_rgb`, or ``None``.

    Alpha is always full range, whatever the colour's range is: ``2**depth - 1`` is opaque.
    """
    if not layout.has_alpha:
        return None
    component = layout.components[-1]
    alpha = planes[component.plane][:, component.offset :: component.step].unsqueeze(0)
    if layout.is_float:
        return alpha.to(torch.float32, copy=True)
    if layout.depth in (8, 16):
        return alpha.clone()  # a plane may be a view of the decoder's memory
    deep = torch.empty(alpha.shape, dtype=torch.uint16, device=alpha.device)
    _array(deep)[...] = _float(_array(alpha)) * (65535 / (2**layout.depth - 1)) + 0.5
    return deep


def rgb_to_planes(rgb: Tensor, layout: PixelLayout, colour: Colour) -> list[Tensor]:
    """The planes that stand for a picture: the inverse of `planes_to_rgb`.

    Args:
        rgb: ``[3, H, W]`` uint8, uint16 or float with 1.0 at white.
        layout: layout of the planes to make.
        colour: matrix and range; what is ``None`` follows the module's rules.

    Returns:
        The colour planes in the format's order (G, B, R for ``gbrp``), ``[rows, samples]``, ``layout.dtype``, native
        byte order. A planar alpha plane is not made; the alpha samples of a packed format are opaque.

    Raises:
        InputError: the matrix is not supported.
    """
    height, width = rgb.shape[1:]
    colour = resolve_colour(colour, layout, height, width)
    channels = layout.components[: layout.colour_count]
    opaque = 1 if layout.is_float else 2**layout.depth - 1
    planes = [
        torch.full(layout.plane_shape(plane, height, width), opaque, dtype=layout.dtype, device=rgb.device)
        for plane in range(1 + max(c.plane for c in channels))
    ]
    source, targets = _array(rgb), [_array(plane) for plane in planes]
    with np.errstate(invalid="ignore"):  # not a number, which only float pictures have, becomes something
        for band in _bands(rgb, height):
            for k, (c, value) in enumerate(
                zip(channels, _band_to_components(source[:, band], layout, colour), strict=True)
            ):
                start = band.start >> layout.chroma_shift_y if k and not layout.is_rgb else band.start
                targets[c.plane][start : start + value.shape[0], c.offset :: c.step] = value
    return planes


def _components_to_band(
    components: Sequence[Array], layout: PixelLayout, colour: Colour, band: slice, width: int, peak: int
) -> list[Array]:
    """Rows ``band`` of R, G and B, each ``[rows, width]`` float32 in [0, peak + 1), to be truncated.

    Everything is linear up to the clamp, so the small chroma planes are turned into their share of R, G and B first,
    offsets and the half for rounding included; only that share is interpolated, and luma is added last.
    """
    luma_scale, luma_zero, chroma_scale, chroma_zero = _quantisation(layout, colour)
    factor = 1 << layout.chroma_shift_y
    first = max(band.start // factor - 2, 0)  # two rows more on either side, for the interpolation
    last = min(-(-band.stop // factor) + 2, components[1].shape[0])
    lift = 2**layout.padding_bits
    y, cb, cr = (_float(c[rows]) for c, rows in zip(components, [band, *[slice(first, last)] * 2], strict=True))
    y *= peak / (luma_scale * lift)
    cb *= peak / (chroma_scale * lift)
    cr *= peak / (chroma_scale * lift)
    rgb = []
    for _, from_cb, from_cr in decoding_matrix(colour.matrix or 0):
        offset = luma_zero / luma_scale + chroma_zero / chroma_scale * (from_cb + from_cr)
        share = cb * from_cb + cr * from_cr
        share += 0.5 - offset * peak
        share = interpolate(share, 1 << layout.chroma_shift_x, 1, co_sited=layout.siting == "left")
        share = interpolate(share, factor, 0, co_sited=False)
        channel = share[band.start - first * factor :][: y.shape[0], :width]
        channel += y
        rgb.append(channel.clip(0, peak))
    return rgb


def _band_to_components(rgb: Array, layout: PixelLayout, colour: Colour) -> list[Array]:
    """Y, Cb, Cr, or Y, or R, G, B as ``[h, w]`` of codes to be truncated; bands start on a row of chroma."""
    depth = {"uint8": 8, "uint16": 16}.get(str(rgb.dtype).removeprefix("torch."))
    if layout.is_rgb and colour.full_range and depth == layout.depth and not layout.is_float:
        return list(rgb)
    unit = _float(rgb)
    if depth:
        unit /= 2**depth - 1
    luma_scale, luma_zero, chroma_scale, chroma_zero = _quantisation(layout, colour)

    def quantised(component: Array, scale: float, zero: float) -> Array:
        if layout.is_float:
            return component
        codes = (component * scale + (zero + 0.5)).clip(0, 2**layout.depth - 1)
        return codes // 1 * 2**layout.padding_bits if layout.padding_bits else codes

    if layout.is_rgb:
        return [quantised(channel, luma_scale, luma_zero) for channel in unit]
    encoding = np.linalg.inv(np.array(decoding_matrix(colour.matrix or 0))).tolist()
    y, *chroma = (unit[0] * r + unit[1] * g + unit[2] * b for r, g, b in encoding)
    components = [quantised(y, luma_scale, luma_zero)]
    for difference in () if layout.is_gray else chroma:
        columns = average(difference, 1 << layout.chroma_shift_x, 1, co_sited=layout.siting == "left")
        both = average(columns, 1 << layout.chroma_shift_y, 0, co_sited=False)
        components.append(quantised(both, chroma_scale, chroma_zero))
    return components


def _quantisation(layout: PixelLayout, colour: Colour) -> tuple[float, float, float, float]:
    """Scale and zero of luma (or R, G, B), then of chroma: a code is ``normalised * scale + zero``."""
    step = 2.0 ** (layout.depth - 8)  # one 8-bit step
    if colour.full_range:
        peak = 2.0**layout.depth - 1
        return peak, 0.0, peak, 128 * step
    # Y, Cg and Co are sums of quantised R, G and B, so all three have the scale of RGB.
    chroma = 219 if colour.matrix == MATRIX_YCGCO else 224
    return 219 * step, 16 * step, chroma * step, 128 * step


def _bands(picture: Tensor, height: int) -> Iterator[slice]:
    rows = _BAND_ROWS if picture.device.type == "cpu" else height
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _array(tensor: Tensor) -> Array:
    """The tensor itself, or on a CPU its memory as a NumPy array.

    These are dozens of light operations a frame. A tensor's are spread over all cores, and each then waits for the
    slowest: on two cores that the decoder uses too, over 100 ms for a 720p frame that NumPy makes in 5 on one.
    """
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def _float(x: Array) -> Array:
    """A float32 copy."""
    return x.to(torch.float32, copy=True) if isinstance(x, Tensor) else x.astype(np.float32)


def _check_planes(planes: Sequence[Tensor], layout: PixelLayout, height: int, width: int) -> None:
    for plane in range(1 + max(c.plane for c in layout.components[: layout.colour_count])):
        wanted = layout.plane_shape(plane, height, width)
        if plane >= len(planes) or tuple(planes[plane].shape) != wanted:
            found = list(planes[plane].shape) if plane < len(planes) else "nothing"
            raise ShapeError(f"plane {plane} of a {width}x{height} {layout.pix_fmt} is {list(wanted)}, got {found}")
