"""How each kind of output is made in segments: a small movie each, joined in the end; or images, which need no joining.

Every segment starts an encoder of its own, whether the run is later killed or not, so that a run that goes on makes
the very packets that an undisturbed one makes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from torch import Tensor

from videomatte.errors import OutputError
from videomatte.io.atomic import FOLDER_MARK, flush_to_disk, write_durably, writing
from videomatte.io.audio import Audio, Soundtrack
from videomatte.io.formats import Content, Format, ImageFormat, VideoFormat
from videomatte.io.image_writer import encode_image
from videomatte.io.join import join
from videomatte.io.manifest import Segment
from videomatte.io.verify import ReadBack, read_images, read_movie
from videomatte.io.video_writer import VideoWriter
from videomatte.io.work import WHOLE
from videomatte.types import ClipInfo, Frame

__all__ = ["ImageSegments", "MovieSegments", "Segments", "segment_frames"]

SEGMENT_FRAMES, SHORT_SEGMENT_FRAMES = 120, 24
"""Frames of a segment, and of one where an encoder that starts anew costs nothing: VP9 sets a key frame every 128 by
itself, and less would cost size. With a killed run the segment being written is lost, and the one being read back."""


def segment_frames(fmt: Format, batch: int) -> int:
    """Frames of a segment: whole batches, so that those after a segment are the same whoever begins there."""
    frames = SHORT_SEGMENT_FRAMES if fmt.key_frames_only else SEGMENT_FRAMES
    return -(-frames // batch) * batch


class Segments(Protocol):
    """One output in the making. ``folder`` is its work folder throughout."""

    notes: list[str]
    """What had to be done otherwise than asked, one sentence each."""

    def begin(self, folder: Path, number: int, after: int) -> None:
        """Start a segment, the frames of which are all shown later than ``after``, in ticks of what is written."""
        ...

    def write(self, rgb: Tensor | None, alpha: Tensor | None, frame: Frame, shift: int) -> Fraction | None:
        """Take the segment's next frame.

        Args:
            rgb: colour, ``[3, H, W]``.
            alpha: ``[1, H, W]``.
            frame: says the number and the time.
            shift: ticks to add to its pts.

        Returns:
            Seconds at which it will be shown, where the format says that.
        """
        ...

    def end(self) -> list[str]:
        """Finish the segment; on return its files, named here, are on the disk."""
        ...

    def abandon(self) -> None:
        """Leave the segment, if one is begun, and remove it. May be called twice."""
        ...

    def read(self, folder: Path, names: Sequence[str]) -> ReadBack:
        """Decode a segment."""
        ...

    def assemble(self, folder: Path, segments: Sequence[Segment], time_base: Fraction, shift: int) -> None:
        """Put the output together as ``folder / WHOLE``; on return it is on the disk."""
        ...


class MovieSegments:
    """A movie.

    Args:
        path: its final name.
        fmt: the row of the table to write.
        content: what of it.
        info: the clip; its size, time and colour are the movie's.
        comment: what the file says of itself, or ``None``.
        audio: whether to carry sound.
        soundtrack: sound to carry instead of the clip's own.
        threads: how many the encoder has; 0 leaves it to the encoder.
    """

    def __init__(
        self,
        path: Path,
        fmt: VideoFormat,
        content: Content,
        info: ClipInfo,
        comment: str | None,
        *,
        audio: bool,
        soundtrack: Soundtrack | None = None,
        threads: int = 0,
    ) -> None:
        self.notes: list[str] = []
        self._path, self._format, self._content, self._info, self._comment = path, fmt, content, info, comment
        self._audio = audio and (soundtrack is not None or bool(info.audio))
        self._soundtrack = soundtrack
        self._threads = threads
        self._writer: VideoWriter | None = None
        self._name = ""

    def begin(self, folder: Path, number: int, after: int) -> None:
        """Start a segment."""
        info = self._info
        self._name = f"{number:06d}{self._format.suffix}"
        self._writer = VideoWriter(
            folder / self._name,
            self._format,
            called=self._path,
            after=after,
            content=self._content,
            width=info.width,
            height=info.height,
            time_base=info.time_base,
            rate=info.average_rate,
            colour=info.colour,
            sample_aspect=info.sample_aspect,
            threads=self._threads,
        )

    def write(self, rgb: Tensor | None, alpha: Tensor | None, frame: Frame, shift: int) -> Fraction:
        """Take the next frame; errors as of `VideoWriter.write`."""
        assert self._writer is not None
        self._writer.write(rgb, alpha, frame.pts + shift, frame.duration)
        return (frame.pts + shift) * self._info.time_base

    def end(self) -> list[str]:
        """Finish the segment."""
        assert self._writer is not None
        writer, self._writer = self._writer, None
        writer.__exit__(None, None, None)
        return [self._name]

    def abandon(self) -> None:
        """Leave the segment."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.__exit__(KeyboardInterrupt, None, None)

    def read(self, folder: Path, names: Sequence[str]) -> ReadBack:
        """Decode a segment."""
        return read_movie(folder / names[0], self._content)

    def assemble(self, folder: Path, segments: Sequence[Segment], time_base: Fraction, shift: int) -> None:
        """Join the segments, and carry the sound along."""
        first, last, other = segments[0], segments[-1], self._soundtrack
        if other is None:
            start, sound_shift = first.first_pts * time_base if first.first else None, shift * time_base
        else:
            start, sound_shift = (
                other.first if other.is_cut else None,
                (first.first_pts + shift) * time_base - other.first,
            )
        audio = Audio(other.path if other else self._info.path) if self._audio else None
        try:
            with writing(self._path):
                join(
                    [folder / name for segment in segments for name in segment.files],
                    folder / WHOLE,
                    self._format.container,
                    time_base=time_base,
                    rate=self._info.average_rate,
                    comment=self._comment,
                    start=start,
                    shift=sound_shift,
                    last=(last.last_pts + shift) * time_base,
                    end=(last.last_pts + shift + last.last_duration) * time_base,
                    audio=audio,
                )
        finally:
            if audio is not None:
                self.notes += audio.notes
                audio.close()


class ImageSegments:
    """A folder of images, or a single one.

    Args:
        path: its final name.
        fmt: the row of the table to write.
        content: what of it.
        info: the clip; its colour is the images', and its numbers where it is a numbered sequence.
        folder: one image per frame, numbered, in a folder; else only one image is taken.
    """

    def __init__(self, path: Path, fmt: ImageFormat, content: Content, info: ClipInfo, *, folder: bool) -> None:
        self.notes: list[str] = []
        self._path, self._format, self._content, self._info = path, fmt, content, info
        self._is_folder = folder
        self._place = path
        self._names: list[str] = []

    def begin(self, folder: Path, number: int, after: int) -> None:  # noqa: ARG002 - images are shown at no time
        """Start a segment."""
        self._place, self._names = folder, []
        if self._is_folder:
            with writing(self._path):
                (folder / WHOLE).mkdir(exist_ok=True)

    def write(self, rgb: Tensor | None, alpha: Tensor | None, frame: Frame, shift: int) -> None:  # noqa: ARG002
        """Take the next frame; on return its image is on the disk."""
        name = WHOLE
        if self._is_folder:
            name += f"/{(self._info.start_number or 0) + frame.index:06d}{self._format.suffix}"
        elif self._names:  # a segment is longer than one frame
            raise OutputError(f"{self._path}: the clip has more than one frame: write to a folder, or to a movie")
        data = encode_image(
            rgb,
            alpha,
            self._format,
            self._content,
            colour=self._info.colour,
            sample_aspect=self._info.sample_aspect,
        )
        self._names.append(name)
        with writing(self._path):
            write_durably(self._place / name, data)

    def end(self) -> list[str]:
        """Finish the segment."""
        names, self._names = self._names, []
        return names

    def abandon(self) -> None:
        """Leave the segment."""
        names, self._names = self._names, []
        for name in names:
            with contextlib.suppress(OSError):
                (self._place / name).unlink()

    def read(self, folder: Path, names: Sequence[str]) -> ReadBack:
        """Decode a segment."""
        return read_images([folder / name for name in names], self._content)

    def assemble(self, folder: Path, segments: Sequence[Segment], time_base: Fraction, shift: int) -> None:  # noqa: ARG002
        """Mark the folder as ours; the images are in it."""
        if self._is_folder:
            with writing(self._path):
                (folder / WHOLE / FOLDER_MARK).touch()
                flush_to_disk(folder / WHOLE)
