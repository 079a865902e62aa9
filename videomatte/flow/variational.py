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

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow.warp import Readable, dot

__all__ = ["Effort", "derivatives", "median", "refine"]

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


def refine(first: Tensor, slopes: Tensor, second: Readable, flow: Tensor, effort: Effort) -> Tensor:
    """Bring a flow that is right to a pixel or two nearer to the minimum of the energy.

    Args:
        first: features ``[B, C, H, W]``.
        slopes: their :func:`derivatives`.
        second: features ``[B, C, H, W]``.
        flow: ``[B, 2, H, W]`` from first to second.
        effort: how long to work.

    Returns:
        ``[B, 2, H, W]``.
    """
    for _ in range(effort.warps):
        warped, outside = second.read(flow)
        # Derivatives of both pictures are averaged: either alone is biased where they differ.
        dx, dy = derivatives(warped).add_(slopes).mul_(0.5).chunk(2, dim=1)
        dt = warped.sub_(first)
        moved = flow
        for _ in range(effort.reweightings):
            step = moved - flow
            residual = torch.addcmul(dt, dx, step[:, :1]).addcmul_(dy, step[:, 1:])
            weight = dot(residual, residual).add_(DATA_EPSILON**2).rsqrt_().mul_(1 - outside)
            moved = _solve(_normal_equations(dx, dy, dt, weight, flow), *_springs(moved), moved, effort)
        flow = median((moved - flow).clamp_(-STEP_LIMIT, STEP_LIMIT).add_(flow))
    return flow


class _Normal(NamedTuple):
    """Per pixel the system [[xx, xy], [xy, yy]] u = (x, y) of the data term, each ``[B, 1, H, W]``."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    x: Tensor
    y: Tensor


def _normal_equations(dx: Tensor, dy: Tensor, dt: Tensor, weight: Tensor, flow: Tensor) -> _Normal:
    weighted_dx, weighted_dy = weight * dx, weight * dy
    wanted = (dx * flow[:, :1]).addcmul_(dy, flow[:, 1:]).sub_(dt)
    return _Normal(
        dot(weighted_dx, dx),
        dot(weighted_dx, dy),
        dot(weighted_dy, dy),
        dot(weighted_dx, wanted),
        dot(weighted_dy, wanted),
    )


def _springs(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the smoothness term between each pixel and its right and lower neighbour, ``[B, 1, H, W]``, 0 where
    there is none."""
    right, below = torch.zeros_like(flow[:, :1]), torch.zeros_like(flow[:, :1])
    across, down = flow[..., 1:] - flow[..., :-1], flow[..., 1:, :] - flow[..., :-1, :]
    right[..., :-1], below[..., :-1, :] = dot(across, across), dot(down, down)
    # A pixel's slope is the mean of those to either side of it.
    twice = right + below
    twice[..., 1:] += right[..., :-1]
    twice[..., :1] += right[..., :1]
    twice[..., 1:, :] += below[..., :-1, :]
    twice[..., :1, :] += below[..., :1, :]
    half = twice.mul_(0.5).add_(FLOW_EPSILON**2).rsqrt_().mul_(SMOOTHNESS / 2)
    torch.add(half[..., 1:], half[..., :-1], out=right[..., :-1])
    torch.add(half[..., 1:, :], half[..., :-1, :], out=below[..., :-1, :])
    return right, below


def _solve(data: _Normal, right: Tensor, below: Tensor, flow: Tensor, effort: Effort) -> Tensor:
    """Chebyshev-accelerated block Jacobi iterations on (data + springs) u = (x, y), from ``flow``.

    All pixels lie in one row here, with a margin of a picture's width at either end, so that a neighbour is the same
    row shifted; where that is none, at the picture's borders, its spring is 0. So every operation runs through memory
    from end to end.
    """
    batch, _, height, width = flow.shape
    count = batch * height * width
    here = slice(width, width + count)
    springs = flow.new_zeros(2, width + count)
    springs[0, here], springs[1, here] = right.flatten(), below.flatten()
    to_right, to_left = springs[0, here], springs[0, width - 1 : -1]
    to_below, to_above = springs[1, here], springs[1, :count]
    total = (to_right + to_left).add_(to_below).add_(to_above).add_(1e-6)
    xx, yy, xy = data.xx.flatten().add_(total), data.yy.flatten().add_(total), data.xy.flatten()
    determinant = (xx * yy).addcmul_(xy, xy, value=-1)
    own, other = torch.stack([yy, xx]).div_(determinant), xy / determinant
    constant = torch.stack([data.x.flatten(), data.y.flatten()])
    states = [_State.of(rows, width, count) for rows in (flow.new_zeros(2, count + 2 * width) for _ in range(2))]
    for state in states:
        state.here.copy_(flow.transpose(0, 1).flatten(1))
    pulled = torch.empty_like(constant)
    pulled_u, pulled_v = pulled
    relaxation = 1.0
    for step in range(effort.iterations):
        present, following = states[step % 2], states[1 - step % 2]
        torch.addcmul(constant, to_right, present.right, out=pulled)
        pulled.addcmul_(to_left, present.left).addcmul_(to_below, present.below).addcmul_(to_above, present.above)
        if step == 1:
            relaxation = 1 / (1 - SPECTRAL_RADIUS**2 / 2)
        elif step > 1:
            relaxation = 1 / (1 - SPECTRAL_RADIUS**2 * relaxation / 4)
        # From the state before the present one as far as relaxation says towards Jacobi's step.
        following.here.mul_(1 - relaxation).addcmul_(own, pulled, value=relaxation)
        following.u.addcmul_(other, pulled_v, value=-relaxation)
        following.v.addcmul_(other, pulled_u, value=-relaxation)
    return states[effort.iterations % 2].here.view(2, batch, height, width).transpose(0, 1).contiguous()


class _State(NamedTuple):
    """A flow, ``[2, N]``, and its neighbours'."""

    here: Tensor
    u: Tensor
    v: Tensor
    right: Tensor
    left: Tensor
    below: Tensor
    above: Tensor

    @classmethod
    def of(cls, rows: Tensor, width: int, count: int) -> Self:
        """Of ``[2, width + N + width]``."""
        here = rows[:, width : width + count]
        shifts = (rows[:, width + by : width + by + count] for by in (1, -1, width, -width))
        return cls(here, *here, *shifts)


def median(planes: Tensor) -> Tensor:
    """Median of 3x3 pixels, borders repeated, ``[B, C, H, W]``.

    Of columns sorted once and used three times, the median of the largest least, the median middle and the least
    largest (Smith, "Implementing median filters in XC4000E FPGAs", 1996): half the comparisons of a sorting network.
    """
    height, width = planes.shape[2:]
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    top, middle, bottom = (padded[:, :, at : at + height] for at in range(3))
    low, high = torch.minimum(top, middle), torch.maximum(top, middle)
    least, most = torch.minimum(low, bottom), torch.maximum(high, bottom)
    centre = torch.minimum(high, torch.maximum(low, bottom))

    def beside(column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return column[..., :width], column[..., 1:-1], column[..., 2:]

    a, b, c = beside(least)
    lower = torch.maximum(a, b).clamp_(min=c)
    a, b, c = beside(most)
    upper = torch.minimum(a, b).clamp_(max=c)
    return _middle(lower, _middle(*beside(centre)), upper)


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def derivatives(features: Tensor) -> Tensor:
    """Central differences of fourth order, (1, -8, 0, 8, -1) / 12, borders repeated: ``[B, C, H, W]`` to
    ``[B, 2 C, H, W]``, d/dx of all channels and then d/dy.

    Sums of slices take a sixth of the time kornia's ``spatial_gradient``, a convolution, does.
    """
    height, width = features.shape[2:]
    padded = F.pad(features, (2, 2, 2, 2), mode="replicate")
    rows, columns = padded[..., 2:-2, :], padded[..., 2:-2]
    slopes = features.new_empty(features.shape[0], 2 * features.shape[1], height, width)
    dx, dy = slopes.chunk(2, dim=1)
    torch.sub(rows[..., 3:-1], rows[..., 1:-3], out=dx).mul_(8).add_(rows[..., :-4]).sub_(rows[..., 4:])
    torch.sub(columns[..., 3:-1, :], columns[..., 1:-3, :], out=dy).mul_(8).add_(columns[..., :-4, :])
    dy.sub_(columns[..., 4:, :])
    return slopes.mul_(1 / 12)
