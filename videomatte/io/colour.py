"""YUV to RGB and back, on any device: the one home of matrices, ranges, chroma siting and bit depth.

The formulas are those of ITU-T H.273, clause 8.3 (matrix coefficients and quantisation).
For a normalised luma ``E'Y`` in [0, 1] and colour differences ``E'Pb``, ``E'Pr`` in [-1/2, 1/2], at ``n`` bits::

    E'Y  = Kr R + (1 - Kr - Kb) G + Kb B        E'Pb = (B - E'Y) / (2 (1 - Kb))      E'Pr = (R - E'Y) / (2 (1 - Kr))

    limited   Y = (219 E'Y + 16) 2^(n-8)        C = (224 E'P + 128) 2^(n-8)
    full      Y = (2^n - 1) E'Y                 C = (2^n - 1) E'P + 2^(n-1)

Convention:
    Images are ``[3, H, W]`` in the order R, G, B, row 0 at the top; planes are ``[rows, samples]`` as the pixel layout
    says. Samples lie at pixel centres. A chroma sample subsampled by ``f`` in one direction stands for luma samples
    ``f i`` to ``f i + f - 1`` and lies at ``f i`` (siting ``left``, horizontal only) or ``f i + (f - 1) / 2``
    (otherwise). Decoding interpolates linearly between those places and repeats the edge; encoding averages over the
    ``f`` wide extent around them. RGB is full range in the source's own transfer; nothing is ever linearised here.

Rules for what a file does not say (`resolve_colour`):
    * RGB formats are RGB, full range;
    * matrix: BT.709 for pictures of at least 1280 columns or 720 rows, BT.601 for smaller ones;
    * range: limited, except formats that say full themselves (``yuvj420p``) and gray, which is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from videomatte.errors import InputError, ShapeError
from videomatte.io.pixel_layout import PixelLayout, pixel_layout
from videomatte.types import Colour, unit_range

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
"""Rows converted at a time on a CPU, so that what is in between stays in its cache (3 times faster at 1080p)."""


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
    channels = layout.components[: layout.colour_count]
    components = [planes[c.plane][:, c.offset :: c.step] for c in channels]
    if layout.is_float:
        return torch.stack(components * 3 if layout.is_gray else components).float()
    peak, dtype = (255, torch.uint8) if layout.depth <= 8 else (65535, torch.uint16)
    if layout.is_rgb or layout.is_gray:
        scale, zero, _, _ = _quantisation(layout, colour)
        if zero or scale != peak:
            gain, offset = peak / scale, 0.5 - zero * peak / scale
            components = [_stored(c.float().mul_(gain).add_(offset), peak, dtype) for c in components]
        return torch.stack(components * 3 if layout.is_gray else components)
    rgb = torch.empty((3, height, width), dtype=dtype, device=planes[0].device)
    rows = _BAND_ROWS if rgb.device.type == "cpu" else height
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        rgb[:, band] = _components_to_band(components, layout, colour, band, width, peak)
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
    return _stored(alpha.float().mul_(65535 / (2**layout.depth - 1)).add_(0.5), 65535, torch.uint16)


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
    rows = _BAND_ROWS if rgb.device.type == "cpu" else height
    for top in range(0, height, rows):
        values = _band_to_components(rgb[:, top : top + rows], layout, colour)
        for k, (c, value) in enumerate(zip(channels, values, strict=True)):
            start = top >> layout.chroma_shift_y if k and not layout.is_rgb else top
            planes[c.plane][start : start + value.shape[0], c.offset :: c.step] = value
    return planes


def _components_to_band(
    components: Sequence[Tensor], layout: PixelLayout, colour: Colour, band: slice, width: int, peak: int
) -> Tensor:
    """Rows ``band`` of the picture, ``[3, rows, width]`` float32 in [0, peak + 1), to be truncated.

    Everything is linear up to the clamp, so the small chroma planes are turned into their share of R, G and B first,
    offsets and the half for rounding included; only that share is interpolated, and luma is added last.
    """
    luma_scale, luma_zero, chroma_scale, chroma_zero = _quantisation(layout, colour)
    factor = 1 << layout.chroma_shift_y
    first = max(band.start // factor - 1, 0)  # one row more on either side, for the interpolation
    last = min(-(-band.stop // factor) + 1, components[1].shape[0])
    lift = 2**layout.padding_bits
    y, cb, cr = components[0][band].float(), components[1][first:last].float(), components[2][first:last].float()
    share = cb.new_empty((3, *cb.shape))
    for channel, (_, from_cb, from_cr) in zip(share, decoding_matrix(colour.matrix or 0), strict=True):
        offset = luma_zero / luma_scale + chroma_zero / chroma_scale * (from_cb + from_cr)
        torch.mul(cb, from_cb * peak / (chroma_scale * lift), out=channel)
        channel.add_(cr, alpha=from_cr * peak / (chroma_scale * lift)).add_(0.5 - offset * peak)
    rgb = _interpolate(share, layout.chroma_shift_x, 2, co_sited=layout.siting == "left")
    rgb = _interpolate(rgb, layout.chroma_shift_y, 1, co_sited=False)
    rgb = rgb.narrow(1, band.start - first * factor, band.stop - band.start).narrow(2, 0, width)
    return rgb.add_(y, alpha=peak / (luma_scale * lift)).clamp_(0, peak)


def _band_to_components(rgb: Tensor, layout: PixelLayout, colour: Colour) -> list[Tensor]:
    """Y, Cb, Cr, or Y, or R, G, B as ``[h, w]`` of ``layout.dtype``; bands start on a row of chroma."""
    depth = {torch.uint8: 8, torch.uint16: 16}.get(rgb.dtype)
    if layout.is_rgb and colour.full_range and depth == layout.depth and not layout.is_float:
        return list(rgb)
    unit = unit_range(rgb)
    luma_scale, luma_zero, chroma_scale, chroma_zero = _quantisation(layout, colour)

    def quantised(component: Tensor, scale: float, zero: float) -> Tensor:
        if layout.is_float:
            return component.to(layout.dtype)
        codes = _stored(component.mul(scale).add_(zero + 0.5), 2**layout.depth - 1, layout.dtype)
        return codes if not layout.padding_bits else (codes.int() << layout.padding_bits).to(layout.dtype)

    if layout.is_rgb:
        return [quantised(channel, luma_scale, luma_zero) for channel in unit]
    encoding = torch.tensor(decoding_matrix(colour.matrix or 0), dtype=torch.float64).inverse().tolist()
    y, *chroma = (unit[0] * r + unit[1] * g + unit[2] * b for r, g, b in encoding)
    components = [quantised(y, luma_scale, luma_zero)]
    for difference in () if layout.is_gray else chroma:
        columns = _average(difference, layout.chroma_shift_x, 1, co_sited=layout.siting == "left")
        both = _average(columns, layout.chroma_shift_y, 0, co_sited=False)
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


def _stored(x: Tensor, peak: int, dtype: torch.dtype) -> Tensor:
    """``x``, to which one half has been added, rounded and clamped to ``[0, peak]``; ``x`` is overwritten."""
    return x.clamp_(0, peak).to(dtype)


def _interpolate(x: Tensor, shift: int, dim: int, *, co_sited: bool) -> Tensor:
    """``x`` with ``2**shift`` times the samples along ``dim``, linear between them, edges repeated."""
    factor, count = 1 << shift, x.shape[dim]
    if factor == 1:
        return x
    shape = list(x.shape)
    shape[dim] *= factor
    out = x.new_empty(shape)
    first = 0.0 if co_sited else (factor - 1) / 2
    before, after = x.narrow(dim, 0, count - 1), x.narrow(dim, 1, count - 1)
    for phase in range(factor):
        samples = out.view(*x.shape[: dim + 1], factor, *x.shape[dim + 1 :]).select(dim + 1, phase)
        place = (phase - first) / factor  # from the sample of the same number, in chroma samples
        edge, inside = (0, 1) if place < 0 else (count - 1, 0)
        samples.select(dim, edge).copy_(x.select(dim, edge))
        torch.lerp(before, after, place % 1, out=samples.narrow(dim, inside, count - 1))
    return out


def _average(x: Tensor, shift: int, dim: int, *, co_sited: bool) -> Tensor:
    """Every ``2**shift``-th sample of ``x`` along ``dim``, averaged over its extent, edges repeated."""
    factor = 1 << shift
    if factor == 1:
        return x
    taps = [1 / factor] * factor
    if co_sited:  # the extent is centred on a sample: the outermost two count by half
        taps = [0.5 / factor, *taps[1:], 0.5 / factor]
    before = factor // 2 if co_sited else 0
    after = -x.shape[dim] % factor + factor // 2
    edges = x.narrow(dim, 0, 1), x.narrow(dim, -1, 1)
    x = torch.cat([*[edges[0]] * before, x, *[edges[1]] * after], dim)
    count = (x.shape[dim] - len(taps)) // factor + 1
    total = x.new_zeros(())
    for tap, weight in enumerate(taps):
        samples = x.narrow(dim, tap, factor * (count - 1) + 1)
        total = torch.add(total, samples[:, ::factor] if dim == 1 else samples[::factor], alpha=weight)
    return total


def _check_planes(planes: Sequence[Tensor], layout: PixelLayout, height: int, width: int) -> None:
    for plane in range(1 + max(c.plane for c in layout.components[: layout.colour_count])):
        wanted = layout.plane_shape(plane, height, width)
        if plane >= len(planes) or tuple(planes[plane].shape) != wanted:
            found = list(planes[plane].shape) if plane < len(planes) else "nothing"
            raise ShapeError(f"plane {plane} of a {width}x{height} {layout.pix_fmt} is {list(wanted)}, got {found}")
