"""What cameras and codecs do to a composite: soft or sharpened edges, grain, coarse chroma, quantised blocks."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from videomatte.scenes.damage import add_grain, compress
from videomatte.scenes.noise import Rng, blur

__all__ = ["damage", "spill"]


def damage(rng: Rng, rgb: Tensor) -> Tensor:
    """A composite as it comes out of a camera and a file: none, some or all of the above.

    Args:
        rng: where the numbers come from.
        rgb: ``[3, H, W]`` display-encoded in [0, 1].

    Returns:
        ``[3, H, W]`` in [0, 1].
    """
    if rng.random() < 0.2:
        rgb = blur(rgb, float(rng.uniform(0.4, 0.9)))
    if rng.random() < 0.15:  # halos of sharpening in the camera
        rgb = (rgb + float(rng.uniform(0.2, 1.0)) * (rgb - blur(rgb, 1.0))).clamp(0, 1)
    if rng.random() < 0.6:
        rgb = add_grain(rgb, float(np.exp(rng.uniform(math.log(0.002), math.log(0.03)))), rng)
    if rng.random() < 0.6:
        rgb = compress(rgb, int(rng.integers(35, 100)))
    return rgb


def spill(foreground: Tensor, alpha: Tensor, colour: Tensor, amount: float) -> Tensor:
    """Light from a screen on the subject: all over a little, at soft edges more.

    Args:
        foreground: ``[3, H, W]`` straight.
        alpha: ``[1, H, W]``.
        colour: ``[3, 1, 1]`` of the screen.
        amount: 0 none to 1 strong.
    """
    rim = 1 - blur(alpha, 6)
    return (foreground + amount * colour * (0.06 + 0.5 * rim)).clamp(0, 1)
