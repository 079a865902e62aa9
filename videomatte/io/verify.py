"""What has been written is read back, and compared with what was meant, before it counts as finished.

Compared are the number of frames, their times and their alphas: of formats that keep alpha exactly every pixel within
the bound of the table, of VP9 all but a thousandth of them, for nobody can promise the worst pixel of a lossy coder.
"""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videomatte.errors import OutputError
from videomatte.io.av_frame import alpha_codes
from videomatte.io.formats import Content, Format
from videomatte.io.planes import frame_alpha, frame_luma
from videomatte.types import unit_range

__all__ = ["Expected", "ReadBack", "read_images", "read_movie"]

ReadBack = Iterator[tuple[Fraction | None, Tensor | None]]
"""Seconds of each frame, and its alpha ``[1, H, W]``; ``None`` for what the format does not hold."""

_LOSSY = 1.0
"""A bound of more than this many 255ths is that of a lossy coder."""
_SHARE = 0.001


class Expected:
    """What a segment must hold. A context manager. The alphas lie on the disk: a segment is compared while the next
    is written, and those of two would take as much memory as all that decoding and encoding need.

    Args:
        path: the output, for messages.
        fmt: its format.
        tick: seconds by which times may be off.
        folder: where the alphas go, in a file without a name.
    """

    def __init__(self, path: Path, fmt: Format, tick: Fraction, folder: Path) -> None:
        self._path, self._format, self._tick = path, fmt, tick
        self._alphas = tempfile.TemporaryFile("w+b", dir=folder)  # noqa: SIM115 - closed on exit
        self._frames: list[tuple[int, Fraction | None, int, tuple[int, ...]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget it all. May be called twice."""
        with suppress(OSError):  # of what a full disk has not taken, and nobody wants any more
            self._alphas.close()

    def add(self, index: int, seconds: Fraction | None, alpha: Tensor | None) -> None:
        """Take note of the next frame.

        Args:
            index: its number, for messages.
            seconds: when it is shown, or ``None`` where the format does not say.
            alpha: ``[1, H, W]``, any dtype, or ``None`` where it is opaque.

        Raises:
            OSError: the disk does not take it.
        """
        stored, shape = b"", ()
        if alpha is not None:
            codes = alpha_codes(alpha.cpu(), self._format.alpha_bits).numpy()
            stored, shape = _packed(codes), codes.shape
        self._alphas.write(stored)
        self._alphas.flush()  # a full disk is told now, and not as a frame that cannot be read
        self._frames.append((index, seconds, len(stored), shape))

    def compared(self, found: Iterable[tuple[Fraction | None, Tensor | None]]) -> Iterator[None]:
        """Go through the frames read back, and yield after each.

        Raises:
            OutputError: they are not what was written; the message names the frame and the difference.
        """
        self._alphas.seek(0)
        count = 0
        try:
            for wanted, frame in zip_longest(self._frames, found):
                if wanted is None:
                    raise self._error(self._frames[-1][0], "there are more frames behind it")
                if frame is None:
                    raise self._error(wanted[0], f"is missing, {count} of {len(self._frames)} frames are there")
                self._compare_one(*wanted, *frame)
                count += 1
                yield
        except (av.error.FFmpegError, OSError) as error:
            index = self._frames[min(count, len(self._frames) - 1)][0]
            raise self._error(index, f"cannot be decoded ({error.strerror})") from error

    def _compare_one(
        self,
        index: int,
        seconds: Fraction | None,
        length: int,
        shape: tuple[int, ...],
        found_seconds: Fraction | None,
        found: Tensor | None,
    ) -> None:
        if seconds is not None and (found_seconds is None or abs(found_seconds - seconds) > self._tick):
            was = "without a time" if found_seconds is None else f"at {float(found_seconds):.6f} s"
            raise self._error(index, f"is {was}, not at {float(seconds):.6f} s")
        if not length:
            return
        bits = self._format.alpha_bits
        codes = _unpacked(self._alphas.read(length), np.dtype(np.uint8 if bits <= 8 else np.uint16), math.prod(shape))
        if found is None or found.shape[1:] != shape:
            has = "no alpha" if found is None else f"an alpha of {found.shape[2]} x {found.shape[1]} pixels"
            raise self._error(index, f"has {has}, not one of {shape[1]} x {shape[0]}")
        meant = torch.from_numpy(codes.reshape(shape).astype(np.float32)).div_(2**bits - 1)
        off = unit_range(found[0]).sub(meant).abs_().flatten()
        bound = self._format.alpha_error
        worst = float(off.max() if bound <= _LOSSY else off.kthvalue(max(1, round(off.numel() * (1 - _SHARE)))).values)
        if not worst * 255 <= bound:
            raise self._error(index, f"has an alpha that is off by {worst * 255:.3g}/255, of {bound:g} allowed")

    def _error(self, index: int, what: str) -> OutputError:
        return OutputError(
            f"{self._path}: frame {index} {what} when read back: the disk or the encoder is at fault, run it again or "
            "write another format"
        )


def _packed(codes: NDArray[Any]) -> bytes:
    """Where runs of equal codes begin, and of what. Mattes are flat nearly everywhere: that is a tenth to a fifth of
    them, in a tenth of the time that zlib takes for less. Codes that would grow so stay as they are."""
    flat = codes.ravel()
    begin = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    if begin.size * (4 + codes.itemsize) >= codes.nbytes:
        return codes.tobytes()
    return b"".join([begin.astype(np.uint32).tobytes(), flat[begin].tobytes()])


def _unpacked(stored: bytes, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """So many codes, ``[count]``."""
    if len(stored) == count * dtype.itemsize:
        return np.frombuffer(stored, dtype)
    runs = len(stored) // (4 + dtype.itemsize)
    begin, values = np.frombuffer(stored, np.uint32, runs), np.frombuffer(stored, dtype, runs, 4 * runs)
    return np.repeat(values, np.diff(begin, append=count))


def read_movie(path: Path, content: Content) -> ReadBack:
    """The frames of a movie that videomatte has written, and that holds this."""
    with av.open(f"file:{path}") as movie:
        stream = movie.streams.video[0]
        stream.thread_type = "AUTO"
        decoder: av.CodecContext = stream.codec_context
        if stream.metadata.get("alpha_mode") == "1":
            decoder = av.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own drops the alpha without a word
        time_base = Fraction(stream.time_base or 0)
        for packet in movie.demux(stream):
            for frame in cast("av.VideoCodecContext", decoder).decode(packet if packet.size else None):
                yield None if frame.pts is None else frame.pts * time_base, _alpha(frame, content)


def read_images(paths: Iterable[Path], content: Content) -> ReadBack:
    """The pictures in image files that videomatte has written, and that hold this."""
    for path in paths:
        with av.open(io.BytesIO(path.read_bytes()), "r") as image:
            yield None, _alpha(next(image.decode(video=0)), content)


def _alpha(frame: av.VideoFrame, content: Content) -> Tensor | None:
    return frame_luma(frame) if content == "alpha" else frame_alpha(frame)
