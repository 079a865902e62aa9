"""What a pixel's own colour says of its alpha, beside the sure colours around it.

Closed-form matting compares neighbours and never asks what the sure colours are: over a plain wall or a screen, where
all windows look alike, it leaves haze, and holes between leaves that no sure background reaches stay closed. There a
pixel's colour says nearly all. So both sides' colours are described by Gaussians that follow the place in the picture,
and the alphas that explain a pixel's colour are weighed. Where one stands out it is added to the equations, weakly;
where the sides are busy or alike, many alphas explain the colour, and the equations stay as they are.

Sources: Chuang et al., "A Bayesian Approach to Digital Matting", 2001 (Gaussians of both sides); Wang and Cohen,
"Optimized Color Sampling for Robust Matting", 2007 (the term in the equations, weighed by confidence); Levin, Rav-Acha,
Lischinski, "Spectral Matting", 2008 (alpha is mostly 0 or 1); Gortler et al., "The Lumigraph", 1996 (push-pull).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.models.laplacian_cells import CELL, Cells
from videomatte.types import finite_unit_range
from videomatte.windows import square_sums

__all__ = ["alpha_from_colours", "sure_colours"]

_NOISE = 0.005
"""Standard deviation of a camera's noise, at least."""
_SPREAD = 0.02
"""Standard deviation of either side's colours, at least: the unknown's differ a little from the sure ones around."""
_PLATE_SPREAD = 0.005
"""The same of the background's colours about a plate, which differs with the place as they do."""
_SHADE = 0.3
"""How much brighter or darker than the sure colours around either side may be, as a share: folds and shadows on the
screen, light in loose hair."""
_UNLIKE = 3.0
"""How many times the variance of the sure foreground around the unknown's has."""
_WIDER = 0.5
"""Share of what lies further away in the description of the foreground: what sticks out into the unknown often belongs
to something else than its nearest neighbour, hair to the head and not to the shoulder."""
_STRANGE, _PLATE_STRANGE = 1e-3, 1e-2
"""Share of pixels whose colours come from neither side, evenly distributed; and where a plate rules out what no
foreground can explain."""
_ENDS = 0.35
"""Share of pixels that are wholly background, and as many that are wholly foreground."""
_CANDIDATES = 9
"""Alphas that are weighed, evenly spaced from 0 to 1."""
_LEAST_VARIANCE = 0.01
"""Of an alpha found here, however well it explains the colour: the Gaussians are none too good."""
_NO_DENSITY = -80.0
"""Logarithm below which densities are the same: still smaller ones are subnormal numbers, which take CPUs many times
as long to multiply."""
_STEP = 4
"""One in so many rows and columns is looked at for the sure colours."""
_SAMPLES = CELL // _STEP
"""Rows and columns of a cell that are looked at."""


def sure_colours(rgb: Tensor, unknown: Tensor, foreground: Tensor, cells: Cells, plate: Tensor | None = None) -> Tensor:
    """Both sides' colours around each corner of the cells: means of them, and of their products.

    Args:
        rgb: ``[B, 3, H, W]`` float32; NaN and infinity count as black and white.
        unknown, foreground: ``[B, 1, H, W]`` bool, from the trimap.
        cells: where the unknown is.
        plate: ``[B, 3, H, W]`` float32, the picture with the subject gone, where it is known.

    Returns:
        ``[2, 9, N + 1]``, foreground and background: red, green, blue, then their products rr, gg, bb, rg, rb, gb.
        Far from all that is sure, means over what is nearest. With a plate the background's are of what the picture
        departs from it by.

    Convention:
        Means are over blocks that are the cells, then 3 × 3 and 2 × 2 of these, around the node.
    """
    rgb = finite_unit_range(_samples(rgb, cells))
    weight = _samples(torch.cat([foreground, ~(unknown | foreground)], dim=1), cells).to(rgb.dtype)
    colours = [rgb] * 2 if plate is None else [rgb, rgb - finite_unit_range(_samples(plate, cells))]
    # Rows, then columns, as memory has them.
    height, width = cells.lattice.active.shape[1:]
    lines = rgb.new_zeros(2, len(rgb), 10, height, width * _SAMPLES)
    for row in range(_SAMPLES):
        for side, colour in enumerate(colours):
            share = weight[:, side : side + 1, row::_SAMPLES]
            lines[side, :, :3].addcmul_(colour[:, :, row::_SAMPLES], share)
            lines[side, :, 3:9].addcmul_(_products(colour[:, :, row::_SAMPLES], 1), share)
            lines[side, :, 9:] += share
    sums = torch.zeros_like(lines[..., ::_SAMPLES])
    for column in range(_SAMPLES):
        sums += lines[..., column::_SAMPLES]
    return torch.stack([_spread(sums[0], _WIDER, cells), _spread(sums[1], 0.0, cells)])


def _samples(planes: Tensor, cells: Cells) -> Tensor:
    """``[B, C, 2 h, 2 w]``: some rows and columns, which tell as much as all do, of ``[B, C, H, W]`` laid out in the
    grid's ``h`` × ``w`` cells; 0 outside of the picture."""
    rows, columns = (_SAMPLES * length for length in cells.lattice.active.shape[1:])
    # The middle of each four in the grid, so that something is seen of low pictures, which lie in their cells' middle.
    middle = _STEP // 2
    top, left = (-((middle - offset) // _STEP) for offset in (cells.top, cells.left))
    some = planes[..., middle + _STEP * top - cells.top :: _STEP, middle + _STEP * left - cells.left :: _STEP]
    return F.pad(some, (left, columns - left - some.shape[3], top, rows - top - some.shape[2]))


def _spread(sums: Tensor, wider: float, cells: Cells) -> Tensor:
    """``[9, N + 1]`` means at the nodes, from sums of nine numbers and their weight over the cells' samples,
    ``[B, 10, h, w]``, by push-pull.

    Args:
        sums: 0 where nothing is known.
        wider: share that every level leaves to the coarser ones, even where it knows.
        cells: whose nodes.
    """
    levels = [square_sums(F.pad(sums, (1, 1, 1, 1)), 3) / (9 * _SAMPLES**2)]
    while max(levels[-1].shape[2:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], [min(2, n) for n in levels[-1].shape[2:]], ceil_mode=True))
    mean = levels[-1][:, :9] / levels[-1][:, 9:].clamp(min=1e-9)
    for level in reversed(levels):
        total, weight = level[:, :9], level[:, 9:]
        around = F.interpolate(mean, size=level.shape[2:], mode="bilinear", align_corners=False)
        mean = torch.lerp(around, total / weight.clamp(min=1e-6), (weight * 8).clamp(max=1 - wider))
    at_corners = square_sums(F.pad(mean, (1, 1, 1, 1), mode="replicate"), 2) / 4
    lattice = cells.lattice
    return F.pad(at_corners[lattice.node_frame, :, lattice.node_row, lattice.node_column].T, (0, 1))


def alpha_from_colours(
    rgb: Tensor, foreground: Tensor, background: Tensor, plate: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The alpha that explains a colour, and how surely.

    With Gaussian sides ``a F + (1 - a) B`` is Gaussian too, so that each candidate has a likelihood; the answer is the
    posterior's mean.

    Args:
        rgb: ``[3, ...]``.
        foreground, background: ``[9, ...]``, colours and products of colours as from :func:`sure_colours`.
        plate: ``[3, ...]``, the background's own colour at each pixel, where it is known.

    Returns:
        alpha ``[...]`` and its weight: the inverse of its variance, less what was known before looking; 0 or more.
        Less again the farther alpha is from 0 and 1: what is in between the equations know better, since it takes
        the true foreground's colour to tell, while pure colours can be told from a rough idea of both sides.
    """
    shape = rgb.shape[1:]
    rgb, foreground, background = (planes.reshape(len(planes), -1) for planes in (rgb, foreground, background))
    front, back = foreground[:3], background[:3]
    if plate is not None:
        back = back + plate.reshape(3, -1)
    front_spread = _spread_of(foreground, front, _UNLIKE, _SPREAD)
    back_spread = _spread_of(background, back, 1.0, _SPREAD if plate is None else _PLATE_SPREAD)

    share = torch.full((_CANDIDATES, 1), (1 - 2 * _ENDS) / (_CANDIDATES - 2), device=rgb.device)
    share[0] = share[-1] = _ENDS
    a = torch.linspace(0, 1, _CANDIDATES, device=rgb.device)[:, None]
    sides = torch.cat([a, 1 - a], dim=1)
    mean = (sides @ torch.stack([front, back]).flatten(1)).reshape(_CANDIDATES, 3, -1)
    spread = (sides.square() @ torch.stack([front_spread, back_spread]).flatten(1)).reshape(_CANDIDATES, 6, -1)
    spread[:, :3] += _NOISE**2
    # A strange colour says nothing: its share of the likelihood falls to the candidates as they were before; where the
    # background is known, to those alone at which it need not be darker than black or whiter than white.
    density = _log_density(rgb - mean, spread).exp_()
    unit = (2 * math.pi) ** 1.5
    density += _STRANGE * unit if plate is None else (a >= _least_alpha(rgb, back)) * (_PLATE_STRANGE * unit)
    posterior = density * (share / (share.T @ density))
    alpha, square = (powers.T @ posterior for powers in (a, a.square()))
    variance = (square - alpha.square()).clamp(min=0)
    prior_variance = (share * (a - 0.5).square()).sum()
    weight = (1 / (variance + _LEAST_VARIANCE) - 1 / prior_variance).clamp(min=0)
    return alpha.reshape(shape), (weight * (1 - 2 * alpha).square()).reshape(shape)


def _least_alpha(rgb: Tensor, back: Tensor) -> Tensor:
    """``[n]`` in 0..1: the least alpha at which some foreground between black and white explains a colour over a
    background known up to shadows and lights; both ``[3, n]``. The limits of Smith and Blinn, "Blue Screen Matting",
    SIGGRAPH 1996, drawn in by the noise."""
    slack = 4 * _NOISE
    dark, light = (1 - _SHADE) * back.clamp(min=0), ((1 + _SHADE) * back).clamp(0, 1)
    not_black = 1 - (rgb + slack) / dark.clamp(min=1e-6)
    not_white = (rgb - slack - light) / (1 - light).clamp(min=1e-6)
    return torch.maximum(not_black, not_white).amax(0).clamp(0, 1)


def _products(colours: Tensor, dim: int = 0) -> Tensor:
    """rr, gg, bb, rg, rb, gb of three colours along ``dim``."""
    red, rest, blue = (colours.narrow(dim, first, length) for first, length in ((0, 1), (1, 2), (2, 1)))
    return torch.cat([colours * colours, red * rest, colours.narrow(dim, 1, 1) * blue], dim)


def _spread_of(side: Tensor, colour: Tensor, unlike: float, least: float) -> Tensor:
    """``[6, n]``, covariance of a side's colours in the unknown, from means and means of products ``[9, n]``.

    Args:
        side: as from :func:`sure_colours`.
        colour: ``[3, n]``, what it may be a lighter or darker shade of.
        unlike: how many times the variance of the sure colours it has.
        least: standard deviation at least.
    """
    spread = (side[3:] - _products(side[:3])).mul_(unlike)
    # Rounding may leave a plain colour's variance below zero.
    spread[:3].clamp_(min=0)
    spread.add_(_products(colour), alpha=_SHADE**2)
    spread[:3] += least**2
    return spread


def _log_density(difference: Tensor, spread: Tensor) -> Tensor:
    """Logarithm of a centred Gaussian's density, but for the constant, by the decomposition ``L D Lᵀ``.

    Args:
        difference: ``[K, 3, n]``.
        spread: ``[K, 6, n]``, the covariances.

    Returns:
        ``[K, n]``, not below -80.
    """
    rr, gg, bb, rg, rb, gb = spread.unbind(1)
    red, green, blue = difference.unbind(1)
    # As few tensors as will do: they leave the cache otherwise.
    l10, l20 = rg / rr, rb / rr
    d1 = gg.addcmul(l10, rg, value=-1).clamp_(min=_NOISE**2)
    e21 = gb.addcmul(l10, rb, value=-1)
    l21 = e21 / d1
    d2 = bb.addcmul(l20, rb, value=-1).addcmul_(l21, e21, value=-1).clamp_(min=_NOISE**2)
    green = green.addcmul(l10, red, value=-1)
    blue = blue.addcmul(l20, red, value=-1).addcmul_(l21, green, value=-1)
    distance = red.square().div_(rr).addcdiv_(green.square_(), d1).addcdiv_(blue.square_(), d2)
    return distance.add_(d1.mul_(d2).mul_(rr).log_()).mul_(-0.5).clamp_(min=_NO_DENSITY)
