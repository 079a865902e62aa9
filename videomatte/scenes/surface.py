"""Bodies made of ellipsoids, seen from the front: their outline, depth, normals and light.

Lengths are in frame heights, u to the right, v downward, w toward the camera; the view is a parallel projection along
w. A body is the smooth union of its ellipsoids.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.scenes.noise import blur, power, resize, smoothstep

__all__ = ["Ellipsoid", "Light", "Surface", "coordinates", "raise_surface", "shade"]

SHARPNESS = 130.0
"""How abruptly one solid gives way to a higher one, per frame height."""
RELIEF = 300.0
"""Pixels per frame height that bodies are worked out at."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """One ellipsoid, turned within the picture plane."""

    u: float
    """Centre, to the right."""
    v: float
    """Centre, downward."""
    w: float
    """Centre, toward the camera."""
    ru: float
    """Radius along its own first axis."""
    rv: float
    """Radius along its own second axis."""
    rw: float
    """Radius toward the camera."""
    turn: float = 0.0
    """Turn in radians, clockwise on the screen."""
    blend: float = 0.02
    """How far its joint with the others is rounded, in frame heights."""
    paint: int = 0
    """Which of the body's materials it wears."""


@dataclass(frozen=True, slots=True)
class Surface:
    """The front of a body on a grid."""

    distance: Tensor
    """``[H, W]`` signed distance to the outline in frame heights, positive inside; near the outline it is exact
    enough to draw the edge from."""
    depth: Tensor
    """``[H, W]`` height toward the camera in frame heights."""
    normal: Tensor
    """``[3, H, W]`` unit normal (u, v, w)."""
    paint: Tensor
    """``[P, H, W]`` share of each material, summing to 1."""
    occlusion: Tensor
    """``[1, H, W]`` how much of the sky each point sees, in [0, 1]."""
    bounds: tuple[float, float, float, float]
    """Left, top, right, bottom of the canvas in frame heights."""
    scale: float
    """Pixels per frame height."""

    def at(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest pixel's number in the flattened canvas for places anywhere, and whether it lies on the body."""
        height, width = self.distance.shape
        x = ((u - self.bounds[0]) * self.scale).floor().clamp(0, width - 1).long()
        y = ((v - self.bounds[1]) * self.scale).floor().clamp(0, height - 1).long()
        index = y * width + x
        return index, self.distance.reshape(-1)[index] > 0


@dataclass(frozen=True, slots=True)
class Light:
    """What lights a subject."""

    direction: tuple[float, float, float]
    """Toward the key light: u, v (negative is above), w."""
    key: Tensor
    """``[3, 1, 1]`` linear colour of the key light."""
    ambient: Tensor
    """``[3, 1, 1]`` linear colour of the light from everywhere."""
    rim: Tensor
    """``[3, 1, 1]`` linear colour of the light from behind."""


def coordinates(bounds: tuple[float, float, float, float], scale: float) -> tuple[Tensor, Tensor]:
    """The u and v of every pixel centre of a canvas.

    Args:
        bounds: left, top, right, bottom in frame heights.
        scale: pixels per frame height.

    Returns:
        u and v, each ``[H, W]`` float32.

    Convention:
        Pixel (row i, column j) has its centre at ``left + (j + .5) / scale, top + (i + .5) / scale``.
    """
    left, top, right, bottom = bounds
    width, height = round((right - left) * scale), round((bottom - top) * scale)
    u = left + (torch.arange(width, dtype=torch.float32) + 0.5) / scale
    v = top + (torch.arange(height, dtype=torch.float32) + 0.5) / scale
    return u.expand(height, width).contiguous(), v[:, None].expand(height, width).contiguous()


def raise_surface(parts: list[Ellipsoid], bounds: tuple[float, float, float, float], scale: float) -> Surface:
    """The visible front of the smooth union of ellipsoids.

    The outline is the polynomial smooth union of the ellipses' approximate distances (Quilez, "Smooth minimum" and
    "Ellipsoid SDF"); the depth is the softmax of the ellipsoids' heights, each carried on beyond its own outline as a
    falling slope, so that parts flow into one another.

    It is worked out at no more than ``RELIEF`` pixels per frame height and enlarged, for it is smooth.

    Args:
        parts: the ellipsoids.
        bounds: left, top, right, bottom of the canvas in frame heights.
        scale: pixels per frame height.

    Convention:
        As :func:`coordinates`.
    """
    u, v = coordinates(bounds, min(scale, RELIEF))
    distance = torch.full_like(u, -10.0)
    total = torch.zeros_like(u)
    depth = torch.zeros_like(u)
    paint = torch.zeros(1 + max(p.paint for p in parts), *u.shape)
    for part in parts:
        turn = torch.tensor(part.turn)
        du, dv = u - part.u, v - part.v
        x = (turn.cos() * du + turn.sin() * dv) / part.ru
        y = (turn.cos() * dv - turn.sin() * du) / part.rv
        squared = x * x + y * y
        k0 = squared.sqrt()
        k1 = torch.sqrt((x / part.ru) ** 2 + (y / part.rv) ** 2).clamp(min=1e-6)
        own = k0 * (1 - k0) / k1
        h = ((distance - own).abs() / part.blend).clamp(max=1)
        distance = torch.maximum(distance, own) + part.blend * (1 - h) ** 2 / 4
        dome = part.rw * ((1 - squared).clamp(min=0.0) + 1e-4).sqrt()
        height = part.w + torch.where(squared < 1, dome, part.rw * 0.01 + 1.5 * own)
        weight = torch.exp(((height + 0.5) * SHARPNESS).clamp(-60, 80) - 60)
        total += weight
        depth += weight * height
        paint[part.paint] += weight
    depth = depth / total.clamp(min=1e-30)
    spacing = float(u[0, 1] - u[0, 0])
    depth = blur(depth[None], 0.006 / spacing)[0]
    normal = _normals(depth, spacing)
    inside = smoothstep(-spacing, spacing, distance)
    floor = float(depth[distance > 0].min()) if bool((distance > 0).any()) else 0.0
    hollow = torch.where(distance > -spacing, depth, torch.full_like(depth, floor))
    # A point much lower than its neighbourhood's mean height sees little sky.
    sunk = blur(torch.stack([hollow * inside, inside]), 0.035 / spacing)
    occlusion = (1 - 6 * (sunk[0] / sunk[1].clamp(min=0.05) - depth)).clamp(0.25, 1.0)
    rows, columns = round((bounds[3] - bounds[1]) * scale), round((bounds[2] - bounds[0]) * scale)
    fields = torch.cat([distance[None], depth[None], normal, occlusion[None], paint / total.clamp(min=1e-30)])
    fields = resize(fields, rows, columns)
    normal = F.normalize(fields[2:5], dim=0)
    return Surface(fields[0], fields[1], normal, fields[6:], fields[5:6], bounds, scale)


def _normals(depth: Tensor, spacing: float) -> Tensor:
    gu, gv = torch.zeros_like(depth), torch.zeros_like(depth)
    gu[:, 1:-1] = (depth[:, 2:] - depth[:, :-2]) / (2 * spacing)
    gv[1:-1] = (depth[2:] - depth[:-2]) / (2 * spacing)
    normal = torch.stack([-gu, -gv, torch.ones_like(depth)])
    return normal / normal.square().sum(0, keepdim=True).sqrt()


def shade(
    albedo: Tensor,
    surface: Surface,
    light: Light,
    *,
    gloss: Tensor | float = 0.1,
    soft: float = 0.3,
    bump: Tensor | None = None,
) -> Tensor:
    """Light a surface: wrapped diffuse, a hemisphere of ambient light, a sharp and a broad highlight, a rim.

    Args:
        albedo: ``[3, H, W]`` display-encoded colour of the material.
        surface: where it lies.
        light: what lights it.
        gloss: strength of the highlight, a number or ``[1, H, W]``.
        soft: how far light creeps past the terminator, as in skin and wool, in [0, 1].
        bump: ``[H, W]`` small relief in frame heights, or None.

    Returns:
        ``[3, H, W]`` display-encoded colour in [0, 1].
    """
    normal = surface.normal
    if bump is not None:
        # The relief tilts the normal: n - grad(bump), renormalised (Blinn, "Simulation of wrinkled surfaces", 1978).
        tilt = bump.new_zeros(3, *bump.shape)
        tilt[0, :, 1:] = (bump[:, :-1] - bump[:, 1:]) * surface.scale
        tilt[1, 1:] = (bump[:-1] - bump[1:]) * surface.scale
        normal = normal + tilt
        normal = normal / normal.square().sum(0, keepdim=True).sqrt()
    lu, lv, lw = light.direction
    length = (lu * lu + lv * lv + lw * lw) ** 0.5
    lu, lv, lw = lu / length, lv / length, lw / length
    cosine = normal[0:1] * lu + normal[1:2] * lv + normal[2:3] * lw
    diffuse = ((cosine + soft) / (1 + soft)).clamp(min=0)
    half = (lu, lv, lw + 1.0)
    norm = (half[0] ** 2 + half[1] ** 2 + half[2] ** 2) ** 0.5
    mirror = ((normal[0:1] * half[0] + normal[1:2] * half[1] + normal[2:3] * half[2]) / norm).clamp(min=0)
    sky = 0.7 - 0.3 * normal[1:2]
    grazing = (1 - normal[2:3]).clamp(0, 1)
    linear = decode(albedo)
    lit = linear * (light.key * diffuse * surface.occlusion + light.ambient * sky * surface.occlusion)
    lit = lit + light.key * gloss * (0.35 * power(mirror, 14) + 0.4 * power(mirror, 60))
    lit = lit + light.rim * (0.15 + linear) * grazing**3 * (0.6 - 0.4 * normal[1:2])
    return encode(lit)


def decode(display: Tensor) -> Tensor:
    """Display-encoded to linear light, by a plain power of 2.2: pictures are made here, not measured."""
    return power(display, 2.2)


def encode(linear: Tensor) -> Tensor:
    """Linear light to display-encoded, with a soft shoulder above 0.7 in place of clipping."""
    over = (linear - 0.7).clamp(min=0)
    rolled = torch.where(linear > 0.7, 0.7 + 0.3 * (1 - torch.exp(-over / 0.3)), linear.clamp(min=0))
    return power(rolled, 1 / 2.2)
