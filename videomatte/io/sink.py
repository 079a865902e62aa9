"""Sinks: mattes to files. `open_sink` chooses and checks, the writers write, and nothing half-made is ever published.

What is written is the foreground, straight, with its alpha; or, over a background, the opaque composite.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from videomatte.composite import over
from videomatte.errors import ShapeError, UsageError
from videomatte.io.atomic import check_target
from videomatte.io.formats import FORMATS, ImageFormat, VideoFormat, choose_format, names_folder
from videomatte.io.image_writer import ImageWriter
from videomatte.io.video_writer import VideoWriter
from videomatte.types import ClipInfo, MatteFrame, Sink, unit_range

__all__ = ["ImageSink", "VideoSink", "open_sink"]


def open_sink(
    path: str | Path,
    info: ClipInfo,
    *,
    format: str | None = None,  # noqa: A002 - what the flag is called
    overwrite: bool = False,
    background: Tensor | None = None,
) -> Sink:
    """The sink that writes to ``path``. Nothing is made before it is entered.

    Args:
        path: the output: a movie or an image by its extension, a folder of images by a name without one or a trailing
            slash.
        info: the clip the mattes come from: its size, time and colour become the output's.
        format: name of a row of the table in `videomatte.io.formats`; without it the extension chooses.
        overwrite: whether an existing output may be replaced. A folder is replaced only if videomatte made it and
            nothing else has come into it.
        background: ``[3, H, W]`` or, for one colour, ``[3, 1, 1]``, float32 with 1.0 at white, in the clip's own
            encoding. With it the output is the opaque composite.

    Raises:
        UsageError: no format fits, the format is opaque and there is no background, the output exists, or it is the
            input.
        OutputError: the output cannot be made where it is to go.
        ShapeError: the background has another size than the clip.
    """
    chosen = choose_format(path, format)
    is_folder = names_folder(path, chosen)
    path = Path(path)
    if not chosen.has_alpha and background is None:
        able = ", ".join(f"{f.suffix} ({f.title})" for f in FORMATS if f.has_alpha)
        raise UsageError(f"{path}: {chosen.title} holds no alpha: write {able}, or give a background to composite over")
    if background is not None and background.shape not in ((3, info.height, info.width), (3, 1, 1)):
        raise ShapeError(
            f"background must be [3, {info.height}, {info.width}] or [3, 1, 1], got {list(background.shape)}"
        )
    check_target(path, info.path, folder=is_folder, overwrite=overwrite)
    if isinstance(chosen, VideoFormat):
        return VideoSink(path, chosen, info, background)
    return ImageSink(path, chosen, info, background, folder=is_folder)


class VideoSink:
    """Mattes to a movie, with the clip's own pts. Made by `open_sink`, which explains the arguments."""

    def __init__(self, path: Path, fmt: VideoFormat, info: ClipInfo, background: Tensor | None) -> None:
        self._path = path
        self._format = fmt
        self._info = info
        self._background = background
        self._lead: int | None = None
        self._writer: VideoWriter

    def __enter__(self) -> Self:
        info = self._info
        self._writer = VideoWriter(
            self._path,
            self._format,
            width=info.width,
            height=info.height,
            time_base=info.time_base,
            rate=info.average_rate,
            colour=info.colour,
            sample_aspect=info.sample_aspect,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def write(self, matte: MatteFrame) -> None:
        """Take the next frame, in presentation order; errors as of `VideoWriter.write`."""
        frame = matte.frame
        if self._lead is None:
            # No container shows what lies before time 0: a clip that starts there moves as a whole, none is lost.
            self._lead = max(0, -frame.pts)
        self._writer.write(*_pixels(matte, self._background), frame.pts + self._lead, frame.duration)


class ImageSink:
    """Mattes to images, numbered as the frames of the clip are, from 0. Made by `open_sink`."""

    def __init__(
        self, path: Path, fmt: ImageFormat, info: ClipInfo, background: Tensor | None, *, folder: bool
    ) -> None:
        self._path = path
        self._format = fmt
        self._info = info
        self._background = background
        self._folder = folder
        self._writer: ImageWriter

    def __enter__(self) -> Self:
        self._writer = ImageWriter(
            self._path,
            self._format,
            colour=self._info.colour,
            folder=self._folder,
            sample_aspect=self._info.sample_aspect,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def write(self, matte: MatteFrame) -> None:
        """Take the next frame, in presentation order; errors as of `ImageWriter.write`."""
        self._writer.write(*_pixels(matte, self._background), matte.frame.index)


def _pixels(matte: MatteFrame, background: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Colour and alpha to be written."""
    foreground = matte.frame.rgb if matte.foreground is None else matte.foreground
    if background is None:
        return foreground, matte.alpha
    return over(unit_range(foreground), matte.alpha, background.to(matte.alpha.device)), None
