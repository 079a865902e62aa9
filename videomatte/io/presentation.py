"""When frames are shown: pts that always rise, whatever the file says."""

from __future__ import annotations

from collections.abc import Sequence

from videomatte.types import ClipInfo

__all__ = ["PresentationClock"]


class PresentationClock:
    """The pts of frames that come in presentation order.

    Nearly always the frame's own. Where a file has none or a wrong one:

    * AVI stamps frames in the order they are stored: its n-th stamp belongs to the n-th frame shown;
    * a frame without pts (raw streams) is shown one frame after the one before;
    * a frame less than a second behind the one before is shown one tick after it;
    * a jump back by more (recordings joined end to end) is a new start: time runs on, one frame later, from there.

    Args:
        info: the clip, for its rate and time base.
        stored: AVI's stamps in order, else ``None``.
    """

    def __init__(self, info: ClipInfo, stored: Sequence[int] | None = None) -> None:
        self._second = round(1 / info.time_base)
        self._step = max(1, round(1 / ((info.average_rate or 25) * info.time_base)))
        self._stored = stored or ()
        self._shift = 0
        self._count = 0
        self._last: int | None = None

    def __call__(self, pts: int | None, duration: int | None = None) -> int:
        """The pts of the next frame, given its own and its duration where it has them."""
        step = duration or self._step
        if self._count < len(self._stored):
            pts = self._stored[self._count]
        following = 0 if self._last is None else self._last + step
        shown = following if pts is None else pts + self._shift
        if self._last is not None and shown <= self._last:
            if shown > self._last - self._second:
                shown = self._last + 1
            else:
                self._shift += following - shown
                shown = following
        self._last = shown
        self._count += 1
        return shown
