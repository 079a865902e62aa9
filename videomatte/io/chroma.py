"""Between the few samples of subsampled chroma and one for every pixel, along one axis of tensors or NumPy arrays.

Convention:
    A chroma sample subsampled by ``f`` stands for luma samples ``f i`` to ``f i + f - 1`` and lies at ``f i``
    (co-sited) or at ``f i + (f - 1) / 2``, in the middle of them. `interpolate` is cubic between those places (Keys,
    "Cubic Convolution Interpolation for Digital Image Processing", IEEE TASSP 29(6), 1981; a = -1/2), which keeps
    edges that a linear one blurs: strands of hair before a screen above all. `average` is the mean over the ``f`` wide
    extent around them. At the edge the one mirrors, the other repeats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["Array", "average", "interpolate"]

Array = Any
"""A tensor on a device, or a NumPy array on a CPU: both are sliced, scaled and added to in the same words."""


def interpolate(x: Array, factor: int, axis: int, *, co_sited: bool) -> Array:
    """``x`` with ``factor`` times the samples along ``axis``."""
    if factor == 1:
        return x
    count = x.shape[axis]
    out = _empty(x, axis, count * factor)
    # A copy with two samples more at either end, mirrored.
    padded = _empty(x, axis, count + 4)
    padded[_along(axis, 2, 2 + count)] = x
    for place, edge in ((0, min(1, count - 1)), (1, 0), (count + 2, count - 1), (count + 3, max(count - 2, 0))):
        padded[_along(axis, place, place + 1)] = x[_along(axis, edge, edge + 1)]
    first = 0.0 if co_sited else (factor - 1) / 2
    for phase in range(factor):
        place = (phase - first) / factor  # from the sample of the same number, in chroma samples
        samples = out[_along(axis, phase, None, factor)]
        if not place:
            samples[...] = x
            continue
        begin = 1 if place > 0 else 0
        total, *others = (
            padded[_along(axis, begin + tap, begin + tap + count)] * weight
            for tap, weight in enumerate(_cubic(place % 1))
        )
        for other in others:
            total += other
        samples[...] = total
    return out


def _cubic(t: float) -> tuple[float, float, float, float]:
    """Weights of the samples at -1, 0, 1 and 2 for the place ``t`` in 0..1: Keys' third-order kernel."""
    return (
        t * (-0.5 + t * (1 - 0.5 * t)),
        1 + t * t * (1.5 * t - 2.5),
        t * (0.5 + t * (2 - 1.5 * t)),
        t * t * (0.5 * t - 0.5),
    )


def average(x: Array, factor: int, axis: int, *, co_sited: bool) -> Array:
    """One sample of ``x`` for every ``factor``, the last for what is left."""
    if factor == 1:
        return x
    size = x.shape[axis]
    count = -(-size // factor)
    before = factor // 2 if co_sited else 0
    padded = _empty(x, axis, before + factor * count + before)
    padded[_along(axis, 0, before)] = x[_along(axis, 0, 1)]
    padded[_along(axis, before, before + size)] = x
    padded[_along(axis, before + size, None)] = x[_along(axis, -1, None)]
    taps = [1 / factor] * factor
    if co_sited:  # the extent is centred on a sample: the outermost two count by half
        taps = [0.5 / factor, *taps[1:], 0.5 / factor]
    total = padded[_along(axis, 0, factor * count, factor)] * taps[0]
    for tap, weight in enumerate(taps[1:], 1):
        total += padded[_along(axis, tap, tap + factor * (count - 1) + 1, factor)] * weight
    return total


def _along(axis: int, start: int, stop: int | None, step: int = 1) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, stop, step))


def _empty(like: Array, axis: int, size: int) -> Array:
    shape = [*like.shape[:axis], size, *like.shape[axis + 1 :]]
    return like.new_empty(shape) if isinstance(like, Tensor) else np.empty(shape, like.dtype)
