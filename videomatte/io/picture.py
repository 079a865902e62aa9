"""One opaque picture to look at: contact sheets, overlays, curves."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from videomatte.io.formats import ImageFormat
from videomatte.io.image_writer import ImageWriter
from videomatte.types import Colour

__all__ = ["write_picture"]

_PNG = ImageFormat(
    name="picture",
    title="PNG, 8 bits, opaque",
    suffix=".png",
    codec="png",
    pixel_format="rgb24",
    alpha_bits=0,
    alpha_error=0,
    opens_in="everything",
)


def write_picture(path: Path, rgb: Tensor) -> None:
    """Write ``[3, H, W]`` uint8 as an 8-bit PNG; what has the name is replaced.

    Raises:
        OutputError: the file cannot be written.
    """
    with ImageWriter(path, _PNG, colour=Colour(full_range=True), folder=False) as writer:
        writer.write(rgb, None, 0)
