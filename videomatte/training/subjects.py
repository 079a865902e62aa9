"""Subjects to be cut out, each different: fur and hair on bodies, hard and soft outlines, lace, veils, twigs.

The scenes of :mod:`videomatte.scenes` look like shots; these look like nothing in particular, cost less and vary more,
which is what a network that refines edges learns from. All have an exact matte by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.scenes.noise import Rng, blur, fractal, smoothstep
from videomatte.scenes.strands import Strands, draw_strands
from videomatte.scenes.surface import Light
from videomatte.training.backdrops import Backdrops

__all__ = ["draw_subject"]


def draw_subject(rng: Rng, size: int, backdrops: Backdrops) -> tuple[Tensor, Tensor]:
    """One subject.

    Args:
        rng: where the numbers come from.
        size: side of the square picture, in pixels.
        backdrops: what bodies are textured with.

    Returns:
        Straight foreground ``[3, size, size]``, defined everywhere, and alpha ``[1, size, size]``; float32 in [0, 1].
    """
    kind = rng.choice(["hair", "fur", "plain", "lace", "veil", "twigs"], p=[0.32, 0.27, 0.22, 0.07, 0.06, 0.06])
    distance = _outline(rng, size)
    colour = backdrops.texture(rng, size)
    if kind == "veil":
        alpha = _veil(rng, distance)
    elif kind == "lace":
        alpha = _edge(rng, distance) * _lace(rng, size)
    else:
        alpha = _edge(rng, distance)
    if kind in ("hair", "fur", "twigs"):
        colour, alpha = _with_strands(rng, str(kind), distance, colour, alpha)
    if rng.random() < 0.4:
        colour = _lit_at_the_edge(rng, colour, alpha)
    if rng.random() < 0.2:
        colour, alpha = _in_motion(rng, colour, alpha)
    if rng.random() < 0.25:
        colour, alpha = _premultiplied(colour, alpha, lambda x: blur(x, float(rng.uniform(0.5, 4))))
    return colour.clamp(0, 1), alpha.clamp(0, 1)


def _outline(rng: Rng, size: int) -> Tensor:
    """A shape as an approximate signed distance in pixels, ``[1, size, size]``, positive inside."""
    row, column = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    field = torch.full((size, size), -math.inf)
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(0.2, 0.8, 2)
        radius, stretch, turn = rng.uniform(0.1, 0.34), rng.uniform(0.5, 1.9), rng.uniform(0, math.pi)
        dx, dy = column - x, row - y
        u, v = math.cos(turn) * dx + math.sin(turn) * dy, math.cos(turn) * dy - math.sin(turn) * dx
        field = torch.maximum(field, radius - torch.hypot(u * stretch, v / stretch))
    wobble = fractal(rng, size, size, size * float(rng.uniform(0.05, 0.5)), float(rng.uniform(1.6, 2.8)))
    field = field + float(rng.uniform(0, 0.06)) * wobble
    if rng.random() < 0.4:  # it reaches the lower border, as people do
        x, width = rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.35)
        field = torch.maximum(field, torch.minimum(row - rng.uniform(0.4, 0.7), width - (column - x).abs()))
    dy, dx = torch.gradient(field)
    slope = blur(torch.hypot(dx, dy)[None], 2).clamp(min=0.3 / size)
    return field[None] / slope


def _edge(rng: Rng, distance: Tensor) -> Tensor:
    """Coverage of a shape: mostly as sharp as a lens draws it, at times out of focus."""
    width = float(rng.uniform(0.5, 1.5) if rng.random() < 0.75 else rng.uniform(2, 14))
    return smoothstep(-width, width, distance)


def _veil(rng: Rng, distance: Tensor) -> Tensor:
    """Cloth, smoke or glass that lets some light through everywhere."""
    size = distance.shape[-1]
    folds = fractal(rng, size, size, size * float(rng.uniform(0.05, 0.6)), float(rng.uniform(1.4, 2.6)))[None]
    low, high = sorted(rng.uniform(0.0, 1.0, 2))
    inside = smoothstep(0, float(rng.uniform(2, 60)), distance)
    return inside * torch.lerp(torch.tensor(float(low)), torch.tensor(float(high)), torch.sigmoid(2 * folds))


def _lace(rng: Rng, size: int) -> Tensor:
    """A net of threads, or holes, through which the background shows sharply."""
    if rng.random() < 0.5:
        row, column = torch.meshgrid(*[torch.arange(size, dtype=torch.float32)] * 2, indexing="ij")
        bend = fractal(rng, size, size, size * 0.5, 2.5) * float(rng.uniform(0, 6))
        pitch, turn = rng.uniform(6, 40), rng.uniform(0, math.pi)
        u = (math.cos(turn) * column + math.sin(turn) * row + bend) / pitch
        v = (math.cos(turn) * row - math.sin(turn) * column + bend) / pitch
        wave = torch.minimum((u - u.round()).abs(), (v - v.round()).abs()) * pitch
        thread = rng.uniform(0.4, 0.2 * pitch)
        return smoothstep(thread + 0.7, thread - 0.7, wave)[None]
    field = fractal(rng, size, size, size * float(rng.uniform(0.02, 0.12)), 2.5)[None]
    sharp = float(rng.uniform(0.03, 0.3))
    return smoothstep(-sharp, sharp, field + float(rng.uniform(0, 1.0)))


def _with_strands(rng: Rng, kind: str, distance: Tensor, colour: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Hair, fur or twigs over, and behind, a body."""
    size = distance.shape[-1]
    count = {
        "fur": int(np.exp(rng.uniform(7.0, 9.2))),
        "hair": int(np.exp(rng.uniform(4.5, 8.2))),
        "twigs": int(np.exp(rng.uniform(2.5, 4.5))),
    }[kind]
    length = {"fur": rng.uniform(0.02, 0.09), "hair": rng.uniform(0.1, 0.5), "twigs": rng.uniform(0.2, 0.6)}[kind]
    reach = {"fur": 0.5 * length, "hair": 0.08, "twigs": 0.05}[kind] * size
    ring = ((distance > -1) & (distance < reach))[0]
    if rng.random() < 0.7 and kind != "fur":  # from one side of the body only
        turn = rng.uniform(0, 2 * math.pi)
        row, column = torch.meshgrid(*[torch.arange(size) / size - 0.5] * 2, indexing="ij")
        ring = ring & ((math.cos(turn) * column + math.sin(turn) * row) > float(rng.uniform(-0.2, 0.05)))
    roots = ring.nonzero().numpy()
    if len(roots) == 0:
        return colour, alpha
    root = roots[rng.integers(len(roots), size=count)]
    dy, dx = (g[0].numpy() for g in torch.gradient(blur(distance, 4), dim=(1, 2)))
    angle = np.arctan2(-dy[root[:, 0], root[:, 1]], -dx[root[:, 0], root[:, 1]])
    angle = angle + rng.normal(0, rng.uniform(0.1, 0.9), count) + rng.uniform(-0.8, 0.8)
    knots = 24
    step = length * np.exp(rng.normal(0, 0.35, (count, 1))) / knots
    bend = rng.normal(rng.normal(0, 0.04), rng.uniform(0.01, 0.06), (count, 1))
    wander = np.cumsum(rng.normal(0, rng.uniform(0.0, 0.08), (count, knots)), axis=1)
    wave = rng.uniform(0, 0.6) * np.sin(np.arange(knots) * rng.uniform(0.2, 0.9) + rng.uniform(0, 6.3, (count, 1)))
    heading = angle[:, None] + bend * np.arange(knots) + wander + wave
    u = (root[:, 1:] + rng.random((count, 1))) / size + np.cumsum(step * np.cos(heading), axis=1)
    v = (root[:, :1] + rng.random((count, 1))) / size + np.cumsum(step * np.sin(heading), axis=1)
    w = np.broadcast_to(rng.random((count, 1)), u.shape)
    width = {"fur": (0.3, 1.2), "hair": (0.15, 1.4), "twigs": (0.8, 2.5)}[kind]
    thickness = rng.uniform(*width) * np.exp(rng.normal(0, 0.3, count)) / size
    tone = _strand_colours(rng, count, colour, torch.from_numpy(root))
    strands = Strands(torch.from_numpy(np.stack([u, v, w], axis=-1)).float(), torch.from_numpy(thickness).float(), tone)
    light = Light(
        direction=(float(rng.normal(0, 1)), float(rng.normal(-0.5, 1)), float(rng.normal(1, 1))),
        key=torch.full((3, 1, 1), float(rng.uniform(0.4, 1.2))),
        ambient=torch.full((3, 1, 1), float(rng.uniform(0.2, 0.6))),
        rim=torch.zeros(3, 1, 1),
    )
    hair, _ = draw_strands(strands, (0, 0, 1, 1), size, light, rng, sheen=float(rng.uniform(0, 0.8)))
    cover = hair[3:].clamp(max=1)
    below = alpha * (1 - cover)
    together = cover + below
    mixed = (hair[:3] + colour * below) / together.clamp(min=1e-4)
    # Where nothing is, the straight foreground goes on as the nearest colour: later blurs and resizings mix with it.
    return torch.where(together > 1e-3, mixed, _spread(mixed, together)), together


def _lit_at_the_edge(rng: Rng, colour: Tensor, alpha: Tensor) -> Tensor:
    """Foreground that is lit or tinted otherwise where it ends: what is loose seldom looks like what is sure.

    A light from behind, or its lack, changes what sticks out; a light from one side changes one half.
    """
    size = alpha.shape[-1]
    outward = 1 - blur(alpha, size * float(rng.uniform(0.01, 0.06)))
    row, column = torch.meshgrid(*[torch.arange(size) / size - 0.5] * 2, indexing="ij")
    turn = rng.uniform(0, 2 * math.pi)
    sideways = torch.sigmoid(6 * (math.cos(turn) * column + math.sin(turn) * row))
    where = outward * (sideways if rng.random() < 0.5 else 1)
    gain = float(rng.normal(0.2, 0.9)) + rng.normal(0, 0.25, (3, 1, 1))
    return colour * torch.exp(torch.from_numpy(gain).float() * where)


def _strand_colours(rng: Rng, count: int, colour: Tensor, root: Tensor) -> Tensor:
    """``[count, 3]``: of one family, or of the body below as an animal's coat is."""
    own = colour[:, root[:, 0], root[:, 1]].T
    base = torch.from_numpy(rng.uniform(0.03, 0.95, 3) if rng.random() < 0.35 else _hair_colour(rng)).float()
    mix = float(rng.random()) if rng.random() < 0.5 else 0.0
    spread = torch.from_numpy(rng.normal(0, rng.uniform(0.02, 0.12), (count, 1))).float()
    return (torch.lerp(base, own, mix) + spread).clamp(0.02, 0.98)


def _hair_colour(rng: Rng) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    level = rng.uniform(0.05, 0.9)
    warmth = rng.uniform(0, 0.5)
    return np.asarray([level, level * (1 - 0.5 * warmth), level * (1 - warmth)])


def _spread(colour: Tensor, weight: Tensor) -> Tensor:
    """Colours ``[3, H, W]`` where ``weight`` is, carried on to where it is not."""
    near, far = (blur(torch.cat([colour * weight, weight]), sigma) for sigma in (4, 40))
    total = near + 1e-2 * far
    return total[:3] / total[3:].clamp(min=1e-6)


def _in_motion(rng: Rng, colour: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Smeared along a line, as by an open shutter."""
    length, turn = int(rng.integers(3, 26)), rng.uniform(0, math.pi)
    kernel = torch.zeros(length, length)
    steps = torch.linspace(-(length - 1) / 2, (length - 1) / 2, 3 * length)
    row = (math.sin(turn) * steps + (length - 1) / 2).round().long()
    column = (math.cos(turn) * steps + (length - 1) / 2).round().long()
    kernel.index_put_((row, column), torch.ones(len(steps)), accumulate=True)
    kernel = (kernel / kernel.sum())[None, None]
    before = length // 2
    margin = (before, length - 1 - before) * 2

    def smear(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x[:, None], margin, mode="replicate"), kernel)[:, 0]

    return _premultiplied(colour, alpha, smear)


def _premultiplied(colour: Tensor, alpha: Tensor, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """A linear filter on a straight foreground and its alpha, applied to the premultiplied picture as light does."""
    mixed = change(torch.cat([colour * alpha, alpha]))
    solid = mixed[3:] > 1e-3
    return torch.where(solid, mixed[:3] / mixed[3:].clamp(min=1e-3), colour), mixed[3:]
