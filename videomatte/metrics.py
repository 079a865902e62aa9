"""How far a matte is from the truth: the field's seven numbers, one frame or a whole clip at a time.

========  ====================================  ================  =========
number    per frame, e = predicted - true       unit              in tables
========  ====================================  ================  =========
MAD       mean abs(e)                           alpha             × 1e3
MSE       mean e²                               alpha²            × 1e3
SAD       sum abs(e) / 1000                     thousand pixels   as it is
Grad      sum (abs(∇a) - abs(∇a*))² / 1000      thousand pixels   as it is
Conn      sum abs(φ - φ*) / 1000                thousand pixels   as it is
dtSSD     √ mean (e(t) - e(t-1))²               alpha per frame   × 1e2
MESSDdt   mean abs(e(t, p+v)² - e(t-1, p)²)     alpha² per frame  × 1e3
========  ====================================  ================  =========

SAD, MSE, Grad and Conn: Rhemann et al., "A perceptually motivated online benchmark for image matting", CVPR 2009; dtSSD
and MESSDdt: Erofeev et al., "Perceptually motivated benchmark for video matting", BMVC 2015. With a trimap only its
unknown region counts (for the temporal ones that of frame t-1, from which the motion vectors point).

Erofeev et al. sum over the pixels, which makes a figure depend on the size of the picture; here dtSSD and MESSDdt are
means over the pixels that count, as in later evaluations (Lin et al., "Robust high-resolution video matting", WACV
2022). Times √N and N pixels they are the sums.

A frame with nothing to compare (an empty unknown region) has no mean: its MAD, MSE, dtSSD and MESSDdt are NaN, and the
clip's averages leave it out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.components import largest_component
from videomatte.errors import ShapeError
from videomatte.types import UNKNOWN

__all__ = ["ClipErrors", "MatteErrors", "conn", "dtssd", "grad", "mad", "messddt", "mse", "sad"]

_GRAD_SIGMA = 1.4
_CONN_STEPS = 10
_CONN_THETA = 0.15


@dataclass(frozen=True, slots=True)
class MatteErrors:
    """The errors of one frame, or their means over a clip; units as in the module's table."""

    mad: float
    """Mean absolute difference."""
    mse: float
    """Mean squared error."""
    sad: float
    """Sum of absolute differences, in thousands."""
    grad: float
    """Gradient error, in thousands."""
    conn: float
    """Connectivity error, in thousands."""
    dtssd: float | None = None
    """Root mean squared difference of the changes over time, or ``None`` where there is no frame before."""
    messddt: float | None = None
    """Mean change of the squared error along the motion, or ``None`` where there is no frame before or no flow."""


class ClipErrors:
    """Takes a clip's frames one by one and keeps running means and one earlier frame, however long the clip."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._previous: tuple[Tensor, Tensor, Tensor | None] | None = None

    def update(
        self, predicted: Tensor, true: Tensor, trimap: Tensor | None = None, flow: Tensor | None = None
    ) -> MatteErrors:
        """Take the next frame.

        Args:
            predicted: ``[1, H, W]`` float32 in [0, 1].
            true: ``[1, H, W]`` float32 in [0, 1].
            trimap: ``[1, H, W]`` uint8; only where it is 128 is compared. ``None`` compares everywhere.
            flow: ``[2, H, W]`` float32, pixels: where each pixel of the *previous* frame went, as :func:`messddt`.

        Returns:
            The frame's errors; the temporal ones are of the step from the frame before to this one.

        Raises:
            ShapeError: sizes differ, from each other or from the frame before.
        """
        errors = {metric.__name__: float(metric(predicted, true, trimap)) for metric in (mad, mse, sad, grad, conn)}
        if self._previous is not None:
            before_predicted, before_true, before_trimap = self._previous
            if before_predicted.shape != predicted.shape:
                raise ShapeError(
                    f"ClipErrors: the frame before was {list(before_predicted.shape)}, this is {list(predicted.shape)}"
                )
            step = torch.stack([before_predicted, predicted]), torch.stack([before_true, true])
            region = None if before_trimap is None else before_trimap.expand(2, *before_trimap.shape)
            errors["dtssd"] = float(dtssd(*step, region))
            if flow is not None:
                errors["messddt"] = float(messddt(*step, flow[None], region))
        self._previous = predicted, true, trimap
        for name, error in errors.items():
            if not math.isnan(error):
                self._sums[name] += error
                self._counts[name] += 1
        return MatteErrors(**errors)

    def mean(self) -> MatteErrors:
        """Each error's mean over the frames (temporal: the steps) that have it; NaN, or ``None``, where none has."""
        means = dict.fromkeys(("mad", "mse", "sad", "grad", "conn"), math.nan)
        return MatteErrors(**means | {name: self._sums[name] / count for name, count in self._counts.items()})


def mad(predicted: Tensor, true: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Mean absolute difference.

    Args:
        predicted: ``[..., 1, H, W]`` float32 in [0, 1].
        true: of the same shape.
        trimap: of the same shape, uint8; only where it is 128 is compared.

    Returns:
        ``[...]``: one number a frame, in [0, 1]; NaN where nothing is compared.

    Raises:
        ShapeError: shapes differ, or there is more than one channel.
    """
    region = _region(predicted, true, trimap)
    return _mean((predicted - true).abs(), region)


def mse(predicted: Tensor, true: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Mean squared error. Arguments, result and errors as :func:`mad`."""
    region = _region(predicted, true, trimap)
    return _mean((predicted - true).square(), region)


def sad(predicted: Tensor, true: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Sum of absolute differences, in thousands. Arguments and errors as :func:`mad`."""
    region = _region(predicted, true, trimap)
    return _thousands((predicted - true).abs(), region)


def grad(predicted: Tensor, true: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Gradient error: squared differences of the gradients' magnitudes, summed, in thousands.

    The gradient is taken by first derivatives of a Gaussian of σ = 1.4, 9 taps, the kernel scaled to unit energy, the
    border replicated: the parameters of Rhemann et al.'s benchmark. Evaluation code in circulation first stretches each
    matte to [0, 1]; that changes nothing for mattes that hold both 0 and 1, hides errors of contrast in others, and is
    left out here.

    Arguments and errors as :func:`mad`.

    Convention:
        Derivatives along x (columns, to the right) and y (rows, downwards) at pixel centres; nothing moves.
    """
    region = _region(predicted, true, trimap)
    return _thousands((_gradient_magnitude(predicted) - _gradient_magnitude(true)).square(), region)


def conn(predicted: Tensor, true: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Connectivity error: differences of how firmly pixels hang on the subject, summed, in thousands.

    Ω(l) is the largest 4-connected piece where both mattes are at least l, for l = 0.1, 0.2, ... 1. A pixel's level is
    the last l at which it still belongs to Ω; φ = 1 - d where alpha exceeds that level by d ≥ 0.15, else 1. Of pieces
    equally large the first in raster order is taken.

    Arguments and errors as :func:`mad`.
    """
    region = _region(predicted, true, trimap)
    flat_predicted, flat_true = predicted.reshape(-1, *predicted.shape[-2:]), true.reshape(-1, *true.shape[-2:])
    errors = torch.stack([_conn_map(p, t) for p, t in zip(flat_predicted, flat_true, strict=True)])
    return _thousands(errors.view_as(predicted), region)


def dtssd(predicted: Tensor, true: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Error of the change over time: root mean squared difference of the two mattes' frame differences.

    Args:
        predicted: ``[T, 1, H, W]`` float32 in [0, 1], T at least 2.
        true: of the same shape.
        trimap: of the same shape, uint8; only where it is 128 in the earlier frame of each step is compared.

    Returns:
        ``[T - 1]``: one number a step.

    Raises:
        ShapeError: shapes differ, or there is more than one channel.
    """
    region = _region(predicted, true, trimap)
    return _mean(((predicted - true).diff(dim=0)).square(), region[:-1]).sqrt()


def messddt(predicted: Tensor, true: Tensor, flow: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Change of the squared error along the motion of the scene.

    An error that moves with the subject costs nothing, one that comes and goes does. Pixels whose motion leaves the
    picture or is unknown are not compared.

    Args:
        predicted: ``[T, 1, H, W]`` float32 in [0, 1], T at least 2.
        true: of the same shape.
        flow: ``[T - 1, 2, H, W]`` float32, pixels; NaN where unknown.
        trimap: ``[T, 1, H, W]`` uint8; only where it is 128 in the earlier frame of each step is compared.

    Returns:
        ``[T - 1]``: one number a step; NaN where nothing is compared.

    Raises:
        ShapeError: shapes do not fit, or there is more than one channel.

    Convention:
        ``flow[t]`` points forwards, from frame t to t + 1: channel 0 is x, to the right, channel 1 is y, downwards, in
        pixels between pixel centres. The later error is read at p + v, bilinearly.
    """
    from videomatte.flow.warp import lands_inside, warp

    region = _region(predicted, true, trimap)
    steps, _, height, width = predicted[:-1].shape
    if flow.shape != (steps, 2, height, width):
        raise ShapeError(f"messddt: flow must be {[steps, 2, height, width]}, got {list(flow.shape)}")
    known = lands_inside(flow)  # NaN does not
    error = predicted - true
    later = warp(error[1:], flow.nan_to_num())
    return _mean((later.square() - error[:-1].square()).abs(), region[:-1] & known)


def _region(predicted: Tensor, true: Tensor, trimap: Tensor | None) -> Tensor:
    shapes = [predicted.shape, true.shape] + ([] if trimap is None else [trimap.shape])
    if predicted.ndim < 3 or predicted.shape[-3] != 1 or any(shape != predicted.shape for shape in shapes):
        raise ShapeError(
            "metrics compare mattes (and trimaps) of one shape [..., 1, H, W], got "
            + " and ".join(str(list(shape)) for shape in shapes)
        )
    return torch.ones_like(predicted, dtype=torch.bool) if trimap is None else trimap == UNKNOWN


def _mean(values: Tensor, region: Tensor) -> Tensor:
    # Not values * region: a NaN outside the region would survive the product.
    return torch.where(region, values, 0).sum(dim=(-3, -2, -1)) / region.sum(dim=(-3, -2, -1))


def _thousands(values: Tensor, region: Tensor) -> Tensor:
    return torch.where(region, values, 0).sum(dim=(-3, -2, -1)) / 1000


def _gradient_magnitude(alpha: Tensor) -> Tensor:
    # Half the kernel's length is where the Gaussian falls to 1% (of a density, not of its peak): 4 taps for 1.4.
    half = math.ceil(_GRAD_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * _GRAD_SIGMA * 0.01)))
    taps = torch.arange(-half, half + 1, dtype=torch.float64)
    smooth = torch.exp(-taps.square() / (2 * _GRAD_SIGMA**2))
    derivative = taps * smooth
    smooth, derivative = smooth / smooth.norm(), derivative / derivative.norm()
    padded = F.pad(alpha.reshape(-1, 1, *alpha.shape[-2:]), (half, half, half, half), mode="replicate")
    along_x = _correlate(_correlate(padded, derivative, -1), smooth, -2)
    along_y = _correlate(_correlate(padded, smooth, -1), derivative, -2)
    return torch.hypot(along_x, along_y).view_as(alpha)


def _correlate(image: Tensor, taps: Tensor, dim: int) -> Tensor:
    # A sum of shifted views: on one channel several times faster on a CPU than a convolution.
    length = image.shape[dim] - len(taps) + 1
    total = torch.zeros_like(image.narrow(dim, 0, length))
    for start, tap in enumerate(taps.tolist()):
        total.add_(image.narrow(dim, start, length), alpha=tap)
    return total


def _conn_map(predicted: Tensor, true: Tensor) -> Tensor:
    lower = torch.minimum(predicted, true)
    level = torch.zeros_like(predicted)
    inside = torch.ones_like(predicted, dtype=torch.bool)
    for step in range(1, _CONN_STEPS + 1):
        threshold = step / _CONN_STEPS
        inside &= largest_component(lower >= threshold)
        level = torch.where(inside, threshold, level)
    return (_connectedness(predicted, level) - _connectedness(true, level)).abs()


def _connectedness(alpha: Tensor, level: Tensor) -> Tensor:
    excess = alpha - level
    return 1 - torch.where(excess >= _CONN_THETA, excess, 0)
