"""Materials as functions of place: brick, wood, plaster, tiles, wallpaper, grass, and the patterns of cloth.

Each takes coordinates in metres (or, for cloth, in widths of the pattern) and gives a colour for each, so that one
material serves a wall seen straight on, a floor in perspective and a jacket that bends. Where a cell of a pattern
needs a shade of its own it is looked up in a small table drawn once, by the cell's number.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, bearing, lookup, smoothstep, tile_noise, uniform_colour

__all__ = ["CLOTHS", "FLOORS", "WALLS", "Material"]

Material = Callable[[Tensor, Tensor], Tensor]
"""Coordinates ``u, v`` of one shape ``[H, W]``, v downward, to display-encoded colour ``[3, H, W]`` in [0, 1]."""


def _cells(rng: Rng) -> Callable[[Tensor, Tensor], Tensor]:
    """A number in [0, 1) for each cell of the plane, the same each time it is asked for."""
    table = torch.from_numpy(rng.random(4096).astype(np.float32))
    return lambda i, j: table[(i.long() * 157 + j.long() * 2671) % 4096]


def brick(rng: Rng) -> Material:
    """Running bond, about 22 cm by 7 cm, each brick its own shade, mortar lit from above."""
    cells, noise, grain = _cells(rng), tile_noise(rng, feature=40), tile_noise(rng, feature=8, exponent=1.0)
    base = uniform_colour(rng, (0.35, 0.2, 0.15), (0.72, 0.5, 0.42))
    mortar = uniform_colour(rng, (0.45, 0.43, 0.4), (0.75, 0.72, 0.68))
    spread = float(rng.uniform(0.1, 0.35))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        wobble = 0.004 * lookup(noise, u * 1.7, v * 1.7)
        v = v + wobble
        row = (v / 0.078).floor()
        u = u + wobble + 0.11 * (row % 2) + 0.013 * cells(row, row * 0)
        column = (u / 0.22).floor()
        x, y = u / 0.22 - column, v / 0.078 - row
        edge = torch.minimum(torch.minimum(x, 1 - x) * 0.22, torch.minimum(y, 1 - y) * 0.078)
        body = smoothstep(0.003, 0.008, edge)
        shade = 1 + spread * (cells(column, row) - 0.5) * 2 + 0.06 * lookup(grain, u * 3, v * 3)
        shade = shade * (1 + 0.25 * smoothstep(0.2, 0.0, y) - 0.3 * smoothstep(0.8, 1.0, y))
        stain = 1 + 0.08 * lookup(noise, u * 0.3, v * 0.3)
        brick_colour = base * shade + 0.05 * (cells(column + 7, row) - 0.5)
        return torch.lerp(mortar * (1 + 0.08 * lookup(grain, u * 2, v * 2)), brick_colour, body) * stain

    return lambda u, v: colour(u, v).clamp(0, 1)


def planks(rng: Rng) -> Material:
    """Boards 10 to 20 cm wide with grain along u, knots and dark joints."""
    cells, noise, grain = _cells(rng), tile_noise(rng, feature=50), tile_noise(rng, feature=12, exponent=1.3)
    base = uniform_colour(rng, (0.3, 0.2, 0.1), (0.75, 0.6, 0.45))
    width, length = float(rng.uniform(0.1, 0.2)), float(rng.uniform(1.0, 2.2))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        row = (v / width).floor()
        u = u + length * cells(row, row * 0)
        column = (u / length).floor()
        own = cells(column, row)
        x, y = u - column * length, v - row * width
        rings = torch.sin(30 * (y / width + 0.25 * lookup(noise, u * 0.25 + own * 9, v * 0.7 + own * 5)) + 40 * own)
        fibre = lookup(grain, u * 0.4 + own * 7, v * 6)
        shade = 0.75 + 0.5 * own + 0.05 * rings + 0.07 * fibre + 0.04 * lookup(noise, u * 0.2, v)
        joint = torch.minimum(torch.minimum(x, length - x), torch.minimum(y, width - y))
        return base * shade * (0.35 + 0.65 * smoothstep(0.0, 0.006, joint))

    return lambda u, v: colour(u, v).clamp(0, 1)


def plaster(rng: Rng) -> Material:
    """A painted wall: nearly one colour, with stains, roller marks and fine bumps."""
    noise, grain = tile_noise(rng, feature=80, exponent=2.2), tile_noise(rng, feature=6, exponent=1.0)
    base = uniform_colour(rng, (0.25, 0.25, 0.25), (0.92, 0.9, 0.86))
    stain = float(rng.uniform(0.01, 0.09))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        bumps = lookup(grain, u, v) - lookup(grain, u + 0.006, v + 0.006)
        return base * (1 + stain * lookup(noise, u * 0.3, v * 0.3) + 0.03 * bumps)

    return lambda u, v: colour(u, v).clamp(0, 1)


def wallpaper(rng: Rng) -> Material:
    """A repeating motif in two tones: stripes, lozenges or rosettes."""
    base = uniform_colour(rng, (0.3, 0.3, 0.3), (0.9, 0.88, 0.82))
    second = (base * uniform_colour(rng, (0.6, 0.6, 0.6), (1.1, 1.1, 1.1))).clamp(0, 1)
    size, kind = float(rng.uniform(0.12, 0.4)), int(rng.integers(3))
    noise = tile_noise(rng, feature=60)

    def motif(u: Tensor, v: Tensor) -> Tensor:
        x, y = u / size, v / size
        if kind == 0:
            return smoothstep(0.0, 0.15, torch.sin(6.2832 * x))
        if kind == 1:
            return smoothstep(-0.1, 0.1, torch.sin(3.1416 * (x + y)) * torch.sin(3.1416 * (x - y)))
        shift = 0.5 * (y.floor() % 2)
        x, y = (x + shift) - (x + shift).floor() - 0.5, y - y.floor() - 0.5
        radius, angle = torch.sqrt(x * x + y * y), bearing(y, x)
        return smoothstep(0.02, -0.02, radius - 0.25 - 0.1 * torch.cos(5 * angle))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        return torch.lerp(base, second, motif(u, v)) * (1 + 0.03 * lookup(noise, u * 0.4, v * 0.4))

    return lambda u, v: colour(u, v).clamp(0, 1)


def tiles(rng: Rng) -> Material:
    """Square tiles in two colours with joints and a dull stain."""
    cells, noise = _cells(rng), tile_noise(rng, feature=60)
    light = uniform_colour(rng, (0.6, 0.58, 0.54), (0.92, 0.9, 0.88))
    dark = light if rng.random() < 0.5 else uniform_colour(rng, (0.1, 0.1, 0.12), (0.5, 0.4, 0.4))
    size = float(rng.uniform(0.2, 0.6))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        i, j = (u / size).floor(), (v / size).floor()
        x, y = u - i * size, v - j * size
        joint = torch.minimum(torch.minimum(x, size - x), torch.minimum(y, size - y))
        paint = torch.where((i + j) % 2 == 0, light, dark) * (0.92 + 0.16 * cells(i, j))
        return paint * (0.6 + 0.4 * smoothstep(0.0, 0.008, joint)) * (1 + 0.05 * lookup(noise, u * 0.5, v * 0.5))

    return lambda u, v: colour(u, v).clamp(0, 1)


def grass(rng: Rng) -> Material:
    """Lawn, gravel or carpet: noise of three sizes in one family of colours."""
    coarse, fine = tile_noise(rng, feature=70), tile_noise(rng, feature=5, exponent=0.9)
    base = uniform_colour(rng, (0.2, 0.25, 0.08), (0.5, 0.5, 0.3))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        shade = 1 + 0.15 * lookup(coarse, u * 0.35, v * 0.35) + 0.2 * lookup(fine, u * 0.9, v * 0.9)
        dry = 0.04 * lookup(coarse, u * 0.12 + 0.3, v * 0.12)
        return base * shade + torch.cat([dry[None], 0.6 * dry[None], -0.3 * dry[None]])

    return lambda u, v: colour(u, v).clamp(0, 1)


WALLS = (brick, planks, plaster, plaster, wallpaper, tiles)
FLOORS = (planks, planks, tiles, grass)


def plain(rng: Rng) -> Material:
    """One dyed colour with a fine weave."""
    base = _dye(rng)
    weave = _weave(rng)
    return lambda u, v: (base * weave(u, v)).clamp(0, 1)


def stripes(rng: Rng) -> Material:
    """Bands of two or three dyes along u or v."""
    dyes, weave = [_dye(rng) for _ in range(3)], _weave(rng)
    across, narrow = bool(rng.random() < 0.5), float(rng.uniform(0.15, 0.5))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        x = (u if across else v) * 5
        x = x - x.floor()
        band = smoothstep(0.02, 0.05, x) * smoothstep(narrow + 0.03, narrow, x)
        thin = smoothstep(0.78, 0.8, x) * smoothstep(0.88, 0.86, x)
        return torch.lerp(torch.lerp(dyes[0], dyes[1], band), dyes[2], thin) * weave(u, v)

    return lambda u, v: colour(u, v).clamp(0, 1)


def plaid(rng: Rng) -> Material:
    """Tartan: two sets of stripes that mix where they cross."""
    dyes, weave = [_dye(rng) for _ in range(3)], _weave(rng)
    size = float(rng.uniform(2, 4))

    def sett(x: Tensor) -> Tensor:
        x = x * size - (x * size).floor()
        return torch.stack(
            [smoothstep(0.4, 0.42, x) * smoothstep(0.8, 0.78, x), smoothstep(0.07, 0.04, (x - 0.2).abs())]
        )

    def colour(u: Tensor, v: Tensor) -> Tensor:
        wide, thin = (sett(u) + sett(v)) / 2
        return torch.lerp(torch.lerp(dyes[0], dyes[1], wide), dyes[2], thin) * weave(u, v)

    return lambda u, v: colour(u, v).clamp(0, 1)


def dots(rng: Rng) -> Material:
    """Spots or small flowers on a half-drop repeat."""
    dyes, weave = [_dye(rng) for _ in range(2)], _weave(rng)
    size, petals = float(rng.uniform(4, 9)), int(rng.integers(0, 6))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        x, y = u * size, v * size
        x = x + 0.5 * (y.floor() % 2)
        x, y = x - x.floor() - 0.5, y - y.floor() - 0.5
        radius = torch.sqrt(x * x + y * y) / (1 + 0.3 * torch.cos(petals * bearing(y, x)))
        return torch.lerp(dyes[0], dyes[1], smoothstep(0.27, 0.23, radius)) * weave(u, v)

    return lambda u, v: colour(u, v).clamp(0, 1)


def print_(rng: Rng) -> Material:
    """A cloudy print or camouflage of three dyes."""
    dyes, weave = [_dye(rng) for _ in range(3)], _weave(rng)
    noise = tile_noise(rng, feature=40, exponent=2.0)
    sharp = float(rng.uniform(0.05, 0.6))

    def colour(u: Tensor, v: Tensor) -> Tensor:
        first, second = lookup(noise, u * 0.7, v * 0.7), lookup(noise, u * 0.9 + 0.5, v * 0.9 + 0.3)
        mixed = torch.lerp(dyes[0], dyes[1], smoothstep(-sharp, sharp, first))
        return torch.lerp(mixed, dyes[2], smoothstep(0.5, 0.5 + sharp, second)) * weave(u, v)

    return lambda u, v: colour(u, v).clamp(0, 1)


def knit(rng: Rng) -> Material:
    """Stocking stitch: rows of V, deep shadows between them."""
    base, other = _dye(rng), _dye(rng)
    banded = bool(rng.random() < 0.4)
    noise = tile_noise(rng, feature=20, exponent=1.2)

    def colour(u: Tensor, v: Tensor) -> Tensor:
        x, y = u * 22, v * 26
        x = x + 0.1 * lookup(noise, u, v)
        wale = x - x.floor() - 0.5
        stitch = torch.sin(6.2832 * (y - 0.9 * wale.abs()))
        shade = 0.85 + 0.13 * stitch - 0.5 * smoothstep(0.32, 0.5, wale.abs()) + 0.05 * lookup(noise, u * 6, v * 6)
        dye = torch.lerp(base, other, smoothstep(0.0, 0.2, torch.sin(y * 0.35))) if banded else base
        return dye * shade

    return lambda u, v: colour(u, v).clamp(0, 1)


CLOTHS = (plain, plain, stripes, plaid, dots, print_, knit, knit)


def _dye(rng: Rng) -> Tensor:
    """A cloth colour: from near black through muted and strong hues to near white, green and blue included."""
    hue, chroma = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) ** 1.3 * 0.35
    level = rng.uniform(0.08, 0.85)
    turn = np.cos(hue - np.array([0, 2 * np.pi / 3, 4 * np.pi / 3]))
    return torch.from_numpy(np.clip(level + chroma * turn, 0.02, 0.95).astype(np.float32))[:, None, None]


def _weave(rng: Rng) -> Callable[[Tensor, Tensor], Tensor]:
    """The thread structure of cloth as a factor about 1: twill or plain weave plus slubs."""
    noise = tile_noise(rng, feature=10, exponent=1.1)
    count, depth = float(rng.uniform(60, 140)), float(rng.uniform(0.01, 0.06))
    slant = float(rng.choice([0.0, 1.0]))

    def factor(u: Tensor, v: Tensor) -> Tensor:
        threads = torch.sin(count * (u + slant * v)) * torch.sin(count * (v - slant * u))
        return 1 + depth * threads + 0.03 * lookup(noise, u * 1.5, v * 1.5)

    return factor
