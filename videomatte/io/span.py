"""Which part of a clip is wanted, as people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from videomatte.errors import UsageError
from videomatte.types import ClipInfo

__all__ = ["Span", "expected_frames", "parse_point"]

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)s?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """The frames from a start up to, not including, an end: numbers, or seconds after the clip's first frame."""

    start: int | Fraction | None = None
    end: int | Fraction | None = None

    @classmethod
    def parse(cls, start: str | None, end: str | None) -> Span:
        """The span between two points as people write them.

        Raises:
            UsageError: one is no point in a clip, or nothing lies between them.
        """
        first, last = (None if text is None else parse_point(text) for text in (start, end))
        if last == 0 or (first is not None and last is not None and type(first) is type(last) and first >= last):
            raise UsageError(f"--start {start} --end {end}: nothing lies between them")
        return cls(first, last)

    def begun(self, index: int, seconds: Fraction, tick: Fraction) -> bool:
        """Whether a frame is not before the start; half a ``tick`` of its clock is allowed for rounding."""
        return self.start is None or _reached(self.start, index, seconds + tick / 2)

    def ended(self, index: int, seconds: Fraction, tick: Fraction) -> bool:
        """Whether a frame lies at or behind the end."""
        return self.end is not None and _reached(self.end, index, seconds + tick / 2)


def _reached(point: int | Fraction, index: int, seconds: Fraction) -> bool:
    return (index if isinstance(point, int) else seconds) >= point


def parse_point(text: str) -> int | Fraction:
    """A point in a clip: a frame number or seconds.

    A plain whole number (``120``) is a frame number, counted from 0. With a point, a colon or an ``s`` it is a time
    from the clip's first frame: ``5.0``, ``5s``, ``1:02.5``, ``0:01:02.5``.

    Returns:
        ``int`` for a frame number, ``Fraction`` of seconds for a time.

    Raises:
        UsageError: it is neither.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    match = _CLOCK.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{text!r} is no point in a clip: write a frame number (120) or a time (5.0, 5s, 0:01:02.5)")
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + Fraction(seconds.rstrip("."))


def expected_frames(info: ClipInfo, start: str | None, end: str | None) -> int | None:
    """About how many frames lie between two points of a clip, for a progress bar; ``None`` where nobody knows."""

    def number(text: str) -> int | None:
        point = parse_point(text)
        if isinstance(point, int):
            return point
        return round(point * info.average_rate) if info.average_rate else None

    first = 0 if start is None else number(start)
    last = info.frame_count if end is None else number(end)
    if first is None or last is None:
        return None
    return max(0, min(last, info.frame_count or last) - first)
