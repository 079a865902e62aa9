"""Trimaps carried from painted frames to all others, around the matting that corrects them as they go.

    stage = Propagate({0: trimap}, NetworkMatting(load_model("embedded"), batch=8), window=8)
    for matte in stage(frames):
        ...

Sure regions follow the motion and the band is built anew (belief.py). Each window's mattes are what the next window is
carried from, so that what the matting saw corrects the drift before it grows; a window is a batch, so that batching is
kept. Between two keyframes beliefs come from both sides (from_behind.py) and are fused. Every keyframe starts afresh:
what lies between two of them, or between one and a cut, depends on nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor

from videomatte.errors import InputError
from videomatte.flow import is_cut
from videomatte.trimaps.belief import (
    Belief,
    after_matting,
    believed_of_trimap,
    carry,
    fuse,
    learn,
    motions,
    seen_by_matting,
    settled,
    trimap_from_belief,
)
from videomatte.trimaps.from_behind import BeliefStore, Reopen, carry_backwards
from videomatte.trimaps.guidance import Guide
from videomatte.trimaps.small import SmallPicture
from videomatte.trimaps.statistics import ColourStatistics
from videomatte.types import BACKGROUND, Frame, MatteFrame, MattingStage, Suggestion, TrimapFrame

__all__ = ["Propagate"]


class _Known(NamedTuple):
    """What is known of a frame."""

    belief: Belief
    """What the next frame is carried from: of the keyframe before, and of no other."""
    fused: Belief
    """What the trimap is made of: with what the keyframe behind says. Carried on, it would be counted once a frame."""
    small: SmallPicture
    statistics: ColourStatistics


class Propagate:
    """A stage from frames to mattes: trimaps where there are keyframes, carried to where there are none.

    Nothing is carried across a cut. A shot without a keyframe gets an empty matte, and a note that says so.

    Args:
        keyframes: ``[1, H, W]`` uint8 trimaps, by the number of their frame. Looked up when their frame, or the stretch
            before it, comes by; those before the first frame are of no use.
        matting: what makes mattes of trimaps; called once a window.
        window: frames matted together, before their mattes are carried on.
        reopen: opens the clip once more, to carry keyframes backwards; without it they are carried forwards alone.
        amend: changes trimaps before they are matted, one for one as they come, as holdout and garbage mattes do.

    Raises:
        InputError: while running: the clip ends before a keyframe.
    """

    def __init__(
        self,
        keyframes: Mapping[int, Tensor],
        matting: MattingStage,
        *,
        window: int = 1,
        reopen: Reopen | None = None,
        amend: Callable[[Iterator[TrimapFrame]], Iterator[TrimapFrame]] = iter,
    ) -> None:
        self._keyframes = keyframes
        self._matting = matting
        self._window = window
        self._reopen = reopen
        self._amend = amend
        self._guide = Guide()

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """The frames most worth painting next, best first; complete once the clip has run through."""
        return self._guide.ranking()

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be done otherwise than asked, one sentence each."""
        return self._guide.notes()

    def __call__(self, frames: Iterator[Frame]) -> Iterator[MatteFrame]:
        """Matte window by window; a window ends early before a keyframe and before a cut."""
        window: list[tuple[TrimapFrame, _Known | None]] = []
        known: _Known | None = None
        small: SmallPicture | None = None
        last = -1
        carried: deque[TrimapFrame | None] = deque()
        amended = self._amend(iter(carried.popleft, None))
        with ExitStack() as stack:
            store = stack.enter_context(BeliefStore())
            for frame in frames:
                before, small = small, SmallPicture.of(frame.rgb)
                last = frame.index
                keyframe = self._keyframes.get(frame.index)
                # The way back has looked for cuts already.
                cut = before is not None and not store.knows_motion(frame.index) and bool(is_cut(before.rgb, small.rgb))
                if window and (cut or keyframe is not None or len(window) >= self._window):
                    corrected = yield from self._mattes(window)
                    known = corrected or known
                    window = []
                elif known is not None:
                    known = known._replace(belief=settled(known.belief))
                if before is None or keyframe is not None:
                    self._look_ahead(frame.index, store)
                if cut:
                    known = None
                with torch.no_grad():
                    item, believed = self._next(frame, small, keyframe, known, store)
                    carried.append(item)
                    item = next(amended)
                    self._guide.see(item, believed.fused if believed else None)
                window.append((item, believed))
                known = believed
            yield from self._mattes(window)
        carried.append(None)
        next(amended, None)  # so that it sees the end
        self._check_ended(last)

    def _next(
        self, frame: Frame, small: SmallPicture, keyframe: Tensor | None, known: _Known | None, store: BeliefStore
    ) -> tuple[TrimapFrame, _Known | None]:
        """A frame's trimap, and what is known of it before its matting."""
        if keyframe is not None:
            trimap = keyframe.to(frame.rgb.device)
            belief = believed_of_trimap(trimap, *small.size)
            known = _Known(belief, belief, small, ColourStatistics(*small.size, trimap.device))
            learn(known.statistics, small, belief)
            return TrimapFrame(frame, trimap, "key"), known
        ahead = store.take(frame.index)
        if known is not None:
            motion = store.motion(frame.index) or motions(small, known.small)[0]
            belief = carry(known.belief, motion, small, known.statistics)
            known = _Known(belief, belief if ahead is None else fuse(belief, ahead), small, known.statistics)
        elif ahead is not None:
            known = _Known(ahead, ahead, small, ColourStatistics(*small.size, frame.rgb.device))
        else:
            nothing = torch.full_like(frame.rgb[:1], BACKGROUND, dtype=torch.uint8)
            return TrimapFrame(frame, nothing, "propagated"), None
        trimap = trimap_from_belief(known.fused, frame.height, frame.width)
        return TrimapFrame(frame, trimap, "propagated"), known

    def _mattes(self, window: list[tuple[TrimapFrame, _Known | None]]) -> Generator[MatteFrame, None, _Known | None]:
        """The window's mattes; returns what the next one is carried from."""
        corrected: _Known | None = None
        mattes = self._matting(item for item, _ in window)
        for (_, known), matte in zip(window, mattes, strict=True):
            if known is not None:
                with torch.no_grad():
                    seen = seen_by_matting(matte.source.trimap, matte.alpha, *known.small.size)
                    belief = fused = after_matting(known.belief, seen)
                    if known.fused is not known.belief:
                        fused = after_matting(known.fused, seen)
                    learn(known.statistics, known.small, fused)
                    corrected = known._replace(belief=belief)
            yield matte
        return corrected

    def _look_ahead(self, index: int, store: BeliefStore) -> None:
        """Carry the next keyframe back to a frame that has been reached."""
        following = min((key for key in self._keyframes if key > index), default=None)
        first = index + (index in self._keyframes)
        if self._reopen is not None and following is not None and first < following:
            with torch.no_grad():
                carry_backwards(self._keyframes[following], first, following, self._reopen, store)

    def _check_ended(self, last: int) -> None:
        late = [key for key in self._keyframes if key > last]
        if late and self._reopen is None:
            raise InputError(f"ends with frame {last}: there is no frame {late[0]} to have a trimap")
