"""The subject's own colour where the background shines through, by multi-level foreground estimation.

Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020. Sought are the foreground F
and the background B that explain the picture I by its alpha and change little from pixel to pixel, least of all where
alpha changes: the smallest

    Σ_i |α_i F_i + (1 - α_i) B_i - I_i|² + Σ_j∈N(i) w_ij (|F_i - F_j|² + |B_i - B_j|²),   w_ij = ε + |α_i - α_j|

over the four neighbours N(i). Level by level, from one pixel up to the picture, each pixel is solved for with its
neighbours held; from coarse levels comes what lies further away than the few steps on the fine ones reach.

Two things are done otherwise than in the paper. Pixels take turns as the squares of a chessboard do, all of a colour at
once, so that a device can work on many and the result does not hang on the order. And on levels that cost time only
pixels near soft ones are solved for: elsewhere F is the picture where it hides the background, and nobody's guess where
it is hidden by it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import ShapeError

__all__ = ["check_layers", "estimate_foreground", "finish_layers", "solve_layers"]

EPSILON = 1e-5
"""Weight of smoothness where alpha is even."""
STEPS, SMALL_STEPS, SMALL_SIDE = 2, 10, 32
"""Steps on each level, and on those whose sides are at most this long, where far-off colours find one another."""
SPARSE_FROM = 128
"""Long side of a level from which on only pixels near soft ones are solved for."""
REACH = 3
"""How far from a soft pixel is near: what is held further out is too far for two steps to bring in."""


def estimate_foreground(image: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Straight foreground and background of pictures whose alpha is known.

    Args:
        image: ``[B, 3, H, W]`` floating point, 1.0 at white; more is allowed.
        alpha: ``[B, 1, H, W]`` floating point in [0, 1].

    Returns:
        Foreground and background, each ``[B, 3, H, W]`` float32 within the range of the picture's values and [0, 1].
        The foreground is the picture, to the bit, where alpha is 1, the background where it is 0; where the other one
        hides them, they are colours from nearby.

    Raises:
        ShapeError: the shapes are not as above.

    Convention:
        Channels first, row 0 at the top; results lie pixel on pixel on the picture. Coarse levels take every so manieth
        pixel, the one at ⌊x · W / w⌋, as the paper's.
    """
    check_layers("estimate_foreground", image, alpha)
    image = image.float()
    foreground, background = solve_layers(image, alpha.float())
    return finish_layers(image, alpha, foreground, background)


def solve_layers(image: Tensor, alpha: Tensor, stiffness: float = 0.0) -> tuple[Tensor, Tensor]:
    """Two layers whose mixture by alpha is the picture: the energy above, level by level, without limits on colours.

    Args:
        image: ``[B, 3, H, W]`` float32.
        alpha: ``[B, 1, H, W]`` float32 in [0, 1].
        stiffness: added to the background's weights w: more makes the background smoother than the foreground.

    Returns:
        Both layers, each ``[B, 3, H, W]`` float32.

    Convention:
        As :func:`estimate_foreground`.
    """
    height, width = image.shape[2:]
    layers = torch.cat([_mean(image, alpha > 0.9), _mean(image, alpha < 0.1)], dim=1)
    count = max(1, math.ceil(math.log2(max(height, width))))
    for level in range(count + 1):
        size = round(height ** (level / count)), round(width ** (level / count))
        small_image, small_alpha = (F.interpolate(planes, size, mode="nearest") for planes in (image, alpha))
        layers = F.interpolate(layers, size, mode="nearest")
        layers = _relax(small_image, small_alpha, layers, stiffness)
    return layers[:, :3], layers[:, 3:]


def _relax(image: Tensor, alpha: Tensor, layers: Tensor, stiffness: float) -> Tensor:
    """A few steps on one level; ``layers`` is ``[B, 6, h, w]``."""
    _, _, height, width = image.shape
    # Pixels as rows of a table, so that those to be solved for and their neighbours can be picked.
    table = layers.permute(0, 2, 3, 1).reshape(-1, 6)
    colours, coverage = image.permute(0, 2, 3, 1).reshape(-1, 3), alpha.reshape(-1, 1)
    turns = [_Turn(where, colours, coverage, height, width, stiffness) for where in _chessboard(alpha)]
    for _ in range(SMALL_STEPS if max(height, width) <= SMALL_SIDE else STEPS):
        for turn in turns:
            turn.solve(table)
    return table.reshape(-1, height, width, 6).permute(0, 3, 1, 2)


def _chessboard(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the table to be solved for, black squares and white."""
    _, _, height, width = alpha.shape
    near = torch.ones_like(alpha, dtype=torch.bool)
    if max(height, width) >= SPARSE_FROM:
        soft = ((alpha > 0) & (alpha < 1)).float()
        # Hard edges mix nothing, but what lies beyond them is asked for when a file is scaled.
        side = 2 * REACH + 1
        soft = F.max_pool2d(soft, (1, side), 1, (0, REACH))
        near = F.max_pool2d(soft, (side, 1), 1, (REACH, 0)) > 0
    rows, columns = (torch.arange(n, device=alpha.device) for n in (height, width))
    black = (rows[:, None] + columns) % 2 == 0
    return (near & black).flatten().nonzero()[:, 0], (near & ~black).flatten().nonzero()[:, 0]


class _Turn:
    """The pixels solved for at once, and what of their equations stays the same from step to step.

    With the weighted means F̄ and B̄ of the neighbours, W their weights' sum and r = I - αF̄ - (1-α)B̄ what the means leave
    unexplained, a pixel's own equations have the solution

        F = F̄ + λα / W_F,   B = B̄ + λ(1-α) / W_B,   λ = r / (1 + α² / W_F + (1-α)² / W_B).
    """

    def __init__(
        self, where: Tensor, colours: Tensor, coverage: Tensor, height: int, width: int, stiffness: float
    ) -> None:
        row, column = where // width % height, where % width
        neighbours = (
            where - (column > 0).long(),
            where + (column < width - 1).long(),
            where - (row > 0) * width,
            where + (row < height - 1) * width,
        )
        self.where, self.neighbours = where, neighbours
        alpha = coverage[where]
        self.weights = [EPSILON + (alpha - coverage[other]).abs() for other in neighbours]
        total = torch.stack(self.weights).sum(0)
        self.weights = [weight / total for weight in self.weights]
        self.colour, self.alpha = colours[where], alpha
        step_front, step_back = alpha / total, (1 - alpha) / (total + stiffness)
        scale = 1 / (1 + alpha * step_front + (1 - alpha) * step_back)
        self.steps = torch.cat([(step_front * scale).expand(-1, 3), (step_back * scale).expand(-1, 3)], dim=1)

    def solve(self, table: Tensor) -> None:
        """Give the pixels their best colours, the others held."""
        means = torch.zeros_like(self.steps)
        for weight, other in zip(self.weights, self.neighbours, strict=True):
            means.addcmul_(weight, table[other])
        left = self.colour - self.alpha * means[:, :3] - (1 - self.alpha) * means[:, 3:]
        table[self.where] = means.addcmul_(self.steps, left.repeat(1, 2))


def finish_layers(image: Tensor, alpha: Tensor, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Layers as they are handed out: plausible colours, and the picture's own where it shows one layer alone."""
    low = image.amin(dim=(1, 2, 3), keepdim=True).clamp(max=0)
    high = image.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    return (
        torch.where(alpha == 1, image, foreground.clamp(low, high)),
        torch.where(alpha == 0, image, background.clamp(low, high)),
    )


def _mean(image: Tensor, mask: Tensor) -> Tensor:
    """Mean colour where a mask holds, ``[B, 3, 1, 1]``; where it holds nowhere, of all."""
    mask = mask | ~mask.any(dim=(2, 3), keepdim=True)
    return torch.where(mask, image, 0).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)


def check_layers(name: str, image: Tensor, alpha: Tensor) -> None:
    """Raise ShapeError unless these are ``[B, 3, H, W]`` and ``[B, 1, H, W]`` floating point."""
    fits = image.ndim == alpha.ndim == 4 and image.shape[1] == 3 and alpha.shape[1] == 1
    if not fits or image.shape[::2] != alpha.shape[::2] or image.shape[3] != alpha.shape[3]:
        raise ShapeError(
            f"{name}: picture and alpha must be [B, 3, H, W] and [B, 1, H, W], "
            f"got {list(image.shape)} and {list(alpha.shape)}"
        )
