"""Clips whose frames say in their pixels which they are: twelve bars across the picture, a bit each."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

BITS = 12


def coded_picture(number: int, height: int = 96, width: int = 168) -> np.ndarray:
    """``[H, W, 3]`` uint8: the number in bars above, a ramp that moves below."""
    bars = np.repeat([40 + 160 * (number >> bit & 1) for bit in range(BITS)], width // BITS)
    bars = np.pad(bars, (0, width - len(bars)), mode="edge")
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2] = bars[None, :, None]
    picture[height // 2 :, :, 0] = (np.arange(width) + 3 * number) % 256
    picture[height // 2 :, :, 1] = 128
    picture[height // 2 :, :, 2] = np.linspace(60, 180, height - height // 2)[:, None]
    return picture


def number_in(rgb: Tensor) -> int:
    """The number a decoded picture says it has."""
    top = 255 if rgb.dtype == torch.uint8 else 65535
    green = rgb[1, : rgb.shape[1] // 2].double().mean(0) / top
    width = rgb.shape[2] // BITS
    return sum(1 << bit for bit in range(BITS) if green[bit * width + 2 : (bit + 1) * width - 2].mean() > 0.45)


def write_clip(
    path: Path,
    count: int,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rate: int = 25,
    times: Sequence[int] | None = None,
    size: tuple[int, int] = (96, 168),
    gop: int = 12,
    container_options: dict[str, str] | None = None,
    first: int = 0,
    seconds_of_sound: float = 0,
) -> Path:
    """A movie of coded pictures ``first`` to ``first + count - 1``; ``times`` in thousandths of a second for VFR."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        tick = Fraction(1, 1000) if times else Fraction(1, rate)
        stream.codec_context.time_base = tick
        sound = None
        if seconds_of_sound:
            sound = container.add_stream("aac", rate=48000)
            sound.codec_context.layout = "mono"
        for place in range(count):
            frame = av.VideoFrame.from_ndarray(coded_picture(first + place, *size), "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (times[place] if times else place), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 48000
            for block in range(int(seconds_of_sound * 48000 / 1024)):
                silence.pts = block * 1024
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path
