"""From the frame a decoder gives to tensors: planes as they are to the device, colour and alpha made there."""

from __future__ import annotations

import sys

import av
import numpy as np
import torch
from torch import Tensor

from videomatte.errors import InputError
from videomatte.io.colour import planes_to_alpha, planes_to_rgb
from videomatte.io.pixel_layout import ChromaSiting, PixelLayout, pixel_layout
from videomatte.types import Colour

__all__ = ["chroma_siting", "frame_alpha", "frame_components", "frame_layout", "frame_luma", "frame_tensors"]

_CENTRED = ("mjpeg", "mpeg1video", "h263", "theora", "webp")
"""Codecs whose chroma lies in the middle, as FFmpeg's own decoders say of it."""

_UNPACKED = {
    "pal8": "rgba", "monow": "gray", "monob": "gray",
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p",
    "vyu444": "yuv444p", "vuyx": "yuv444p", "vuya": "yuva444p", "ayuv": "yuva444p", "uyva": "yuva444p",
    "y210": "yuv422p10", "nv20": "yuv422p10", "y212": "yuv422p12", "y216": "yuv422p16",
    "xv30": "yuv444p10", "v30x": "yuv444p10", "xv36": "yuv444p12", "xv48": "yuv444p16", "ayuv64": "yuva444p16",
    "yuv444p10msb": "yuv444p10", "yuv444p12msb": "yuv444p12",
    "x2rgb10": "gbrp10", "x2bgr10": "gbrp10",
    **{f"{order}{bits}": "rgb24" for order in ("rgb", "bgr") for bits in ("4", "4_byte", "8", "444", "555", "565")},
}  # fmt: skip
"""Formats without a layout, and the one of the same depth and chroma that takes their values."""


def chroma_siting(codec: str) -> ChromaSiting:
    """Where a codec's subsampled chroma lies unless something else is said; the decoder's library does not hand on what
    a stream says of it."""
    return "centre" if codec in _CENTRED else "left"


def frame_layout(frame: av.VideoFrame, siting: ChromaSiting = "left") -> PixelLayout:
    """The layout of the planes that `frame_tensors` reads: the frame's own, or of what it is unpacked to.

    Raises:
        InputError: the pixel format cannot be read.
    """
    return pixel_layout(_unpacked(frame.format.name), siting)


def frame_tensors(
    frame: av.VideoFrame, colour: Colour, siting: ChromaSiting, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """RGB and alpha of a decoded frame, as coded (not yet turned upright).

    Returns:
        ``[3, H, W]`` and ``[1, H, W]`` or ``None``, as `colour.planes_to_rgb` and `colour.planes_to_alpha` make them.

    Raises:
        InputError: the pixel format or the colour matrix is not supported.
    """
    layout = frame_layout(frame, siting)
    if layout.pix_fmt != frame.format.name:
        # Range and matrix in are range and matrix out: the samples are moved, not converted.
        swing = frame.color_range or 1
        try:
            frame = frame.reformat(
                format=layout.pix_fmt, src_colorspace="ITU709", dst_colorspace="ITU709", src_color_range=swing,
                dst_color_range=2 if layout.is_rgb or layout.is_gray else swing,
            )  # fmt: skip
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"pixel format {frame.format.name!r} cannot be unpacked") from error
    planes = [_plane(frame, number, layout).to(device) for number in range(layout.plane_count)]
    return planes_to_rgb(planes, layout, colour, frame.height, frame.width), planes_to_alpha(planes, layout)


def frame_alpha(frame: av.VideoFrame) -> Tensor | None:
    """The alpha of a decoded frame, full range; ``None`` for an opaque one. Its colour is not touched.

    Returns:
        ``[1, H, W]`` uint8, uint16 or float32, as of `frame_tensors`.

    Raises:
        InputError: the pixel format cannot be read.
    """
    layout = frame_layout(frame)
    if not layout.has_alpha:
        return None
    return planes_to_alpha([_plane(frame, number, layout) for number in range(layout.plane_count)], layout)


def frame_luma(frame: av.VideoFrame) -> Tensor:
    """The first plane of a decoded grey or YUV frame as full range, which is what a matte alone is written as.

    Returns:
        ``[1, H, W]`` float32 with 1.0 for the largest code.

    Raises:
        InputError: the pixel format cannot be read.
    """
    layout = frame_layout(frame)
    return _plane(frame, 0, layout)[None].float() / (1.0 if layout.is_float else 2**layout.depth - 1)


def frame_components(frame: av.VideoFrame) -> tuple[Tensor, Tensor] | None:
    """The codes of a decoded YUV frame as they are stored, ``None`` for a grey, RGB or packed one.

    Returns:
        Luma ``[H, W]`` and chroma ``[2, h, w]``, float32 in steps of 8 bits.

    Raises:
        InputError: the pixel format cannot be read.
    """
    layout = frame_layout(frame)
    if layout.is_rgb or layout.is_gray or layout.pix_fmt != frame.format.name:
        return None
    planes = [_plane(frame, number, layout) for number in range(layout.plane_count)]
    step = 2.0 ** (layout.depth + layout.padding_bits - 8)
    luma, cb, cr = (planes[c.plane][:, c.offset :: c.step].float() / step for c in layout.components[:3])
    return luma, torch.stack([cb, cr])


def _unpacked(pix_fmt: str) -> str:
    plain = _UNPACKED.get(pix_fmt.removesuffix("le").removesuffix("be"), pix_fmt)
    deep = plain[-2:] in ("10", "12", "16")
    return plain + ("le" if sys.byteorder == "little" else "be") if deep and plain != pix_fmt else plain


def _plane(frame: av.VideoFrame, number: int, layout: PixelLayout) -> Tensor:
    """One plane as ``[rows, samples]`` in native byte order; a view of the decoder's memory where the order fits."""
    plane = frame.planes[number]
    names = {torch.uint8: "u1", torch.uint16: "u2", torch.float16: "f2", torch.float32: "f4"}
    dtype = np.dtype((">" if frame.format.name.endswith("be") else "<") + names[layout.dtype])
    rows, samples = layout.plane_shape(number, frame.height, frame.width)
    lines = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size].reshape(plane.height, -1)
    values = lines[:rows, : samples * dtype.itemsize].view(dtype)
    return torch.from_numpy(values if dtype.isnative else values.astype(dtype.newbyteorder("=")))
