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
from videomatte.trimaps.morphology import dilate_square

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
        small_image, small_alpha, layers = (
            F.interpolate(planes, size, mode="nearest") for planes in (image, alpha, layers)
        )
        for picture in zip(small_image, small_alpha, layers, strict=True):
            _relax(*picture, stiffness)
    return layers[:, :3], layers[:, 3:]


def _relax(image: Tensor, alpha: Tensor, layers: Tensor, stiffness: float) -> None:
    """A few steps on one level of one picture, in place; ``layers`` is ``[6, h, w]``."""
    _, height, width = image.shape
    small = max(height, width) <= SMALL_SIDE
    system = _System(image, alpha, *_chessboard(alpha[0]), stiffness)
    table = layers.flatten(1).index_select(1, system.places).T.contiguous()
    for _ in range(SMALL_STEPS if small else STEPS):
        for turn in system.turns:
            system.solve(table, turn)
    solved = system.turns[1].stop
    layers.view(6, -1).index_copy_(1, system.places[:solved], table[:solved].T)


def _chessboard(alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of the pixels to be solved for, black squares and white, and of all others that they may lie next to."""
    near = torch.ones_like(alpha, dtype=torch.bool)
    if max(alpha.shape) >= SPARSE_FROM:
        # Hard edges mix nothing, but what lies beyond them is asked for when a file is scaled.
        near = dilate_square((alpha > 0) & (alpha < 1), REACH)
    near, beside = (mask.flatten().nonzero()[:, 0] for mask in (near, dilate_square(near, 1) & ~near))
    black = (near // alpha.shape[1] + near % alpha.shape[1]) % 2 == 0
    return near[black], near[~black], beside


class _System:
    """The pixels solved for, in two turns, and what of their equations stays the same from step to step.

    With the weighted means F̄ and B̄ of the neighbours, W their weights' sum and r = I - αF̄ - (1-α)B̄ what the means leave
    unexplained, a pixel's own equations have the solution

        F = F̄ + λα / W_F,   B = B̄ + λ(1-α) / W_B,   λ = r / (1 + α² / W_F + (1-α)² / W_B).

    Both layers of the pixels solved for, and of those beside them, are rows of a table of six columns: in the order of
    ``places``, so that what is solved at once lies in one piece.
    """

    def __init__(
        self, image: Tensor, alpha: Tensor, black: Tensor, white: Tensor, beside: Tensor, stiffness: float
    ) -> None:
        _, height, width = image.shape
        self.places = torch.cat([black, white, beside])
        self.turns = slice(0, len(black)), slice(len(black), len(black) + len(white))
        where = self.places[: self.turns[1].stop]
        row_of = torch.empty(height * width, dtype=torch.long, device=image.device)
        row_of[self.places] = torch.arange(len(self.places), device=image.device)
        row, column = where // width, where % width
        neighbours = torch.stack(
            [
                where - (column > 0).long(),
                where + (column < width - 1).long(),
                where - (row > 0) * width,
                where + (row < height - 1) * width,
            ],
            dim=1,
        )
        self.neighbours = row_of[neighbours]
        alpha = alpha.flatten()[self.places]
        around, self.alpha = alpha[self.neighbours], alpha[: len(where), None]
        weights = EPSILON + (self.alpha - around).abs()
        total = weights.sum(1, keepdim=True)
        self.weights = weights / total
        self.colour = image.flatten(1).index_select(1, where).T.contiguous()
        step_front, step_back = self.alpha / total, (1 - self.alpha) / (total + stiffness)
        scale = 1 / (1 + self.alpha * step_front + (1 - self.alpha) * step_back)
        self.steps = torch.cat([(step_front * scale).expand(-1, 3), (step_back * scale).expand(-1, 3)], dim=1)

    def solve(self, table: Tensor, turn: slice) -> None:
        """Give the pixels of a turn their best colours, the others held."""
        # Weighted sums of rows are what an embedding bag is.
        means = F.embedding_bag(self.neighbours[turn], table, per_sample_weights=self.weights[turn], mode="sum")
        alpha = self.alpha[turn]
        left = self.colour[turn] - alpha * means[:, :3] - (1 - alpha) * means[:, 3:]
        table[turn] = means.addcmul_(self.steps[turn], left.repeat(1, 2))


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
    return (image * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)


def check_layers(name: str, image: Tensor, alpha: Tensor) -> None:
    """Raise ShapeError unless these are ``[B, 3, H, W]`` and ``[B, 1, H, W]`` floating point."""
    fits = image.ndim == alpha.ndim == 4 and image.shape[1] == 3 and alpha.shape[1] == 1
    if not fits or image.shape[::2] != alpha.shape[::2] or image.shape[3] != alpha.shape[3]:
        raise ShapeError(
            f"{name}: picture and alpha must be [B, 3, H, W] and [B, 1, H, W], "
            f"got {list(image.shape)} and {list(alpha.shape)}"
        )
