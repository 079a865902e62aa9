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
from dataclasses import fields, replace
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.components import label_components
from videomatte.errors import InputError, UsageError
from videomatte.trimaps.morphology import dilate, erode, trimap_of
from videomatte.trimaps.screen import Screen, chroma, find_hue, fit_screen, spread
from videomatte.types import BACKGROUND, FOREGROUND, Frame, TrimapFrame, from_unit_range, unit_range

__all__ = ["ChromaKey", "trimap_from_screen"]

_log = logging.getLogger(__name__)

_HUES = {"auto": (160.0, 110.0), "green": (120.0, 55.0), "blue": (230.0, 40.0)}
"""Middle of the hues looked at and how far these go on either side, in degrees. Auto leaves out red to orange: skin,
wood and brick are seldom a screen."""
_COLOUR_REACH = 20.0
"""Hues on either side of a colour that is given, in degrees."""
_LOOK_AHEAD = 12
"""Frames held back at most until one shows the screen: a clip may fade in."""
_DRIFT, _PACE = math.radians(20), 0.2
"""How far the hue may wander from where it was found, and how much of each frame's change is followed."""


class ChromaKey:
    """The trimap stage of a chroma key.

    Frames are looked at one by one, and each comes with the picture of its empty screen as the background. Should no
    part of a frame show the screen, as after a cut or with the subject right before the lens, all of it is taken as
    foreground, with a warning; a frame of nothing but screen is all background.

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
            found = find_hue(_picture(frame), self._centre, self._reach, must_be_plain=self._must_be_plain)
        if found is None:
            if held:
                raise InputError(self._nothing_found(held[0].index, held[-1].index))
            return
        hue, missing = found, False
        # Popped one by one, so that none is kept alive after its turn.
        for frame in chain((held.popleft() for _ in range(len(held))), rest):
            screen = fit_screen(_picture(frame), hue)
            if screen is None:
                if not missing:
                    _log.warning("from frame %d on no screen shows: all is taken as foreground", frame.index)
                missing = True
                yield TrimapFrame(frame, torch.full_like(frame.rgb[:1], FOREGROUND, dtype=torch.uint8), "generated")
            else:
                missing = False
                trimap = trimap_from_screen(screen)
                hue += _PACE * (screen.hue - hue)
                hue = min(max(hue, found - _DRIFT), found + _DRIFT)
                yield TrimapFrame(frame, trimap, "generated", background=from_unit_range(screen.plate, frame.rgb.dtype))

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


def trimap_from_screen(screen: Screen) -> Tensor:
    """Tell sure background and sure foreground from how much of the screen shows.

    Subject is what departs from the screen by more than its noise and hangs together with something that departs by
    much more (a hysteresis, as in Canny, "A computational approach to edge detection", PAMI 1986): hair as fine as the
    noise allows stays in, specks and creases fall out. Where none of the screen shows it is foreground; so are places
    that show a little, by spill, but are shut in by foreground. Both sure areas then draw back from the unknown one.

    Args:
        screen: a frame held against its screen.

    Returns:
        ``[1, H, W]`` uint8 in {0, 128, 255}.

    Convention:
        Pixel on pixel with the frame. Distances are fractions of the picture's longer side.
    """
    size = max(screen.share.shape)
    hidden = (1 - screen.share) / (3 * screen.share_noise).clamp(min=0.025)
    departure = torch.maximum(hidden, screen.light.abs() / (4 * screen.light_noise).clamp(min=0.04))
    weak = (departure > 1) | screen.coat
    strong = weak & ((screen.share < 0.6) | (departure > 4))
    # Grown by one pixel, so that a strand broken by noise still hangs together.
    labels, areas = label_components(dilate(weak, 1))
    evidence = torch.bincount(labels[strong], minlength=len(areas))
    subject = weak & (evidence > 3 + (size / 300) ** 2)[labels]
    trimap = torch.full_like(subject, BACKGROUND, dtype=torch.uint8)
    if subject.any():
        box = _around(subject, margin=size // 100 + 3)  # all the rest is background
        trimap[box] = _around_subject(_cut(screen, box), subject[box], size)
    return trimap[None]


def _around_subject(screen: Screen, subject: Tensor, size: int) -> Tensor:
    """``[H, W]``: the trimap of a part of the frame, ``size`` being the longer side of the whole."""
    core = _core(screen, subject, size)
    core |= screen.coat
    labels, areas = label_components(~core)
    outside = torch.bincount(labels[~subject], minlength=len(areas))
    shown = torch.bincount(labels.flatten(), screen.share.flatten(), minlength=len(areas)) / areas.clamp(min=1)
    core |= ((outside == 0) & (shown < 0.5))[labels]

    speck = (size / 160) ** 2
    foreground = _without_specks(erode(core, max(2.0, size / 160)), speck)
    background = _without_specks(erode(~subject, max(2.0, size / 200)), speck)
    return trimap_of(foreground, background)


def _core(screen: Screen, subject: Tensor, size: int) -> Tensor:
    """``[H, W]`` bool: the pixels of the subject through which none of the screen shows, edges not yet drawn back.

    The subject's own colour is taken from its depth and spread outwards. A pixel whose chroma lies between that and the
    screen's is a mixture of the two, and how far along tells the screen's part in it: something orange before green has
    a key signal of zero already where a third of the screen shows. A colour off that line is something else, and is
    taken to be of no hue by itself.
    """
    core = subject & (screen.strict_share < 0.15) & (screen.share < 0.5)
    coarse = _quarter(screen.colour)  # only slow changes are wanted
    empty = chroma(screen.plate)
    for _ in range(2):
        deep = erode(_quarter(core[None].float()) > 0.99, max(1.0, size / 180)).float()
        if not deep.any():
            break
        moments = spread(torch.cat([coarse, coarse.square()]), deep, size / 160)
        moments = F.interpolate(moments[None], subject.shape, mode="bilinear", align_corners=False)[0]
        own = moments[:2]
        axis = own - empty
        length = axis.square().sum(0).clamp(min=1e-6)
        offset = screen.colour - empty
        along = (offset * axis).sum(0) / length
        across = (offset[1] * axis[0] - offset[0] * axis[1]).abs() / length
        variety = ((moments[2:] - own.square()).sum(0).clamp(min=0) / length).sqrt()
        mixture = across < 0.15 + variety
        core = subject & torch.where(mixture, along > 0.93 - 0.5 * variety, screen.share < 0.15)
    return core


def _quarter(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, 4, ceil_mode=True, count_include_pad=False)


def _around(mask: Tensor, margin: int) -> tuple[slice, slice]:
    """The rows and columns that hold a mask's true pixels and so many around them."""
    lines = [mask.any(dim=dim).nonzero() for dim in (1, 0)]
    rows, columns = (slice(max(0, int(n[0]) - margin), int(n[-1]) + 1 + margin) for n in lines)
    return rows, columns


def _cut(screen: Screen, box: tuple[slice, slice]) -> Screen:
    maps = {field.name: getattr(screen, field.name)[..., *box] for field in fields(screen) if field.name != "hue"}
    return replace(screen, **maps)


def _without_specks(mask: Tensor, area: float) -> Tensor:
    labels, areas = label_components(mask)
    keep = areas >= area
    keep[0] = False
    return keep[labels]


def _picture(frame: Frame) -> Tensor:
    # NaN and infinity, as in broken float files, would spread through every mean.
    return torch.nan_to_num(unit_range(frame.rgb), posinf=1.0, neginf=0.0)


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
