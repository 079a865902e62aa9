"""Mattes that hold still where the scene does: alpha and foreground averaged along the subject's motion.

    mattes = Temporal(strength=1.0)(mattes)

A frame's matte is compared with those of the two frames before it and the two after it, brought onto it along the
motion of the subject (layers.py), so that what is mistaken of a background that passes behind hair is averaged away. A
neighbour counts as far as the picture is explained: (1) brought along with the subject it differs from this one by no
more than the noise does; or (2) brought along with the background it does, and what the neighbour's matte says is less
than what this one's does, for that is background then, and no part of the subject. Over a plain background, where
mattes hardly err, (3) its alpha must not differ by much more than the two mattes mostly do, unless the neighbour as far
away on the other side says the same. Who is further away counts no more than who is nearer. So grain and a matting that
cannot decide are averaged away, and whatever really changes stays.

Then the pictures are asked themselves, for motion tells layers apart (Wang, Adelson, "Representing moving images with
layers", 1994): what stays with the subject while the background passes is the subject, and the other way round. Where
mattes differ, the odds of alpha are shifted towards the layer whose motion explains the picture better. Before a plain
background nothing is seen to pass, and nothing is shifted.

The window is finite: a frame's result hangs on its neighbours' own mattes and on nothing else, so that a run that
begins two frames earlier than wanted gives every frame as a run of the whole clip does.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from videomatte.errors import UsageError
from videomatte.flow import Described, describe, estimate_both_flows, flow_confidence, is_cut, read_at
from videomatte.pixels import pixels_at, places_of, put_at, rows_and_columns
from videomatte.refine.layers import LayerMotion, Layers
from videomatte.refine.places import Places
from videomatte.strips import Enlarged
from videomatte.trimaps.small import reduced_picture
from videomatte.types import UNKNOWN, MatteFrame, finite_unit_range

__all__ = ["LEAD", "Temporal"]

LEAD = 2
"""Frames before and after a frame that its result hangs on."""
PICTURE_SIDE, FLOW_SIDE = 480, 240
"""Long sides of the pictures in which flow is doubted, and at which it is worked out."""
NOISE = 2.0
"""Difference of the pictures, in units of their typical one, from which on they show different things."""
PICTURE_FLOOR = 2 / 255
"""Added to it: what reading between pixels, and a motion that is a little off, make of edges."""
CHANGE = 4.0
"""Difference of two alphas, in units of the mattes' mean one where they are trusted, from which on it is a change:
where mattes hardly flicker, a strand is not to be blurred by what its motion is off by."""
ALPHA_FLOOR = 0.004
"""Added to it: one step of 8 bits."""
AGREEMENT = 0.2
"""Difference of two opposite neighbours' alphas, in units of what both differ from this one by, up to which they
agree."""
CONTRADICTION = 0.3
"""Difference of a neighbour's alpha from this one's, beyond that of the neighbour that bears this one out best, at
which it counts e times less: one of the mattes has gone wrong, and it is that one."""
RAISES, LOWERS = 0.1, 0.225
"""To which powers the ratio of what the background's and the subject's motion leave unexplained raises the odds that a
pixel is the subject, and lowers them, for each neighbour: what passes behind may be smooth, and agree with either."""
UNSTEADY = 0.1
"""Difference of two mattes at which half of that is done: where they agree they are hardly wrong."""
CLEAR = 0.02
"""Alpha up to which a pixel is clear, and as far below 1 opaque, that is left as it is where all mattes agree."""
SAME = 1e-3
"""Alphas closer than this are equal: reading between pixels rounds, and what is opaque must stay so."""


class Temporal:
    """Averages alpha, and the foreground where there is one, along the subject's motion. Holds two frames back.

    Only where the trimap is unknown does anything change. Across cuts nothing is averaged.

    Args:
        strength: weight of a fully trusted neighbour against the frame's own matte, from 0 (mattes pass as they are) to
            1 (the mean of five).

    Raises:
        UsageError: the strength is out of range.
    """

    def __init__(self, strength: float = 1.0) -> None:
        if not 0 <= strength <= 1:
            raise UsageError(f"--temporal {strength}: from 0, the mattes as they are, to 1")
        self._strength = strength

    def __call__(self, mattes: Iterator[MatteFrame]) -> Iterator[MatteFrame]:
        """One matte for each, in order, two frames late."""
        if self._strength == 0:
            yield from mattes
            return
        window: deque[_View] = deque(maxlen=2 * LEAD + 1)
        held = 0
        for matte in mattes:
            view = _View.of(matte)
            if window:
                window[-1].link_to(view)
            window.append(view)
            held += 1
            if held > LEAD:
                yield self._calm(list(window), len(window) - held)
                held -= 1
        for here in range(len(window) - held, len(window)):
            yield self._calm(list(window), here)

    def _calm(self, window: list[_View], here: int) -> MatteFrame:
        matte, size = window[here].matte, (window[here].matte.frame.height, window[here].matte.frame.width)
        asked = places_of(matte.source.trimap == UNKNOWN)
        sides = [_neighbours(window, here, step) for step in (-1, 1)]
        if not len(asked) or not any(sides):
            return matte
        own = pixels_at(matte.alpha, asked)
        alphas = _alphas(own, size, sides, asked)
        # Most of what was unknown is opaque or clear in all of them, and stays so.
        moving = ((own > CLEAR) & (own < 1 - CLEAR))[0] | (alphas != own).any(0)
        changing = asked[moving]
        if not len(changing):
            return matte
        settled = len(asked) - len(changing)
        places = Places.of(changing, size)
        picture = _picture(pixels_at(matte.frame.rgb, places.near))
        own = torch.cat([pixels_at(layer, changing) for layer in _layers(matte)])
        flows = [
            flow for neighbours in sides for _, motion in neighbours for flow in (motion.subject, motion.background)
        ]
        landing = _landing(torch.stack(flows), size, places.near).view(-1, 2, 2, len(places.near))
        plain = Enlarged(window[here].layers.plain, *size).at(changing)
        each = zip(alphas[:, None, moving], landing, strict=True)
        others = [[_brought(picture, own[:1], other, *next(each), places) for other, _ in side] for side in sides]
        trusts = [[self._strength * trust for trust in side] for side in _trusts(own[:1], plain, others, settled)]
        every = list(itertools.chain(*others))
        brought = [other.planes for other in every]
        weights = list(itertools.chain(*trusts))
        alpha = _mean(own[:1], torch.ones_like(own[:1]), [planes[:1] for planes in brought], weights)
        evidence = torch.stack([other.evidence for other in every]).sum(0)
        alpha = _weighed(alpha, evidence * (1 - plain) * self._strength)
        calm = replace(matte, alpha=put_at(matte.alpha, changing, alpha))
        if matte.foreground is None:
            return calm
        # Colour counts as far as it covers. The more opaque it is here, the more it is the picture's own, whose grain
        # shall stay as it is.
        shares = [weight * planes[:1] for weight, planes in zip(weights, brought, strict=True)]
        colour = _mean(own[1:], own[:1], [planes[1:] for planes in brought], shares)
        colour = torch.lerp(colour, own[1:], own[:1])
        return replace(calm, foreground=put_at(matte.foreground, changing, colour))


def _neighbours(window: list[_View], here: int, step: int) -> list[tuple[_View, LayerMotion]]:
    """Those on one side, the nearest first, and how the layers of this frame move to them."""
    neighbours: list[tuple[_View, LayerMotion]] = []
    motion = None
    for at in range(here, here + step * LEAD, step):
        if not 0 <= at + step < len(window):
            break
        link = window[at].there if step > 0 else window[at].back
        if link is None:
            break
        motion = link if motion is None else motion.then(link)
        other = window[at + step]
        neighbours.append((other, motion.registered(window[here].layers, other.layers)))
    return neighbours


def _landing(flows: Tensor, size: tuple[int, int], places: Tensor) -> Tensor:
    """Where pixels of a frame, ``[N]``, go by each of some flows, ``[K, 2, h, w]``: columns and rows, ``[K, 2, N]``."""
    # All at once: telling where pixels lie between those of a small picture takes longer than reading them.
    read = Enlarged(flows.flatten(0, 1), *size).at(places).view(-1, 2, len(places))
    scale = flows.new_tensor([size[1] / flows.shape[3], size[0] / flows.shape[2]])
    rows, columns = rows_and_columns(places, size[1])
    return read.mul_(scale[:, None]).add_(torch.stack([columns, rows]))


def _alphas(own: Tensor, size: tuple[int, int], sides: list[list[tuple[_View, LayerMotion]]], asked: Tensor) -> Tensor:
    """What each neighbour's alpha says of some pixels, ``[M]``, brought along with the subject: ``[K, M]``; given this
    frame's there, ``[1, M]``."""
    neighbours = list(itertools.chain(*sides))
    subject = torch.stack([motion.subject for _, motion in neighbours])
    landing = _landing(subject, size, asked)
    # Bilinear reading would blur strands a little more with every neighbour. Nothing goes beyond what is there.
    alphas = torch.cat(
        [
            read_at(other.matte.alpha, at[0], at[1], "bicubic").clamp_(*other.limits[0])
            for (other, _), at in zip(neighbours, landing, strict=True)
        ]
    )
    return torch.where((alphas - own).abs() > SAME, alphas, own)


@dataclass(frozen=True, slots=True)
class _Brought:
    """What a neighbour says of the pixels that may change."""

    trust: Tensor
    """``[1, M]`` in [0, 1]: how far it is to be trusted."""
    evidence: Tensor
    """``[1, M]``: above 0 where the subject's motion explains the picture better than the background's, below 0 where
    worse."""
    planes: Tensor
    """``[C, M]``: its alpha and, where there is one, its foreground."""


def _brought(picture: Tensor, own: Tensor, other: _View, alpha: Tensor, landing: Tensor, places: Places) -> _Brought:
    """Given this frame's picture at all places and its alpha at those that may change, the neighbour's alpha there, and
    where the places go by each layer's motion, ``[2, 2, N]``."""
    squares, noise, inside = _differences(picture, other.matte.frame.rgb, landing, places)
    scale = NOISE**2 * noise + PICTURE_FLOOR**2
    subject, background = (squares / scale[:, None]).neg_().exp_().mul_(inside)[:, None]
    trust = torch.where(alpha < own, torch.maximum(subject, background), subject)
    subject_left, background_left = squares.add_(scale.min())[:, None]
    unsteady = places.means(torch.zeros_like(picture[0]).index_copy_(0, places.changing, (alpha - own).abs()[0]))
    evidence = (background_left / subject_left).log_().mul_(inside.all(0) * unsteady / (unsteady + UNSTEADY))
    foreground = other.matte.foreground
    if foreground is None:
        return _Brought(trust, evidence, alpha)
    x, y = landing[0].index_select(1, places.changing)
    colour = read_at(foreground, x, y, "bicubic").clamp_(*other.limits[1])
    return _Brought(trust, evidence, torch.cat([alpha, colour]))


def _trusts(own: Tensor, plain: Tensor, others: list[list[_Brought]], settled: int) -> list[list[Tensor]]:
    """How far each neighbour is followed, ``[1, M]``, given this frame's alpha, how plain the background is, what
    each neighbour says, and how many pixels are the same in all."""
    trusts = [list(itertools.accumulate((other.trust for other in side), torch.mul)) for side in others]
    alphas = [[other.planes[:1] for other in side] for side in others]
    differences = [[(alpha - own).abs_() for alpha in side] for side in alphas]
    every = zip(itertools.chain(*trusts), itertools.chain(*differences), strict=True)
    borne_out = torch.stack([1 - trust * (1 - difference) for trust, difference in every]).amin(0)
    followed: list[list[Tensor]] = []
    for side, opposite in ((0, 1), (1, 0)):
        followed.append([])
        for step, (trust, difference) in enumerate(zip(trusts[side], differences[side], strict=True)):
            usual = (trust * difference).sum() / (trust.sum() + settled).clamp(min=1e-6)
            same = _falling(difference, CHANGE * usual + ALPHA_FLOOR)
            if step < len(trusts[opposite]):
                apart = (alphas[side][step] - alphas[opposite][step]).abs_()
                both = torch.minimum(difference, differences[opposite][step])
                agreed = _falling(apart, AGREEMENT * both + SAME)
                same = torch.maximum(same, agreed.mul_(torch.minimum(trust, trusts[opposite][step])))
            lonely = _falling((difference - borne_out).clamp_(min=0), CONTRADICTION)
            followed[side].append(trust * lonely * torch.lerp(torch.ones_like(same), same, plain))
    return followed


def _weighed(alpha: Tensor, evidence: Tensor) -> Tensor:
    """Alpha, its odds, alpha / (1 - alpha), shifted by the evidence: as it is, to the bit, where there is none."""
    clear = (1 - alpha) * torch.where(evidence > 0, -RAISES * evidence, -LOWERS * evidence).exp_()
    return torch.where(evidence != 0, alpha / (alpha + clear), alpha)


def _falling(difference: Tensor, scale: Tensor | float) -> Tensor:
    """1 for no difference, 1 / e for one of this scale."""
    return (difference / scale).square_().neg_().exp_()


def _mean(own: Tensor, own_weight: Tensor, others: list[Tensor], weights: list[Tensor]) -> Tensor:
    """The weighted mean, written so that it is ``own``, to the bit, where all are equal."""
    change = sum((w * (other - own) for w, other in zip(weights, others, strict=True)), start=torch.zeros_like(own))
    return own + change / sum(weights, start=own_weight).clamp(min=1e-4)


@dataclass
class _View:
    """A matte in the window, its picture reduced, and how its layers move to the frames beside it."""

    matte: MatteFrame
    small: Tensor
    there: LayerMotion | None = None
    back: LayerMotion | None = None

    @classmethod
    def of(cls, matte: MatteFrame) -> _View:
        return cls(matte, reduced_picture(matte.frame.rgb, PICTURE_SIDE))

    @cached_property
    def described(self) -> Described:
        """What the flows to either neighbour need of it."""
        return describe(self.small, working_side=FLOW_SIDE)

    @cached_property
    def layers(self) -> Layers:
        height, width = self.described.levels[0].brightness.shape[2:]
        return Layers.of(self.small, self.matte.source.trimap, self.matte.alpha, (height, width))

    @cached_property
    def limits(self) -> list[tuple[Tensor, Tensor]]:
        """The least and the greatest value of each of the matte's layers."""
        return [torch.aminmax(layer) for layer in _layers(self.matte)]

    def link_to(self, second: _View) -> None:
        """Work out the motions between this frame and the next one. There are none across a cut, and where pictures
        are too small or not equally large."""
        if self.matte.alpha.shape != second.matte.alpha.shape or min(self.small.shape[2:]) < 8:
            return
        if bool(is_cut(self.small, second.small)):
            return
        there, back = estimate_both_flows(self.described, second.described)
        side = max(self.small.shape[2:])
        self.there = LayerMotion.of(there[0], flow_confidence(there, back, side=side)[0], self.layers)
        second.back = LayerMotion.of(back[0], flow_confidence(back, there, side=side)[0], second.layers)


def _differences(picture: Tensor, other: Tensor, landing: Tensor, places: Places) -> tuple[Tensor, Tensor, Tensor]:
    """How another frame's pixels, ``[3, H, W]``, read where the places land by each motion, differ from this picture:
    mean squares at the pixels that may change, ``[2, M]``; the noise, which is what half of the places show, ``[2]``;
    and whether what is read lies in the frame, ``[2, M]``."""
    size = landing.new_tensor([other.shape[2], other.shape[1]])[:, None]
    across, down = landing.flatten(0, 1).index_select(1, places.changing).view(2, 2, -1).unbind(1)
    inside = (across >= -0.5) & (across <= size[0] - 0.5) & (down >= -0.5) & (down <= size[1] - 0.5)
    # Making numbers between 0 and 1 of pixels takes longer than reading them, so only of as much as is read.
    held = landing.clamp(min=torch.zeros_like(size), max=size - 1)
    (left, top), (right, bottom) = held.amin((0, 2)).long().tolist(), held.amax((0, 2)).long().tolist()
    shown = _picture(other[:, top : bottom + 2, left : right + 2])
    x, y = held[:, 0] - left, held[:, 1] - top
    squares = [(picture - read_at(shown, *at)).square_().mean(0) for at in zip(x, y, strict=True)]
    noise = torch.stack([square.index_select(0, places.sample).median() for square in squares])
    return torch.stack([places.means(square) for square in squares]), noise, inside


def _layers(matte: MatteFrame) -> list[Tensor]:
    """Alpha and, where there is one, the foreground: ``[1, H, W]`` and ``[3, H, W]``."""
    return [matte.alpha] + ([] if matte.foreground is None else [matte.foreground])


def _picture(rgb: Tensor) -> Tensor:
    """Of any shape, float32 in [0, 1]."""
    picture = finite_unit_range(rgb)
    return picture.clamp_(0, 1) if rgb.is_floating_point() else picture
