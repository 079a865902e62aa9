"""Where the components of a pixel lie in a decoder's planes: FFmpeg's pixel format names, read.

A plane is a tensor ``[rows, samples]`` of the layout's ``dtype`` in native byte order. Component ``k`` of a frame is
``planes[c.plane][:, c.offset :: c.step]`` with ``c = layout.components[k]``: planar, semi-planar (``nv12``) and packed
(``rgb24``) formats are the same three numbers.

Formats whose components are not whole samples (``rgb565``, ``pal8``, ``v30x``, Bayer) or that interleave luma and
chroma (``yuyv422``) have no layout here: the reader unpacks them first, which loses nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from videomatte.errors import InputError

__all__ = ["ChromaSiting", "Component", "PixelLayout", "pixel_layout"]

ChromaSiting = Literal["left", "centre"]
"""Where a subsampled chroma sample lies among the luma samples it stands for.

``left``: on the first column, midway between the rows (H.264, HEVC, VP9, AV1, MPEG-2, MPEG-4, ProRes; the default of
ITU-T H.264 and H.265 where the stream does not say). ``centre``: in the middle both ways (JPEG, MPEG-1, H.263, WebP).
"""


@dataclass(frozen=True, slots=True)
class Component:
    """Where one component lies: ``planes[plane][:, offset::step]``."""

    plane: int
    """Index of the plane."""
    offset: int
    """First sample in a row."""
    step: int
    """Samples from one pixel to the next."""


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How a pixel format keeps its components. Made by `pixel_layout`."""

    pix_fmt: str
    """FFmpeg's name, such as ``yuv420p10le``."""
    components: tuple[Component, ...]
    """Y, Cb, Cr (or Y alone) or R, G, B; then alpha where there is one."""
    depth: int
    """Bits that carry the value: 8 to 16, or 16 or 32 for floats."""
    is_rgb: bool
    """Components are R, G, B."""
    has_alpha: bool
    """The last component is alpha."""
    is_float: bool = False
    """Samples are floating point, 1.0 at white."""
    padding_bits: int = 0
    """Zero bits below the value in a sample (``p010`` keeps 10 bits at the top of 16: 6)."""
    chroma_shift_x: int = 0
    """Chroma has ``ceil(width / 2**chroma_shift_x)`` columns."""
    chroma_shift_y: int = 0
    """Chroma has ``ceil(height / 2**chroma_shift_y)`` rows."""
    siting: ChromaSiting = "left"
    """Where chroma samples lie."""
    implies_full_range: bool = False
    """The format itself says full range (``yuvj420p``)."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of a plane's samples."""
        if self.is_float:
            return torch.float16 if self.depth == 16 else torch.float32
        return torch.uint8 if self.depth + self.padding_bits <= 8 else torch.uint16

    @property
    def is_gray(self) -> bool:
        """Luma alone, with or without alpha."""
        return self.colour_count == 1

    @property
    def colour_count(self) -> int:
        """Number of components that are not alpha: 3, or 1 for gray."""
        return len(self.components) - self.has_alpha

    @property
    def plane_count(self) -> int:
        """Number of planes, alpha's included."""
        return 1 + max(c.plane for c in self.components)

    def chroma_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the chroma components of a picture of ``height`` by ``width``."""
        return -(-height >> self.chroma_shift_y), -(-width >> self.chroma_shift_x)

    def plane_shape(self, plane: int, height: int, width: int) -> tuple[int, int]:
        """Rows and samples per row of a plane of a picture of ``height`` by ``width``."""
        first = next(k for k, c in enumerate(self.components) if c.plane == plane)
        is_chroma = first in (1, 2) and not self.is_rgb and not self.is_gray
        rows, columns = self.chroma_size(height, width) if is_chroma else (height, width)
        return rows, columns * self.components[first].step


_ENDIAN = r"(?:le|be)?"
_PLANAR_YUV = re.compile(rf"yuv(a?)(j?)(4[1-4][0-4])p(9|10|12|14|16)?{_ENDIAN}")
_GRAY = re.compile(rf"(gray|ya)(f(?=16|32))?(8|9|10|12|14|16|(?<=f)32)?{_ENDIAN}")
_PLANAR_RGB = re.compile(rf"gbr(a?)p(f(?=16|32))?(9|10|12|14|16|(?<=f)32)?{_ENDIAN}")
_SEMI_PLANAR = re.compile(rf"(?:nv(12|16|24|21|42)|p([024])(10|12|16){_ENDIAN})")
_PACKED_RGB = re.compile(rf"([rgba0]{{3,4}})(24|48|64|f16|f32)?{_ENDIAN}")

_CHROMA_SHIFTS = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}


@cache
def pixel_layout(pix_fmt: str, siting: ChromaSiting = "left") -> PixelLayout:
    """The layout of a pixel format, by FFmpeg's name.

    Covers planar YUV, gray and RGB (``yuv420p`` .. ``yuva444p16le``, ``gray``, ``ya8``, ``gbrp`` .. ``gbrapf32le``),
    semi-planar YUV (``nv12`` .. ``p416le``) and packed RGB of 8, 16 and float samples (``rgb24`` .. ``rgbaf32le``).

    Args:
        pix_fmt: FFmpeg's name; its byte order does not matter here.
        siting: where subsampled chroma lies.

    Raises:
        InputError: the format is none of these.
    """
    if m := _PLANAR_YUV.fullmatch(pix_fmt):
        if m[3] in _CHROMA_SHIFTS:
            x, y = _CHROMA_SHIFTS[m[3]]
            return PixelLayout(
                pix_fmt, _planar(3 + bool(m[1])), int(m[4] or 8), is_rgb=False, has_alpha=bool(m[1]),
                chroma_shift_x=x, chroma_shift_y=y, siting=siting, implies_full_range=bool(m[2]),
            )  # fmt: skip
    elif m := _GRAY.fullmatch(pix_fmt):
        alpha = m[1] == "ya"
        components = _packed("ya", "ya") if alpha else _planar(1)
        return PixelLayout(pix_fmt, components, int(m[3] or 8), is_rgb=False, has_alpha=alpha, is_float=bool(m[2]))
    elif m := _PLANAR_RGB.fullmatch(pix_fmt):
        components = tuple(Component(p, 0, 1) for p in ((2, 0, 1, 3) if m[1] else (2, 0, 1)))
        return PixelLayout(pix_fmt, components, int(m[3] or 8), is_rgb=True, has_alpha=bool(m[1]), is_float=bool(m[2]))
    elif m := _SEMI_PLANAR.fullmatch(pix_fmt):
        depth = int(m[3] or 8)
        kind = {"12": "420", "21": "420", "16": "422", "24": "444", "42": "444"}[m[1]] if m[1] else f"42{m[2]}"
        x, y = _CHROMA_SHIFTS["444" if m[2] == "4" else kind]
        cb = int(m[1] in ("21", "42"))
        return PixelLayout(
            pix_fmt, (Component(0, 0, 1), Component(1, cb, 2), Component(1, 1 - cb, 2)), depth, is_rgb=False,
            has_alpha=False, padding_bits=16 - depth if depth > 8 else 0, chroma_shift_x=x, chroma_shift_y=y,
            siting=siting,
        )  # fmt: skip
    elif (m := _PACKED_RGB.fullmatch(pix_fmt)) and {*"rgb"} <= {*m[1]}:
        depth = {None: 8, "24": 8, "48": 16, "64": 16, "f16": 16, "f32": 32}[m[2]]
        alpha = "a" in m[1]
        return PixelLayout(
            pix_fmt, _packed(m[1], "rgba" if alpha else "rgb"), depth, is_rgb=True, has_alpha=alpha,
            is_float=bool(m[2]) and m[2].startswith("f"),
        )  # fmt: skip
    raise InputError(f"pixel format {pix_fmt!r} is not one videomatte can read plane by plane")


def _planar(count: int) -> tuple[Component, ...]:
    return tuple(Component(plane, 0, 1) for plane in range(count))


def _packed(order: str, wanted: str) -> tuple[Component, ...]:
    return tuple(Component(0, order.index(name), len(order)) for name in wanted)
