"""Mattes that hold still where the scene does: alpha and foreground averaged along the flow, over three frames.

    mattes = Temporal(strength=1.0)(mattes)

A frame's matte is compared with those of the frame before and after it, brought onto it along the flow. A neighbour
counts as far as (1) the flow there and back again leads home, (2) the picture it brings along differs from this one by
no more than the noise does, and (3) the motion is slow, for what moves fast is mixed anew by every exposure, and eyes
do not see it flicker. So grain and a matting that cannot decide are averaged away, and whatever really changes stays.

The window is finite: a frame's result hangs on its two neighbours' own mattes and on nothing else, so that a run that
begins one frame earlier than wanted gives every frame as a run of the whole clip does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import UsageError
from videomatte.flow import Described, describe, estimate_both_flows, flow_confidence, is_cut, resize_flow, warp_at
from videomatte.trimaps.morphology import dilate_square
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
"""Added to it: one step of 8 bits."""
CONTRADICTION = 0.25
"""Difference of the two neighbours' alphas at which they are followed half as far, or less."""
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
            neighbours.append((before.matte, here.before.back, here.before.back_confidence))
        if after is not None and here.after is not None:
            neighbours.append((after.matte, here.after.there, here.after.there_confidence))
        if not neighbours or not unknown.any():
            return matte
        places = _Places.of(unknown)
        picture = _picture(_at(matte.frame.rgb, places.near))
        own = torch.cat([_at(layer, places.near[places.unknown]) for layer in _layers(matte)])
        others = [_brought(picture, own[:1], *neighbour, places) for neighbour in neighbours]
        trusts = [self._strength * trust for trust, _ in others]
        if len(others) == 2:
            # Neighbours that contradict each other are no witnesses: one of the two mattes has gone wrong.
            (first, second), difference = trusts, others[0][1][:1] - others[1][1][:1]
            doubt = torch.minimum(first, second) * (1 - torch.exp(-(difference / CONTRADICTION).square()))
            trusts = [trust * (1 - doubt) for trust in trusts]
        alpha = _mean(own[:1], torch.ones_like(own[:1]), [planes[:1] for _, planes in others], trusts)
        calm = replace(matte, alpha=matte.alpha.masked_scatter(unknown, alpha))
        if matte.foreground is None:
            return calm
        # Colour counts as far as it covers. The more opaque it is here, the more it is the picture's own, whose grain
        # shall stay as it is.
        shares = [trust * planes[:1] for trust, (_, planes) in zip(trusts, others, strict=True)]
        colour = _mean(own[1:], own[:1], [planes[1:] for _, planes in others], shares)
        colour = torch.lerp(colour, own[1:], own[:1])
        return replace(calm, foreground=matte.foreground.masked_scatter(unknown, colour))


@dataclass(frozen=True, slots=True)
class _Places:
    """The pixels that cost time: the unknown, a tenth of a frame or so, those next to them, and a sample of the box
    around them. Planes read there are ``[C, N]``."""

    near: Tensor
    """``[N]`` int64: all of them, numbered row by row through the frame."""
    in_box: Tensor
    """``[N]`` int64: the same, numbered row by row through the box."""
    unknown: Tensor
    """Which of them are unknown, numbers into the N."""
    sample: Tensor
    """Which of them are the sample, bool."""
    box: tuple[int, int]
    """Rows and columns of the box."""

    @classmethod
    def of(cls, unknown: Tensor) -> _Places:
        """Of ``[H, W]`` bool, true somewhere."""
        rows, columns = _around(unknown)
        inner = unknown[rows, columns]
        near = dilate_square(inner, 1)
        near.view(-1)[::SAMPLED] = True
        in_box = near.view(-1).nonzero()[:, 0]
        width = inner.shape[1]
        row, column = rows.start + in_box // width, columns.start + in_box % width
        return cls(
            row * unknown.shape[1] + column,
            in_box,
            inner.flatten()[in_box].nonzero()[:, 0],
            in_box % SAMPLED == 0,
            (inner.shape[0], width),
        )

    def around(self, values: Tensor) -> Tensor:
        """Means over the 3 x 3 pixels around the unknown, as far as they lie in the box: ``[N]`` to ``[M]``."""
        height, width = self.box
        padded = values.new_zeros(2, height + 2, width + 2)
        padded[1, 1:-1, 1:-1] = 1
        total = values.new_zeros(height * width)
        total[self.in_box] = values
        padded[0, 1:-1, 1:-1] = total.view(height, width)
        # Sums of slices take a tenth of the time of pooling.
        rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        sums = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).flatten(1)[:, self.in_box[self.unknown]]
        return sums[0] / sums[1]


def _brought(
    picture: Tensor, own: Tensor, other: MatteFrame, flow: Tensor, confidence: Tensor, places: _Places
) -> tuple[Tensor, Tensor]:
    """How far a neighbour is to be trusted at the unknown pixels, ``[1, M]``, and its layers there, ``[C, M]``; given
    this frame's picture at all places and its alpha at the unknown."""
    size = other.frame.height, other.frame.width
    flow = _at(resize_flow(flow, *size)[0], places.near)
    likeness = _likeness(picture, warp_at(_picture(other.frame.rgb), flow, places.near), places)
    flow, unknown = flow[:, places.unknown], places.near[places.unknown]
    # Bilinear reading would blur strands a little more with every neighbour. Nothing goes beyond what is there.
    planes = torch.cat(
        [warp_at(part, flow, unknown, "bicubic").clamp_(*part.aminmax()) for part in _layers(other)],
    )
    planes[:1] = torch.where((planes[:1] - own).abs() > SAME, planes[:1], own)
    trust = _at(F.interpolate(confidence, size, mode="bilinear", align_corners=False)[0], unknown)
    motion = flow.square().sum(0, keepdim=True) / (SLOW * max(size)) ** 2
    return trust * torch.exp(-motion) * likeness, planes


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
        picture = _picture(matte.frame.rgb)[None]
        scale = PICTURE_SIDE / max(picture.shape[2:])
        if scale < 1:
            size = [max(8, round(n * scale)) for n in picture.shape[2:]]
            picture = F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)
        return cls(matte, picture)

    @cached_property
    def described(self) -> Described:
        """What the flows to either neighbour need of it."""
        return describe(self.small, working_side=FLOW_SIDE)


@dataclass(frozen=True, slots=True)
class _Link:
    """The flow between two neighbouring frames, ``[1, 2, h, w]`` either way, and the trust in it, ``[1, 1, h, w]``."""

    there: Tensor
    back: Tensor
    there_confidence: Tensor
    back_confidence: Tensor

    @classmethod
    def between(cls, first: _View, second: _View) -> _Link | None:
        """``None`` across a cut, and where pictures are too small or not equally large."""
        if first.matte.alpha.shape != second.matte.alpha.shape or min(first.small.shape[2:]) < 8:
            return None
        if bool(is_cut(first.small, second.small)):
            return None
        there, back = estimate_both_flows(first.described, second.described)
        side = max(first.small.shape[2:])
        return cls(there, back, flow_confidence(there, back, side=side), flow_confidence(back, there, side=side))


def _likeness(first: Tensor, second: Tensor, places: _Places) -> Tensor:
    """``[1, M]`` in [0, 1]: whether two pictures differ by noise alone, which is what half of the pixels show."""
    squares = (first - second).square().mean(0)
    noise = squares[places.sample].median()
    return torch.exp(-places.around(squares) / (NOISE**2 * noise + NOISE_FLOOR**2))[None]


def _layers(matte: MatteFrame) -> list[Tensor]:
    """Alpha and, where there is one, the foreground: ``[1, H, W]`` and ``[3, H, W]``."""
    return [matte.alpha] + ([] if matte.foreground is None else [matte.foreground])


def _picture(rgb: Tensor) -> Tensor:
    """Of any shape, float32 in [0, 1]."""
    return finite_unit_range(rgb).clamp_(0, 1)


def _at(planes: Tensor, places: Tensor) -> Tensor:
    return planes.flatten(1).index_select(1, places)


def _around(mask: Tensor) -> tuple[slice, slice]:
    rows, columns = (mask.any(dim=dim).nonzero() for dim in (1, 0))
    return tuple(slice(int(lines[0]), int(lines[-1]) + 1) for lines in (rows, columns))  # type: ignore[return-value]
