"""Mattes that hold still where the scene does: alpha and foreground averaged along the flow, over three frames.

    mattes = Temporal(strength=1.0)(mattes)

A frame's matte is compared with those of the frame before and after it, brought onto it along the flow. A neighbour
counts as far as (1) the flow there and back again leads home, (2) the picture it brings along differs from this one by
no more than the noise does, (3) the motion is slow, for what moves fast is mixed anew by every exposure, and eyes
do not see it flicker, and (4) its alpha differs from this one's by not much more than the two mattes mostly do, unless
both neighbours say the same. So grain and a matting that cannot decide are averaged away, and whatever really changes
stays.

The window is finite: a frame's result hangs on its two neighbours' own mattes and on nothing else, so that a run that
begins one frame earlier than wanted gives every frame as a run of the whole clip does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from videomatte.errors import UsageError
from videomatte.flow import Described, describe, estimate_both_flows, flow_confidence, is_cut, resize_flow, warp_at
from videomatte.strips import Enlarged
from videomatte.trimaps.morphology import box_around, dilate_square
from videomatte.trimaps.small import reduced_picture
from videomatte.types import UNKNOWN, MatteFrame, finite_unit_range

__all__ = ["LEAD", "Temporal"]

LEAD = 1
"""Frames before and after a frame that its result hangs on."""
PICTURE_SIDE, FLOW_SIDE = 480, 240
"""Long sides of the pictures in which flow is doubted, and at which it is worked out."""
SLOW = 1 / 160
"""Motion from frame to frame, as a share of the longer side, at which a neighbour counts e times less than at rest."""
NOISE = 3.0
"""Difference of the pictures, in units of their typical one, from which on they show different things."""
NOISE_FLOOR = 0.004
"""Added to it, and to the difference of alphas: one step of 8 bits."""
CONTRADICTION = 0.25
"""Difference of the two neighbours' alphas at which they are followed half as far, or less."""
CHANGE = 7.0
"""Difference of two alphas, in units of the mattes' mean one where they are trusted, from which on it is a change:
where mattes hardly flicker, a strand is not to be blurred by what flow misses it by."""
AGREEMENT = 0.2
"""Difference of the two neighbours' alphas, in units of what both differ from this one by, up to which they agree."""
SAMPLED = 7
"""Every how many pixels the noise of two pictures is measured."""
SAME = 1e-3
"""Alphas closer than this are equal: reading between pixels rounds, and what is opaque must stay so."""


class Temporal:
    """Averages alpha, and the foreground where there is one, along the flow. Holds one frame back.

    Only where the trimap is unknown does anything change. Across cuts nothing is averaged.

    Args:
        strength: weight of a fully trusted neighbour against the frame's own matte, from 0 (mattes pass as they are) to
            1 (the mean of three).

    Raises:
        UsageError: the strength is out of range.
    """

    def __init__(self, strength: float = 1.0) -> None:
        if not 0 <= strength <= 1:
            raise UsageError(f"--temporal {strength}: from 0, the mattes as they are, to 1")
        self._strength = strength

    def __call__(self, mattes: Iterator[MatteFrame]) -> Iterator[MatteFrame]:
        """One matte for each, in order, one frame late."""
        if self._strength == 0:
            yield from mattes
            return
        before: _View | None = None
        here: _View | None = None
        for matte in mattes:
            after = _View.of(matte)
            if here is not None:
                here.after = _Link.between(here, after)
                yield self._calm(here, before, after)
                # What lies two frames back is needed no more.
                before = here
            here = after
            if before is not None:
                here.before = before.after
        if here is not None:
            yield self._calm(here, before, None)

    def _calm(self, here: _View, before: _View | None, after: _View | None) -> MatteFrame:
        matte, unknown = here.matte, here.matte.source.trimap[0] == UNKNOWN
        neighbours = []
        if before is not None and here.before is not None:
            neighbours.append((before.matte, here.before.back))
        if after is not None and here.after is not None:
            neighbours.append((after.matte, here.after.there))
        box = box_around(unknown)
        if not neighbours or box is None:
            return matte
        places = _Places.of(unknown, box)
        picture = _picture(_at(matte.frame.rgb, places.near))
        unknown = places.near.index_select(0, places.unknown)
        own = torch.cat([_at(layer, unknown) for layer in _layers(matte)])
        others = [_brought(picture, own[:1], *neighbour, places) for neighbour in neighbours]
        trusts = [self._strength * trust for trust in _trusts(own[:1], others)]
        alpha = _mean(own[:1], torch.ones_like(own[:1]), [planes[:1] for _, planes in others], trusts)
        calm = replace(matte, alpha=_put(matte.alpha, unknown, alpha))
        if matte.foreground is None:
            return calm
        # Colour counts as far as it covers. The more opaque it is here, the more it is the picture's own, whose grain
        # shall stay as it is.
        shares = [trust * planes[:1] for trust, (_, planes) in zip(trusts, others, strict=True)]
        colour = _mean(own[1:], own[:1], [planes[1:] for _, planes in others], shares)
        colour = torch.lerp(colour, own[1:], own[:1])
        return replace(calm, foreground=_put(matte.foreground, unknown, colour))


@dataclass(frozen=True, slots=True)
class _Places:
    """The pixels that cost time: the unknown, a tenth of a frame or so, those next to them, and a sample of the box
    around them. Planes read there are ``[C, N]``."""

    near: Tensor
    """``[N]`` int64: all of them, numbered row by row through the frame."""
    unknown: Tensor
    """Which of them are unknown, numbers into the N."""
    sample: Tensor
    """Which of them are the sample, numbers into the N."""
    box: tuple[int, int]
    """Rows and columns of the box, with a margin of one pixel."""
    in_box: Tensor
    """``[N]`` int64: all of them, numbered row by row through it."""
    counted: Tensor
    """``[h, w]``: how many of the 3 x 3 pixels around each of the box are no margin."""

    @classmethod
    def of(cls, unknown: Tensor, box: tuple[slice, slice]) -> _Places:
        """Of ``[H, W]`` bool and the rows and columns that hold it."""
        rows, columns = box
        inner = unknown[rows, columns]
        width = inner.shape[1]
        near = dilate_square(inner, 1)
        near.view(-1)[::SAMPLED] = True
        row, column = near.nonzero(as_tuple=True)
        places = row * width + column
        which = inner.flatten().index_select(0, places).nonzero()[:, 0]
        down, across = (unknown.new_full((length,), 3, dtype=torch.float32) for length in inner.shape)
        for counts in (down, across):
            counts[0] -= 1
            counts[-1] -= 1
        return cls(
            (rows.start + row) * unknown.shape[1] + columns.start + column,
            which,
            (places % SAMPLED == 0).nonzero()[:, 0],
            (len(inner) + 2, width + 2),
            (row + 1) * (width + 2) + column + 1,
            down[:, None] * across,
        )

    def means(self, values: Tensor) -> Tensor:
        """Over the 3 x 3 pixels around the unknown, as far as they lie in the box: ``[N]`` to ``[M]``."""
        plane = values.new_zeros(self.box)
        plane.view(-1).scatter_(0, self.in_box, values)
        # Sums of slices take a tenth of the time of pooling.
        rows = (plane[:-2] + plane[1:-1]).add_(plane[2:])
        plane[1:-1, 1:-1] = (rows[:, :-2] + rows[:, 1:-1]).add_(rows[:, 2:]).div_(self.counted)
        return plane.view(-1).index_select(0, self.in_box.index_select(0, self.unknown))


def _brought(picture: Tensor, own: Tensor, other: MatteFrame, way: Tensor, places: _Places) -> tuple[Tensor, Tensor]:
    """How far a neighbour is to be trusted at the unknown pixels, ``[1, M]``, and its layers there, ``[C, M]``; given
    this frame's picture at all places and its alpha at the unknown."""
    size = other.frame.height, other.frame.width
    flow = _at(resize_flow(way[None, :2], *size)[0], places.near)
    likeness = _likeness(picture, warp_at(_picture(other.frame.rgb), flow, places.near), places)
    flow, unknown = flow.index_select(1, places.unknown), places.near.index_select(0, places.unknown)
    confidence = Enlarged(way[2:], *size).at(unknown)
    # Bilinear reading would blur strands a little more with every neighbour. Nothing goes beyond what is there.
    planes = torch.cat([warp_at(part, flow, unknown, "bicubic").clamp_(*part.aminmax()) for part in _layers(other)])
    planes[:1] = torch.where((planes[:1] - own).abs() > SAME, planes[:1], own)
    motion = flow.square().sum(0, keepdim=True).div_((SLOW * max(size)) ** 2)
    return confidence.mul_(torch.exp_(motion.neg_())).mul_(likeness), planes


def _trusts(own: Tensor, others: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """How far each neighbour is followed, ``[1, M]``, given this frame's alpha and what each is to be trusted and shows
    (:func:`_brought`)."""
    trusts, alphas = [trust for trust, _ in others], [planes[:1] for _, planes in others]
    differences = [(alpha - own).abs_() for alpha in alphas]
    same = []
    for trust, difference in zip(trusts, differences, strict=True):
        usual = (trust * difference).sum() / trust.sum().clamp(min=1e-6)
        same.append(_falling(difference, CHANGE * usual + NOISE_FLOOR))
    if len(others) == 2:
        least, apart = torch.minimum(*trusts), (alphas[0] - alphas[1]).abs_()
        # Neighbours that contradict each other are no witnesses: one of the two mattes has gone wrong. If they agree,
        # it is this one.
        doubt = least * (1 - _falling(apart, CONTRADICTION))
        agreed = least * _falling(apart, AGREEMENT * torch.minimum(*differences) + SAME)
        trusts = [trust * (1 - doubt) for trust in trusts]
        same = [torch.maximum(one, agreed) for one in same]
    return [trust * one for trust, one in zip(trusts, same, strict=True)]


def _falling(difference: Tensor, scale: Tensor | float) -> Tensor:
    """1 for no difference, 1 / e for one of this scale."""
    return (difference / scale).square_().neg_().exp_()


def _mean(own: Tensor, own_weight: Tensor, others: list[Tensor], weights: list[Tensor]) -> Tensor:
    """The weighted mean, written so that it is ``own``, to the bit, where all are equal."""
    change = sum((w * (other - own) for w, other in zip(weights, others, strict=True)), start=torch.zeros_like(own))
    return own + change / sum(weights, start=own_weight).clamp(min=1e-4)


@dataclass
class _View:
    """A matte in the window, its picture reduced, and its links to its neighbours."""

    matte: MatteFrame
    small: Tensor
    before: _Link | None = None
    after: _Link | None = None

    @classmethod
    def of(cls, matte: MatteFrame) -> _View:
        return cls(matte, reduced_picture(matte.frame.rgb, PICTURE_SIDE))

    @cached_property
    def described(self) -> Described:
        """What the flows to either neighbour need of it."""
        return describe(self.small, working_side=FLOW_SIDE)


@dataclass(frozen=True, slots=True)
class _Link:
    """The flow between two neighbouring frames and, third, the trust in it: ``[3, h, w]`` either way."""

    there: Tensor
    back: Tensor

    @classmethod
    def between(cls, first: _View, second: _View) -> _Link | None:
        """``None`` across a cut, and where pictures are too small or not equally large."""
        if first.matte.alpha.shape != second.matte.alpha.shape or min(first.small.shape[2:]) < 8:
            return None
        if bool(is_cut(first.small, second.small)):
            return None
        there, back = estimate_both_flows(first.described, second.described)
        side = max(first.small.shape[2:])
        trusted = flow_confidence(there, back, side=side), flow_confidence(back, there, side=side)
        return cls(*(torch.cat(way, dim=1)[0] for way in zip((there, back), trusted, strict=True)))


def _likeness(first: Tensor, second: Tensor, places: _Places) -> Tensor:
    """``[1, M]`` in [0, 1]: whether two pictures differ by noise alone, which is what half of the pixels show."""
    squares = (first - second).square().mean(0)
    noise = squares.index_select(0, places.sample).median()
    return places.means(squares).div_(noise.mul_(-(NOISE**2)).sub_(NOISE_FLOOR**2)).exp_()[None]


def _layers(matte: MatteFrame) -> list[Tensor]:
    """Alpha and, where there is one, the foreground: ``[1, H, W]`` and ``[3, H, W]``."""
    return [matte.alpha] + ([] if matte.foreground is None else [matte.foreground])


def _picture(rgb: Tensor) -> Tensor:
    """Of any shape, float32 in [0, 1]."""
    picture = finite_unit_range(rgb)
    return picture.clamp_(0, 1) if rgb.is_floating_point() else picture


def _at(planes: Tensor, places: Tensor) -> Tensor:
    return planes.flatten(1).index_select(1, places)


def _put(planes: Tensor, places: Tensor, values: Tensor) -> Tensor:
    return planes.flatten(1).scatter(1, places.expand_as(values), values).view_as(planes)
