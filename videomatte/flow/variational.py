"""Flow refined to sub-pixels: a robust energy of data and smoothness, minimised by warping and linear solves.

    E(u) = ∫ φ(|f₂(x + u) - f₁(x)|²) + w φ(|∇u|²),   φ(s²) = √(s² + ε²)

after Brox, Bruhn, Papenberg and Weickert, "High Accuracy Optical Flow Estimation Based on a Theory for Warping", ECCV
2004: the data term is linearised about the present flow, both penalties are replaced by weighted squares (iteratively
reweighted least squares), and the sparse linear system that is left is solved approximately. Here the solver is
Jacobi's iteration in 2x2 blocks under Chebyshev's acceleration (Golub and Varga, "Chebyshev semi-iterative methods",
1961): as fast as successive over-relaxation, and every pixel at once, which suits tensors on any device. A median over
3x3 pixels after each warp takes out what went astray (Sun, Roth and Black, "Secrets of Optical Flow Estimation and
Their Principles", CVPR 2010).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from kornia.filters import median_blur
from torch import Tensor

from videomatte.flow.warp import lands_inside, warp

__all__ = ["Effort", "derivatives", "refine"]

SMOOTHNESS = 0.15
"""Weight w of the smoothness term against the data term. Loosening it at edges of the picture gained nothing."""
DATA_EPSILON = 0.02
"""ε of the data term, in units of the features: differences below are noise."""
FLOW_EPSILON = 0.05
"""ε of the smoothness term, in pixels a pixel: slopes below are bending, above are breaking."""
SPECTRAL_RADIUS = 0.985
"""Of Jacobi's iteration, assumed: it sets how far the acceleration reaches."""
STEP_LIMIT = 2.0
"""Pixels the flow may change per warp; the linearisation holds no further."""


class Effort(NamedTuple):
    """How long to work on a level."""

    warps: int
    """Times the data term is linearised anew."""
    reweightings: int
    """Times the penalties' weights are computed, per warp."""
    iterations: int
    """Steps of the linear solver, per reweighting."""


def refine(first: Tensor, second: Tensor, flow: Tensor, effort: Effort) -> Tensor:
    """Bring a flow that is right to a pixel or two nearer to the minimum of the energy.

    Args:
        first: features ``[B, C, H, W]``.
        second: features ``[B, C, H, W]``.
        flow: ``[B, 2, H, W]`` from first to second.
        effort: how long to work.

    Returns:
        ``[B, 2, H, W]``.
    """
    first_dx, first_dy = derivatives(first)
    for _ in range(effort.warps):
        warped = warp(second, flow)
        dx, dy = derivatives(warped)
        # Derivatives of both pictures are averaged: either alone is biased where they differ.
        dx, dy, dt = (dx + first_dx).mul_(0.5), (dy + first_dy).mul_(0.5), warped - first
        seen = lands_inside(flow)
        moved = flow
        for _ in range(effort.reweightings):
            step = moved - flow
            residual = dt + dx * step[:, :1] + dy * step[:, 1:]
            weight = seen * (residual.square().sum(dim=1, keepdim=True) + DATA_EPSILON**2).rsqrt_()
            moved = _solve(_normal_equations(dx, dy, dt, weight, flow), *_springs(moved), moved, effort)
        flow = flow + (moved - flow).clamp_(-STEP_LIMIT, STEP_LIMIT)
        flow = median_blur(flow, 3, border_type="replicate")
    return flow


class _Normal(NamedTuple):
    """Per pixel the system [[xx, xy], [xy, yy]] u = (x, y) of the data term."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    right: Tensor


def _normal_equations(dx: Tensor, dy: Tensor, dt: Tensor, weight: Tensor, flow: Tensor) -> _Normal:
    weighted_dx, weighted_dy = weight * dx, weight * dy
    xx = (weighted_dx * dx).sum(dim=1, keepdim=True)
    xy = (weighted_dx * dy).sum(dim=1, keepdim=True)
    yy = (weighted_dy * dy).sum(dim=1, keepdim=True)
    u, v = flow[:, :1], flow[:, 1:]
    x = xx * u + xy * v - (weighted_dx * dt).sum(dim=1, keepdim=True)
    y = xy * u + yy * v - (weighted_dy * dt).sum(dim=1, keepdim=True)
    return _Normal(xx, xy, yy, torch.cat([x, y], dim=1))


def _springs(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the smoothness term between pixels and their right and lower neighbours."""
    right = F.pad((flow[..., 1:] - flow[..., :-1]).square().sum(dim=1, keepdim=True), (0, 1))
    below = F.pad((flow[..., 1:, :] - flow[..., :-1, :]).square().sum(dim=1, keepdim=True), (0, 0, 0, 1))
    right[..., 1:] = 0.5 * (right[..., 1:] + right[..., :-1])
    below[..., 1:, :] = 0.5 * (below[..., 1:, :] + below[..., :-1, :])
    stiffness = (right + below).add_(FLOW_EPSILON**2).rsqrt_().mul_(SMOOTHNESS)
    return (
        0.5 * (stiffness[..., 1:] + stiffness[..., :-1]),
        0.5 * (stiffness[..., 1:, :] + stiffness[..., :-1, :]),
    )


def _solve(data: _Normal, across: Tensor, down: Tensor, flow: Tensor, effort: Effort) -> Tensor:
    """Chebyshev-accelerated block Jacobi iterations on (data + springs) u = right, from ``flow``."""
    total = F.pad(across, (0, 1)) + F.pad(across, (1, 0)) + F.pad(down, (0, 0, 0, 1)) + F.pad(down, (0, 0, 1, 0))
    total = total.add_(1e-6)
    xx, yy = data.xx + total, data.yy + total
    scale = (xx * yy - data.xy.square()).reciprocal_()
    own, other = torch.cat([yy, xx], dim=1).mul_(scale), data.xy * scale
    previous, relaxation = flow, 1.0
    for step in range(effort.iterations):
        pulled = data.right.clone()
        pulled[..., :-1].addcmul_(across, flow[..., 1:])
        pulled[..., 1:].addcmul_(across, flow[..., :-1])
        pulled[..., :-1, :].addcmul_(down, flow[..., 1:, :])
        pulled[..., 1:, :].addcmul_(down, flow[..., :-1, :])
        jacobi = own * pulled - other * pulled.flip(1)
        if step == 1:
            relaxation = 1 / (1 - SPECTRAL_RADIUS**2 / 2)
        elif step > 1:
            relaxation = 1 / (1 - SPECTRAL_RADIUS**2 * relaxation / 4)
        flow, previous = torch.lerp(previous, jacobi, relaxation), flow
    return flow


def derivatives(features: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of fourth order, (1, -8, 0, 8, -1) / 12, borders repeated: d/dx and d/dy.

    Sums of slices take a sixth of the time kornia's ``spatial_gradient``, a convolution, does.
    """
    x = F.pad(features, (2, 2, 0, 0), mode="replicate")
    y = F.pad(features, (0, 0, 2, 2), mode="replicate")
    return (
        (x[..., 3:-1] - x[..., 1:-3]).mul_(2 / 3).sub_(x[..., 4:] - x[..., :-4], alpha=1 / 12),
        (y[..., 3:-1, :] - y[..., 1:-3, :]).mul_(2 / 3).sub_(y[..., 4:, :] - y[..., :-4, :], alpha=1 / 12),
    )
