"""Training samples: composites of procedural subjects, with trimaps as users and generators make them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.scenes.noise import Rng, fractal, stream
from videomatte.scenes.scene import render
from videomatte.scenes.variety import random_scene
from videomatte.training.backdrops import Backdrops, screen
from videomatte.training.damage import coded, damage, spill
from videomatte.training.subjects import draw_subject
from videomatte.trimaps.morphology import OPAQUE, TRANSPARENT, erode, trimap_of
from videomatte.types import UNKNOWN

__all__ = ["Sample", "draw_sample", "random_trimap"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, or two that follow one another, with trimap and true matte."""

    rgb: Tensor
    """``[T, 3, H, W]`` uint8, T 1 or 2."""
    trimap: Tensor
    """``[T, 1, H, W]`` uint8: 0 sure background, 128 unknown, 255 sure foreground."""
    alpha: Tensor
    """``[T, 1, H, W]`` uint8, 255 opaque."""


def draw_sample(seed: int, size: int, backdrops: Backdrops, *, scenes: float = 0.3, pairs: float = 0.15) -> Sample:
    """A sample, the same for the same arguments: a frame of a scene, or a subject laid over something.

    Args:
        seed: which sample.
        size: side of the picture in pixels.
        backdrops: what stands behind subjects that are not of a scene.
        scenes: share of samples that come from :mod:`videomatte.scenes`.
        pairs: share of samples with a second picture a moment later.
    """
    for attempt in range(20):
        rng = stream(seed, "training", attempt)
        moments = 2 if rng.random() < pairs else 1
        if rng.random() < scenes:
            pictures, alphas = _filmed(rng, size, moments)
        else:
            pictures, alphas = _composed(rng, size, moments, backdrops)
        if rng.random() < 0.3:
            pictures = coded(pictures, int(rng.integers(18, 37)))
        trimaps = _trimaps(rng, alphas)
        share = [float((t == UNKNOWN).float().mean()) for t in trimaps]
        if min(share) > 0.01 and max(share) < 0.7:
            break
    return Sample(_bytes(pictures), torch.stack(trimaps), _bytes(alphas))


def _filmed(rng: Rng, size: int, moments: int) -> tuple[list[Tensor], list[Tensor]]:
    """Pictures and mattes of a random scene's first frames."""
    frames = list(render(random_scene(int(rng.integers(2**40)), size, size, moments)))
    return [frame.rgb for frame in frames], [frame.alpha for frame in frames]


def _composed(rng: Rng, size: int, moments: int, backdrops: Backdrops) -> tuple[list[Tensor], list[Tensor]]:
    """Pictures and mattes of a random subject over a screen or a texture."""
    foreground, alpha = draw_subject(rng, size, backdrops)
    keyed = rng.random() < 0.5
    background = screen(rng, size) if keyed else backdrops.texture(rng, size)
    if keyed and rng.random() < 0.8:
        foreground = spill(foreground, alpha, background.mean((1, 2), keepdim=True), float(rng.uniform(0, 1.2)))
    shots = [(foreground, alpha, background)]
    if moments == 2:
        shots.append(_a_moment_later(rng, foreground, alpha, background))
    # Both moments of a pair get the same blur, quality and strength of grain.
    state = rng.bit_generator.state
    pictures = []
    for f, a, b in shots:
        rng.bit_generator.state = state
        pictures.append(damage(rng, f * a + b * (1 - a)))
    return pictures, [a for _, a, _ in shots]


def random_trimap(rng: Rng, alpha: Tensor) -> Tensor:
    """A trimap of a true matte: each side eroded by its own radius, at times raggedly.

    Args:
        rng: where the numbers come from.
        alpha: ``[1, H, W]`` float32 in [0, 1].

    Returns:
        ``[1, H, W]`` uint8.
    """
    return _trimaps(rng, [alpha])[0]


def _trimaps(rng: Rng, alphas: list[Tensor]) -> list[Tensor]:
    size = alphas[0].shape[2]
    inner, outer = (float(np.exp(rng.uniform(0, np.log(size * 0.05)))) for _ in range(2))
    ragged = None
    if rng.random() < 0.35:
        field = fractal(rng, alphas[0].shape[1], size, size * float(rng.uniform(0.05, 0.3)), 2.2)[None]
        ragged = (field > float(rng.uniform(-0.5, 1.0)), 1 + float(rng.uniform(0.3, 1.5)))
    lost = rng.random()
    trimaps = []
    for alpha in alphas:
        front, back = alpha >= OPAQUE, alpha <= TRANSPARENT
        sure_front, sure_back = erode(front, inner), erode(back, outer)
        if ragged is not None:
            where, factor = ragged
            sure_front &= ~where | erode(front, inner * factor + 3)
            sure_back &= ~where | erode(back, outer * factor + 3)
        # Frames without one of the two sides happen: a subject leaving, a veil without an opaque place.
        if lost < 0.02:
            sure_front = torch.zeros_like(sure_front)
        elif lost < 0.03:
            sure_back = torch.zeros_like(sure_back)
        trimaps.append(trimap_of(sure_front, sure_back))
    return trimaps


def _a_moment_later(rng: Rng, foreground: Tensor, alpha: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Subject and background, each moved by a few pixels, turned and scaled a little."""
    subject = _moved(rng, torch.cat([foreground * alpha, alpha]), 8)
    later = subject[3:].clamp(0, 1)
    colour = torch.where(later > 1e-3, subject[:3] / later.clamp(min=1e-3), foreground)
    return colour.clamp(0, 1), later, _moved(rng, background, 3).clamp(0, 1)


def _moved(rng: Rng, planes: Tensor, reach: float) -> Tensor:
    """``[C, H, W]`` under a random small similarity.

    Convention: ``grid_sample`` with ``align_corners=False``; borders are held.
    """
    size = planes.shape[-1]
    turn, scale = rng.normal(0, 0.01), 1 + rng.normal(0, 0.01)
    shift = rng.normal(0, reach, 2) * 2 / size
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    theta = torch.tensor([[cos, -sin, shift[0]], [sin, cos, shift[1]]], dtype=torch.float32)
    grid = F.affine_grid(theta[None], [1, *planes.shape], align_corners=False)
    return F.grid_sample(planes[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def _bytes(planes: list[Tensor]) -> Tensor:
    return (torch.stack(planes) * 255).round().clamp(0, 255).to(torch.uint8)
