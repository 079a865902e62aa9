"""More from the same crops: other colours, and worse answers of the solver."""

from __future__ import annotations

import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, blur

__all__ = ["recolour", "vary_colours", "vary_prior", "weaken"]


def vary_colours(rng: Rng, rgb: Tensor, trimap: Tensor, prior: Tensor | None) -> tuple[Tensor, Tensor | None]:  # noqa: ARG001
    """A crop in other colours, for networks without a prior."""
    return recolour(rng, rgb), prior


def vary_prior(rng: Rng, rgb: Tensor, trimap: Tensor, prior: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """A crop in other colours, its prior in the same and at times with a worse alpha, for the embedded model.

    Args:
        rng: where the numbers come from.
        rgb: ``[T, 3, h, w]`` float32 in 0..1.
        trimap: ``[T, 1, h, w]`` float32: 0, 0.5, 1.
        prior: ``[T, 7, h, w]`` as :meth:`videomatte.models.embedded.EmbeddedMatting.prior` gives it.
    """
    assert prior is not None
    prior = weaken(rng, rgb, trimap, prior)
    colours = recolour(rng, torch.cat([rgb, prior[:, 1:4], prior[:, 4:]]))
    rgb, foreground, background = colours.chunk(3)
    return rgb, torch.cat([prior[:, :1], foreground, background], dim=1)


def recolour(rng: Rng, rgb: Tensor) -> Tensor:
    """Channels exchanged, turned to their negative and dimmed, each by itself, one way for all pictures of a batch.

    A composite stays one: where ``I = αF + (1 - α)B`` it holds after any change of each channel that is a line, and
    α is the same.

    Args:
        rng: where the numbers come from.
        rgb: ``[N, 3, h, w]`` in 0..1.

    Returns:
        ``[N, 3, h, w]`` in 0..1.
    """
    if rng.random() < 0.3:
        return rgb
    rgb = rgb[:, torch.from_numpy(rng.permutation(3))]
    if rng.random() < 0.3:
        rgb = 1 - rgb
    gain = torch.from_numpy(rng.uniform(0.6, 1.0, (3, 1, 1))).float()
    offset = torch.from_numpy(rng.uniform(0.0, 1.0, (3, 1, 1))).float() * (1 - gain)
    return rgb * gain + offset


def weaken(rng: Rng, rgb: Tensor, trimap: Tensor, prior: Tensor) -> Tensor:
    """The embedded model's prior with, one time in three, a worse alpha: blurred, absent, or by colour alone.

    Given nothing but good answers, a young network finds no correction that makes them better on average, and learns
    next to nothing; made to repair bad ones it learns matting, and then what remains to be done with good ones.

    Args:
        rng: where the numbers come from.
        rgb: ``[T, 3, h, w]`` float32 in 0..1.
        trimap: ``[T, 1, h, w]`` float32: 0, 0.5, 1.
        prior: ``[T, 7, h, w]`` as :meth:`videomatte.models.embedded.EmbeddedMatting.prior` gives it.

    Returns:
        ``[T, 7, h, w]``; known pixels are as they were.
    """
    kind = rng.choice(["solved", "blurred", "absent", "colour"], p=[0.67, 0.17, 0.06, 0.1])
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
