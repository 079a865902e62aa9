"""Movies and single images decoded with PyAV, frame by frame, on the file's own clock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import torch

from videomatte.errors import InputError
from videomatte.io.planes import chroma_siting, frame_tensors, upright
from videomatte.io.probe import frame_colour, has_hidden_alpha, open_movie, probe_movie
from videomatte.types import Frame

__all__ = ["AvSource", "packet_times"]

_SEEKS_EXACTLY = ("mov,mp4", "matroska")
"""Containers whose seek lands on the key frame at or before the time asked for; others are decoded from the start."""


class AvSource:
    """Frames of a movie in presentation order. Interlaced pictures come as they are coded, both fields woven.

    Args:
        path: the movie or image.
        start: first frame to give, as a number or in seconds.
        end: first frame not to give.
        device: where planes are sent and made RGB.

    Raises:
        InputError: from the constructor, where the file cannot be read; from the iteration, where a frame cannot be
            decoded, pictures change their size, or the file ends before the frames it promises.
    """

    def __init__(
        self,
        path: Path,
        start: int | Fraction | None = None,
        end: int | Fraction | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.info = probe_movie(path)
        self._path, self._start, self._end, self._device = path, start, end, torch.device(device)
        self._container, self._stream = open_movie(path)
        self._stream.thread_type = "AUTO"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode; once only, for the file is read as it goes."""
        index, first_pts = self._go_to_start()
        last: int | None = None
        for frame in self._decode(index):
            pts = self._pts(frame, last)
            if first_pts is not None and pts < first_pts:
                continue  # between the key frame that was sought and the first frame wanted
            last = pts
            if _reached(self._end, index, pts * self.info.time_base):
                return
            if first_pts is not None or _reached(self._start, index, pts * self.info.time_base, unset=True):
                yield self._frame(frame, index, pts)
            index += 1
        self._check_count(index, from_start=first_pts is None)

    def _go_to_start(self) -> tuple[int, int | None]:
        """Seek where that is exact: number and pts of the first frame wanted; ``0, None`` to decode from the start."""
        if self._start is None or not self.info.container.startswith(_SEEKS_EXACTLY):
            return 0, None
        times = packet_times(self._path)
        by_number = isinstance(self._start, int)
        index = int(self._start) if by_number else bisect_left(times, self._start / self.info.time_base)
        if index >= len(times):
            raise InputError(f"{self._path}: nothing from {self._start} on, the clip has {len(times)} frames")
        self._container.seek(times[index], stream=self._stream)
        return index, times[index]

    def _decode(self, index: int) -> Iterator[av.VideoFrame]:
        """All frames from where the file stands, in presentation order."""
        context: av.VideoCodecContext = self._stream.codec_context
        if has_hidden_alpha(self._stream):  # FFmpeg's own decoders of VP8 and VP9 drop the alpha without a word
            context = av.VideoCodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[context.name], "r")
        self._packets_dropped = 0
        try:
            for packet in self._container.demux(self._stream):
                self._packets_dropped += packet.is_discard
                for frame in context.decode(packet if packet.size else None):
                    yield frame
                    index += 1
        except av.error.EOFError:
            return  # the decoder had been emptied already
        except av.error.FFmpegError as error:
            raise InputError(
                f"{self._path}: damaged or cut short: frame {index} cannot be decoded ({error.strerror})"
            ) from error

    def _pts(self, frame: av.VideoFrame, last: int | None) -> int:
        """The frame's own pts; where it has none, or time would stand still or run back, one frame after the last."""
        if frame.pts is not None and (last is None or frame.pts > last):
            return int(frame.pts)
        if last is None:
            return 0
        return last + max(1, round(1 / ((self.info.average_rate or 25) * self.info.time_base)))

    def _frame(self, frame: av.VideoFrame, index: int, pts: int) -> Frame:
        turn = self.info.rotation_degrees
        height, width = (frame.width, frame.height) if turn in (90, 270) else (frame.height, frame.width)
        if (height, width) != (self.info.height, self.info.width):
            raise InputError(
                f"{self._path}: pictures change from {self.info.width} x {self.info.height} to {width} x {height} "
                f"at frame {index}: split the clip there and run the parts one by one"
            )
        colour = frame_colour(frame, self._stream)
        rgb, alpha = frame_tensors(frame, colour, chroma_siting(self.info.codec), self._device)
        return Frame(
            index=index,
            pts=pts,
            time_base=self.info.time_base,
            rgb=upright(rgb, turn),
            alpha=None if alpha is None else upright(alpha, turn),
            duration=frame.duration or None,
        )

    def _check_count(self, decoded: int, *, from_start: bool) -> None:
        """A truncated file can end without an error from the decoder: hold it to what its index promises."""
        promised = self.info.frame_count
        if from_start and promised and decoded + self._packets_dropped < promised:
            raise InputError(
                f"{self._path}: damaged or cut short: it promises {promised} frames, only {decoded} can be decoded"
            )


def packet_times(path: Path) -> list[int]:
    """The pts of all frames that are shown, in presentation order, read from the packets without decoding."""
    container, stream = open_movie(path)
    with container:
        return sorted(p.pts for p in container.demux(stream) if p.pts is not None and p.size and not p.is_discard)


def _reached(point: int | Fraction | None, index: int, seconds: Fraction, *, unset: bool = False) -> bool:
    if point is None:
        return unset
    return (index if isinstance(point, int) else seconds) >= point
