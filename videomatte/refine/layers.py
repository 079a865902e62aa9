"""Two motions at every pixel: the subject's, and that of what lies behind it.

Where hair is half transparent, flow follows whichever of the two is seen better, mostly the background if that has
texture. A matte is carried along by the subject's motion alone. So both are read where the trimap is sure and spread
into the unknown; over a plain background, which moves no flow, the flow found in the unknown is the subject's own.

All of it lives at the size that flow is worked out at. Flows are as in Note [flow] of flow/warp.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow import warp
from videomatte.flow.warp import dot
from videomatte.trimaps.morphology import dilate_square
from videomatte.trimaps.small import reduced
from videomatte.trimaps.spread import as_weight, spread
from videomatte.types import FOREGROUND
from videomatte.windows import box_mean, slopes

__all__ = ["LayerMotion", "Layers"]

BLOCK = 4
"""Side of the finest blocks that a layer's motion is averaged over before it is spread, in pixels of the flow."""
TEXTURE = 4
"""Reach of the squares in which a background's texture is measured."""
PLAIN = 0.015
"""Deviation of the background's brightness within them at which it is e times less plain than one colour is."""
REACH = 9
"""Reach of the squares in which alphas are registered with one another."""
STIFFNESS = 3e-3
"""Squared slope of alpha, mean over such a square, at which half of the shift that fits best is believed."""
OPAQUE = 0.98
"""Alpha from which on a matte is believed: a leg on the ground, too thin to be sure, moves otherwise than the body."""
HALF_A_STEP = 0.5 / 255
"""Less than which a mean of trimaps is off by rounding alone."""
FURTHEST = 0.5
"""Longest shift, in pixels of the flow."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What a frame's matte and trimap say of its two layers; ``[1, h, w]`` float32."""

    subject: Tensor
    """1 where the subject alone is seen, by the trimap or by the matte, else 0."""
    background: Tensor
    """1 where the background alone is seen, by the trimap, else 0: mattes lose thin hair."""
    plain: Tensor
    """From 1, where the background near by is of one colour, to 0, where it has texture."""
    alpha: Tensor

    @classmethod
    def of(cls, picture: Tensor, trimap: Tensor, alpha: Tensor, size: tuple[int, int]) -> Layers:
        """Of a picture, ``[1, 3, H, W]`` float32 in 0..1, a trimap, ``[1, H, W]`` uint8, and an alpha, ``[1, H, W]``
        float32, each of any size; at the size given."""
        sure = reduced(trimap, *size)[0]
        alpha = reduced(alpha, *size)[0]
        subject, background = (inside((sure - level).abs() < HALF_A_STEP) for level in (FOREGROUND / 255, 0))
        subject = torch.maximum(subject, as_weight(alpha > OPAQUE))
        brightness = F.interpolate(picture, size, mode="area")[0].mean(0, keepdim=True)
        seen = box_mean(background, TEXTURE).clamp_(min=1e-3)
        mean = box_mean(brightness * background, TEXTURE) / seen
        variance = (box_mean(brightness.square() * background, TEXTURE) / seen - mean.square()).clamp_(min=0)
        plain = spread(variance, background, 2 * BLOCK).div_(-(PLAIN**2)).exp_()
        return cls(subject, background, plain, alpha)


def inside(mask: Tensor) -> Tensor:
    """A mask, ``[1, h, w]`` bool, less its outermost pixels, as weights."""
    return as_weight(~dilate_square(~mask[0], 1))[None]


@dataclass(frozen=True, slots=True)
class LayerMotion:
    """Where the two layers of a frame go in another one: flows, ``[2, h, w]``."""

    subject: Tensor
    background: Tensor

    @classmethod
    def of(cls, flow: Tensor, confidence: Tensor, layers: Layers) -> LayerMotion:
        """Of the flow from the frame whose layers these are, ``[2, h, w]``, and the trust in it, ``[1, h, w]``.

        A layer that is nowhere sure moves as the flow does.
        """
        subject, background = (
            spread(flow, weight, BLOCK) if weight.any() else flow
            for weight in (layers.subject * confidence, layers.background * confidence)
        )
        return cls(torch.lerp(subject, flow, layers.plain), background)

    def then(self, further: LayerMotion) -> LayerMotion:
        """This, and from there on what is further: each layer along its own motion."""
        return LayerMotion(
            self.subject + warp(further.subject[None], self.subject[None])[0],
            self.background + warp(further.background[None], self.background[None])[0],
        )

    def registered(self, own: Layers, other: Layers) -> LayerMotion:
        """The same, the subject's motion shifted to where the other frame's alpha fits this one's best.

        One step of Lucas and Kanade, "An iterative image registration technique", IJCAI 1981, on alphas, which show
        nothing of what moves behind. The shift is smooth, short, and counts less the fewer slopes there are to tell it
        by.
        """
        there = warp(other.alpha[None], self.subject[None])[0]
        across, down = slopes(there)
        unsure = 1 - own.subject - own.background
        apart = own.alpha - there
        sums = torch.cat([across * across, down * down, across * down, across * apart, down * apart])
        xx, yy, xy, xt, yt = box_mean(sums.mul_(unsure), REACH)
        xx, yy = xx + STIFFNESS, yy + STIFFNESS
        shift = torch.stack([yy * xt - xy * yt, xx * yt - xy * xt]) / (xx * yy - xy * xy)
        length = dot(shift[None], shift[None])[0].sqrt_()
        return replace(self, subject=self.subject + shift / (length / FURTHEST).clamp_(min=1))
