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
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow import estimate_both_flows, flow_confidence, warp
from videomatte.trimaps.morphology import dilate, trimap_of
from videomatte.trimaps.statistics import ColourStatistics
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN

__all__ = ["Belief", "after_matting", "believed_of_trimap", "carry", "fuse", "learn", "settled", "trimap_from_belief"]

FLOW_SIDE = 240
"""Long side at which motion is estimated here: at 480, three times the work, masks overlap by a hundredth more."""
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
    foreground, background = _reduce(torch.cat([trimap == FOREGROUND, trimap == BACKGROUND]), height, width)
    unknown = 1 - foreground - background
    return Belief(foreground + unknown / 2, unknown, torch.ones_like(unknown), torch.ones_like(unknown))


def carry(belief: Belief, before: Tensor, after: Tensor, statistics: ColourStatistics) -> Belief:
    """What is to be believed of a neighbouring frame.

    Args:
        belief: of a frame.
        before: ``[1, 3, h, w]`` float in 0..1, its small picture.
        after: the neighbour's, be it later or earlier in the clip.
        statistics: of colours, as known so far.

    Convention:
        Flow lives on ``after`` and fetches from ``before`` (Note [flow] in flow/warp.py).
    """
    back, there = estimate_both_flows(after, before, working_side=FLOW_SIDE)
    confidence = flow_confidence(back, there)
    # In the soft region itself flow is as often the background's.
    opaque = ((belief.subject > 1 - LEARNED) & (belief.softness <= SOFT_ABOVE)).float()
    subject, trust, opaque = warp(torch.cat([belief.subject, belief.trust, opaque], dim=1), back).chunk(3, dim=1)
    softness = warp(belief.softness, _spread(back, confidence * opaque))
    odds = confidence * _odds(subject) + COLOUR_WEIGHT * _odds(statistics.judge(after))
    return Belief(torch.sigmoid(odds), softness, AGING * trust * (1 + confidence) / 2, confidence)


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


def after_matting(belief: Belief, trimap: Tensor, alpha: Tensor) -> Belief:
    """The belief to go on from, corrected by what the matting saw.

    Only where the trimap left it the choice does a matte say something new.

    Args:
        belief: of the frame, before its matting.
        trimap: ``[1, H, W]`` uint8, what the matting was given.
        alpha: ``[1, H, W]`` float32, what it gave.
    """
    height, width = belief.subject.shape[2:]
    alpha, asked = _reduce(torch.cat([alpha, (trimap == UNKNOWN).float()]), height, width)
    odds = torch.where(asked > 0, _odds(alpha) + _odds(belief.subject), SETTLING * _odds(belief.subject))
    return belief._replace(subject=torch.sigmoid(odds))


def learn(statistics: ColourStatistics, small: Tensor, belief: Belief) -> None:
    """Let the statistics learn from what is surely one or the other."""
    statistics.learn(small, belief.subject > 1 - LEARNED, belief.subject < LEARNED)


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
    sure = torch.cat([inside & ~unsure, ~inside & ~unsure], dim=1).float()
    if sure.shape[2:] != (height, width):
        sure = F.interpolate(sure, size=(height, width), mode="bilinear", align_corners=False)
    foreground, background = (sure[0] > 0.5).chunk(2)
    return trimap_of(foreground, background)


def _spread(flow: Tensor, weight: Tensor) -> Tensor:
    """Flow where it has weight, and from there outwards: means over ever larger squares, the smallest that has any
    (the pull-push of Gortler et al., "The Lumigraph", SIGGRAPH 1996)."""
    levels = [(flow * weight, weight)]
    while max(levels[-1][1].shape[2:]) > 1:
        levels.append((F.avg_pool2d(levels[-1][0], 2, ceil_mode=True), F.avg_pool2d(levels[-1][1], 2, ceil_mode=True)))
    total, known = levels.pop()
    spread = total / known.clamp(min=1e-6)
    for total, known in reversed(levels):
        spread = F.interpolate(spread, size=known.shape[2:], mode="bilinear", align_corners=False)
        spread = torch.where(known > 0.1, total / known.clamp(min=1e-6), spread)
    return spread


def _odds(probability: Tensor) -> Tensor:
    return torch.logit(probability, eps=CLEAR)


def _reduce(planes: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """``[C, H, W]`` averaged down to C small pictures ``[1, 1, height, width]``."""
    planes = planes.float()[None]
    if planes.shape[2:] != (height, width):
        planes = F.adaptive_avg_pool2d(planes, (height, width))
    return planes.unsqueeze(2).unbind(1)
