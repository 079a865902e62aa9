"""Which frame to paint next: where what is carried has become doubtful, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from videomatte.trimaps.belief import Belief
from videomatte.types import UNKNOWN, Suggestion, TrimapFrame

__all__ = ["Guide"]

SPACING = 12
"""Frames between two suggestions: what one keyframe mends need not be asked for again."""
MOST = 10
"""Suggestions made."""
WORTH = 0.2
"""Score below which a frame is not worth painting."""
GROWTH = 4.0
"""Growth of the band since its keyframe that scores 1."""
LOST = "nothing is carried across a cut, and this shot has no keyframe"
UNDECIDED = (0.15, 0.85)
"""Probabilities between which neither motion nor colour has decided."""


class _Seen(NamedTuple):
    frame: int
    score: float
    reason: str
    lost: bool = False
    """Whether nothing at all was known of the frame."""


class Guide:
    """Watches beliefs go by and remembers a number and a reason of each frame."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []
        self._band = 0.0

    def see(self, item: TrimapFrame, belief: Belief | None) -> None:
        """Take note of a frame; ``None`` where nothing was carried to it."""
        index = item.frame.index
        if belief is None:
            self._seen.append(_Seen(index, 1.0, LOST, lost=True))
            return
        band = float((item.trimap == UNKNOWN).count_nonzero()) / item.trimap.numel()
        if item.origin == "key" or not self._band:
            self._band = band
        if item.origin == "key":
            return
        subject = belief.subject > 0.5
        undecided = (belief.subject > UNDECIDED[0]) & (belief.subject < UNDECIDED[1])
        undecided &= belief.softness < 0.5
        area = max(1, int(subject.count_nonzero()))
        trust = float((belief.trust * subject).sum()) / area
        new = min(1.0, int(undecided.count_nonzero()) / area)
        growth = band / self._band if self._band else 1.0
        worst = max(
            (1 - trust, f"confidence has sunk to {trust:.0%}"),
            (
                min(1.0, (growth - 1) / (GROWTH - 1)),
                f"the unknown band is {growth:.1f} times as large as its keyframe's",
            ),
            (new, f"neither motion nor colour can tell a region of {new:.0%} of the subject's size"),
        )
        self._seen.append(_Seen(index, *worst))

    def ranking(self) -> tuple[Suggestion, ...]:
        """The frames most worth painting, best first, and not too near one another."""
        chosen: list[_Seen] = []
        lost = [stretch[0] for stretch in self._stretches_lost()]
        told = sorted((seen for seen in self._seen if not seen.lost), key=lambda seen: -seen.score)
        for seen in [*lost, *told]:
            if len(chosen) == MOST or seen.score < WORTH:
                break
            if all(abs(seen.frame - other.frame) >= SPACING for other in chosen):
                chosen.append(seen)
        return tuple(Suggestion(seen.frame, seen.reason, round(seen.score, 3)) for seen in chosen)

    def notes(self) -> tuple[str, ...]:
        """A sentence on each stretch of frames that nothing was carried to."""
        return tuple(
            f"Frames {first.frame} to {last.frame} have an empty matte: no keyframe is in their shot, and nothing is "
            f"carried across a cut. Paint one of them: --trimap {first.frame}=FILE."
            for first, last in self._stretches_lost()
        )

    def _stretches_lost(self) -> Iterator[tuple[_Seen, _Seen]]:
        first: _Seen | None = None
        before: _Seen | None = None
        for seen in [*self._seen, None]:
            if first is not None and before is not None and (seen is None or not seen.lost):
                yield first, before
                first = None
            if seen is not None and seen.lost and first is None:
                first = seen
            before = seen
