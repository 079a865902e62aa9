"""What the tests of outputs share: pictures to write, and two independent readers, PyAV and the system's ffmpeg."""

import json
import math
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

_ALPHA_DECODER = {"vp9": "libvpx-vp9"}  # FFmpeg's own VP9 decoder drops the alpha without a word


def hair(height: int, width: int, step: int = 0, *, strands: int = 40) -> Tensor:
    """An alpha ``[1, H, W]`` float32 like hair: an opaque body, strands thinner than a pixel, a soft edge.

    ``step`` sways it. Holds exact 0 and exact 1.
    """
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None, :]
    alpha = ((0.3 - (x - 0.5).abs() + 0.1 * y) * 8).clamp(0, 1).expand(height, width).clone()
    generator = torch.Generator().manual_seed(7)
    draw = torch.rand((strands, 4), generator=generator)
    for root, bend, thickness, opacity in draw.tolist():
        curve = root + (bend - 0.5) * (1 - y) ** 2 + 0.02 * torch.sin(6 * y + step / 3 + 6 * root)
        strand = (0.2 + thickness - ((x - curve) * width).abs()).clamp(0, 1) * (0.3 + 0.7 * opacity)
        alpha = torch.maximum(alpha, strand)
    return alpha[None].clamp(0, 1)


def picture(height: int, width: int, step: int = 0, dtype: torch.dtype = torch.uint8) -> Tensor:
    """A coloured picture ``[3, H, W]``, smooth, moving with ``step``, that uses the whole range."""
    y = torch.linspace(0, math.pi, height)[:, None]
    x = torch.linspace(0, math.pi, width)[None, :] + step / 20
    unit = torch.stack([0.5 + 0.5 * torch.sin(2 * x + y), 0.5 + 0.5 * torch.cos(x - y), 0.5 + 0.5 * torch.sin(x * y)])
    peak = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}[dtype]
    scaled = unit * peak
    return scaled if dtype == torch.float32 else scaled.round().to(dtype)


@dataclass
class Movie:
    """What a reader found."""

    pts: list[Fraction]
    """Seconds, in presentation order."""
    alpha: list[np.ndarray] | None
    """``[H, W]`` float64 in [0, 1] per frame."""
    planes: list[list[np.ndarray]]
    """Code values per frame: Y, Cb, Cr, or R, G, B, and alpha, or a matte alone."""
    depth: int
    end: Fraction
    """Seconds when the last frame goes."""
    tags: dict[str, object]


def read_av(path: Path) -> Movie:
    """Reads with PyAV, VP9 with the decoder that knows alpha."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        name = _ALPHA_DECODER.get(stream.codec_context.name)
        decoder = av.CodecContext.create(name, "r") if name else stream.codec_context
        pts, frames = [], []
        for packet in container.demux(stream):
            if packet.size:
                pts.append(packet.pts * stream.time_base)
            frames += decoder.decode(packet if packet.size else None)
        if stream.duration:
            end = min(pts) + stream.duration * stream.time_base
        else:  # WebM has one duration for the file, from time 0
            end = Fraction(container.duration, av.time_base)
        depth = frames[0].format.components[0].bits
        planes = [_components([_plane(p, depth, f) for p in f.planes], f.format.name) for f in frames]
        context = stream.codec_context
        tags = {
            "codec": context.name,
            "tag": context.codec_tag,
            "size": (frames[0].width, frames[0].height),
            "matrix": context.colorspace,
            "range": context.color_range,
            "primaries": context.color_primaries,
            "transfer": context.color_trc,
            "sample_aspect": stream.sample_aspect_ratio or Fraction(1),
            "pixel_format": frames[0].format.name,
        }
    return Movie(sorted(pts), _alpha(planes, depth), planes, depth, end, tags)


def read_ffmpeg(path: Path) -> Movie:
    """Reads with the ffmpeg and ffprobe of the system."""
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("no ffmpeg on this system to read back with: apt install ffmpeg")
    probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_streams", "-show_format"]
    probe += ["-show_packets", "-of", "json", path]
    found = json.loads(subprocess.run(probe, check=True, capture_output=True).stdout)
    stream = found["streams"][0]
    time_base = Fraction(stream["time_base"])
    pts = sorted(packet["pts"] * time_base for packet in found["packets"])
    end = (
        pts[0] + stream["duration_ts"] * time_base if "duration_ts" in stream else Fraction(found["format"]["duration"])
    )
    width, height = stream["width"], stream["height"]
    name = _ALPHA_DECODER.get(stream["codec_name"])
    pixel_format = "yuva420p" if name and "alpha_mode" in str(stream.get("tags")).lower() else stream["pix_fmt"]
    decode = ["ffmpeg", "-v", "error", *(["-c:v", name] if name else []), "-i", path]
    decode += ["-map", "0:v", "-f", "rawvideo", "-pix_fmt", pixel_format, "-vsync", "passthrough", "-"]
    raw = subprocess.run(decode, check=True, capture_output=True).stdout
    depth = next((bits for bits in (10, 12, 16) if f"{bits}le" in pixel_format), 8)
    samples = np.frombuffer(raw, np.uint8 if depth == 8 else "<u2").astype(np.int64)
    chroma = (-(-height // 2), -(-width // 2)) if "420" in pixel_format else (height, width)
    if pixel_format.startswith(("yuv", "gbr")):
        shapes = [(height, width), chroma, chroma, *([(height, width)] if "a" in pixel_format[:4] else [])]
    else:  # packed, or gray
        shapes = [(height, width * {"rgb24": 3}.get(pixel_format, 1 if "gray" in pixel_format else 4))]
    planes, at = [], 0
    while at < samples.size:
        stored = []
        for rows, columns in shapes:
            stored.append(samples[at : at + rows * columns].reshape(rows, columns))
            at += rows * columns
        planes.append(_components(stored, pixel_format))
    tags = {
        "codec": stream["codec_name"],
        "tag": stream["codec_tag_string"],
        "size": (width, height),
        "range": {"tv": 1, "pc": 2}.get(stream.get("color_range"), 0),
        "matrix": stream.get("color_space"),
        "primaries": stream.get("color_primaries"),
        "transfer": stream.get("color_transfer"),
    }
    return Movie(pts, _alpha(planes, depth), planes, depth, end, tags)


def read_png(path: Path, reader: str = "av") -> tuple[np.ndarray, np.ndarray]:
    """Colour ``[H, W, 3]`` and alpha ``[H, W]`` of a 16-bit RGBA PNG, as stored, by PyAV or the system's ffmpeg."""
    with av.open(path) as container:
        frame = next(container.decode(video=0))
    name = frame.format.name
    assert name in ("rgba64be", "rgb48be")
    channels = 4 if name == "rgba64be" else 3
    if reader == "av":
        raw = np.frombuffer(frame.planes[0], ">u2").reshape(frame.height, -1)[:, : channels * frame.width]
    else:
        if not shutil.which("ffmpeg"):
            pytest.skip("no ffmpeg on this system to read back with: apt install ffmpeg")
        decode = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", name, "-"]
        raw = np.frombuffer(subprocess.run(decode, check=True, capture_output=True).stdout, ">u2")
    pixels = raw.reshape(frame.height, frame.width, channels).astype(np.int64)
    return pixels[..., :3], pixels[..., 3] if channels == 4 else np.full(pixels.shape[:2], 65535)


def _plane(plane: av.video.plane.VideoPlane, depth: int, frame: av.VideoFrame) -> np.ndarray:
    """One plane as ``[rows, samples]``, its padding cut off."""
    name = frame.format.name
    dtype = np.dtype(np.uint8 if depth == 8 else (">u2" if name.endswith("be") else "<u2"))
    rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    packed = {"rgb24": 3, "bgr0": 4, "bgra": 4, "rgba": 4, "argb": 4}.get(name, 1)
    return rows[:, : plane.width * packed].astype(np.int64)


def _components(planes: list[np.ndarray], pixel_format: str) -> list[np.ndarray]:
    """Stored planes as Y, Cb, Cr or R, G, B, and alpha."""
    if pixel_format.startswith("gbr"):
        g, b, r, *alpha = planes
        return [r, g, b, *alpha]
    order = pixel_format.removesuffix("24")
    if order in ("rgb", "bgr0", "bgra", "rgba", "argb"):
        wanted = "rgba" if "a" in order else "rgb"
        return [planes[0][:, order.index(c) :: len(order)] for c in wanted]
    return planes


def _alpha(planes: list[list[np.ndarray]], depth: int) -> list[np.ndarray] | None:
    return [frame[3] / (2**depth - 1) for frame in planes] if len(planes[0]) == 4 else None
