"""Whether a movie is all there: what its header promises against what the file holds.

A truncated file can end without an error from the decoder, and would pass as a shorter clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from videomatte.errors import InputError
from videomatte.types import ClipInfo

__all__ = ["LatestEnd", "check_end", "check_extent"]

_PROMISES_DURATION = ("matroska", "flv", "mov,mp4")
"""Containers whose duration is written in their header, not guessed from where the file ends."""


class LatestEnd:
    """Watches packets go by; `seconds` is when the last of all streams ends, on the container's clock."""

    seconds = Fraction(0)

    def watch(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """The packets, unchanged."""
        for packet in packets:
            if packet.pts is not None and packet.size:
                end = (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base)
                self.seconds = max(self.seconds, end)
            yield packet


def check_extent(info: ClipInfo, stream: av.VideoStream) -> None:
    """Hold the index to the file's size, before hours of work.

    Raises:
        InputError: the index points behind the end of the file.
    """
    size = info.path.stat().st_size
    missing = next((n for n, e in enumerate(stream.index_entries) if e.size and e.pos + e.size > size), None)
    if missing is not None:
        raise InputError(
            f"{info.path}: damaged or cut short: the file ends in frame {missing}"
            + (f" of {info.frame_count}" if info.frame_count else "")
            + ". Get the whole file, or take what is there with --end"
        )


def check_end(info: ClipInfo, container: InputContainer, frames: int | None, end: Fraction) -> None:
    """Hold a movie, read to its end, to the number of frames and the duration in its header.

    Args:
        info: the movie.
        container: its container, still open.
        frames: how many it held, or ``None`` where they were not read from the first.
        end: what `LatestEnd` saw of all its streams, for its duration is that of the longest.

    Raises:
        InputError: there are fewer frames, or they end earlier.
    """
    if frames is not None and info.frame_count and frames < info.frame_count:
        raise InputError(
            f"{info.path}: damaged or cut short: it promises {info.frame_count} frames, only {frames} can be decoded"
        )
    if info.frame_count or not container.duration or not info.container.startswith(_PROMISES_DURATION):
        return
    promised = Fraction(container.duration, av.time_base)
    # Two frames and a tenth of a second, for the last packets may not tell how long they last.
    slack = 2 / (info.average_rate or Fraction(25)) + Fraction(1, 10)
    if end + slack < promised:
        raise InputError(
            f"{info.path}: damaged or cut short: it promises {float(promised):.2f} s and ends after {float(end):.2f} s"
        )
