"""Movies decoded with decord, where it is right.

decord gives whole frames in 8-bit RGB by number. Measured against PyAV it is right for MP4, MOV, MKV and WebM, and
silently wrong elsewhere: MPEG transport streams lose their first frames, AVI and edit lists return other frames than
asked for, a change of size is rescaled away, deep sources are cut to 8 bits, alpha is dropped, and pictures without
tags are taken for BT.601 whatever their size. All that is refused. What cannot be told without decoding is not:
damage inside the pictures of a file passes unnoticed.

Its seeks are wrong too where a picture leans on one before the key frame (open groups of pictures, intra refresh). So
frames are always read from the first on, and each batch begins with the last frame of the one before, which must come
out the same. Chroma is repeated, not interpolated (swscale's
default), so saturated edges are harsher than from `AvSource`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import av
import torch
from torch import Tensor

from videomatte.errors import InputError, UsageError, VideomatteError
from videomatte.io.colour import resolve_colour
from videomatte.io.completeness import LatestEnd, check_end, check_extent
from videomatte.io.pixel_layout import pixel_layout
from videomatte.io.probe import open_movie, probe_movie, reason
from videomatte.io.span import Span
from videomatte.io.watchdog import Watchdog
from videomatte.types import ClipInfo, Frame

__all__ = ["DecordSource"]

_CONTAINERS = ("mov,mp4", "matroska")
_BT601 = (5, 6)

_BATCH_BYTES = 128 * 2**20
"""Memory for one batch of frames. decord decodes ahead without limit until told to seek: it is told after each."""


class DecordSource:
    """Frames of a movie in presentation order, decoded with decord; pts are the file's own, read with PyAV.

    Args:
        path: the movie.
        span: the frames to give; their numbers stay those of the whole clip.
        device: where frames are sent.
        threads: how many decode; 0 leaves it to decord.

    Raises:
        UsageError: decord is not installed.
        InputError: from the constructor, where the file cannot be read or is one decord reads wrongly; from the
            iteration, where frames cannot be decoded.
    """

    def __init__(
        self, path: Path, span: Span | None = None, device: torch.device | str = "cpu", threads: int = 0
    ) -> None:
        self._path, self._span, self._device = path, span or Span(), torch.device(device)
        self._opened = False
        # Beside its endless loops, decord dies when two threads share a reader: all its calls are made by one.
        self._watchdog = Watchdog(path, "use --decoder av")
        try:
            self.info = self._watchdog.call(probe_movie, path)
            if fault := _misread(self.info):
                raise InputError(f"{path}: decord reads {fault}: use --decoder av")
            self._shown = self._watchdog.call(_shown, self.info, self._watchdog.alive)
            self._watchdog.call(self._check_sizes)
            self._reader = self._call(_open_reader, str(path), threads)
            count = self._call(len, self._reader)
            if count != len(self._shown):
                raise InputError(
                    f"{path}: decord sees {count} frames where the file holds {len(self._shown)}: use --decoder av"
                )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of decord's decoder and its thread."""
        self._reader = None
        self._watchdog.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode; once only.

        Raises:
            RuntimeError: the source has been iterated before.
        """
        if self._opened:
            raise RuntimeError(f"{self._path}: a source is iterated once; open it again")
        self._opened = True
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        tick = self.info.time_base
        seconds = [(shown.pts - self._shown[0].pts) * tick for shown in self._shown]
        begun = [self._span.begun(index, at, tick) for index, at in enumerate(seconds)]
        stop = sum(not self._span.ended(index, at, tick) for index, at in enumerate(seconds))
        if not any(begun[:stop]):
            raise InputError(f"{self._path}: no frame between --start and --end")
        for first, batch in self._batches(stop):
            for index, pixels in enumerate(batch, first):
                if begun[index]:
                    shown = self._shown[index]
                    rgb = pixels.to(self._device).permute(2, 0, 1).contiguous()
                    yield Frame(index=index, pts=shown.pts, time_base=tick, rgb=rgb, duration=shown.duration)
            del batch, pixels  # see _batches

    def _batches(self, stop: int) -> Iterator[tuple[int, Tensor]]:
        """Number of the first frame and ``[N, H, W, 3]`` uint8 of the frames from 0 to ``stop``, some at a time."""
        size = max(2, min(64, _BATCH_BYTES // (3 * self.info.height * self.info.width)))
        first, last = 0, None
        while first < stop:
            end = min(first + size, stop)
            while end < stop and end > first + 1 and self._shown[end - 1].leans_back:
                end -= 1  # the next batch begins with this batch's last frame, to which decord must be able to seek
            overlap = int(first > 0)
            batch = torch.from_numpy(self._call(_read_batch, self._reader, list(range(first - overlap, end))))
            if batch.shape[1:] != (self.info.height, self.info.width, 3):
                raise InputError(f"{self._path}: decord gives {list(batch.shape[1:])} pictures: use --decoder av")
            if last is not None and not torch.equal(batch[0], last):
                raise InputError(f"{self._path}: decord does not find frame {first} again: use --decoder av")
            last = batch[-1].clone()
            yield first, batch[overlap:]
            del batch  # not two at a time: neither here nor where it went is it held while the next is read
            first = end

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._watchdog.call(function, *arguments)
        except VideomatteError:
            raise
        except Exception as error:
            words = str(error).strip().splitlines()
            message = f"{self._path}: decord cannot decode it ({words[0] if words else error!r})"
            raise InputError(message) from error

    def _check_sizes(self) -> None:
        """Decode the key frames, where alone a size can change."""
        container, stream = open_movie(self._path)
        with container:
            stream.codec_context.skip_frame = "NONKEY"
            try:
                sizes = set()
                for frame in container.decode(stream):
                    sizes.add((frame.width, frame.height))
                    self._watchdog.alive()
            except av.error.FFmpegError as error:
                raise InputError(f"{self._path}: damaged or cut short ({reason(error)})") from error
        if len(sizes) > 1:
            names = " and ".join(f"{width} x {height}" for width, height in sorted(sizes))
            raise InputError(f"{self._path}: pictures of {names}: split the clip and run the parts one by one")


def _misread(info: ClipInfo) -> str | None:
    """What decord does wrongly with a clip, or ``None``."""
    if not info.container.startswith(_CONTAINERS):
        return f"{info.container} wrongly"
    if info.has_alpha:
        return "no alpha"
    if info.bit_depth > 8:
        return f"8 bits of {info.bit_depth}"
    if info.mirrored:
        return "mirrored pictures wrongly"
    height, width = sorted((info.height, info.width))
    untagged = info.colour.matrix in (None, 0, 2, 3)
    meant = resolve_colour(info.colour, pixel_layout(info.pixel_format), height, width).matrix
    if untagged and meant not in (0, *_BT601):
        return "untagged high definition as BT.601"
    return None


class _Shown(NamedTuple):
    """What a packet says of its frame."""

    pts: int
    duration: int | None
    leans_back: bool
    """Stored behind a key frame and shown before it: needs what lies before the key frame."""


def _shown(info: ClipInfo, alive: Callable[[], None]) -> list[_Shown]:
    """Every frame of a movie, in presentation order, from its packets; ``alive`` is called for each of them.

    Raises:
        InputError: the file has an edit list or packets without pts, or is cut short.
    """
    path = info.path
    container, stream = open_movie(path)
    shown: list[_Shown] = []
    key = 0
    with container:
        check_extent(info, stream)
        ends = LatestEnd()
        for packet in ends.watch(container.demux()):
            alive()
            if not packet.size or packet.stream_index != stream.index:
                continue
            if packet.is_discard or packet.pts is None:
                what = "edit lists" if packet.is_discard else "frames without time stamps"
                raise InputError(f"{path}: decord reads {what} wrongly: use --decoder av")
            key = packet.pts if packet.is_keyframe else key
            shown.append(_Shown(packet.pts, packet.duration or None, packet.pts < key))
        check_end(info, container, len(shown), ends.seconds)
    shown.sort()
    if any(before.pts == after.pts for before, after in pairwise(shown)):
        raise InputError(f"{path}: two frames at one time: use --decoder av")
    return shown


def _open_reader(path: str, threads: int) -> Any:
    try:
        import decord
    except ImportError as error:
        raise UsageError("decord is not installed: pip install decord2, or use --decoder av") from error
    decord.logging.set_level(decord.logging.QUIET)  # its own copy of FFmpeg writes to stderr
    return decord.VideoReader(path, num_threads=threads)


def _read_batch(reader: Any, numbers: list[int]) -> Any:
    pixels = reader.get_batch(numbers).asnumpy()
    reader.seek(0)  # stops its threads from decoding ahead, which nothing bounds
    return pixels
