"""One opaque picture to look at: contact sheets, overlays, curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from videomatte.io.formats import FORMATS, ImageFormat
from videomatte.io.image_writer import ImageWriter
from videomatte.types import Colour

__all__ = ["write_picture"]

_PNG = next(f for f in FORMATS if isinstance(f, ImageFormat) and f.name == "png")
_PICTURE = replace(_PNG, planes={"foreground": "rgb24"}, colour_bits=8)


def write_picture(path: Path, rgb: Tensor) -> None:
    """Write ``[3, H, W]`` uint8 as an 8-bit PNG; what has the name is replaced.

    Raises:
        OutputError: the file cannot be written.
    """
    with ImageWriter(path, _PICTURE, content="foreground", colour=Colour(full_range=True), folder=False) as writer:
        writer.write(rgb, None, 0)
