"""What cameras and codecs do to a composite: soft or sharpened edges, grain, coarse chroma, quantised blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace
from torch import Tensor
from torch.nn import functional as F

from videomatte.io.colour import MATRIX_BT709
from videomatte.io.planes import frame_tensors
from videomatte.scenes.damage import add_grain, compress
from videomatte.scenes.noise import Rng, blur
from videomatte.types import Colour

__all__ = ["coded", "damage", "spill"]


def damage(rng: Rng, rgb: Tensor) -> Tensor:
    """A composite as it comes out of a camera and a file: none, some or all of the above.

    Args:
        rng: where the numbers come from.
        rgb: ``[3, H, W]`` display-encoded in [0, 1].

    Returns:
        ``[3, H, W]`` in [0, 1].
    """
    if rng.random() < 0.2:
        rgb = blur(rgb, float(rng.uniform(0.4, 0.9)))
    if rng.random() < 0.15:  # halos of sharpening in the camera
        rgb = (rgb + float(rng.uniform(0.2, 1.0)) * (rgb - blur(rgb, 1.0))).clamp(0, 1)
    if rng.random() < 0.6:
        rgb = add_grain(rgb, float(np.exp(rng.uniform(math.log(0.002), math.log(0.03)))), rng)
    if rng.random() < 0.6:
        rgb = compress(rgb, int(rng.integers(35, 100)))
    return rgb


def spill(foreground: Tensor, alpha: Tensor, colour: Tensor, amount: float, reach: float = 6) -> Tensor:
    """Light from a screen on the subject: all over a little, at soft edges more.

    Args:
        foreground: ``[3, H, W]`` straight.
        alpha: ``[1, H, W]``.
        colour: ``[3, 1, 1]`` of the screen.
        amount: 0 none to 1 strong.
        reach: deviation, in pixels, of the Gaussian that tells how far from the background a pixel is.
    """
    rim = 1 - blur(alpha, reach)
    return (foreground + amount * colour * (0.06 + 0.5 * rim)).clamp(0, 1)


def coded(pictures: Sequence[Tensor], quality: int) -> list[Tensor]:
    """Pictures that follow one another, as a clip's reader gives them out of an H.264 stream.

    Two moved copies of the first go before, so that none of the given ones is a key frame: those are rare in a clip,
    and what prediction and its residue leave of fine detail is what mattes are cut from.

    Args:
        pictures: each ``[3, H, W]`` in [0, 1].
        quality: x264's constant rate factor, 18 hardly visible to 36 bad.

    Returns:
        As many pictures, of 8 bits in [0, 1].
    """
    height, width = pictures[0].shape[1:]
    if height % 2 or width % 2:  # 4:2:0 knows even sizes only
        padded = [F.pad(picture, (0, width % 2, 0, height % 2), mode="replicate") for picture in pictures]
        return [picture[:, :height, :width] for picture in coded(padded, quality)]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(quality), "preset": "veryfast", "bf": "0", "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    before = [pictures[0].roll((2 * n, 3 * n), (1, 2)) for n in (2, 1)]
    packets = []
    for number, picture in enumerate([*before, *pictures]):
        pixels = (picture.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).contiguous()
        frame = av.VideoFrame.from_ndarray(pixels.numpy(), "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    result = []
    for frame in frames[len(before) :]:
        rgb, _ = frame_tensors(frame, Colour(matrix=MATRIX_BT709), "left", torch.device("cpu"))
        result.append(rgb.float() / 255)
    return result
