"""Worse answers of the solver, so that the network learns to do without it.

Given nothing but good answers, a young network finds no correction that would make them better on average, and learns
next to nothing; made to repair bad ones it learns matting, and then what remains to be done with good ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, blur

__all__ = ["weaken"]


def weaken(rng: Rng, rgb: Tensor, trimap: Tensor, prior: Tensor) -> Tensor:
    """The embedded model's prior with, every other time, a worse alpha: blurred, absent, or by colour alone.

    Args:
        rng: where the numbers come from.
        rgb: ``[T, 3, h, w]`` float32 in 0..1.
        trimap: ``[T, 1, h, w]`` float32: 0, 0.5, 1.
        prior: ``[T, 7, h, w]`` as :meth:`videomatte.models.embedded.EmbeddedMatting.prior` gives it.

    Returns:
        ``[T, 7, h, w]``; known pixels are as they were.
    """
    kind = rng.choice(["solved", "blurred", "absent", "colour"], p=[0.5, 0.25, 0.1, 0.15])
    alpha, foreground, background = prior[:, :1], prior[:, 1:4], prior[:, 4:]
    if kind == "solved":
        return prior
    if kind == "blurred":
        alpha = blur(alpha[:, 0], float(rng.uniform(1, 8)))[:, None]
    elif kind == "absent":
        alpha = torch.full_like(alpha, 0.5)
    else:
        line = foreground - background
        along = ((rgb - background) * line).sum(1, keepdim=True)
        alpha = (along / (line.square().sum(1, keepdim=True) + 1e-3)).clamp(0, 1)
    return torch.cat([torch.where(trimap == 0.5, alpha, trimap), foreground, background], dim=1)
