"""The chroma key: trimaps of a subject before a green, blue or otherwise coloured screen.

    for item in ChromaKey()(frames):
        ...

The key leaves alpha to the matting: it says only where the screen surely shows, where the subject surely hides it, and
what lies between. What is sure is told by each frame's own screen (see :mod:`videomatte.trimaps.screen`) and in units
of its noise, so that uneven light, creases, grain and changing exposure need no settings.
"""

import logging
import math
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from videomatte.errors import InputError, UsageError
from videomatte.strips import strips
from videomatte.trimaps.clothes import of_another_hue
from videomatte.trimaps.hue import SCREENS, chroma, find_hue
from videomatte.trimaps.morphology import dilate, dilate_square, erode
from videomatte.trimaps.screen import Screen, empty_screen, fit_screen, smoothed
from videomatte.trimaps.silhouette import around, hangs_together, opaque, trimap_of_silhouette
from videomatte.trimaps.spread import enlarge_pixels
from videomatte.types import BACKGROUND, FOREGROUND, Frame, TrimapFrame

__all__ = ["ChromaKey", "trimap_from_screen"]

_log = logging.getLogger(__name__)

_HUES = {"auto": SCREENS, "green": (120.0, 55.0), "blue": (230.0, 40.0)}
"""Middle of the hues looked at and how far these go on either side, in degrees."""
_COLOUR_REACH = 20.0
"""Hues on either side of a colour that is given, in degrees."""
_LOOK_AHEAD = 12
"""Frames held back at most until one shows the screen: a clip may fade in."""
_DRIFT, _PACE = math.radians(20), 0.2
"""How far the hue may wander from where it was found, and how much of each frame's change is followed."""
_INNER = 16
"""Parts of the longer side that what is of a hue of its own must lie from the subject's surface to be opaque for that:
loose hair reaches some way in, and a mixture with the screen may have any hue."""
_CLEAN = 0.015
"""Noise of the screen's share at which what is opaque can be told pixel by pixel."""


class ChromaKey:
    """The trimap stage of a chroma key.

    Frames are looked at one by one, and each comes with the picture of its empty screen as the background. Should no
    part of a frame show the screen, as after a cut or with the subject right before the lens, all of it is taken as
    foreground, with a warning; a frame of nothing but screen is all background. Of the frame before one thing alone is
    known: where clothes were of nearly the screen's colour, which need less evidence there.

    Args:
        key: the screen's colour: ``auto`` (any even colour from yellow-green to blue that shows at the border),
            ``green``, ``blue``, or one colour as ``#RRGGBB``, of which the hue counts.

    Raises:
        UsageError: from the constructor, where the key is none of these, or is grey.
        InputError: while running, where none of the first frames shows the screen.
    """

    def __init__(self, key: str = "auto") -> None:
        self._name = key
        self._must_be_plain = key == "auto"
        self._centre, self._reach = _hues(key)

    def __call__(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """Give every frame its trimap; the first few may be held back until one shows the screen."""
        rest = iter(frames)
        held: deque[Frame] = deque()
        found: float | None = None
        while found is None and len(held) < _LOOK_AHEAD and (frame := next(rest, None)) is not None:
            held.append(frame)
            found = find_hue(frame.rgb, self._centre, self._reach, must_be_plain=self._must_be_plain)
        if found is None:
            if held:
                raise InputError(self._nothing_found(held[0].index, held[-1].index))
            return
        hue, missing, coat = found, False, None
        # Popped one by one, so that none is kept alive after its turn.
        for frame in chain((held.popleft() for _ in range(len(held))), rest):
            told = _told(frame, hue, coat)
            if told is None:
                coat = None
                if not missing:
                    _log.warning("from frame %d on no screen shows: all is taken as foreground", frame.index)
                missing = True
                yield TrimapFrame(frame, torch.full_like(frame.rgb[:1], FOREGROUND, dtype=torch.uint8), "generated")
            else:
                missing = False
                item, its_hue, coat = told
                hue += _PACE * (its_hue - hue)
                hue = min(max(hue, found - _DRIFT), found + _DRIFT)
                yield item

    def _nothing_found(self, first: int, last: int) -> str:
        where = f"frame {first}" if first == last else f"frames {first} to {last}"
        if self._must_be_plain:
            return (
                f"no screen in {where}: no even colour from yellow-green to blue at the border of the picture. "
                f"Name the screen's colour (--key green, --key blue, --key '#RRGGBB'), begin at a frame that shows it "
                f"(--start), or give trimaps (--trimap)"
            )
        return (
            f"no {self._name} screen in {where}: hardly a pixel is of that hue. Try --key auto, begin at a frame that "
            f"shows the screen (--start), or give trimaps (--trimap)"
        )


def _told(frame: Frame, hue: float, before: Tensor | None) -> tuple[TrimapFrame, float, Tensor] | None:
    """A frame with its trimap, its screen's hue and its coat, given the coat of the frame before; a function, so that
    by the next frame all else is free again."""
    screen = fit_screen(frame.rgb, hue, before)
    if screen is None:
        return None
    trimap, bare = trimap_from_screen(screen)
    plate = empty_screen(frame.rgb, screen.reduced, bare) if bare.count_nonzero() else screen.plate
    background = enlarge_pixels(plate, frame.rgb)
    return TrimapFrame(frame, trimap, "generated", background=background), screen.hue, screen.coat


def trimap_from_screen(screen: Screen) -> tuple[Tensor, Tensor]:
    """Tell sure background and sure foreground from how much of the screen shows.

    What departs from the screen by more than its noise is told from specks and creases by
    :func:`videomatte.trimaps.silhouette.hangs_together`, and what of it is opaque by
    :func:`videomatte.trimaps.silhouette.opaque`: something orange before green has a key signal of zero already where a
    third of the screen shows. A colour off that line is something else, and is taken to be of no hue by itself; unless
    it is of another hue than the screen's deep within the subject, where clothes are likelier than anything that the
    screen shines through.

    Args:
        screen: a frame held against its screen.

    Returns:
        ``[1, H, W]`` uint8 in {0, 128, 255}, the trimap; and ``[H, W]`` bool, where the screen shows alone for all that
        is seen: the sure background, and the middle of gaps too narrow to be sure in, of which the screen's own light
        can still be told.

    Convention:
        Pixel on pixel with the frame.
    """
    size = max(screen.share.shape)
    weak, strong = torch.empty_like(screen.coat), torch.empty_like(screen.coat)
    for rows in strips(screen.share):
        share, light = screen.share[rows], screen.light[rows]
        hidden = (1 - share).div_((3 * screen.share_noise[rows]).clamp_(min=0.025))
        departure = light.abs().div_((4 * screen.light_noise[rows]).clamp_(min=0.04))
        departure = torch.maximum(departure, hidden, out=departure)
        torch.logical_or(departure > 1, screen.coat[rows], out=weak[rows])
        torch.logical_and(weak[rows], (share < 0.6).logical_or_(departure > 4), out=strong[rows])
    subject = hangs_together(weak, strong, size)
    trimap = torch.full_like(subject, BACKGROUND, dtype=torch.uint8)
    box = around(subject, size)  # all the rest is background
    if box is None:
        return trimap[None], trimap == BACKGROUND
    # The core's edge is drawn back by as much as colours may be averaged over.
    here = smoothed(screen.within(box), _CLEAN, max(2, size // 160))
    deep = subject[box] & (here.strict_share < 0.15) & (here.share < 0.5)
    foreign = of_another_hue(here.colour, here.empty, here.share_noise, max(1, size // 200))
    foreign &= ~dilate_square(~subject[box], size // _INNER)
    core = opaque(subject[box], deep, here.colour, here.empty, here.share < 0.15, foreign, size) | here.coat
    trimap[box] = trimap_of_silhouette(subject[box], core, here.share, size)
    bare = trimap == BACKGROUND
    # Near the sure background that alone tells: veils look like a screen of another light.
    far = ~dilate(bare[box], size / 60) & (trimap[box] != FOREGROUND)
    bare[box] |= far & erode(~weak[box], max(2.0, size / 480))
    return trimap[None], bare


def _hues(key: str) -> tuple[float, float]:
    if key in _HUES:
        centre, reach = _HUES[key]
        return math.radians(centre), math.radians(reach)
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", key):
        raise UsageError(f"--key {key!r} is not a screen: give auto, green, blue or a colour as #RRGGBB")
    rgb = torch.tensor([int(key[i : i + 2], 16) for i in (1, 3, 5)]).view(3, 1, 1) / 255
    a, b = chroma(rgb).flatten().tolist()
    if math.hypot(a, b) < 0.1 * float(rgb.max()) or not rgb.any():
        raise UsageError(f"--key {key} is grey, and a key needs a hue: give the colour of the screen itself")
    return math.atan2(b, a), math.radians(_COLOUR_REACH)
