"""Movies decoded with PyAV, frame by frame, on the file's own clock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import torch

from videomatte.errors import InputError
from videomatte.io.completeness import LatestEnd, check_end, check_extent
from videomatte.io.orientation import upright
from videomatte.io.planes import chroma_siting, frame_tensors
from videomatte.io.presentation import PresentationClock
from videomatte.io.probe import decodable, frame_colour, has_hidden_alpha, open_movie, probe_movie, reason
from videomatte.io.siting import find_siting
from videomatte.io.span import Span
from videomatte.io.watchdog import Watchdog
from videomatte.types import Frame

__all__ = ["AvSource"]

_SEEKS_EXACTLY = ("mov,mp4", "matroska")
"""Containers whose seek lands on the key frame at or before the time asked for; others are decoded from the start."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of VP8 and VP9 drop the alpha without a word."""


class AvSource:
    """Frames of a movie in presentation order. Interlaced pictures come as they are coded, both fields woven.

    Args:
        path: the movie.
        span: the frames to give; their numbers stay those of the whole clip.
        device: where planes are sent and made RGB.
        threads: how many decode; 0 leaves it to the decoder.

    Raises:
        InputError: from the constructor, where the file cannot be read or ends before frames its index promises; from
            the iteration, where a frame is damaged, pictures change their size, or the file is cut short.
    """

    def __init__(
        self, path: Path, span: Span | None = None, device: torch.device | str = "cpu", threads: int = 0
    ) -> None:
        self._path, self._span, self._device, self._threads = path, span or Span(), torch.device(device), threads
        self._opened = False
        self._watchdog = Watchdog(path)
        try:
            self.info = self._watchdog.call(probe_movie, path)
            self._watchdog.call(self._open)
            self._siting = chroma_siting(self.info.codec)
            if self._siting == "left":
                seeks = self.info.container.startswith(_SEEKS_EXACTLY)
                self._siting = self._watchdog.call(find_siting, path, self._watchdog.alive, seeks=seeks)
        except BaseException:
            self._watchdog.close()
            raise
        if self._span.end is None:
            try:
                check_extent(self.info, self._stream)
            except InputError:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if not self._watchdog.stuck:
            self._container.close()
        self._watchdog.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode; once only, for the file is read as it goes.

        Raises:
            RuntimeError: the source has been iterated before.
        """
        if self._opened:
            raise RuntimeError(f"{self._path}: a source is iterated once; open it again")
        self._opened = True
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        tick = self.info.time_base
        given = 0
        first, numbered = self._watchdog.call(self._from_start)
        while (decoded := self._watchdog.call(next, numbered, None)) is not None:
            index, pts, frame = decoded
            first = pts if first is None else first
            seconds = (pts - first) * tick
            if self._span.ended(index, seconds, tick):
                break
            if self._span.begun(index, seconds, tick):
                yield self._frame(frame, index, pts)
                given += 1
        if not given:
            raise InputError(f"{self._path}: no frame between --start and --end")

    def _open(self) -> None:
        self._container, self._stream = open_movie(self._path)
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = self._threads
        self._ends = LatestEnd()

    def _from_start(self) -> tuple[int | None, Iterator[tuple[int, int, av.VideoFrame]]]:
        """The clip's first pts where it is known already, and number, pts and frame of all from about the start on."""
        if self._span.start is not None and self.info.container.startswith(_SEEKS_EXACTLY):
            times = self._times_to(self._span.start)
            index = _place(times, self._span.start, self.info.time_base)
            if index < len(times) and index > 0:
                try:
                    self._container.seek(times[index], stream=self._stream)
                    frames = self._decode(index)
                    frame = next((f for f in frames if f.pts is not None and f.pts >= times[index]), None)
                except (InputError, av.error.FFmpegError):
                    frame = None  # what comes before it could not be decoded from that key frame on
                if frame is not None and frame.pts == times[index]:
                    return times[0], self._numbered(chain([frame], frames), index)
                self._container.close()
                self._open()
        return None, self._numbered(self._decode(0), 0)

    def _times_to(self, point: int | Fraction) -> list[int]:
        """The pts of the frames shown, in order, to somewhat behind a point, read from the packets without decoding."""
        times: list[int] = []
        container, stream = open_movie(self._path)
        with container:
            for count, packet in enumerate(container.demux(stream)):
                self._watchdog.alive()
                if packet.pts is None or packet.is_discard or not packet.size:
                    continue
                times.append(packet.pts)
                # Nothing is shown before it is decoded: no packet with a later dts can come in before the point.
                if count % 256 == 255 and packet.dts is not None:
                    times.sort()
                    index = _place(times, point, self.info.time_base)
                    if index < len(times) and times[index] < packet.dts:
                        break
        return sorted(times)

    def _numbered(self, frames: Iterator[av.VideoFrame], index: int) -> Iterator[tuple[int, int, av.VideoFrame]]:
        stored = None
        if self.info.container == "avi":
            stored = sorted(e.timestamp for e in self._stream.index_entries if e.size and not e.is_discard)
        clock = PresentationClock(self.info, stored)
        from_start = index == 0
        for frame in frames:
            yield index, clock(frame.pts, frame.duration), frame
            index += 1
        check_end(self.info, self._container, index if from_start else None, self._ends.seconds)

    def _decode(self, index: int) -> Iterator[av.VideoFrame]:
        """All frames from where the file stands, in presentation order; ``index`` is for messages."""
        context: av.CodecContext = self._stream.codec_context
        if has_hidden_alpha(self._stream):
            context = av.CodecContext.create(_ALPHA_DECODERS[self.info.codec], "r")
            context.thread_count = self._threads
        damage = f"{self._path}: damaged or cut short: frame {{}} cannot be decoded"
        try:
            for packet in decodable(self._packets(), self._stream):
                for frame in cast("av.VideoCodecContext", context).decode(packet if packet.size else None):
                    if frame.is_corrupt:  # a packet's own flag is also set where recordings are joined, and whole
                        raise InputError(damage.format(index))
                    yield frame
                    index += 1
        except av.error.EOFError:
            return  # the decoder had been emptied already
        except av.error.FFmpegError as error:
            raise InputError(f"{damage.format(index)} ({reason(error)})") from error

    def _packets(self) -> Iterator[av.Packet[Any]]:
        for packet in self._ends.watch(self._container.demux()):
            self._watchdog.alive()  # pictures may lie far apart among sound
            yield packet

    def _frame(self, frame: av.VideoFrame, index: int, pts: int) -> Frame:
        orientation = self.info.mirrored, self.info.rotation_degrees
        turned = self.info.rotation_degrees in (90, 270)
        height, width = (frame.width, frame.height) if turned else (frame.height, frame.width)
        if (height, width) != (self.info.height, self.info.width):
            raise InputError(
                f"{self._path}: pictures change from {self.info.width} x {self.info.height} to {width} x {height} "
                f"at frame {index}: split the clip there and run the parts one by one"
            )
        try:
            rgb, alpha = frame_tensors(frame, frame_colour(frame, self._stream), self._siting, self._device)
        except InputError as error:
            raise InputError(f"{self._path}: frame {index}: {error}") from error
        if alpha is None and self.info.has_alpha:  # WebM may leave out the alpha of an opaque frame
            alpha = torch.full_like(rgb[:1], 255)
        return Frame(
            index=index,
            pts=pts,
            time_base=self.info.time_base,
            rgb=upright(rgb, orientation),
            alpha=None if alpha is None else upright(alpha, orientation),
            duration=frame.duration or None,
        )


def _place(times: list[int], point: int | Fraction, time_base: Fraction) -> int:
    """Place of the first frame at or behind a point among sorted pts; ``len(times)`` where there is none."""
    if isinstance(point, int):
        return min(point, len(times))
    return bisect_left(times, times[0] + point / time_base - Fraction(1, 2)) if times else 0
