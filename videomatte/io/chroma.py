"""Between the few samples of subsampled chroma and one for every pixel, along one axis of tensors or NumPy arrays.

Convention:
    A chroma sample subsampled by ``f`` stands for luma samples ``f i`` to ``f i + f - 1`` and lies at ``f i``
    (co-sited) or at ``f i + (f - 1) / 2``, in the middle of them. `interpolate` is linear between those places,
    `average` the mean over the ``f`` wide extent around them; both repeat the edge.
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
    step = x[_along(axis, 1, None)] - x[_along(axis, 0, -1)]
    first = 0.0 if co_sited else (factor - 1) / 2
    for phase in range(factor):
        place = (phase - first) / factor  # from the sample of the same number, in chroma samples
        samples = out[_along(axis, phase, None, factor)]
        if not place:
            samples[...] = x
            continue
        edge, inside = ((0, 1), (1, None)) if place < 0 else ((-1, None), (0, -1))
        samples[_along(axis, *edge)] = x[_along(axis, *edge)]
        between = step * place
        between += x[_along(axis, *inside)]
        samples[_along(axis, *inside)] = between
    return out


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
