"""Images from tensors: a folder with one per frame, or one alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
from torch import Tensor

from videomatte.errors import OutputError
from videomatte.io.atomic import Staged, write_durably, writing
from videomatte.io.av_frame import av_frame, tag, written_colour
from videomatte.io.formats import Content, ImageFormat
from videomatte.types import Colour

__all__ = ["ImageWriter", "encode_image"]


class ImageWriter:
    """Writes images. Leaving it cleanly publishes the folder or the image; leaving it by an exception leaves nothing.

    Args:
        path: the final name; what has it is replaced on a clean exit.
        fmt: the row of the table to write.
        content: what of it: colour with alpha, opaque colour, or the matte alone.
        colour: the source's tags, kept as far as the format can say them.
        folder: make a folder of images named by six digits and the format's suffix, else one image.
        sample_aspect: width of a pixel over its height.

    Raises:
        OutputError: nothing can be made there.
    """

    def __init__(
        self,
        path: Path,
        fmt: ImageFormat,
        *,
        content: Content = "both",
        colour: Colour,
        folder: bool,
        sample_aspect: Fraction = Fraction(1),
    ) -> None:
        self.path = path
        self._format = fmt
        self._content = content
        self._colour = colour
        self._sample_aspect = sample_aspect
        self._folder = folder
        self._count = 0
        self._staged = Staged(path, folder=folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if not self._count:
                    raise OutputError(f"{self.path}: not one frame came, so there is nothing to write")
                self._staged.publish()
        finally:
            self._staged.discard()

    def write(self, rgb: Tensor | None, alpha: Tensor | None, number: int) -> None:
        """Take the next image.

        Args:
            rgb: ``[3, H, W]`` uint8, uint16 or float with 1.0 at white; ``None`` for a matte alone.
            alpha: ``[1, H, W]`` uint8, uint16 or float in [0, 1]; ``None`` for opaque.
            number: what the image is called in a folder.

        Raises:
            ShapeError: alpha has another size than rgb.
            OutputError: the disk does not take it, or it is the second for a single image.
        """
        if self._count and not self._folder:
            raise OutputError(f"{self.path}: the clip has more than one frame: write to a folder, or to a movie")
        self._count += 1
        data = encode_image(
            rgb, alpha, self._format, self._content, colour=self._colour, sample_aspect=self._sample_aspect
        )
        place = self._staged.temporary
        if self._folder:
            place /= f"{number:06d}{self._format.suffix}"
        with writing(self.path):
            write_durably(place, data)


def encode_image(
    rgb: Tensor | None,
    alpha: Tensor | None,
    fmt: ImageFormat,
    content: Content = "both",
    *,
    colour: Colour,
    sample_aspect: Fraction = Fraction(1),
) -> bytes:
    """One image file's bytes; arguments as for `ImageWriter`."""
    pixel_format = fmt.planes[content]
    height, width = (alpha if rgb is None and alpha is not None else cast("Tensor", rgb)).shape[1:]
    colour = written_colour(colour, pixel_format, height, width, keeps_full_range=True)
    context = cast("av.VideoCodecContext", av.CodecContext.create(fmt.codec, "w"))
    context.width, context.height, context.pix_fmt = width, height, pixel_format
    context.time_base = Fraction(1, 25)  # asked for by every encoder, stored by none of these
    context.sample_aspect_ratio = sample_aspect
    context.options = dict(fmt.options)
    tag(context, colour)
    packets = [*context.encode(av_frame(rgb, alpha, pixel_format, colour)), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
