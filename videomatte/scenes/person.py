"""A head and shoulders: solids, skin, face and clothes.

Lengths are in frame heights about the middle of the head; u right, v down, w toward the camera.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, bearing, fractal, fractal_like, resize, smoothstep
from videomatte.scenes.surface import Ellipsoid, Light, Surface, coordinates, raise_surface, shade
from videomatte.scenes.textures import CLOTHS, Material

__all__ = ["BOUNDS", "Person", "draw_person", "paint_person"]

BOUNDS = (-0.42, -0.19, 0.42, 1.0)
"""Canvas a person without hair is drawn on: left, top, right, bottom; it runs on below the frame."""
FACE = (-0.15, -0.19, 0.15, 0.20)
"""The part of the canvas the face is painted on."""

SKINS = (
    (0.93, 0.76, 0.67), (0.88, 0.68, 0.57), (0.82, 0.60, 0.47), (0.74, 0.52, 0.38),
    (0.60, 0.40, 0.28), (0.45, 0.29, 0.20), (0.33, 0.21, 0.15),
)  # fmt: skip
IRISES = ((0.25, 0.42, 0.62), (0.30, 0.50, 0.36), (0.38, 0.24, 0.12), (0.20, 0.12, 0.07), (0.42, 0.45, 0.48))
SKIN, SCALP, CLOTH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Person:
    """The shape of one person."""

    head: Ellipsoid
    """The skull."""
    parts: list[Ellipsoid]
    """All solids, skull first."""
    rests: list[Ellipsoid]
    """Upright solids that hair must not enter; the last keeps it out of the face."""
    turn: float
    """How far the face looks aside, in frame heights at the nose."""
    wide: float
    """Width of the face, about 1."""
    tone: tuple[float, float, float]
    """Display-encoded colour of the skin."""
    cloth: Material
    """What they wear; its coordinates are in widths of the pattern."""
    pattern: float
    """Widths of the pattern per frame height."""


def draw_person(rng: Rng) -> Person:
    """A person of random build, looking roughly at the camera."""
    wide, turn = float(rng.uniform(0.92, 1.08)), float(rng.uniform(-0.02, 0.02))
    jaw, nose = float(rng.uniform(0.88, 1.12)), float(rng.uniform(0.85, 1.2))
    shoulder, bulk = float(rng.uniform(0.92, 1.1)), float(rng.uniform(0.9, 1.15))
    head = Ellipsoid(0, -0.035, 0.0, 0.118 * wide, 0.135, 0.135, paint=SCALP)
    t = turn
    face = [
        Ellipsoid(0.4 * t, 0.02, 0.022, 0.104 * wide, 0.125, 0.112),
        Ellipsoid(0.6 * t, 0.080, 0.035, 0.093 * wide * jaw, 0.084, 0.085),
        Ellipsoid(0.9 * t, 0.138, 0.078, 0.028 * jaw, 0.022, 0.026),
        Ellipsoid(0.8 * t - 0.052, 0.052, 0.078, 0.036, 0.034, 0.032),
        Ellipsoid(0.8 * t + 0.052, 0.052, 0.078, 0.036, 0.034, 0.032),
        Ellipsoid(0.9 * t, -0.034, 0.108, 0.066, 0.016, 0.016),
        Ellipsoid(1.1 * t, 0.022, 0.126, 0.0105 * nose, 0.040, 0.022),
        Ellipsoid(1.3 * t, 0.050, 0.138, 0.0155 * nose, 0.0135, 0.021),
        Ellipsoid(1.1 * t - 0.013 * nose, 0.054, 0.128, 0.0095, 0.0085, 0.013),
        Ellipsoid(1.1 * t + 0.013 * nose, 0.054, 0.128, 0.0095, 0.0085, 0.013),
        Ellipsoid(1.0 * t, 0.0855, 0.1175, 0.026, 0.0075, 0.0105),
        Ellipsoid(1.0 * t, 0.0975, 0.1155, 0.022, 0.0085, 0.0115),
        Ellipsoid(0.9 * t - 0.044, 0.004, 0.094, 0.023, 0.016, 0.020),
        Ellipsoid(0.9 * t + 0.044, 0.004, 0.094, 0.023, 0.016, 0.020),
        Ellipsoid(-0.118 * wide, 0.015, -0.01, 0.016, 0.034, 0.03, turn=-0.2),
        Ellipsoid(0.118 * wide, 0.015, -0.01, 0.016, 0.034, 0.03, turn=0.2),
        Ellipsoid(0, 0.19, -0.02, 0.052 * bulk, 0.12, 0.056, blend=0.03),
    ]
    x = 0.205 * shoulder
    body = [
        Ellipsoid(0, 0.31, -0.03, 0.12, 0.075 * bulk, 0.075, blend=0.06, paint=CLOTH),
        Ellipsoid(-0.55 * x, 0.335, -0.03, 0.13, 0.055 * bulk, 0.075, turn=-0.42, blend=0.05, paint=CLOTH),
        Ellipsoid(0.55 * x, 0.335, -0.03, 0.13, 0.055 * bulk, 0.075, turn=0.42, blend=0.05, paint=CLOTH),
        Ellipsoid(-x, 0.43, -0.02, 0.082, 0.095, 0.085, blend=0.06, paint=CLOTH),
        Ellipsoid(x, 0.43, -0.02, 0.082, 0.095, 0.085, blend=0.06, paint=CLOTH),
        Ellipsoid(0, 0.60, -0.01, 0.225 * shoulder, 0.34, 0.135 * bulk, blend=0.05, paint=CLOTH),
        Ellipsoid(-0.085, 0.50, 0.02, 0.11, 0.13, 0.095 * bulk, blend=0.05, paint=CLOTH),
        Ellipsoid(0.085, 0.50, 0.02, 0.11, 0.13, 0.095 * bulk, blend=0.05, paint=CLOTH),
        Ellipsoid(0, 1.05, -0.02, 0.225 * shoulder * bulk, 0.45, 0.15 * bulk, blend=0.08, paint=CLOTH),
        Ellipsoid(-x - 0.052, 0.64, -0.02, 0.064 * bulk, 0.28, 0.075, turn=0.10, blend=0.02, paint=CLOTH),
        Ellipsoid(x + 0.052, 0.64, -0.02, 0.064 * bulk, 0.28, 0.075, turn=-0.10, blend=0.02, paint=CLOTH),
        Ellipsoid(-x - 0.075, 0.97, 0.02, 0.056 * bulk, 0.26, 0.065, blend=0.03, paint=CLOTH),
        Ellipsoid(x + 0.075, 0.97, 0.02, 0.056 * bulk, 0.26, 0.065, blend=0.03, paint=CLOTH),
    ]
    # A fringe may fall to the brows; without one hair parts above the forehead.
    open_ = float(rng.choice([0.135, 0.175, 0.185]))
    keep_out = Ellipsoid(0.6 * t, 0.045, 0.15, 0.094 * wide, open_, 0.13)
    rests = [head, face[0], body[0], body[3], body[4], body[5], keep_out]
    tone = SKINS[rng.integers(len(SKINS))]
    cloth = CLOTHS[rng.integers(len(CLOTHS))](rng)
    return Person(head, [head, *face, *body], rests, turn, wide, tone, cloth, float(rng.uniform(2.0, 4.5)))


def paint_person(
    person: Person, scale: float, light: Light, hair: tuple[float, float, float], rng: Rng, *, hat: bool = False
) -> tuple[Tensor, Surface]:
    """A person without hair.

    Args:
        person: the shape.
        scale: pixels per frame height.
        light: what lights them.
        hair: display-encoded colour of scalp and brows.
        rng: where the numbers come from.
        hat: a cap of the clothes' cloth in place of the scalp.

    Returns:
        ``[4, H, W]`` premultiplied display-encoded RGB and alpha on the canvas ``BOUNDS``, and the surface under it.
    """
    u, v = coordinates(BOUNDS, scale)
    skull = replace(person.head, ru=1.09 * person.head.ru, rv=1.07 * person.head.rv, rw=1.07 * person.head.rw)
    surface = raise_surface([skull, *person.parts[1:]] if hat else person.parts, BOUNDS, scale)
    rough = fractal_like(rng, u, feature=0.05 * scale, exponent=1.3)
    tone = torch.tensor(person.tone)[:, None, None]
    skin, skin_gloss = tone * (1 + 0.025 * rough), 1 + 0.35 * rough
    rows, columns = (
        slice(round((FACE[i] - BOUNDS[i]) * scale), round((FACE[i + 2] - BOUNDS[i]) * scale)) for i in (1, 0)
    )
    window = (slice(None), rows, columns)
    painted, lips = _face(
        person, skin[window], tone, u[rows, columns], v[rows, columns], rough[rows, columns], hair, rng
    )
    skin[window] = painted
    skin_gloss[rows, columns] += 1.5 * lips
    # The chin keeps light off the neck.
    skin = skin * (1 - 0.35 * smoothstep(0.15, 0.172, v) * smoothstep(0.30, 0.17, v))
    cloth, bump, neck = _clothes(person, surface, u, v, scale, rng)
    scalp = cloth if hat else torch.tensor(hair)[:, None, None] * 0.55 + 0.08 * skin
    paint = surface.paint
    # The neckline is cut by a curve, not by where the solids meet.
    cut = neck * (paint[SKIN] + paint[CLOTH])
    shares = torch.stack([paint[SKIN] + paint[CLOTH] - cut, paint[SCALP], cut])
    # The fringe of the scalp is thin: skin shows at the temples and the hairline. A cap ends in a turned-up band.
    brow = v + 0.35 * u.square() / 0.12 - 0.01 * rough
    band = smoothstep(-0.098, -0.092, v + 0.8 * u.square()) * (shares[1] if hat else 0)
    fringe = smoothstep(-0.05, -0.0525, v + 0.8 * u.square()) if hat else smoothstep(-0.05, -0.085, brow)
    low = smoothstep(0.0, 0.08, surface.depth)
    shares = torch.stack([shares[0] + shares[1] * low * (1 - fringe), shares[1] * (1 - low * (1 - fringe)), shares[2]])
    albedo = shares[0] * skin + shares[1] * scalp + shares[2] * cloth
    gloss = (0.10 * shares[0] + 0.02) * skin_gloss.clamp(min=0)
    albedo = albedo * (1 - 0.18 * band)
    relief = shares[2] * bump + shares[0] * 0.00012 * rough + 0.006 * band
    picture = shade(albedo, surface, light, gloss=gloss[None], soft=0.35, bump=relief)
    picture[window] = _eyes(person, picture[window], u[rows, columns], v[rows, columns], scale, light, rng)
    alpha = smoothstep(-0.75 / scale, 0.75 / scale, surface.distance)[None]
    return torch.cat([picture * alpha, alpha]), surface


def _face(
    person: Person,
    albedo: Tensor,
    tone: Tensor,
    u: Tensor,
    v: Tensor,
    rough: Tensor,
    hair: tuple[float, float, float],
    rng: Rng,
) -> tuple[Tensor, Tensor]:
    """Blush, sockets, nostrils, lips and brows on bare skin; the colour, and where the lips are."""
    t = person.turn
    blood = torch.tensor([0.06, -0.05, -0.04])[:, None, None] * (0.4 + 0.6 * tone)
    for side in (-1, 1):
        albedo = albedo + blood * torch.exp(-(((u - 0.8 * t - side * 0.058) / 0.028) ** 2) - ((v - 0.05) / 0.022) ** 2)
    albedo = albedo + blood * torch.exp(-(((u - 1.2 * t) / 0.018) ** 2) - ((v - 0.048) / 0.016) ** 2)
    # Sockets and the folds beside nose and mouth lie in shade.
    for side in (-1, 1):
        socket = torch.exp(-(((u - 0.9 * t - side * 0.044) / 0.03) ** 2) - ((v + 0.006) / 0.016) ** 2)
        albedo = albedo * (1 - 0.22 * socket)
        nostril = torch.exp(-(((u - 1.2 * t - side * 0.008) / 0.0042) ** 2) - ((v - 0.0615) / 0.0028) ** 2)
        albedo = albedo * (1 - 0.75 * nostril)
    lips = torch.tensor(rng.uniform([0.55, 0.18, 0.2], [0.85, 0.48, 0.46])).float()[:, None, None]
    lips = 0.5 * lips + 0.5 * tone * torch.tensor([0.95, 0.7, 0.7])[:, None, None]
    x = (u - t) / 0.030
    bow = 0.080 + 0.0035 * torch.exp(-((x / 0.15) ** 2)) + 0.008 * x.square()
    under = 0.107 - 0.0115 * x.square()
    mouth = smoothstep(-0.001, 0.0015, v - bow) * smoothstep(-0.001, 0.0015, under - v) * (x.abs() < 1)
    albedo = torch.lerp(albedo, lips * (1 + 0.05 * rough), 0.85 * mouth)
    seam = torch.exp(-(((v - 0.0915 - 0.0018 * x.square() + 0.001 * torch.cos(6 * x)) / 0.0016) ** 2)) * (
        x.abs() < 1.05
    )
    albedo = albedo * (1 - 0.6 * seam)
    brows = torch.tensor(hair)[:, None, None] * 0.7
    arch = float(rng.uniform(0.003, 0.009))
    for side in (-1, 1):
        x = side * (u - 0.9 * t) / 0.026 - 1.75
        line = v + 0.033 + arch * (1 - (x - 0.2).square()) + 0.0009 * rough
        brow = torch.exp(-((line / (0.0048 - 0.0018 * x)).square())) * smoothstep(1.15, 0.8, x.abs())
        albedo = torch.lerp(albedo, brows, 0.8 * brow)
    return albedo.clamp(0.01, 1), mouth


def _clothes(
    person: Person, surface: Surface, u: Tensor, v: Tensor, scale: float, rng: Rng
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, relief in frame heights, and where cloth begins below the neck."""
    # Cloth wraps round the body: the pattern is laid out along the surface, so it crowds toward the outline.
    around = u + 0.35 * surface.normal[0] * surface.depth.clamp(min=0)
    # Folds run down more than across: noise of half the height, stretched.
    flat = fractal(rng, u.shape[0] * 2 // 5, u.shape[1], feature=0.11 * scale, exponent=2.7)
    folds = resize(flat[None], *u.shape)[0]
    size = person.pattern
    colour = person.cloth(size * (around + 0.006 * folds), size * (v + 0.006 * folds - 0.2 * surface.depth))
    pull = torch.sin(60 * (v + 0.35 * u.abs()) + 3 * folds) * smoothstep(0.35, 0.8, v) * smoothstep(0.10, 0.3, u.abs())
    bump = 0.0042 * folds + 0.0022 * pull
    drop, width = float(rng.uniform(0.30, 0.40)), float(rng.uniform(0.07, 0.13))
    if rng.random() < 0.4:
        line = drop + 0.06 - 1.1 * u.abs()
        line = torch.maximum(line, torch.full_like(u, 0.245))
    else:
        line = drop - 0.09 * (u / width).square().clamp(max=1.2)
    below = v - line
    edge = smoothstep(-0.002, 0.002, below)
    # A hem: a band of the same cloth, a seam under it, its own small height.
    hem = smoothstep(0.016, 0.0145, below)
    colour = colour * (1 - 0.25 * torch.exp(-(((below - 0.0155) / 0.0018) ** 2))) * (1 - 0.10 * hem)
    return colour.clamp(0, 1), bump + 0.003 * smoothstep(0.0, 0.006, below), edge


def _eyes(person: Person, picture: Tensor, u: Tensor, v: Tensor, scale: float, light: Light, rng: Rng) -> Tensor:
    iris = torch.tensor(IRISES[rng.integers(len(IRISES))])[:, None, None]
    size, tilt = float(rng.uniform(0.9, 1.15)), float(rng.uniform(-0.08, 0.12))
    gaze = float(rng.uniform(-0.004, 0.004)) + 0.4 * person.turn
    soft = 0.8 / scale
    bright = (light.key + light.ambient).clamp(0.15, 1) ** (1 / 2.2)
    for side in (-1, 1):
        cu, cv = 0.9 * person.turn + side * 0.044 * person.wide, 0.005
        x = (u - cu) / (0.0235 * size)
        y = v - cv - side * tilt * (u - cu)
        upper, lower = -0.0115 * size * (1 - x.square()), 0.0075 * size * (1 - x.square())
        inside = (x.abs() < 1).float()
        open_ = smoothstep(-soft, soft, y - upper) * smoothstep(-soft, soft, lower - y) * inside
        radius = torch.sqrt((u - cu - gaze).square() + (v - cv + 0.001).square())
        angle = bearing(v - cv, u - cu - gaze)
        fibres = 1 + 0.16 * torch.sin(23 * angle) * torch.sin(9 * angle + 2)
        ring = 0.0098 * size
        eye = torch.tensor([0.86, 0.83, 0.81])[:, None, None] * (1 - 0.28 * x.square()).clamp(min=0)
        ball = (iris * fibres * (0.75 + 0.6 * smoothstep(-0.006, 0.008, v - cv))).clamp(0, 1)
        ball = ball * (1 - 0.6 * smoothstep(0.8 * ring, ring, radius))
        eye = torch.lerp(eye, ball, smoothstep(ring + soft, ring - soft, radius))
        eye = eye * (1 - 0.94 * smoothstep(0.0042 + soft, 0.0042 - soft, radius))
        lid = smoothstep(0.006, 0.0, y - upper)
        eye = eye * (1 - 0.45 * lid) * bright
        glint = smoothstep(
            0.0026 + soft, 0.0026 - soft, torch.sqrt((u - cu - gaze + 0.0035).square() + (v - cv + 0.005).square())
        )
        eye = torch.lerp(eye, torch.full_like(eye, 0.97), 0.9 * glint)
        picture = torch.lerp(picture, eye, open_)
        lash = torch.exp(-(((y - upper + 0.0006) / 0.0018) ** 2)) * smoothstep(1.12, 0.9, x.abs())
        rim = torch.exp(-(((y - lower) / 0.001) ** 2)) * smoothstep(1.0, 0.8, x.abs())
        fold = torch.exp(-(((y - upper + 0.0052) / 0.0013) ** 2)) * smoothstep(1.0, 0.7, x.abs())
        picture = picture * (1 - 0.85 * lash) * (1 - 0.35 * rim) * (1 - 0.28 * fold)
    return picture
