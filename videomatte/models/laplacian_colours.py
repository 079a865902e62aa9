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

__all__ = ["alpha_from_colours", "sure_colours"]

_NOISE = 0.005
"""Standard deviation of a camera's noise, at least."""
_SPREAD = 0.02
"""Standard deviation of either side's colours, at least: the unknown's differ a little from the sure ones around."""
_SHADE = 0.3
"""How much brighter or darker than the sure colours around either side may be, as a share: folds and shadows on the
screen, light in loose hair."""
_UNLIKE = 3.0
"""How many times the variance of the sure foreground around the unknown's has."""
_WIDER = 0.5
"""Share of what lies further away in the description of the foreground: what sticks out into the unknown often belongs
to something else than its nearest neighbour, hair to the head and not to the shoulder."""
_STRANGE = 1e-3
"""Share of pixels whose colours come from neither side, evenly distributed."""
_ENDS = 0.35
"""Share of pixels that are wholly background, and as many that are wholly foreground."""
_CANDIDATES = 9
"""Alphas that are weighed, evenly spaced from 0 to 1."""
_LEAST_VARIANCE = 0.01
"""Of an alpha found here, however well it explains the colour: the Gaussians are none too good."""
_PAIRS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
_EYE = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]


def sure_colours(rgb: Tensor, unknown: Tensor, foreground: Tensor, cells: Cells) -> Tensor:
    """Both sides' colours around each corner of the cells: means of them, and of their products.

    Args:
        rgb: ``[B, 3, H, W]`` float32, finite.
        unknown, foreground: ``[B, 1, H, W]`` bool, from the trimap.
        cells: where the unknown is.

    Returns:
        ``[2, 9, N + 1]``, foreground and background: red, green, blue, then their products rr, rg, rb, gg, gb, bb.
        Far from all that is sure, means over what is nearest.

    Convention:
        Means are over blocks that are the cells, then 3 × 3 and 2 × 2 of these, around the node.
    """
    products = torch.stack([rgb[:, i] * rgb[:, j] for i, j in _PAIRS], dim=1)
    planes = torch.cat([rgb, products, torch.ones_like(rgb[:, :1])], dim=1)
    background = ~(unknown | foreground)
    return torch.stack([_spread(planes * foreground, _WIDER, cells), _spread(planes * background, 0.0, cells)])


def _spread(planes: Tensor, wider: float, cells: Cells) -> Tensor:
    """``[9, N + 1]`` means at the nodes, from nine planes and their weight, ``[B, 10, H, W]``, by push-pull.

    Args:
        planes: zero where not known.
        wider: share that every level leaves to the coarser ones, even where it knows.
        cells: whose nodes.
    """
    height, width = planes.shape[2:]
    margin = [cells.left, -width % CELL - cells.left, cells.top, -height % CELL - cells.top]
    levels = [F.avg_pool2d(F.avg_pool2d(F.pad(planes, margin), CELL), 3, 1, 1)]
    while max(levels[-1].shape[2:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], [min(2, n) for n in levels[-1].shape[2:]], ceil_mode=True))
    mean = levels[-1][:, :9] / levels[-1][:, 9:].clamp(min=1e-9)
    for level in reversed(levels):
        total, weight = level[:, :9], level[:, 9:]
        around = F.interpolate(mean, size=level.shape[2:], mode="bilinear", align_corners=False)
        mean = torch.lerp(around, total / weight.clamp(min=1e-6), (weight * 8).clamp(max=1 - wider))
    at_corners = F.avg_pool2d(F.pad(mean, (1, 1, 1, 1), mode="replicate"), 2, 1)
    lattice = cells.lattice
    return F.pad(at_corners[lattice.node_frame, :, lattice.node_row, lattice.node_column].T, (0, 1))


def alpha_from_colours(rgb: Tensor, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """The alpha that explains a colour, and how surely.

    With Gaussian sides ``a F + (1 - a) B`` is Gaussian too, so that each candidate has a likelihood; the answer is the
    posterior's mean.

    Args:
        rgb: ``[3, ...]``.
        foreground, background: ``[9, ...]``, colours and products of colours as from :func:`sure_colours`.

    Returns:
        alpha ``[...]`` and its weight: the inverse of its variance, less what was known before looking; 0 or more.
        Less again the farther alpha is from 0 and 1: what is in between the equations know better, since it takes
        the true foreground's colour to tell, while pure colours can be told from a rough idea of both sides.
    """
    eye = torch.tensor(_EYE, device=rgb.device).reshape([6] + [1] * (rgb.ndim - 1))
    front, back = foreground[:3], background[:3]
    front_spread = _UNLIKE * _covariance(foreground, eye) + _SHADE**2 * _products(front) + _SPREAD**2 * eye
    back_spread = _covariance(background, eye) + _SHADE**2 * _products(back) + _SPREAD**2 * eye
    alphas = torch.linspace(0, 1, _CANDIDATES).tolist()
    share = [_ENDS] + [(1 - 2 * _ENDS) / (_CANDIDATES - 2)] * (_CANDIDATES - 2) + [_ENDS]
    prior_variance = sum(p * (a - 0.5) ** 2 for a, p in zip(alphas, share, strict=True))
    logs = []
    for a, p in zip(alphas, share, strict=True):
        spread = a * a * front_spread + (1 - a) ** 2 * back_spread + _NOISE**2 * eye
        logs.append(_log_density(rgb - torch.lerp(back, front, a), spread) + math.log(p))
    # A strange colour says nothing: its share of the likelihood falls to the candidates as they were before.
    strange = _STRANGE * (2 * math.pi) ** 1.5
    likelihoods = torch.stack([log.exp() + strange * p for log, p in zip(logs, share, strict=True)])
    posterior = likelihoods / likelihoods.sum(0)
    candidates = torch.tensor(alphas, device=rgb.device).reshape([-1] + [1] * (rgb.ndim - 1))
    alpha = (posterior * candidates).sum(0)
    variance = (posterior * (candidates - alpha).square()).sum(0)
    weight = (1 / (variance + _LEAST_VARIANCE) - 1 / prior_variance).clamp(min=0)
    return alpha, weight * (1 - 2 * alpha).square()


def _products(colour: Tensor) -> Tensor:
    return torch.stack([colour[i] * colour[j] for i, j in _PAIRS])


def _covariance(side: Tensor, eye: Tensor) -> Tensor:
    """``[6, ...]`` from means and means of products."""
    covariance = side[3:] - _products(side[:3])
    # Rounding may leave a plain colour's variance below zero.
    return torch.where(eye > 0, covariance.clamp(min=0), covariance)


def _log_density(difference: Tensor, spread: Tensor) -> Tensor:
    """Logarithm of a centred Gaussian's density, but for the constant, by the decomposition ``L D Lᵀ``."""
    rr, rg, rb, gg, gb, bb = spread
    red, green, blue = difference
    l10, l20 = rg / rr, rb / rr
    d1 = (gg - l10 * rg).clamp(min=_NOISE**2)
    e21 = gb - l10 * rb
    l21 = e21 / d1
    d2 = (bb - l20 * rb - l21 * e21).clamp(min=_NOISE**2)
    green = green - l10 * red
    blue = blue - l20 * red - l21 * green
    return -0.5 * (red * red / rr + green * green / d1 + blue * blue / d2 + (rr * d1 * d2).log())
