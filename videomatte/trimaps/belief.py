"""What is believed of a frame between keyframes, and how it goes from one frame to the next.

Not the trimap is carried but the probability that a pixel is the subject's. Motion brings it along, as far as it can be
trusted, and the statistics of colours speak into it, as log-odds that add up (Bayes, the two taken as independent):

    logit P(x) = c(x) logit P'(x + flow(x)) + w logit C(x)

with P' of the frame before, c the confidence of the flow and C the word of the colours. Where both agree the pixel is
sure; where they contradict each other, and in holes that motion opened, what is left is near one half: unknown. So a
leak is stopped, a subject that comes out of hiding is seen, and an error made once does not go on for ever.

Softness is carried besides: that a region is hair is known from where it was painted so. Flow is of little use there,
for it follows the background seen between the strands; softness goes along with the nearest sure subject that is not
soft itself. No matte takes it back: the faintest strands, which a matte misses, would be lost for ever.

Within what is soft motion is asked a second time: what moves as the sure background nearby does, and not as the sure
subject, is seen through the hair and not of it (layered motion, Wang & Adelson, 1994). A lit window that passes behind
white fur would else be taken for fur, by its colour and by the matte, and be the subject's when it comes out again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow import Readable, estimate_both_flows, flow_confidence, resize_flow
from videomatte.trimaps.morphology import dilate, trimap_of
from videomatte.trimaps.small import SmallPicture, reduced
from videomatte.trimaps.statistics import ColourStatistics
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, from_unit_range

__all__ = [
    "Belief",
    "Motion",
    "Seen",
    "after_matting",
    "believed_of_trimap",
    "carry",
    "fuse",
    "learn",
    "motions",
    "seen_by_matting",
    "settled",
    "trimap_from_belief",
]

CLEAR = 0.02
"""Probabilities are cut off here and at 1 - CLEAR: no single witness decides alone."""
COLOUR_WEIGHT = 0.8
"""Weight of the colours' log-odds against those of motion."""
SETTLING = 2.5
"""Growth of log-odds after each frame: what is leaned to becomes sure where nothing speaks against it."""
DECIDED = 0.15
"""A pixel is decided below this probability, and above 1 - DECIDED."""
LEARNED = 0.05
"""Colours are learned from pixels below this probability, and above 1 - LEARNED."""
REACH = 12.0
"""Pixels from the subject's border beyond which an undecided pixel is taken for what it leans to: a grey dress before
a grey street has no colour of its own, and the matting could tell no better."""
SOFT_ABOVE = 0.5
"""Softness from which a pixel is unknown."""
MARGIN, WIDE_MARGIN = 3.0, 5.0
"""Pixels by which the border and what is undecided are widened, where flow is sure and where it is doubtful. What was
painted as soft has its margin from the painter, and is widened where flow is doubtful alone."""
STEADY = 0.2
"""Pixels, on the picture that motion is worked out on, that flows of one thing commonly differ by."""
AGING = 0.98
"""Trust that is left after a frame, however sure the flow."""
DECISIVENESS = 4
"""Power of the trust by which two beliefs are weighed: the nearer keyframe's is not to be blurred by the other's."""


class Belief(NamedTuple):
    """What is believed of one frame, on a small picture of it; each ``[1, 1, h, w]`` float32 in [0, 1]."""

    subject: Tensor
    """Probability that the pixel is the subject's."""
    softness: Tensor
    """How surely the pixel belongs to a region of hair, blur or the like."""
    trust: Tensor
    """How far it is to be relied upon: 1 at a keyframe, less with every step, the more so where flow is doubtful."""
    confidence: Tensor
    """Of the last step's flow."""


def believed_of_trimap(trimap: Tensor, height: int, width: int) -> Belief:
    """What a keyframe says.

    Args:
        trimap: ``[1, H, W]`` uint8.
        height: rows of the small picture.
        width: columns of the small picture.
    """
    sure = torch.cat([trimap == FOREGROUND, trimap == BACKGROUND]).float()[None]
    foreground, background = F.adaptive_avg_pool2d(sure, (height, width)).chunk(2, dim=1)
    unknown = 1 - foreground - background
    return Belief(foreground + unknown / 2, unknown, torch.ones_like(unknown), torch.ones_like(unknown))


class Motion(NamedTuple):
    """From a frame to a neighbour."""

    flow: Tensor
    """``[1, 2, h, w]``, see Note [flow] in flow/warp.py."""
    confidence: Tensor
    """``[1, 1, h, w]``, in 0..1."""


def motions(one: SmallPicture, other: SmallPicture) -> tuple[Motion, Motion]:
    """From one frame to the other, and back."""
    there, back = estimate_both_flows(one.described, other.described)
    side = max(one.size)
    return Motion(there, flow_confidence(there, back, side=side)), Motion(back, flow_confidence(back, there, side=side))


def carry(belief: Belief, motion: Motion, after: SmallPicture, statistics: ColourStatistics) -> Belief:
    """What is to be believed of a neighbouring frame.

    Args:
        belief: of a frame.
        motion: from the neighbour to it: flow lives where it is carried to and fetches from where it comes from.
        after: the neighbour's small picture, be it later or earlier in the clip.
        statistics: of colours, as known so far.
    """
    back, confidence = motion
    # In the soft region itself flow is as often the background's.
    sure = torch.cat([belief.subject > 1 - LEARNED, belief.subject < LEARNED], dim=1) & (belief.softness <= SOFT_ABOVE)
    sure, _ = Readable(_resize(sure.float(), back)).read(back)
    weight = confidence * sure.transpose(0, 1)
    of_subject, of_background = _spread(back, weight).chunk(2)
    softness, _ = Readable(belief.softness).read(resize_flow(of_subject, *after.size))
    moved, _ = Readable(torch.cat([belief.subject, belief.softness, belief.trust], dim=1)).read(
        resize_flow(back, *after.size)
    )
    subject, was_soft, trust = moved.chunk(3, dim=1)
    is_there = weight.flatten(1).any(dim=1).all()  # else there is nothing to compare with
    behind = _resize(_moves_with(back, of_subject, of_background).mul_(confidence * is_there), subject).mul_(was_soft)
    confidence = _resize(confidence, subject)
    odds = _odds(subject).mul_(confidence).add_(_odds(statistics.judge(after.bins)), alpha=COLOUR_WEIGHT).add_(behind)
    return Belief(odds.sigmoid_(), softness, (1 + confidence).mul_(AGING / 2).mul_(trust), confidence)


def fuse(one: Belief, other: Belief) -> Belief:
    """Two beliefs of the same frame, carried from either side, as one: each counts by its trust, which distance and
    doubtful flow have worn."""
    mine, others = one.trust**DECISIVENESS, other.trust**DECISIVENESS
    share = mine / (mine + others).clamp(min=1e-12)
    return Belief(
        torch.sigmoid(torch.lerp(_odds(other.subject), _odds(one.subject), share)),
        torch.lerp(other.softness, one.softness, share),
        torch.maximum(one.trust, other.trust),
        torch.lerp(other.confidence, one.confidence, share),
    )


def settled(belief: Belief) -> Belief:
    """The belief to go on from where no matte corrects it."""
    return belief._replace(subject=torch.sigmoid(SETTLING * _odds(belief.subject)))


class Seen(NamedTuple):
    """What a matte says, on the small picture; each ``[1, 1, h, w]``."""

    odds: Tensor
    """Log-odds that the pixel is the subject's."""
    asked: Tensor
    """1 where the trimap left it the choice, for only there it says something new; else 0."""


def seen_by_matting(trimap: Tensor, alpha: Tensor, height: int, width: int) -> Seen:
    """What a matte says.

    Args:
        trimap: ``[1, H, W]`` uint8, what the matting was given.
        alpha: ``[1, H, W]`` float32, what it gave.
        height: rows of the small picture.
        width: columns of the small picture.
    """
    asked = (trimap == UNKNOWN).byte().mul_(255)
    alpha, asked = reduced(torch.cat([from_unit_range(alpha, torch.uint8), asked]), height, width).chunk(2, dim=1)
    return Seen(_odds(alpha), asked.mul_(255).clamp_(max=1))


def after_matting(belief: Belief, seen: Seen) -> Belief:
    """The belief of a frame before its matting, corrected by what that saw: the one to go on from."""
    odds = _odds(belief.subject)
    return belief._replace(subject=torch.lerp(odds * SETTLING, odds + seen.odds, seen.asked).sigmoid_())


def learn(statistics: ColourStatistics, small: SmallPicture, belief: Belief) -> None:
    """Let the statistics learn from what is surely one or the other, and not soft: of that the matte alone knows, and
    would be told again what it said."""
    hard = belief.softness <= SOFT_ABOVE
    statistics.learn(small.bins, (belief.subject > 1 - LEARNED) & hard, (belief.subject < LEARNED) & hard)


def trimap_from_belief(belief: Belief, height: int, width: int) -> Tensor:
    """The trimap of what is believed: unknown are what is soft, undecided or the subject's border, and a margin.

    Args:
        belief: of a frame.
        height: rows wanted.
        width: columns wanted.

    Returns:
        ``[1, height, width]`` uint8.

    Convention:
        The pictures' outer edges coincide. A pixel of the large picture is sure where bilinear interpolation finds it
        more than half sure.
    """
    subject = belief.subject
    soft = belief.softness > SOFT_ABOVE
    inside = subject > 0.5
    border = inside & dilate(~inside, 1) & ~soft
    undecided = (subject - 0.5).abs() < 0.5 - DECIDED
    unsure = ~soft & (border | (undecided & dilate(border, REACH)))
    doubtful = (soft | unsure) & (belief.confidence < 0.5)
    unsure = soft | dilate(unsure, MARGIN) | dilate(doubtful, WIDE_MARGIN)
    # 1 where it is surely in front, -1 where surely behind; between the two there is always some border.
    sure = inside.view(torch.int8).mul(2).sub_(1).mul_((~unsure).view(torch.int8)).float()
    if sure.shape[2:] != (height, width):
        sure = F.interpolate(sure, size=(height, width), mode="bilinear", align_corners=False)
    return trimap_of(sure[0] > 0.5, sure[0] < -0.5)


def _moves_with(flow: Tensor, subject: Tensor, background: Tensor) -> Tensor:
    """Log-odds that what moves so is the subject's; never above 0, for the background's flow near the subject is often
    the subject's. Cauchy distributions: of what moves like neither, an arm, little is said."""
    unlike_subject, unlike_background = (
        (flow - other).square().sum(1, keepdim=True).div_(STEADY**2).log1p_() for other in (subject, background)
    )
    return unlike_background.sub_(unlike_subject).clamp_(math.log(CLEAR), 0)


def _spread(flow: Tensor, weight: Tensor) -> Tensor:
    """Flow where it has weight, and from there outwards: means over ever larger squares, the smallest that has any
    (the pull-push of Gortler et al., "The Lumigraph", SIGGRAPH 1996)."""
    levels = [torch.cat([flow * weight, weight], dim=1)]
    while max(levels[-1].shape[2:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    coarsest = levels.pop()
    spread = coarsest[:, :2] / coarsest[:, 2:].clamp(min=1e-6)
    for level in reversed(levels):
        total, known = level[:, :2], level[:, 2:]
        spread = F.interpolate(spread, size=known.shape[2:], mode="bilinear", align_corners=False)
        spread = torch.where(known > 0.1, total / known.clamp(min=1e-6), spread)
    return spread


def _resize(plane: Tensor, like: Tensor) -> Tensor:
    size = like.shape[2:]
    return plane if plane.shape[2:] == size else F.interpolate(plane, size, mode="bilinear", align_corners=False)


def _odds(probability: Tensor) -> Tensor:
    return torch.logit(probability, eps=CLEAR)
