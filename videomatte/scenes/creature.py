"""A furry animal or plush toy: solids, coat pattern, eyes and nose. Its fur is grown by :mod:`hair`.

Lengths are in frame heights about the middle of the head; u right, v down, w toward the camera.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from videomatte.scenes.hair import grow_fur
from videomatte.scenes.noise import Rng, fractal_like, luma, smoothstep
from videomatte.scenes.strands import Strands
from videomatte.scenes.surface import Ellipsoid, Light, Surface, coordinates, raise_surface, shade

__all__ = ["BOUNDS", "paint_creature"]

BOUNDS = (-0.42, -0.34, 0.42, 1.0)
"""Canvas a creature is drawn on: left, top, right, bottom; it runs on below the frame."""

COATS = (
    (0.16, 0.13, 0.12), (0.30, 0.22, 0.16), (0.45, 0.32, 0.22), (0.62, 0.44, 0.27), (0.78, 0.60, 0.38),
    (0.85, 0.74, 0.58), (0.90, 0.88, 0.84), (0.55, 0.54, 0.53), (0.72, 0.40, 0.18), (0.35, 0.34, 0.36),
    (0.80, 0.45, 0.52), (0.40, 0.55, 0.70), (0.45, 0.62, 0.42),
)  # fmt: skip
"""Coats of animals, and three dyes of toys."""
COAT, PALE = 0, 1


@dataclass(frozen=True, slots=True)
class _Build:
    parts: list[Ellipsoid]
    muzzle: Ellipsoid
    eye_u: float
    eye_v: float
    eye: float


def _build(rng: Rng) -> _Build:
    """A bear, cat, dog or monster by its ears, muzzle and proportions."""
    wide, long = float(rng.uniform(0.9, 1.2)), float(rng.uniform(0.85, 1.2))
    head = Ellipsoid(0, 0, 0, 0.155 * wide, 0.14, 0.14)
    out = float(rng.uniform(0.05, 0.13))
    muzzle = Ellipsoid(0, 0.055, out, 0.07 * long, 0.05, 0.075, blend=0.04, paint=PALE)
    parts = [
        head,
        Ellipsoid(-0.075, 0.05, 0.03, 0.075, 0.07, 0.08, blend=0.04),
        Ellipsoid(0.075, 0.05, 0.03, 0.075, 0.07, 0.08, blend=0.04),
        muzzle,
    ]
    ears = rng.choice(["round", "pointed", "hanging", "tall", "none"])
    ru, rv, eu, ev, turn = {
        "round": (0.055, 0.055, 0.125, -0.115, 0.5),
        "pointed": (0.040, 0.085, 0.105, -0.150, 0.35),
        "hanging": (0.045, 0.115, 0.165, 0.020, -0.15),
        "tall": (0.033, 0.140, 0.065, -0.190, 0.15),
        "none": (0.02, 0.02, 0.06, -0.06, 0.0),
    }[str(ears)]
    parts += [Ellipsoid(s * eu * wide, ev, 0.0, ru, rv, 0.035, turn=s * turn, blend=0.03) for s in (-1, 1)]
    chubby = float(rng.uniform(0.85, 1.2))
    parts += [
        Ellipsoid(0, 0.24, -0.03, 0.11 * chubby, 0.15, 0.10, blend=0.06),
        Ellipsoid(0, 0.48, -0.02, 0.20 * chubby, 0.25, 0.17, blend=0.08),
        Ellipsoid(0, 0.46, 0.06, 0.12 * chubby, 0.17, 0.11, blend=0.05, paint=PALE),
        Ellipsoid(0, 0.90, -0.02, 0.23 * chubby, 0.34, 0.18, blend=0.10),
    ]
    spread = float(rng.uniform(0.15, 0.6))
    for side in (-1, 1):
        parts.append(Ellipsoid(side * 0.225 * chubby, 0.50, 0.0, 0.065, 0.19, 0.075, turn=-side * spread, blend=0.05))
    eye = float(rng.uniform(0.015, 0.026))
    return _Build(parts, muzzle, 0.066 * wide, float(rng.uniform(-0.035, -0.015)), eye)


def paint_creature(scale: float, light: Light, rng: Rng) -> tuple[Tensor, Surface, Strands]:
    """A creature and the fur to be drawn over it.

    Args:
        scale: pixels per frame height.
        light: what lights it.
        rng: where the numbers come from.

    Returns:
        ``[4, H, W]`` premultiplied display-encoded RGB and alpha of the bare body on the canvas ``BOUNDS``, the surface
        under it, and its fur.
    """
    build = _build(rng)
    u, v = coordinates(BOUNDS, scale)
    surface = raise_surface(build.parts, BOUNDS, scale)
    coat = _coat(surface, u, v, scale, rng)
    eyes = _eye_mask(build, u, v, 1.25)
    nose_v = build.muzzle.v - 0.018
    nose = ((u / 0.024).square() + ((v - nose_v) / 0.0155).square()).sqrt()
    cover = smoothstep(1.0, 1.5, nose) * (1 - eyes)
    # Faces and muzzles are short-haired.
    near_face = torch.exp(-((u / 0.11).square() + ((v - 0.04) / 0.085).square()))
    cover = cover * (1 - 0.72 * near_face) * (1 - 0.8 * _eye_mask(build, u, v + 0.8 * build.eye, 2.2))
    # A strand knows only its own direction to the light; the body's form is put into the colour at its root.
    form = 0.45 + 0.65 * luma(shade(torch.full_like(coat, 0.7), surface, light, gloss=0.0, soft=0.6))
    fur = grow_fur(
        surface,
        u,
        v,
        (coat * form).clamp(0, 1),
        cover,
        rng,
        length=float(rng.uniform(0.025, 0.085)),
        count=int(rng.uniform(26000, 34000)),
        width=float(rng.uniform(0.0012, 0.0019)),
        comb=(float(rng.normal(0, 0.25)), float(rng.uniform(0.1, 0.7))),
        clumping=float(rng.uniform(0.2, 1.0)),
    )
    # The body under the fur is drawn shrunken and dark: it closes gaps but never makes the outline.
    skin = shade(coat * 0.55, surface, light, gloss=0.0, soft=0.5)
    skin = _features(build, skin, u, v, nose, light, rng, scale)
    inset = 0.004
    alpha = smoothstep(-0.75 / scale, 0.75 / scale, surface.distance - inset)[None]
    return torch.cat([skin * alpha, alpha]), surface, fur


def _coat(surface: Surface, u: Tensor, v: Tensor, scale: float, rng: Rng) -> Tensor:
    """Colour of the fur at its roots: a ground, paler underparts, and stripes, spots, patches or none."""
    first, second = (torch.tensor(COATS[rng.integers(len(COATS))])[:, None, None] for _ in range(2))
    noise = fractal_like(rng, u, feature=0.15 * scale, exponent=2.0)
    kind = rng.choice(["plain", "stripes", "spots", "patches"])
    if kind == "stripes":
        mark = smoothstep(0.1, 0.5, torch.sin(float(rng.uniform(40, 80)) * (v - 0.5 * u.abs()) + 2.0 * noise))
    elif kind == "spots":
        fine = fractal_like(rng, u, feature=0.035 * scale, exponent=3.0)
        mark = smoothstep(0.5, 0.9, fine)
    elif kind == "patches":
        mark = smoothstep(0.2, 0.4, noise)
    else:
        mark = torch.zeros_like(u)
    ground = torch.lerp(first, second, 0.9 * mark)
    pale = (ground * 0.45 + 0.5 * torch.tensor([0.95, 0.92, 0.86])[:, None, None]).clamp(0, 1)
    ground = torch.lerp(ground, pale, float(rng.uniform(0, 1)) * surface.paint[PALE])
    return (ground * (1 + 0.07 * noise)).clamp(0.02, 0.97)


def _eye_mask(build: _Build, u: Tensor, v: Tensor, grow: float) -> Tensor:
    radius = build.eye * grow
    left = (u + build.eye_u).square() + (v - build.eye_v).square()
    right = (u - build.eye_u).square() + (v - build.eye_v).square()
    return smoothstep(radius * 1.15, radius, torch.minimum(left, right).sqrt())


def _features(
    build: _Build, picture: Tensor, u: Tensor, v: Tensor, nose: Tensor, light: Light, rng: Rng, scale: float
) -> Tensor:
    """Glossy eyes and a wet nose."""
    soft = 0.8 / scale
    iris = torch.tensor(rng.uniform([0.1, 0.06, 0.03], [0.75, 0.5, 0.2])).float()[:, None, None]
    bright = (light.key + light.ambient).clamp(0.15, 1) ** (1 / 2.2)
    slit = 0.45 if rng.random() < 0.4 else 1.0
    for side in (-1, 1):
        x, y = u - side * build.eye_u, v - build.eye_v
        radius = (x * x + y * y).sqrt()
        ball = iris * (0.45 + 0.75 * smoothstep(-build.eye, build.eye, y)) * bright
        pupil = ((x / slit).square() + y * y).sqrt()
        ball = ball * smoothstep(0.62 * build.eye - soft, 0.62 * build.eye + soft, pupil)
        ball = ball * smoothstep(build.eye, 0.8 * build.eye, radius)
        glint = smoothstep(
            0.24 * build.eye + soft,
            0.24 * build.eye - soft,
            ((x + 0.3 * build.eye) ** 2 + (y + 0.35 * build.eye) ** 2).sqrt(),
        )
        ball = torch.lerp(ball, torch.full_like(ball, 0.96), 0.95 * glint)
        picture = torch.lerp(picture, ball, smoothstep(build.eye + soft, build.eye - soft, radius))
    black = torch.tensor([0.09, 0.07, 0.07])[:, None, None] * bright
    shine = torch.exp(-(((u + 0.006) / 0.009) ** 2) - ((v - build.muzzle.v + 0.024) / 0.0035) ** 2)
    wet = black + 0.55 * shine * bright
    picture = torch.lerp(picture, wet, smoothstep(1.12, 1.0, nose))
    mouth = (
        torch.exp(-((u / 0.0022) ** 2))
        * smoothstep(0.0, 0.004, v - build.muzzle.v)
        * smoothstep(0.03, 0.02, v - build.muzzle.v)
    )
    return (picture * (1 - 0.7 * mouth)).clamp(0, 1)
