"""Green and blue screens as they are on sets: unevenly lit, creased, with a seam, and never the same green twice."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, blur, fractal, smoothstep

__all__ = ["paint_screen", "screen_colour"]


def screen_colour(kind: Literal["green", "blue"], level: float, rng: Rng) -> Tensor:
    """Display-encoded colour ``[3, 1, 1]`` of a well-lit screen.

    Args:
        kind: which paint.
        level: how brightly it is lit: 1 is a bright studio, 0.3 a badly lit cellar.
        rng: for the paint's own hue and depth.
    """
    if kind == "green":
        colour = np.array([rng.uniform(0.05, 0.42), rng.uniform(0.66, 0.86), rng.uniform(0.14, 0.46)])
    else:
        colour = np.array([rng.uniform(0.04, 0.28), rng.uniform(0.20, 0.48), rng.uniform(0.62, 0.86)])
    return torch.from_numpy((colour * level).astype(np.float32))[:, None, None]


def paint_screen(
    colour: Tensor, height: int, width: int, scale: float, uneven: float, creases: float, rng: Rng
) -> Tensor:
    """A lit screen.

    Args:
        colour: ``[3, 1, 1]`` of its best-lit place.
        height: rows.
        width: columns.
        scale: pixels per frame height.
        uneven: how much darker its worst-lit place is, 0 for even light, 1 for black corners.
        creases: strength of folds and wrinkles, 0 for painted wood, 1 for cloth out of a bag.
        rng: where the numbers come from.

    Returns:
        ``[3, height, width]`` display-encoded, in [0, 1].
    """
    v = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    u = torch.linspace(-1, 1, width)[None].expand(height, width)
    # Two lamps of different reach, one of them off the middle, and a slow field for everything else.
    pools = torch.zeros(height, width)
    for strength in (1.0, 0.6):
        cu, cv, reach = rng.uniform(-0.9, 0.9), rng.uniform(-0.8, 0.5), rng.uniform(0.6, 1.3)
        pools += strength * torch.exp(-((u - cu) ** 2 + (v - cv) ** 2) / reach**2)
    slow = fractal(rng, height, width, feature=1.2 * scale, exponent=3.0)
    pools = pools + 0.15 * slow
    low, high = float(pools.min()), float(pools.max())
    light = 1 - uneven * (high - pools) / (high - low)
    # Hanging cloth: broad vertical folds, warped; on them sharp wrinkles lit from one side.
    warp = fractal(rng, height, width, feature=0.8 * scale, exponent=2.6)
    folds = torch.sin(float(rng.uniform(6, 16)) * u + 1.6 * warp + float(rng.uniform(-1, 1)) * v)
    field = fractal(rng, height, width, feature=0.5 * scale, exponent=2.4)
    ridge = torch.exp(-((field / 0.12) ** 2)) * smoothstep(0.0, 1.2, warp)
    shift = max(1, round(0.004 * scale))
    wrinkle = blur(ridge[None], 0.003 * scale)[0]
    wrinkle = wrinkle - torch.roll(wrinkle, (shift, shift), (0, 1))
    cloth = fractal(rng, height, width, feature=0.006 * scale + 1, exponent=1.0)
    relief = 1 + creases * (0.035 * folds * smoothstep(-0.5, 1.0, warp) + 0.14 * wrinkle) + 0.006 * cloth
    if creases > 0.3:
        seam = (u - float(rng.uniform(-1, 1)) - 0.01 * warp).abs() * width / 2 / scale
        relief = relief * (1 - 0.10 * creases * smoothstep(0.006, 0.0, seam))
    lit = colour * (light * relief)
    # Where a screen is overlit it also pales: its sheen adds the lamp's white.
    return (lit + 0.05 * uneven * smoothstep(0.75, 1.0, light) * float(colour.max())).clamp(0, 1)
