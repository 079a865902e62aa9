"""Places to stand before: landscape, street, foliage, room, wall and night lights, each new with every seed.

All take a canvas size and the number of pixels per frame height, and give display-encoded ``[3, height, width]`` in
[0, 1]. They are painted sharp; how far they are out of focus is the caller's choice.
"""

import numpy as np
import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, bearing, blur, fractal, fractal_like, power, smoothstep, uniform_colour
from videomatte.scenes.textures import FLOORS, WALLS, grass

__all__ = ["PLACES", "paint_place"]


def paint_place(height: int, width: int, scale: float, rng: Rng) -> Tensor:
    """One of the places, graded: exposure, warmth and contrast drawn, corners darkened."""
    picture = PLACES[rng.integers(len(PLACES))](height, width, scale, rng)
    warmth = float(rng.normal(0, 0.05))
    grade = torch.tensor([1 + warmth, 1.0, 1 - warmth])[:, None, None] * float(rng.uniform(0.65, 1.1))
    gamma = float(rng.uniform(0.85, 1.25))
    u, v = _grid(height, width, scale)
    vignette = 1 - float(rng.uniform(0, 0.35)) * smoothstep(0.4, 1.3, (u.square() + v.square()).sqrt())
    return (power(picture.clamp(0, 1), gamma) * grade * vignette).clamp(0, 1)


def _grid(height: int, width: int, scale: float) -> tuple[Tensor, Tensor]:
    """u, v in frame heights about the middle of the canvas."""
    u = (torch.arange(width, dtype=torch.float32) + 0.5 - width / 2) / scale
    v = (torch.arange(height, dtype=torch.float32) + 0.5 - height / 2) / scale
    return u.expand(height, width), v[:, None].expand(height, width)


def _sky(u: Tensor, v: Tensor, horizon: float, scale: float, rng: Rng) -> Tensor:
    zenith = uniform_colour(rng, (0.20, 0.35, 0.55), (0.45, 0.62, 0.90))
    low = uniform_colour(rng, (0.70, 0.68, 0.65), (0.98, 0.92, 0.90))
    up = ((horizon - v) / 0.9).clamp(0, 1)
    picture = torch.lerp(low, zenith, power(up, 0.7))
    clouds = fractal_like(rng, u, feature=0.5 * scale, exponent=1.9)
    cover = smoothstep(float(rng.uniform(-0.5, 0.8)), 1.8, clouds) * smoothstep(0.0, 0.25, up)
    lit = 0.88 + 0.1 * (clouds - torch.roll(clouds, -max(1, int(0.02 * scale)), 0)).clamp(-1, 1)
    picture = torch.lerp(picture, lit * torch.tensor([1.0, 0.99, 0.97])[:, None, None], cover * 0.85)
    glow = torch.exp(-((u - float(rng.uniform(-1, 1))) ** 2 + (v - horizon + 0.2) ** 2) / 0.15)
    return picture + 0.25 * glow * torch.tensor([1.0, 0.9, 0.7])[:, None, None]


def _landscape(height: int, width: int, scale: float, rng: Rng) -> Tensor:
    u, v = _grid(height, width, scale)
    horizon = float(rng.uniform(-0.05, 0.2))
    picture = _sky(u, v, horizon, scale, rng)
    haze = uniform_colour(rng, (0.6, 0.65, 0.7), (0.85, 0.85, 0.88))
    near = uniform_colour(rng, (0.10, 0.16, 0.06), (0.40, 0.42, 0.22))
    ridges = int(rng.integers(3, 6))
    texture = fractal(rng, height, width, feature=0.1 * scale, exponent=1.3)
    for k in range(ridges):
        close = (k + 1) / ridges
        line = fractal(rng, 1, width, feature=(0.9 - 0.6 * close) * scale, exponent=2.0 - 0.7 * close)[0]
        top = horizon - 0.24 * (1 - close) ** 1.2 - 0.02 + (0.09 - 0.055 * close) * line
        inside = smoothstep(-1.0 / scale, 1.0 / scale, v - top)
        colour = torch.lerp(haze, near, close**1.3) * (1 + (0.04 + 0.22 * close) * texture)
        mist = smoothstep(0.0, 0.2, v - top)[None] * (1 - close) * 0.5
        picture = torch.lerp(picture, torch.lerp(colour, haze, mist), inside)
    field = (v - horizon - 0.03).clamp(min=0.004)
    meadow = grass(rng)(0.25 * u / field, 0.12 / field)
    shade = 1 + 0.2 * fractal(rng, height, width, feature=0.4 * scale, exponent=2.0)
    return torch.lerp(picture, meadow * shade, smoothstep(0.03, 0.04 + 1 / scale, v - horizon))


def _street(height: int, width: int, scale: float, rng: Rng) -> Tensor:
    u, v = _grid(height, width, scale)
    slope = float(rng.uniform(-0.35, 0.35))
    depth = 1 / (1 + slope * u).clamp(min=0.25)
    metres = float(rng.uniform(3.0, 7.0))
    x, y = u * depth * metres + 50, v * depth * metres
    wall = WALLS[rng.integers(len(WALLS))](rng)(x, y)
    wall = wall * (1 + 0.06 * fractal(rng, height, width, feature=0.6 * scale))
    across, tall = float(rng.uniform(1.4, 2.4)), float(rng.uniform(2.2, 3.2))
    column, row = (x / across).floor(), (y / tall).floor()
    dx, dy = (x / across - column - 0.5) * across, (y / tall - row - 0.5) * tall
    own = torch.from_numpy(rng.random(1024).astype(np.float32))[(column.long() * 37 + row.long() * 91) % 1024]
    half_w, half_h = across * float(rng.uniform(0.22, 0.34)), tall * float(rng.uniform(0.25, 0.36))
    edge = torch.minimum(half_w - dx.abs(), half_h - dy.abs())
    glass = torch.tensor([0.30, 0.36, 0.44])[:, None, None] * (0.5 + 0.9 * own) * (1 - 0.35 * dy / tall)
    lamp = torch.tensor([0.98, 0.82, 0.52])[:, None, None] * (0.8 + 0.2 * own)
    glass = torch.where(own > float(rng.uniform(0.55, 0.95)), lamp, glass)
    curtain = smoothstep(0.0, 0.05, dx.abs() - half_w * (0.3 + 0.6 * own)) * (own < 0.5)
    glass = torch.lerp(glass, torch.full_like(glass, 0.7) * (0.9 + 0.1 * torch.sin(dx * 60)), curtain * 0.7)
    bars = smoothstep(0.045, 0.03, torch.minimum(dx.abs(), (dy + 0.15 * tall).abs()))
    frame = uniform_colour(rng, (0.15, 0.15, 0.15), (0.95, 0.95, 0.92))
    window = torch.lerp(glass, frame * 0.9, torch.maximum(bars, smoothstep(0.10, 0.08, edge)))
    picture = torch.lerp(wall, window, smoothstep(0.0, 0.02, edge))
    lintel = smoothstep(0.02, 0.0, (dx.abs() - half_w - 0.1).clamp(min=0)) * smoothstep(
        0.06, 0.04, (dy - half_h - 0.08).abs()
    )
    picture = torch.lerp(picture, frame * 0.8, lintel)
    picture = picture * (
        1
        - 0.35
        * smoothstep(0.14, 0.0, dy - half_h - 0.14)
        * smoothstep(-0.02, 0.0, dy - half_h - 0.14)
        * (dx.abs() < half_w + 0.1)
    )
    ground = float(rng.uniform(0.38, 0.6))
    flat = (v - 0.15).clamp(min=0.01)
    pavement = FLOORS[rng.integers(1, len(FLOORS))](rng)(u / flat * 0.8, 1.2 / flat) * 0.8
    picture = torch.lerp(picture, pavement, smoothstep(0.0, 2 / scale, v - ground * (1 + slope * u)))
    sun = smoothstep(-0.03, 0.03, u * float(rng.normal()) + v * float(rng.normal()) + float(rng.normal(0, 0.3)))
    return picture * (1 - 0.35 * float(rng.random() < 0.5) * sun)


def _foliage(height: int, width: int, scale: float, rng: Rng) -> Tensor:
    u, v = _grid(height, width, scale)
    dark = uniform_colour(rng, (0.03, 0.05, 0.02), (0.14, 0.18, 0.10))
    picture = dark * (1 + 0.3 * fractal(rng, height, width, feature=0.3 * scale))
    leaf = uniform_colour(rng, (0.15, 0.28, 0.05), (0.50, 0.58, 0.25))
    if rng.random() < 0.25:
        leaf = uniform_colour(rng, (0.5, 0.25, 0.05), (0.8, 0.5, 0.2))
    size = float(rng.uniform(0.05, 0.16))
    light = 0.75 + 0.35 * fractal(rng, height, width, feature=0.5 * scale, exponent=2.0)
    for k in range(4):
        near = (k + 1) / 4
        picture = _leaves(picture, u, v, size * (0.6 + 0.6 * near), leaf * (0.35 + 0.75 * near) * light, 0.55, rng)
        picture = picture * (0.86 if k < 3 else 1)
    return picture


def _leaves(picture: Tensor, u: Tensor, v: Tensor, cell: float, colour: Tensor, keep: float, rng: Rng) -> Tensor:
    """One leaf in each cell of a jittered grid, drawn in the four cells that can reach a pixel."""
    table = torch.from_numpy(rng.random((6, 4096)).astype(np.float32))
    offset = rng.random(2) * 100
    x, y = u / cell + float(offset[0]), v / cell + float(offset[1])
    base_x, base_y = (x - 0.5).floor(), (y - 0.5).floor()
    for i in (0, 1):
        for j in (0, 1):
            cx, cy = base_x + i, base_y + j
            key = (cx.long() * 73 + cy.long() * 1021) % 4096
            angle = 6.2832 * table[0][key]
            # The leaf's middle stays within half a cell of the cell's own, and its reach within the next.
            px = x - cx - 0.5 - 0.45 * (table[1][key] - 0.5)
            py = y - cy - 0.5 - 0.45 * (table[2][key] - 0.5)
            a = angle.cos() * px + angle.sin() * py
            b = angle.cos() * py - angle.sin() * px
            long = 0.42 + 0.25 * table[3][key]
            outline = b.abs() - 0.42 * long * (1 - (a / long).square()).clamp(min=0) * (1 - 0.4 * a / long)
            inside = smoothstep(0.03, -0.03, outline) * (a.abs() < long) * (table[4][key] < keep)
            vein = 1 - 0.25 * torch.exp(-((b / 0.02) ** 2)) + 0.12 * torch.sin(30 * (a - 1.2 * b.abs()))
            lit = colour * (0.6 + 0.8 * table[5][key]) * vein * (1 + 0.35 * b / long)
            picture = torch.lerp(picture, lit.clamp(0, 1), inside)
    return picture


def _room(height: int, width: int, scale: float, rng: Rng) -> Tensor:
    u, v = _grid(height, width, scale)
    wall_material = WALLS[rng.integers(1, len(WALLS))](rng)
    floor_line, corner = float(rng.uniform(0.25, 0.42)), float(rng.uniform(0.5, 1.1)) * float(rng.choice([-1, 1]))
    vanish_u, vanish_v = float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.1, 0.05))
    metres = float(rng.uniform(2.2, 3.5))
    picture = wall_material(u * metres, v * metres)
    side = (u - corner) * np.sign(corner)
    # The side wall and the floor recede: their coordinates are those of the back wall's edge, over the depth.
    reach = ((u - vanish_u) / (corner - vanish_u)).clamp(min=1)
    flank = wall_material((1 - 1 / reach) * 8 * metres + 3, vanish_v + (v - vanish_v) / reach * metres) * 0.72
    picture = torch.where(side > 0, flank, picture)
    drop = ((v - vanish_v) / (floor_line - vanish_v)).clamp(min=1)
    on_floor = drop > torch.where(side > 0, reach, torch.ones_like(reach))
    boards = FLOORS[rng.integers(3)](rng)((u - vanish_u) / drop * metres, (1 - 1 / drop) * 5 * metres)
    picture = torch.where(on_floor, boards * 0.85, picture)
    skirting = (v - floor_line).abs() < 0.018
    picture = torch.where(skirting & (side < 0), picture * 0.3 + 0.6, picture)
    for _ in range(int(rng.integers(2, 6))):
        cu, cv = float(rng.uniform(-1, 1)), float(rng.uniform(-0.45, 0.05))
        hu, hv = float(rng.uniform(0.06, 0.2)), float(rng.uniform(0.06, 0.18))
        if np.sign(corner) * cu + hu < abs(corner):
            picture = _furnish(picture, u - cu, v - cv, hu, hv, scale, rng)
    if rng.random() < 0.6:
        picture = _sofa(picture, u - float(rng.uniform(-0.8, 0.8)), v - floor_line, rng)
    lamp_u, lamp_v = float(rng.uniform(-0.8, 0.8)), float(rng.uniform(-0.5, 0.1))
    pool = torch.exp(-((u - lamp_u) ** 2 + (v - lamp_v) ** 2) / float(rng.uniform(0.15, 0.7)))
    return picture * (0.55 + 0.6 * pool * torch.tensor([1.0, 0.93, 0.82])[:, None, None])


def _furnish(picture: Tensor, u: Tensor, v: Tensor, hu: float, hv: float, scale: float, rng: Rng) -> Tensor:
    """A framed picture, a window with daylight, or a shelf of books on the wall."""
    edge = torch.minimum(hu - u.abs(), hv - v.abs())
    shadow = torch.minimum(hu - (u - 0.012).abs(), hv - (v - 0.016).abs())
    picture = picture * (1 - 0.3 * smoothstep(-0.015, 0.01, shadow))
    kind = rng.integers(3)
    if kind == 0:
        art = torch.stack([0.5 + 0.22 * fractal_like(rng, u, feature=0.1 * scale, exponent=2.2) for _ in range(3)])
        inner = torch.where(edge > 0.025, art, torch.full_like(art, 0.9))
    elif kind == 1:
        inner = _sky(u, v, 0.1, scale, rng) * 1.05
        inner = torch.where(torch.minimum(u.abs(), v.abs()) < 0.006, torch.full_like(inner, 0.85), inner)
    else:
        column, row = ((u + hu) / 0.016).floor(), (v / 0.075).floor()
        key = (column.long() * 13 + row.long() * 101) % 512
        spines = torch.from_numpy(rng.uniform(0.1, 0.75, (3, 512)).astype(np.float32))[:, key]
        tall = 0.25 * torch.from_numpy(rng.random(512).astype(np.float32))[key]
        gap = (v / 0.075 - row) < 0.12 + tall
        inner = torch.where(gap, torch.full_like(spines, 0.08), spines * (0.75 + 0.5 * ((u + hu) / 0.016 - column)))
    frame = uniform_colour(rng, (0.08, 0.06, 0.05), (0.8, 0.75, 0.7))
    inner = torch.lerp(frame * (1 + 0.2 * (v + u)), inner, smoothstep(0.008, 0.011, edge))
    return torch.lerp(picture, inner.clamp(0, 1), smoothstep(-1 / scale, 1 / scale, edge))


def _sofa(picture: Tensor, u: Tensor, v: Tensor, rng: Rng) -> Tensor:
    """A soft seat on the floor: rounded back, cushions, arms."""
    colour = uniform_colour(rng, (0.12, 0.12, 0.12), (0.7, 0.6, 0.55))
    for du, dv, hu, hv in (
        (0, -0.06, 0.36, 0.13),
        (-0.17, 0.04, 0.17, 0.06),
        (0.17, 0.04, 0.17, 0.06),
        (-0.37, 0.0, 0.05, 0.12),
        (0.37, 0.0, 0.05, 0.12),
    ):
        x, y = ((u - du) / hu).abs(), ((v - dv) / hv)
        round_ = power(power(x, 6) + power(y.abs(), 6), 1 / 6)
        body = colour * (1.1 - 0.35 * y - 0.25 * x.square().square())
        picture = torch.lerp(picture, body.clamp(0, 1), smoothstep(1.02, 0.98, round_))
    return picture


def _wall(height: int, width: int, scale: float, rng: Rng) -> Tensor:
    u, v = _grid(height, width, scale)
    slope = float(rng.uniform(-0.3, 0.3))
    depth = 1 / (1 + slope * u).clamp(min=0.3)
    metres = float(rng.uniform(0.9, 2.5))
    picture = WALLS[rng.integers(len(WALLS))](rng)(u * depth * metres, v * depth * metres)
    pool = torch.exp(-((u - float(rng.uniform(-0.7, 0.7))) ** 2 + (v - float(rng.uniform(-0.5, 0.3))) ** 2) / 0.5)
    stripes = torch.ones_like(u)
    if rng.random() < 0.3:
        # Light through a blind.
        slats = torch.sin(float(rng.uniform(18, 40)) * (v + float(rng.uniform(-0.4, 0.4)) * u))
        stripes = 0.75 + 0.35 * blur(smoothstep(-0.1, 0.2, slats)[None], 0.006 * scale)[0]
    return picture * (0.55 + 0.6 * pool) * stripes


def _night(height: int, width: int, scale: float, rng: Rng) -> Tensor:
    """Lights far out of focus: discs of the aperture's shape over dark shapes."""
    u, v = _grid(height, width, scale)
    top, bottom = (
        uniform_colour(rng, (0.01, 0.01, 0.04), (0.10, 0.10, 0.20)),
        uniform_colour(rng, (0.04, 0.03, 0.03), (0.22, 0.16, 0.14)),
    )
    picture = torch.lerp(top, bottom, smoothstep(-0.6, 0.5, v)) * (
        1 + 0.25 * fractal(rng, height, width, feature=0.4 * scale, exponent=2.4)
    )
    sizes = rng.uniform(0.012, 0.075) * np.exp(rng.normal(0, 0.35, 140))
    blades = int(rng.choice([0, 0, 6, 7]))
    for size in sizes[: int(rng.integers(50, 140))]:
        cu, cv = rng.uniform(-1.1, 1.1) * width / scale / 2, rng.normal(0.05, 0.22)
        reach = int(size * scale * 1.2) + 2
        x, y = int((cu + width / scale / 2) * scale), int((cv + height / scale / 2) * scale)
        rows, columns = slice(max(0, y - reach), max(0, y + reach)), slice(max(0, x - reach), max(0, x + reach))
        du, dv = u[rows, columns] - float(cu), v[rows, columns] - float(cv)
        if du.numel() == 0:
            continue
        radius = (du.square() + dv.square()).sqrt() / float(size)
        if blades:
            step = 6.2832 / blades
            angle = torch.remainder(bearing(dv, du), step) - step / 2
            radius = radius * angle.cos() / np.cos(step / 2) * 0.93
        disc = smoothstep(1.0 + 1 / (size * scale), 1.0 - 1 / (size * scale), radius) * (
            0.75 + 0.3 * radius.square().square()
        )
        hue = rng.choice(
            np.array([[1.0, 0.75, 0.4], [1.0, 0.9, 0.75], [1.0, 0.3, 0.2], [0.4, 0.8, 1.0], [0.5, 1.0, 0.5]]),
            p=[0.4, 0.25, 0.15, 0.12, 0.08],
        )
        light = torch.from_numpy((hue * rng.uniform(0.15, 0.75)).astype(np.float32))[:, None, None] * disc
        patch = picture[:, rows, columns]
        # Lights add up without burning out: 1 - (1 - a)(1 - b).
        picture[:, rows, columns] = 1 - (1 - patch) * (1 - light)
    return picture


PLACES = (_landscape, _street, _foliage, _room, _room, _wall, _night)
"""What :func:`paint_place` draws from; rooms count twice, for people are mostly filmed indoors."""
