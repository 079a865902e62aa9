"""A forearm and an open hand, to be waved before the body: fingers apart, quick, and so motion-blurred."""

import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, fractal_like, smoothstep
from videomatte.scenes.person import Person
from videomatte.scenes.surface import Ellipsoid, Light, coordinates, raise_surface, shade

__all__ = ["ARM_BOUNDS", "ELBOW", "paint_arm"]

ELBOW = (0.30, 0.86)
"""The right-hand arm's pivot on the person's canvas."""
ARM_BOUNDS = (0.14, 0.20, 0.50, 1.0)
"""Canvas the right-hand arm is drawn on."""


def paint_arm(
    person: Person, side: int, scale: float, light: Light, rng: Rng
) -> tuple[Tensor, tuple[float, float, float, float]]:
    """A raised forearm.

    Args:
        person: whose skin and cloth it wears.
        side: 1 for the arm on the right of the picture, -1 for the left.
        scale: pixels per frame height.
        light: what lights it.
        rng: where the numbers come from.

    Returns:
        ``[4, H, W]`` premultiplied display-encoded RGB and alpha, and the canvas's bounds.
    """
    left, top, right, bottom = ARM_BOUNDS
    bounds = ARM_BOUNDS if side > 0 else (-right, top, -left, bottom)
    u = ELBOW[0]
    parts = [
        Ellipsoid(u, 0.88, 0.05, 0.062, 0.09, 0.065, blend=0.04, paint=1),
        Ellipsoid(u + 0.008, 0.68, 0.08, 0.050, 0.20, 0.052, blend=0.04, paint=1),
        Ellipsoid(u + 0.012, 0.53, 0.10, 0.026, 0.06, 0.026, blend=0.02),
        Ellipsoid(u + 0.012, 0.445, 0.11, 0.043, 0.052, 0.022, blend=0.015),
        Ellipsoid(u + 0.012, 0.475, 0.115, 0.036, 0.035, 0.022, blend=0.015),
    ]
    spread = float(rng.uniform(0.6, 1.3))
    for k, long in enumerate((0.052, 0.062, 0.066, 0.058)):
        lean = (k - 1.5) * 0.14 * spread
        reach = 0.048 + long * 0.8
        fu, fv = u + 0.012 + (k - 1.5) * 0.020 + lean * reach, 0.445 - reach * (1 - lean * lean / 2) - 0.004
        parts.append(Ellipsoid(fu, fv, 0.112, 0.0098, long * 0.85, 0.011, turn=lean, blend=0.010))
    parts.append(Ellipsoid(u - 0.042, 0.452, 0.118, 0.012, 0.045, 0.013, turn=-0.65 * spread, blend=0.015))
    if side < 0:
        parts = [Ellipsoid(-p.u, p.v, p.w, p.ru, p.rv, p.rw, -p.turn, p.blend, p.paint) for p in parts]
    surface = raise_surface(parts, bounds, scale)
    u_grid, v_grid = coordinates(bounds, scale)
    rough = fractal_like(rng, u_grid, feature=0.04 * scale, exponent=1.3)
    folds = fractal_like(rng, u_grid, feature=0.12 * scale, exponent=2.9)
    skin = torch.tensor(person.tone)[:, None, None] * (1 + 0.02 * rough)
    cloth = person.cloth(
        person.pattern * (u_grid + 0.3 * surface.normal[0] * 0.05), person.pattern * (v_grid + 0.006 * folds)
    )
    cuff = 0.575 + 0.004 * rough
    sleeve = smoothstep(-0.002, 0.002, v_grid - cuff)
    hem = smoothstep(0.014, 0.0125, v_grid - cuff)
    albedo = torch.lerp(skin, cloth * (1 - 0.2 * hem), sleeve)
    picture = shade(
        albedo, surface, light, gloss=0.08 * (1 - sleeve)[None] + 0.02, soft=0.35, bump=0.006 * folds * sleeve
    )
    alpha = smoothstep(-0.75 / scale, 0.75 / scale, surface.distance)[None]
    return torch.cat([picture * alpha, alpha]), bounds
