"""What stands behind a training subject, and what its body is textured with: made, never photographed, unless the user
gives a folder of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.scenes.noise import Rng, blur, fractal, lookup, tile_noise
from videomatte.scenes.screens import paint_screen, screen_colour
from videomatte.scenes.textures import CLOTHS, FLOORS, WALLS

__all__ = ["Backdrops", "screen"]


@dataclass(frozen=True)
class Backdrops:
    """A source of backgrounds.

    Attributes:
        pictures: photographs to use beside the made ones, each ``[3, H, W]`` uint8; none by default.
    """

    pictures: Sequence[Tensor] = ()

    def texture(self, rng: Rng, size: int) -> Tensor:
        """A picture ``[3, size, size]`` float32 in [0, 1]: materials, clouds of colour, soft shapes, photographs."""
        kind = rng.random()
        if self.pictures and kind < 0.45:
            picture = self._photograph(rng, size)
        elif kind < 0.7:
            picture = _material(rng, size)
        elif kind < 0.9:
            picture = _clouds(rng, size)
        else:
            picture = _patches(rng, size)
        picture = _recolour(rng, picture)
        if rng.random() < 0.35:  # out of focus
            picture = blur(picture, float(np.exp(rng.uniform(0, 2.8))))
        return picture.clamp(0, 1)

    def _photograph(self, rng: Rng, size: int) -> Tensor:
        """A random crop of one of the pictures, turned by quarters, mirrored, enlarged up to threefold."""
        picture = self.pictures[int(rng.integers(len(self.pictures)))]
        side = max(16, min(int(size / rng.uniform(0.7, 3)), *picture.shape[1:]))
        top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[1:])
        crop = picture[:, top : top + side, left : left + side].float() / 255
        crop = torch.rot90(crop if rng.random() < 0.5 else crop.flip(2), int(rng.choice([0, 0, 0, 1, 2, 3])), (1, 2))
        return F.interpolate(crop[None], size=(size, size), mode="bicubic", align_corners=False)[0].clamp(0, 1)


def screen(rng: Rng, size: int) -> Tensor:
    """A green or blue screen ``[3, size, size]``, unevenly lit and creased; float32 in [0, 1]."""
    colour = screen_colour("green" if rng.random() < 0.65 else "blue", float(rng.uniform(0.35, 1)), rng)
    scale = size * float(rng.uniform(0.7, 2))
    return paint_screen(colour, size, size, scale, float(rng.uniform(0, 0.6)), float(rng.uniform(0, 1)), rng)


def _material(rng: Rng, size: int) -> Tensor:
    """A wall, floor or cloth seen at a random scale and angle."""
    cloth = rng.random() < 0.4
    choice = CLOTHS if cloth else (*WALLS, *FLOORS)
    material = choice[int(rng.integers(len(choice)))](rng)
    row, column = torch.meshgrid(*[torch.arange(size, dtype=torch.float32) / size] * 2, indexing="ij")
    scale, turn = float(np.exp(rng.uniform(-1.2, 1.0))), float(rng.uniform(0, 2 * math.pi))
    depth = 1 + float(rng.uniform(0, 0.8)) * row  # perspective
    u = scale * (math.cos(turn) * column + math.sin(turn) * row) / depth + float(rng.random())
    v = scale * (math.cos(turn) * row - math.sin(turn) * column) / depth + float(rng.random())
    shade = 1 + float(rng.uniform(0, 0.25)) * fractal(rng, size, size, size, 3.0)
    return material(u, v) * shade


def _clouds(rng: Rng, size: int) -> Tensor:
    """Two to four colours mixed by fractal fields."""
    colours = torch.from_numpy(rng.uniform(0, 1, (int(rng.integers(2, 5)), 3, 1, 1)).astype(np.float32))
    picture = colours[0].expand(3, size, size)
    for colour in colours[1:]:
        feature, exponent = size * float(np.exp(rng.uniform(-3.5, 0))), float(rng.uniform(1.2, 2.6))
        field = fractal(rng, size, size, feature, exponent)
        picture = torch.lerp(picture, colour, torch.sigmoid(float(np.exp(rng.uniform(0, 2.5))) * field))
    grain = tile_noise(rng, 256, feature=float(rng.uniform(4, 40)), exponent=1.2)
    row, column = torch.meshgrid(*[torch.arange(size, dtype=torch.float32) / 256] * 2, indexing="ij")
    return picture * (1 + float(rng.uniform(0, 0.15)) * lookup(grain, column, row))


def _patches(rng: Rng, size: int) -> Tensor:
    """Overlapping flat shapes, as furniture, signs and windows are."""
    row, column = torch.meshgrid(*[torch.arange(size, dtype=torch.float32) / size] * 2, indexing="ij")
    picture = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)).astype(np.float32)).expand(3, size, size)
    for _ in range(int(rng.integers(6, 40))):
        (x, y), (w, h), turn = rng.random(2), np.exp(rng.uniform(-4, -1, 2)), rng.uniform(0, math.pi)
        u = math.cos(turn) * (column - x) + math.sin(turn) * (row - y)
        v = math.cos(turn) * (row - y) - math.sin(turn) * (column - x)
        far = torch.maximum(u.abs() / w, v.abs() / h) if rng.random() < 0.6 else torch.hypot(u / w, v / h)
        inside = ((1 - far) * min(w, h) * size).clamp(0, 1)
        colour = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)).astype(np.float32))
        picture = torch.lerp(picture, colour * (1 + 0.3 * (row - float(y))), inside)
    return picture


def _recolour(rng: Rng, picture: Tensor) -> Tensor:
    """Other light: gain, gamma, saturation, at times a turn of the colour channels."""
    if rng.random() < 0.3:
        picture = picture[torch.from_numpy(rng.permutation(3))]
    grey = picture.mean(0, keepdim=True)
    picture = torch.lerp(grey, picture, float(rng.uniform(0.4, 1.4))).clamp(0, 1)
    return picture ** float(np.exp(rng.uniform(-0.5, 0.5))) * float(rng.uniform(0.6, 1.15))
