"""From tensors to the frame an encoder takes. Colour by `colour.rgb_to_planes`; alpha by itself, sample by sample.

A library's converter would change 127 of the 256 levels of an alpha on the way to YUV, and write BT.601 pixels under
a BT.709 tag; here neither can happen.
"""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import torch
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.io.colour import PixelLayout, pixel_layout, resolve_colour, rgb_to_planes
from videomatte.types import Colour, unit_range

__all__ = ["alpha_codes", "av_frame", "written_colour"]

_UNSPECIFIED = 2
_WRITABLE_MATRICES = (1, 5, 6, 7, 9)
"""The matrices that every container and reader knows; pixels of any other are written by the rule for untagged ones."""


def written_colour(colour: Colour, pixel_format: str, height: int, width: int, *, keeps_full_range: bool) -> Colour:
    """The colour a file is written and tagged with: the source's, as far as the format can say it.

    Args:
        colour: the source's tags.
        pixel_format: FFmpeg's name of the planes to be written.
        height: rows of the picture.
        width: columns of the picture.
        keeps_full_range: whether the format can say that it is full range.
    """
    layout = pixel_layout(pixel_format)
    if layout.is_rgb:
        return replace(colour, matrix=0, full_range=True)
    matrix = colour.matrix if colour.matrix in _WRITABLE_MATRICES else None
    # An RGB source is full range without asking for full range YUV, which few readers expect. Gray is for mattes.
    full_range = layout.is_gray or bool(colour.full_range and keeps_full_range and colour.matrix != 0)
    return resolve_colour(replace(colour, matrix=matrix, full_range=full_range), layout, height, width)


def alpha_codes(alpha: Tensor, depth: int) -> Tensor:
    """Alpha as the integers a file holds: ``round(alpha * (2**depth - 1))``.

    Args:
        alpha: ``[1, H, W]`` uint8, uint16 or floating point in [0, 1]; beyond is clamped.
        depth: bits, 1 to 16.

    Returns:
        ``[H, W]`` uint8 for depths to 8, else uint16: 0 for transparent and ``2**depth - 1`` for opaque, exactly.
    """
    peak = 2**depth - 1
    rounded = unit_range(alpha[0]).mul(peak).add_(0.5).clamp_(0, peak)
    return rounded.to(torch.uint8 if depth <= 8 else torch.uint16)


def av_frame(rgb: Tensor | None, alpha: Tensor | None, pixel_format: str, colour: Colour) -> av.VideoFrame:
    """A frame of an encoder's own format, in memory of its own, tagged with its colour.

    Args:
        rgb: ``[3, H, W]`` uint8, uint16 or float with 1.0 at white, on any device; ``None`` for a matte alone.
        alpha: ``[1, H, W]`` uint8, uint16 or float, or ``None`` for opaque.
        pixel_format: FFmpeg's name of the planes to make.
        colour: what `written_colour` says.

    Raises:
        ShapeError: rgb and alpha differ in size, or there is an alpha and no place for it.

    Convention:
        Row 0 at the top, column 0 at the left. Alpha is not subsampled and is full range whatever the colour's is.
    """
    layout = pixel_layout(pixel_format)
    if rgb is None:
        if alpha is None or not layout.is_gray or layout.has_alpha:
            raise ShapeError(f"a matte alone is an alpha for a grey format, got {pixel_format}")
        height, width = alpha.shape[1:]
        planes = [_alpha_samples(alpha, layout)]
    else:
        height, width = rgb.shape[1:]
        planes = rgb_to_planes(rgb, layout, colour)
        if alpha is not None and (alpha.shape != (1, height, width) or not layout.has_alpha):
            place = f"[1, {height}, {width}]" if layout.has_alpha else f"None for {pixel_format}"
            raise ShapeError(f"alpha must be {place}, got {list(alpha.shape)}")
        if layout.has_alpha:
            if alpha is None:
                alpha = rgb.new_ones((1, height, width), dtype=torch.float32)
            component, samples = layout.components[-1], _alpha_samples(alpha, layout)
            if component.plane == len(planes):
                planes.append(samples)
            else:
                planes[component.plane][:, component.offset :: component.step] = samples

    # A fresh frame each time: encoders hold on to the memory they are given and read it later, from their threads.
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, filled in zip(frame.planes, planes, strict=True):
        values = filled.cpu().numpy()
        stored = values.dtype.newbyteorder(">" if pixel_format.endswith("be") else "<")
        rows = np.frombuffer(memoryview(plane), stored).reshape(
            plane.height, -1
        )  # padded on the right to the encoder's liking
        rows[:, : values.shape[1]] = values
    tag(frame, colour)
    return frame


def _alpha_samples(alpha: Tensor, layout: PixelLayout) -> Tensor:
    """Alpha as the plane of a layout: codes of its depth, or the value itself in floating point."""
    return unit_range(alpha[0]).clamp(0, 1) if layout.is_float else alpha_codes(alpha, layout.depth)


def tag(target: av.VideoFrame | av.VideoCodecContext, colour: Colour) -> None:
    """Write the four tags. Some encoders take them from the context, some (prores_ks, png) from the frame."""
    target.colorspace = _UNSPECIFIED if colour.matrix is None else colour.matrix
    target.color_range = {None: 0, False: 1, True: 2}[colour.full_range]
    target.color_primaries = _UNSPECIFIED if colour.primaries is None else colour.primaries
    target.color_trc = _UNSPECIFIED if colour.transfer is None else colour.transfer
