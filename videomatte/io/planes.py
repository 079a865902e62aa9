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

__all__ = ["chroma_siting", "frame_tensors", "upright"]

_CENTRED = ("mjpeg", "mpeg1video", "h263", "h263p", "flv1", "webp")


def chroma_siting(codec: str) -> ChromaSiting:
    """Where a codec's subsampled chroma lies; the decoder's library does not hand on what a stream says of it."""
    return "centre" if codec in _CENTRED else "left"


def frame_tensors(
    frame: av.VideoFrame, colour: Colour, siting: ChromaSiting, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """RGB and alpha of a decoded frame, as coded (not yet turned upright).

    Returns:
        ``[3, H, W]`` and ``[1, H, W]`` or ``None``, as `colour.planes_to_rgb` and `colour.planes_to_alpha` make them.

    Raises:
        InputError: the colour matrix is not supported.
    """
    frame, layout = _with_layout(frame, siting)
    planes = [_plane(frame, number, layout).to(device, non_blocking=True) for number in range(layout.plane_count)]
    return planes_to_rgb(planes, layout, colour, frame.height, frame.width), planes_to_alpha(planes, layout)


def upright(picture: Tensor, rotation_degrees: int) -> Tensor:
    """``[C, H, W]`` turned clockwise by 0, 90, 180 or 270 degrees; pixels move, none is resampled."""
    if rotation_degrees == 90:
        return picture.transpose(1, 2).flip(2)
    if rotation_degrees == 180:
        return picture.flip(1, 2)
    if rotation_degrees == 270:
        return picture.transpose(1, 2).flip(1)
    return picture


def _with_layout(frame: av.VideoFrame, siting: ChromaSiting) -> tuple[av.VideoFrame, PixelLayout]:
    """The frame in a format that has a layout: packed bits and palettes are unpacked, which loses nothing."""
    try:
        return frame, pixel_layout(frame.format.name, siting)
    except InputError:
        deep = max(c.bits for c in frame.format.components) > 8
        name = "rgba" if frame.format.name == "pal8" else "rgba64le" if deep else "rgb24"
        return frame.reformat(format=name), pixel_layout(name)


def _plane(frame: av.VideoFrame, number: int, layout: PixelLayout) -> Tensor:
    """One plane as ``[rows, samples]`` in native byte order; a view of the decoder's memory where the order fits."""
    plane = frame.planes[number]
    big = frame.format.name.endswith("be")
    names = {torch.uint8: "u1", torch.uint16: "u2", torch.float16: "f2", torch.float32: "f4"}
    dtype = np.dtype((">" if big else "<") + names[layout.dtype])
    rows, samples = layout.plane_shape(number, frame.height, frame.width)
    values = np.frombuffer(plane, dtype).reshape(plane.height, -1)[:rows, :samples]
    if dtype.itemsize > 1 and big != (sys.byteorder == "big"):
        values = values.astype(dtype.newbyteorder("="))
    return torch.from_numpy(values)
