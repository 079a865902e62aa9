"""A movie from tensors: exact time, true colour, its own alpha."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray
from torch import Tensor

from videomatte.errors import OutputError, ShapeError, UsageError
from videomatte.io.atomic import Staged, writing
from videomatte.io.av_frame import av_frame, tag, written_colour
from videomatte.io.containers import Container
from videomatte.io.formats import Content, VideoFormat
from videomatte.io.sound_track import SoundTrack
from videomatte.types import Colour

__all__ = ["VideoWriter", "create_movie"]


class VideoWriter:
    """Writes one movie. Leaving it cleanly publishes the file; leaving it by an exception leaves nothing.

    Args:
        path: the file's final name; one that exists is replaced on a clean exit.
        called: what messages call it, if not by that name.
        after: a pts that all must be later than.
        fmt: the row of the table to write.
        content: what of it: colour with alpha, opaque colour, or the matte alone.
        width: columns of every frame.
        height: rows of every frame.
        time_base: seconds per unit of pts. MOV and MP4 keep it to the tick, WebM keeps milliseconds.
        rate: frames per second for readers that ask, and for the encoder's rate control; ``None`` where unknown.
            Frames are shown by their pts, never by it.
        colour: the source's tags; they are kept as far as the format can say them, and the pixels follow them.
        sample_aspect: width of a pixel over its height.
        comment: what the file says of itself, or ``None``.
        sound_rate: samples a second of sound handed over by `write_sound`, or ``None``. Opus is always at 48000.
        sound_channels: 1 or 2.
        threads: how many encode; 0 leaves it to the encoder.

    Raises:
        UsageError: pixels that are not square, or an odd width, and a format that cannot hold them.
        OutputError: the file cannot be made, or the encoder refuses the size.
    """

    def __init__(
        self,
        path: Path,
        fmt: VideoFormat,
        *,
        called: Path | None = None,
        after: int = -1,
        content: Content = "both",
        width: int,
        height: int,
        time_base: Fraction,
        rate: Fraction | None,
        colour: Colour,
        sample_aspect: Fraction = Fraction(1),
        comment: str | None = None,
        sound_rate: int | None = None,
        sound_channels: int = 2,
        threads: int = 0,
    ) -> None:
        self.path = called or path
        if sample_aspect != 1 and not fmt.keeps_sample_aspect:
            raise UsageError(
                f"{self.path}: the clip's pixels are {sample_aspect} times as wide as high, and {fmt.title} can only "
                "be written with square ones: write another format"
            )
        self._size = (height, width)
        self._time_base = time_base
        self._pixel_format = fmt.planes_for(content, width, height)
        self._colour = written_colour(colour, self._pixel_format, height, width, keeps_full_range=fmt.keeps_full_range)
        self._duration = max(1, round(1 / (rate * time_base))) if rate else 1
        self._held: av.VideoFrame | None = None
        self._last_pts = after
        self._durations: dict[int, int] = {}
        self._staged = Staged(path, called=called)
        try:
            with writing(self.path):
                self._container = create_movie(self._staged.temporary, fmt.container, time_base, comment)
                stream = self._container.add_stream(fmt.codec, options=dict(fmt.options))
                self._stream = cast("av.VideoStream", stream)
                self._stream.thread_count = threads
                self._open_encoder(fmt, rate, sample_aspect)
                self._sound = (
                    SoundTrack(self._container, fmt.container, sound_rate, sound_channels) if sound_rate else None
                )
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._abandon()

    def write(self, rgb: Tensor | None, alpha: Tensor | None, pts: int, duration: int | None = None) -> None:
        """Take the next frame.

        Args:
            rgb: ``[3, H, W]`` uint8, uint16 or float with 1.0 at white; ``None`` for a matte alone.
            alpha: ``[1, H, W]`` uint8, uint16 or float in [0, 1]; ``None`` for opaque.
            pts: when it is shown, in units of the time base; not below 0, and later than the frame before.
            duration: how long, in the same units. Only the last frame's has an effect, the others last until the next;
                ``None`` makes it as long as the frame before.

        Raises:
            ShapeError: a wrong size, or an alpha where the format has none.
            OutputError: pts does not follow, or the disk does not take the frame.
        """
        height, width = self._size
        if rgb is not None and rgb.shape != (3, height, width):
            raise ShapeError(f"rgb must be [3, {height}, {width}], got {list(rgb.shape)}")
        if rgb is None and (alpha is None or alpha.shape != (1, height, width)):
            raise ShapeError(f"alpha must be [1, {height}, {width}], got {alpha if alpha is None else [*alpha.shape]}")
        if pts <= self._last_pts:
            before = f"not after the {self._last_pts} before it" if self._last_pts >= 0 else "before time 0"
            raise OutputError(f"{self.path}: a frame's pts is {pts}, {before}: the clip's time stamps are damaged")
        frame = av_frame(rgb, alpha, self._pixel_format, self._colour)
        frame.pts, frame.time_base = pts, self._time_base
        # One frame is held back, for only the next one tells how long it lasts.
        if self._held is not None:
            self._duration = pts - self._last_pts
            self._encode_held()
        self._held, self._last_pts = frame, pts
        self._duration = duration or self._duration

    def write_sound(self, samples: NDArray[np.float32], rate: int) -> None:
        """Take the next samples of the sound, the first of which is heard at time 0.

        Args:
            samples: ``[channels, n]`` float32 in [-1, 1]: the whole track or a piece of it.
            rate: samples a second of ``samples``, the same in every call.

        Raises:
            ShapeError: another number of channels than announced, or no sound was announced.
        """
        if self._sound is None:
            raise ShapeError("a silent movie takes no sound: give sound_rate when making the writer")
        with writing(self.path):
            self._sound.write(samples, rate)

    def _open_encoder(self, fmt: VideoFormat, rate: Fraction | None, sample_aspect: Fraction) -> None:
        context = self._stream.codec_context
        context.height, context.width = self._size
        context.pix_fmt = self._pixel_format
        context.framerate = rate.limit_denominator(1_000_000) if rate else Fraction(0)
        context.time_base = self._time_base
        context.sample_aspect_ratio = sample_aspect
        context.thread_type = av.codec.context.ThreadType.AUTO
        if fmt.codec == "libx265":
            context.codec_tag = "hvc1"  # the kind of HEVC in MP4 that Apple's readers open
        tag(context, self._colour)
        try:
            context.open()
        except av.error.FFmpegError as error:
            size = f"{self._size[1]} x {self._size[0]}"
            raise OutputError(f"{self.path}: {fmt.title} cannot hold a picture of {size} pixels") from error

    def _encode_held(self) -> None:
        self._durations[self._last_pts] = self._duration
        self._encode(self._held)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        with writing(self.path):
            for packet in self._stream.encode(frame):
                # Encoders pass no durations on, and without its own the last frame would be a tick long.
                packet.duration = self._durations.pop(packet.pts, 0) if packet.pts is not None else 0
                self._container.mux(packet)

    def _finish(self) -> None:
        if self._held is None:
            raise OutputError(f"{self.path}: not one frame came, so there is nothing to write")
        self._encode_held()
        self._encode(None)
        with writing(self.path):
            if self._sound is not None:
                self._sound.finish()
            self._container.close()
        self._staged.publish()

    def _abandon(self) -> None:
        """Close what is open and remove what is not published."""
        with contextlib.suppress(OSError, av.error.FFmpegError, AttributeError):
            self._container.close()
        self._staged.discard()


def create_movie(place: Path, container: Container, time_base: Fraction, comment: str | None) -> OutputContainer:
    """A new file that keeps the time it is given.

    Args:
        place: the file, whatever its name ends in.
        container: what kind of file.
        time_base: seconds per unit of the pictures' pts.
        comment: what the file says of itself, or ``None``.

    Raises:
        OSError: it cannot be made.
    """
    # "file:" so that no name is taken for an address.
    movie = av.open(f"file:{place}", "w", format=container.muxer, options=_muxer_options(container, time_base))
    if comment:
        movie.metadata["comment"] = comment
    return movie


def _muxer_options(container: Container, time_base: Fraction) -> dict[str, str]:
    # Pictures and sound wait for each other in memory, a second of them at most.
    options = {"max_interleave_delta": str(av.time_base)}
    if not container.keeps_ticks:
        # A codec's lead-in before time 0 stays there; else it would push the pictures off their time.
        return options | {"avoid_negative_ts": "disabled"}
    ticks = time_base.denominator
    # The movie's own clock counts start offsets and the length of the sound: a multiple of the ticks, fine enough.
    scales = {"video_track_timescale": str(ticks), "movie_timescale": str(ticks * -(-48_000 // ticks))}
    return options | scales
