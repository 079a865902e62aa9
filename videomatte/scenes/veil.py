"""Things one sees through: a veil of tulle with folds, hem and lace, and smoke."""

import math

import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, bearing, fractal_like, lookup, smoothstep, tile_noise, uniform_colour
from videomatte.scenes.surface import Light, coordinates, decode, encode

__all__ = ["VEIL_BOUNDS", "paint_smoke", "paint_veil"]

VEIL_BOUNDS = (-0.60, -0.36, 0.60, 1.0)
"""Canvas veils and smoke are drawn on, about the middle of the wearer's head."""


def paint_veil(scale: float, light: Light, rng: Rng) -> Tensor:
    """A veil that falls from the crown: alpha about 0.3 where it is single and flat, more in folds, hem and lace.

    Where cloth of opacity a lies k-fold, or is seen so aslant that it covers k times as densely, light passes
    ``(1 - a) ** k`` of it; the folds' slope sets k.

    Args:
        scale: pixels per frame height.
        light: what lights it.
        rng: where the numbers come from.

    Returns:
        ``[4, H, W]`` premultiplied display-encoded RGB and alpha on ``VEIL_BOUNDS``.
    """
    u, v = coordinates(VEIL_BOUNDS, scale)
    warp = fractal_like(rng, u, feature=0.35 * scale, exponent=2.6)
    fine = fractal_like(rng, u, feature=0.02 * scale, exponent=1.5)
    length, flare = float(rng.uniform(0.35, 0.85)), float(rng.uniform(0.16, 0.30))
    half = 0.165 + flare * smoothstep(-0.12, 0.75, v) + 0.012 * warp
    # Above the brow it lies on the head: an ellipse whose top is at the crown.
    crown = (1 - ((v + 0.02).clamp(max=0) / 0.175).square()).clamp(min=0).sqrt()
    inside = half * crown - u.abs()
    around = (u / (half * crown).clamp(min=0.05)).clamp(-1, 1)
    pleat = float(rng.uniform(9, 20))
    phase = pleat * around + 1.3 * warp
    depth = smoothstep(-0.15, 0.4, v)
    slope = torch.cos(phase) * depth
    hem_line = length + 0.02 * torch.sin(phase) * depth - v
    edge = torch.minimum(inside, hem_line)
    # Toward its sides the veil turns away from the camera and thickens.
    aslant = 1 / (1 - 0.85 * around.square()).clamp(min=0.2).sqrt()
    layers = aslant * (1 + 1.3 * slope.square()) * (1 + 0.12 * fine)
    opacity = float(rng.uniform(0.18, 0.45))
    alpha = 1 - torch.exp(math.log(1 - opacity) * layers)
    motif = float(rng.uniform(14, 26))
    x, y = motif * around * 0.4, motif * v
    x = x + 0.5 * (y.floor() % 2)
    x, y = x - x.floor() - 0.5, y - y.floor() - 0.5
    radius, angle = (x * x + y * y).sqrt(), bearing(y, x)
    flower = smoothstep(0.05, -0.05, (radius - 0.30 - 0.10 * torch.cos(6 * angle)).abs() - 0.035)
    lace = flower * smoothstep(float(rng.uniform(0.02, 0.35)), 0.0, hem_line)
    thread = smoothstep(0.006, 0.003, edge) * smoothstep(0.0, 0.001, edge)
    alpha = torch.maximum(alpha, torch.maximum(0.85 * lace, 0.75 * thread))
    alpha = (alpha * smoothstep(-0.8 / scale, 0.8 / scale, edge)).clamp(0, 0.97)[None]
    colour = decode(uniform_colour(rng, (0.55, 0.55, 0.55), (0.97, 0.96, 0.95)))
    if rng.random() < 0.3:
        colour = decode(uniform_colour(rng, (0.05, 0.05, 0.08), (0.6, 0.3, 0.4)))
    side = torch.sign(torch.tensor(light.direction[0]))
    lit = light.ambient + light.key * (0.5 + 0.3 * side * torch.sin(phase) * depth + 0.25 * lace)
    return torch.cat([encode(colour * lit) * alpha, alpha])


def paint_smoke(scale: float, light: Light, rng: Rng) -> Tensor:
    """A drifting cloud, densest at 0.5 to 0.8, drawn out by a warp of its own noise.

    Args:
        scale: pixels per frame height.
        light: what lights it.
        rng: where the numbers come from.

    Returns:
        ``[4, H, W]`` premultiplied display-encoded RGB and alpha on ``VEIL_BOUNDS``.
    """
    u, v = coordinates(VEIL_BOUNDS, scale)
    tile = tile_noise(rng, feature=110, exponent=2.1)
    bend = [0.05 * fractal_like(rng, u, feature=0.3 * scale, exponent=2.8) for _ in range(2)]
    # Noise looked up through a slow warp draws out into streaks, as smoke does (Perlin's turbulence, bent once).
    wisps = lookup(tile, 1.3 * u + bend[0], 0.8 * v + bend[1])
    curls = lookup(tile, 2.9 * u + 2.5 * bend[1], 1.9 * v + 2.5 * bend[0])
    cu, cv = float(rng.uniform(-0.25, 0.25)), float(rng.uniform(0.0, 0.5))
    body = torch.exp(-(((u - cu) / 0.30) ** 2) - ((v - cv) / 0.32) ** 2)
    density = (body * (0.85 + 0.42 * wisps + 0.16 * curls)).clamp(min=0)
    # Nothing may reach the canvas's border, or the cloud would end in a line.
    border = torch.minimum(0.6 - u.abs(), torch.minimum(v + 0.36, 1.0 - v))
    density = density * smoothstep(0.0, 0.2, border) * smoothstep(0.0, 0.35, density)
    alpha = (1 - torch.exp(-float(rng.uniform(0.9, 1.8)) * density)).clamp(0, 0.95)[None]
    tint = decode(uniform_colour(rng, (0.35, 0.35, 0.36), (0.95, 0.95, 0.95)))
    lit = light.ambient + light.key * (0.55 + 0.12 * wisps - 0.15 * density)
    return torch.cat([encode(tint * lit.clamp(min=0.02)) * alpha, alpha])
