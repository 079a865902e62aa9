"""Holdout and garbage mattes: what is to be kept and what is to be dropped, whatever a key or any other source says.

    stage = Holdout(ChromaKey("green"), keep=keep, drop=drop)

A holdout matte's value is a floor under alpha, a garbage matte's, taken from 1, a ceiling over it. Where they are white
the trimap becomes sure foreground or sure background; where they are black it stays; where they are grey, as along a
feathered edge, a sure value that they rule out becomes unknown.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.trimaps.companions import Companions
from videomatte.trimaps.masks import read_mask
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, Source, TrimapFrame, TrimapStage

__all__ = ["Holdout", "drop_from", "hold", "keep_in"]

_WHITE = 0.9
"""From here on a matte is white, from 1 less it down black."""


def keep_in(trimap: Tensor, holdout: Tensor) -> Tensor:
    """A trimap held up by a holdout matte.

    Args:
        trimap: ``[1, H, W]`` uint8 in {0, 128, 255}.
        holdout: ``[1, H, W]`` float32 in [0, 1].

    Returns:
        ``[1, H, W]`` uint8: 255 where the matte is at least 0.9; 128 where it is above 0.1 and the trimap was 0.

    Raises:
        ShapeError: the two differ in shape.

    Convention:
        Every pixel by itself: nothing moves.
    """
    _check(trimap, holdout)
    raised = trimap.masked_fill((holdout > 1 - _WHITE) & (trimap == BACKGROUND), UNKNOWN)
    return raised.masked_fill_(holdout >= _WHITE, FOREGROUND)


def drop_from(trimap: Tensor, garbage: Tensor) -> Tensor:
    """A trimap held down by a garbage matte: :func:`keep_in` with foreground and background changed over."""
    _check(trimap, garbage)
    lowered = trimap.masked_fill((garbage > 1 - _WHITE) & (trimap == FOREGROUND), UNKNOWN)
    return lowered.masked_fill_(garbage >= _WHITE, BACKGROUND)


def hold(
    items: Iterator[TrimapFrame], keep: Source | None, drop: Source | None, *, clip_ends_early: bool = False
) -> Iterator[TrimapFrame]:
    """Trimaps held up and down by mattes, one for one as they come; see :class:`Holdout`."""
    # In this order: keep has the last word.
    for name, source, apply in (("drop", drop, drop_from), ("keep", keep, keep_in)):
        if source is not None:
            items = _amend(items, Companions(source, f"{name} matte", ends_early=clip_ends_early), apply)
    return items


class Holdout:
    """A trimap stage made of another one and one or two mattes. Where they contradict each other, what is kept wins.

    Args:
        stage: gives the trimaps.
        keep: an open source of holdout mattes, or ``None``; a still for every frame or one per frame, read as masks are
            (:func:`videomatte.trimaps.masks.mask_from_picture`).
        drop: the same of garbage mattes.
        clip_ends_early: the clip is not taken to its end, so that mattes may be left over.

    Raises:
        InputError: while running: a matte is missing, left over, of another shape than its frame, or none.
    """

    def __init__(
        self,
        stage: TrimapStage,
        keep: Source | None = None,
        drop: Source | None = None,
        *,
        clip_ends_early: bool = False,
    ) -> None:
        self._stage = stage
        self._hold = partial(hold, keep=keep, drop=drop, clip_ends_early=clip_ends_early)

    def __call__(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """Run the stage inside and amend what it gives."""
        return self._hold(self._stage(frames))


def _amend(
    items: Iterator[TrimapFrame], mattes: Companions, apply: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[TrimapFrame]:
    for item, picture in mattes(items):
        yield replace(item, trimap=apply(item.trimap, read_mask(mattes, picture, item.frame)))


def _check(trimap: Tensor, matte: Tensor) -> None:
    if trimap.shape != matte.shape:
        raise ShapeError(f"trimap and matte must have the same shape, got {list(trimap.shape)} and {list(matte.shape)}")
