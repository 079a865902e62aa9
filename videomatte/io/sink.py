"""Sinks: mattes to files. `open_sink` chooses and checks, the writers write, and nothing half-made is ever published.

What is written is the foreground with its alpha, the foreground or the matte alone, or the composite over a background.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from videomatte.composite import premultiply
from videomatte.errors import InputError, UsageError
from videomatte.io.atomic import check_target
from videomatte.io.audio import Audio
from videomatte.io.choice import choose_format, names_folder
from videomatte.io.formats import Content, Holding, ImageFormat, VideoFormat
from videomatte.io.image_writer import ImageWriter
from videomatte.io.pixel_layout import pixel_layout
from videomatte.io.video_writer import VideoWriter
from videomatte.types import ClipInfo, MatteFrame, Sink, unit_range

__all__ = ["ImageSink", "VideoSink", "colour_bits", "open_sink"]

_HIGH_DYNAMIC_RANGE = (16, 18)
"""Transfers, by ITU-T H.273, that are banded in 8 bits: PQ and HLG."""


def open_sink(
    path: str | Path,
    info: ClipInfo,
    *,
    format: str | None = None,  # noqa: A002 - what the flag is called
    overwrite: bool = False,
    content: Holding = "both",
    premultiplied: bool = False,
    audio: bool = True,
) -> Sink:
    """The sink that writes to ``path``. Nothing is made before it is entered.

    Its ``notes`` say, once it is left, what had to be done otherwise than asked, one sentence each.

    Args:
        path: the output: a movie or an image by its extension, a folder of images by a name without one or a trailing
            slash.
        info: the clip the mattes come from: its size, time and colour become the output's.
        format: name of a row of the table in `videomatte.io.formats`; without it the extension chooses.
        overwrite: whether an existing output may be replaced. A folder is replaced only if videomatte made it and
            nothing else has come into it.
        content: both, foreground (opaque colour), alpha (the matte as full-range grey), or composite (opaque too; the
            mattes must have one, as of `videomatte.replace.ReplaceBackground`).
        premultiplied: write colour times alpha, in the clip's own encoding, and say so in the file.
        audio: carry the clip's sound into a movie, as `videomatte.io.audio` says; images take none.

    Raises:
        UsageError: no format fits, the format cannot hold the content or the clip's depth, the output exists, or it is
            the input.
        OutputError: the output cannot be made where it is to go.
    """
    if premultiplied and content != "both":
        raise UsageError(f"{path}: only colour that is written with its alpha can be premultiplied")
    held: Content = "foreground" if content == "composite" else content
    recipe = _Recipe(held, premultiplied, content == "composite")
    try:
        chosen = choose_format(
            path, format, content=recipe.content, colour_bits=colour_bits(info), premultiplied=premultiplied
        )
    except UsageError as error:
        if content == "both" and "holds no alpha" in str(error):
            raise UsageError(f"{error}, or put a background behind it (videomatte greenscreen)") from None
        raise
    is_folder = names_folder(path, chosen)
    path = Path(path)
    check_target(path, info.path, folder=is_folder, overwrite=overwrite)
    if isinstance(chosen, VideoFormat):
        return VideoSink(path, chosen, info, recipe, audio=audio)
    return ImageSink(path, chosen, info, recipe, folder=is_folder, audio=audio)


def colour_bits(info: ClipInfo) -> int:
    """Bits of colour that a clip needs of its output: 8, or 10 for anything deeper and for PQ and HLG."""
    return 10 if info.bit_depth > 8 or info.colour.transfer in _HIGH_DYNAMIC_RANGE else 8


class VideoSink:
    """Mattes to a movie, with the clip's own pts. Made by `open_sink`, which explains the arguments."""

    def __init__(self, path: Path, fmt: VideoFormat, info: ClipInfo, recipe: _Recipe, *, audio: bool) -> None:
        self.notes = _notes(path, fmt, info, recipe)
        """What had to be done otherwise than asked, one sentence each; complete once the sink is left."""
        self._path = path
        self._format = fmt
        self._info = info
        self._recipe = recipe
        self._lead: int | None = None
        self._wants_audio = audio and bool(info.audio)
        self._audio: Audio | None = None
        self._writer: VideoWriter

    def __enter__(self) -> Self:
        info = self._info
        if self._wants_audio:
            self._audio = Audio(info.path)
        try:
            self._writer = VideoWriter(
                self._path,
                self._format,
                content=self._recipe.content,
                width=info.width,
                height=info.height,
                time_base=info.time_base,
                rate=info.average_rate,
                colour=info.colour,
                sample_aspect=info.sample_aspect,
                comment=self._recipe.comment,
                audio=self._audio,
            )
        except BaseException:
            self._close_audio()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
        finally:
            self._close_audio()

    def write(self, matte: MatteFrame) -> None:
        """Take the next frame, in presentation order; errors as of `VideoWriter.write`."""
        frame = matte.frame
        if self._lead is None:
            # No container shows what lies before time 0: a clip that starts there moves as a whole, none is lost.
            self._lead = max(0, -frame.pts)
            if self._audio is not None:
                start = frame.pts * frame.time_base if frame.index else None
                self._audio.begin(start, self._lead * frame.time_base)
        self._writer.write(*self._recipe.pixels(matte), frame.pts + self._lead, frame.duration)

    def _close_audio(self) -> None:
        if self._audio is not None:
            self.notes += self._audio.notes
            self._audio.close()
            self._audio = None


class ImageSink:
    """Mattes to images, numbered as the images of the source are, else from 0. Made by `open_sink`."""

    def __init__(
        self, path: Path, fmt: ImageFormat, info: ClipInfo, recipe: _Recipe, *, folder: bool, audio: bool
    ) -> None:
        self.notes = _notes(path, fmt, info, recipe)
        """What had to be done otherwise than asked, one sentence each."""
        if audio and info.audio:
            self.notes.append(f"{path}: images hold no sound: the clip's is left out")
        self._path = path
        self._format = fmt
        self._info = info
        self._recipe = recipe
        self._folder = folder
        self._writer: ImageWriter

    def __enter__(self) -> Self:
        self._writer = ImageWriter(
            self._path,
            self._format,
            content=self._recipe.content,
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
        self._writer.write(*self._recipe.pixels(matte), (self._info.start_number or 0) + matte.frame.index)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a matte becomes what is written."""

    content: Content
    premultiplied: bool
    composite: bool
    """Whether the opaque colour is the matte's own composite, and not its foreground."""

    @property
    def comment(self) -> str | None:
        """What the file says of itself, for readers that have to be told."""
        if self.content != "both":
            return None
        return "premultiplied alpha" if self.premultiplied else "straight alpha"

    def pixels(self, matte: MatteFrame) -> tuple[Tensor | None, Tensor | None]:
        """Colour and alpha to be written."""
        if self.composite:
            if matte.composite is None:
                raise UsageError("a composite is to be written, but no stage has made one: put in ReplaceBackground")
            return matte.composite, None
        foreground = matte.frame.rgb if matte.foreground is None else matte.foreground
        if self.content == "alpha":
            return None, matte.alpha
        if self.content == "foreground":
            return foreground, None
        return premultiply(unit_range(foreground), matte.alpha) if self.premultiplied else foreground, matte.alpha


def _notes(path: Path, fmt: VideoFormat | ImageFormat, info: ClipInfo, recipe: _Recipe) -> list[str]:
    """What is lost by the choice of the format."""
    try:
        is_float = pixel_layout(info.pixel_format).is_float
    except InputError:
        return []
    if is_float and recipe.content != "alpha" and fmt.name != "exr":
        return [f"{path}: {fmt.title} cuts off the clip's values above white: .exr keeps them"]
    return []
