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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.pixels import pixels_at, places_of, rows_and_columns
from videomatte.trimaps.morphology import dilate_square
from videomatte.trimaps.spread import enlarge_nearest

__all__ = ["Layers", "as_batch", "check_layers", "estimate_foreground"]

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
    both = []
    for picture, cover in zip(image.float(), alpha.float(), strict=True):
        layers = Layers.solve(picture, cover)
        both.append((layers.foreground(picture, cover), layers.background(picture, cover)))
    foregrounds, backgrounds = zip(*both, strict=True)
    return as_batch(foregrounds), as_batch(backgrounds)


def as_batch(pictures: Sequence[Tensor]) -> Tensor:
    """As ``torch.stack``; of one picture, as in a stage, no copy."""
    return torch.stack(list(pictures)) if len(pictures) > 1 else pictures[0][None]


@dataclass(frozen=True, slots=True)
class Layers:
    """Two layers whose mixture by alpha is a picture: the energy above, level by level, without limits on colours."""

    coarse: Tensor
    """``[6, h, w]``, foreground and background on the level before the last; what they are wherever these below do not
    say otherwise."""
    places: Tensor
    """``[N]`` int64: the pixels that were solved for on the last level, the picture itself, numbered row by row."""
    solved: Tensor
    """``[6, N]``: what both are there."""

    @classmethod
    def solve(cls, image: Tensor, alpha: Tensor, plate: Tensor | None = None, stiffness: float = 0.0) -> Layers:
        """Find the layers of one picture.

        Args:
            image: ``[3, H, W]`` float32.
            alpha: ``[1, H, W]`` float32 in [0, 1].
            plate: ``[3, H, W]`` float32, a part of the background that is known: the second layer is then the rest.
            stiffness: added to the background's weights w: more makes the background smoother than the foreground.

        Convention:
            As :func:`estimate_foreground`.
        """
        height, width = alpha.shape[1:]
        layers = _start(image, alpha, plate)
        count = max(1, math.ceil(math.log2(max(height, width))))
        for level in range(count + 1):
            size = round(height ** (level / count)), round(width ** (level / count))
            places, solved = _relax(image, alpha, plate, layers, size, stiffness)
            if level < count:
                layers = enlarge_nearest(layers, size)
                layers.view(6, -1).scatter_(1, places.expand(6, -1), solved)
        return cls(layers, places, solved)

    def foreground(self, image: Tensor, alpha: Tensor) -> Tensor:
        """``[3, H, W]``: the first layer with plausible colours, and the picture where it hides the other."""
        return self._plausible(slice(0, 3), image, alpha == 1)

    def background(self, image: Tensor, alpha: Tensor) -> Tensor:
        """The same of the second layer, where nothing hides it."""
        return self._plausible(slice(3, 6), image, alpha == 0)

    def _plausible(self, planes: slice, image: Tensor, shown: Tensor) -> Tensor:
        low, high = (float(bound) for bound in image.aminmax())
        low, high = min(low, 0.0), max(high, 1.0)
        layer = enlarge_nearest(self.coarse[planes].clamp(low, high), image.shape[1:])
        layer.view(3, -1).scatter_(1, self.places.expand(3, -1), self.solved[planes].clamp(low, high))
        return torch.where(shown, image, layer, out=layer)


def _start(image: Tensor, alpha: Tensor, plate: Tensor | None) -> Tensor:
    """``[6, 1, 1]``: mean colours where alpha is nearly 1 and where it is nearly 0; of all where it is nowhere so."""
    # Some thousand pixels are enough for what all levels go on from.
    step = max(1, max(alpha.shape) // 256)
    image, alpha = image[:, ::step, ::step], alpha[:, ::step, ::step]
    if plate is not None:
        image = image.addcmul(alpha - 1, plate[:, ::step, ::step])
    means = []
    for mask in (alpha > 0.9, alpha < 0.1):
        weight = (mask | ~mask.any()).float()
        means.append((image * weight).sum((1, 2)) / weight.sum())
    return torch.cat(means)[:, None, None]


def _relax(
    image: Tensor, alpha: Tensor, plate: Tensor | None, layers: Tensor, size: tuple[int, int], stiffness: float
) -> tuple[Tensor, Tensor]:
    """A few steps on the level of some size, from the layers of the one before: the pixels solved for, ``[N]``, and
    both layers there, ``[6, N]``."""
    alpha = alpha[0] if alpha.shape[1:] == size else F.interpolate(alpha[None], size, mode="nearest")[0, 0]
    black, white, beside = _chessboard(alpha)
    rows, columns = (torch.cat(numbers) for numbers in zip(black, white, beside, strict=True))
    count = len(black[0]) + len(white[0])
    solved = rows[:count] * size[1] + columns[:count]
    seen = _numbers(rows[:count], columns[:count], size, image.shape[1:])
    colour = pixels_at(image, seen)
    if plate is not None:
        clear = alpha.flatten().index_select(0, solved).sub_(1)
        colour.addcmul_(clear, pixels_at(plate, seen))
    turns = _turns(alpha, colour, rows, columns, len(black[0]), stiffness)
    table = pixels_at(layers, _numbers(rows, columns, size, layers.shape[1:]))
    for _ in range(SMALL_STEPS if max(size) <= SMALL_SIDE else STEPS):
        for turn in turns:
            turn.solve(table)
    return solved, table[:, :count]


def _numbers(rows: Tensor, columns: Tensor, size: tuple[int, int], of: Sequence[int]) -> Tensor:
    """Pixels of a level of some size, ``[N]``, numbered row by row in planes of another."""
    (height, width), device = of, rows.device
    # Divided is once a row and once a column: whole numbers are slow to divide.
    down = torch.arange(size[0], device=device).mul_(height).floor_divide_(size[0]).mul_(width)
    across = torch.arange(size[1], device=device).mul_(width).floor_divide_(size[1])
    return down.index_select(0, rows).add_(across.index_select(0, columns))


def _chessboard(alpha: Tensor) -> list[tuple[Tensor, ...]]:
    """Rows and columns of the pixels to be solved for, black squares and white, and of all others that they may lie
    next to."""
    near = torch.ones_like(alpha, dtype=torch.bool)
    if max(alpha.shape) >= SPARSE_FROM:
        # Hard edges mix nothing, but what lies beyond them is asked for when a file is scaled.
        near = dilate_square((alpha > 0) & (alpha < 1), REACH)
    odd_row, odd_column = (torch.arange(length, device=alpha.device) % 2 == 1 for length in alpha.shape)
    white = odd_row[:, None] ^ odd_column
    masks = near & ~white, near & white, dilate_square(near, 1) & ~near
    return [rows_and_columns(places_of(mask), mask.shape[1]) for mask in masks]


class _Turn(NamedTuple):
    """The pixels that are solved for at once, and what of their equations stays the same from step to step.

    With the weighted means F̄ and B̄ of the neighbours, W their weights' sum and r = I - αF̄ - (1-α)B̄ what the means leave
    unexplained, a pixel's own equations have the solution

        F = F̄ + λα / W_F,   B = B̄ + λ(1-α) / W_B,   λ = r / (1 + α² / W_F + (1-α)² / W_B).

    Both layers of the pixels solved for, and of those beside them, are columns of a table of six rows.
    """

    columns: slice
    """Of the table."""
    neighbours: tuple[Tensor, ...]
    """Four, ``[n]`` int64, columns of the table."""
    weights: tuple[Tensor, ...]
    """Four, ``[n]``, of sum 1."""
    colour: Tensor
    """``[3, n]``, what the mixture is to be."""
    cover: Tensor
    """``[2, n]``, α and 1 - α."""
    gain: Tensor
    """``[2, 1, n]``, λα / W_F and λ(1-α) / W_B over r."""

    def solve(self, table: Tensor) -> None:
        """Give the pixels their best colours, the others held."""
        first, *others = self.neighbours
        means = table.index_select(1, first).mul_(self.weights[0])
        for neighbours, weights in zip(others, self.weights[1:], strict=True):
            means.addcmul_(table.index_select(1, neighbours), weights)
        means = means.view(2, 3, -1)
        left = torch.addcmul(self.colour, self.cover[0], means[0], value=-1).addcmul_(self.cover[1], means[1], value=-1)
        torch.addcmul(means, self.gain, left, out=table.view(2, 3, -1)[..., self.columns])


def _turns(
    alpha: Tensor, colour: Tensor, rows: Tensor, columns: Tensor, black: int, stiffness: float
) -> tuple[_Turn, _Turn]:
    """Black squares, then white: so lie the columns of the table as well, and those beside them last.

    Args:
        alpha: ``[h, w]`` float32.
        colour: ``[3, N]`` float32, what the mixture is to be at the pixels solved for.
        rows, columns: of these, and of those beside them.
        black: how many of them are black.
        stiffness: as :meth:`Layers.solve`.
    """
    (height, width), count = alpha.shape, colour.shape[1]
    # The table's column of each pixel, with a margin: beyond the border lies the pixel itself.
    column_of = torch.empty(height + 2, width + 2, dtype=torch.long, device=alpha.device)
    at = (rows + 1).mul_(width + 2).add_(columns).add_(1)
    # Of all ways to write at places this is by far the fastest.
    column_of.view(-1).scatter_(0, at, torch.arange(len(at), device=alpha.device))
    column_of[0], column_of[-1] = column_of[1], column_of[-2]
    column_of[:, 0], column_of[:, -1] = column_of[:, 1], column_of[:, -2]
    neighbours = [column_of.view(-1).index_select(0, at[:count] + by) for by in (-1, 1, -width - 2, width + 2)]
    cover = alpha.flatten().index_select(0, rows * width + columns)
    around, alpha = torch.stack([cover.index_select(0, columns) for columns in neighbours]), cover[:count]
    weights = around.sub_(alpha).abs_().add_(EPSILON)
    total = weights.sum(0)
    weights.div_(total)
    cover = torch.stack([alpha, 1 - alpha])
    gain = cover / torch.stack([total, total + stiffness])
    gain.div_((cover * gain).sum(0).add_(1))

    def turn(part: slice) -> _Turn:
        beside, weighed = (tuple(plane[part] for plane in planes) for planes in (neighbours, weights))
        return _Turn(part, beside, weighed, colour[:, part], cover[:, part], gain[:, None, part])

    return turn(slice(0, black)), turn(slice(black, count))


def check_layers(name: str, image: Tensor, alpha: Tensor) -> None:
    """Raise ShapeError unless these are ``[B, 3, H, W]`` and ``[B, 1, H, W]`` floating point."""
    fits = image.ndim == alpha.ndim == 4 and image.shape[1] == 3 and alpha.shape[1] == 1
    if not fits or image.shape[::2] != alpha.shape[::2] or image.shape[3] != alpha.shape[3]:
        raise ShapeError(
            f"{name}: picture and alpha must be [B, 3, H, W] and [B, 1, H, W], "
            f"got {list(image.shape)} and {list(alpha.shape)}"
        )
