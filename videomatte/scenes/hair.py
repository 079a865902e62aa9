"""How hair and fur grow: guide curves that fall and slide over the head, strands clumped about them, fur combed over a
body.

Lengths are in frame heights; u right, v down, w toward the camera.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.scenes.noise import Rng, lookup, tile_noise
from videomatte.scenes.strands import Strands
from videomatte.scenes.surface import Ellipsoid, Surface

__all__ = ["HairStyle", "draw_style", "grow_fur", "grow_hair"]


@dataclass(frozen=True, slots=True)
class HairStyle:
    """What makes one head of hair unlike another."""

    length: float
    """Mean length."""
    curl: float
    """Radius of the curls."""
    turns: float
    """Curls along a strand."""
    volume: float
    """How far the roots stand off before gravity takes them, 0 flat to 1 bushy."""
    parting: float
    """Where the hair divides, from -1 (left) to 1 (right)."""
    clumping: float
    """How far strands gather to their guide at the tip, 0 to 1."""
    frizz: float
    """Amplitude of each strand's own wandering."""
    flyaway: float
    """Share of strands that leave the clumps, 0 to 1."""
    count: int
    """Strands."""
    width: float
    """Width of a strand."""
    colour: tuple[float, float, float]
    """Display-encoded colour at mid-length."""
    wind: float
    """Sideways pull, negative to the left."""


COLOURS = (
    (0.10, 0.08, 0.07), (0.22, 0.15, 0.11), (0.36, 0.24, 0.16), (0.48, 0.30, 0.18), (0.62, 0.45, 0.26),
    (0.80, 0.66, 0.42), (0.90, 0.82, 0.64), (0.58, 0.24, 0.12), (0.72, 0.34, 0.14), (0.62, 0.60, 0.58),
    (0.88, 0.87, 0.86), (0.55, 0.20, 0.42), (0.16, 0.34, 0.50),
)  # fmt: skip
"""Black, browns, blonds, reds, greys and two dyes."""


def draw_style(rng: Rng) -> HairStyle:
    """A random head of hair: short to waist-long, straight to frizzy, tidy to blown about."""
    kind = rng.choice(["short", "bob", "long", "long", "wavy", "wavy", "afro", "wild"])
    length, curl, turns, volume = {
        "short": (rng.uniform(0.05, 0.10), rng.uniform(0, 0.006), 1.5, rng.uniform(0.5, 0.9)),
        "bob": (rng.uniform(0.20, 0.30), rng.uniform(0, 0.01), 1.5, rng.uniform(0.3, 0.6)),
        "long": (rng.uniform(0.35, 0.60), rng.uniform(0, 0.008), 2.0, rng.uniform(0.2, 0.5)),
        "wavy": (rng.uniform(0.25, 0.55), rng.uniform(0.012, 0.028), rng.uniform(2, 5), rng.uniform(0.3, 0.7)),
        "afro": (rng.uniform(0.09, 0.16), rng.uniform(0.008, 0.014), rng.uniform(4, 7), 1.6),
        "wild": (rng.uniform(0.2, 0.4), rng.uniform(0.01, 0.03), rng.uniform(1, 3), rng.uniform(0.7, 1.1)),
    }[str(kind)]
    colour = np.clip(np.array(COLOURS[rng.integers(len(COLOURS))]) * rng.uniform(0.8, 1.2), 0.03, 0.95)
    return HairStyle(
        length=float(length),
        curl=float(curl),
        turns=float(turns),
        volume=float(volume),
        parting=float(rng.uniform(-0.7, 0.7)),
        clumping=float(rng.uniform(0.3, 0.85)),
        frizz=float(rng.uniform(0.002, 0.008) * (2 if kind in ("afro", "wild") else 1)),
        flyaway=float(rng.uniform(0.03, 0.15)),
        count=int(rng.uniform(6000, 9000)),
        width=float(rng.uniform(0.0009, 0.0015)),
        colour=(float(colour[0]), float(colour[1]), float(colour[2])),
        wind=float(rng.normal(0, 0.15) + (rng.uniform(-0.8, 0.8) if kind == "wild" else 0)),
    )


def _push_out(points: Tensor, solids: list[Ellipsoid], gap: Tensor) -> Tensor:
    """Points moved to the outside of upright ellipsoids, along the line from their centre."""
    for solid in solids:
        centre = torch.tensor([solid.u, solid.v, solid.w])
        radii = torch.tensor([solid.ru, solid.rv, solid.rw]) + gap[:, None]
        relative = (points - centre) / radii
        far = relative.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-4)
        points = torch.where(far < 1, centre + relative / far * radii, points)
    return points


def grow_hair(style: HairStyle, head: Ellipsoid, body: list[Ellipsoid], rng: Rng) -> Strands:
    """Hair on a head: guides grown step by step under gravity and wind, kept outside head and body, then filled in.

    Args:
        style: the kind of hair.
        head: the skull the roots lie on.
        body: solids that hair rests on (skull, jaw, shoulders), upright.
        rng: where the numbers come from.

    Returns:
        Strands of 48 points.
    """
    guides, steps = 320, 40
    # Roots: the upper and back parts of the skull, the face left free.
    direction = torch.from_numpy(rng.normal(size=(guides * 8, 3))).float()
    direction = direction / direction.square().sum(-1, keepdim=True).sqrt()
    hairline = -0.42 + 0.55 * direction[:, 2] + 0.1 * direction[:, 0].square()
    scalp = (direction[:, 1] < -hairline - 0.30 * direction[:, 2].clamp(min=0)) & (direction[:, 1] < 0.55)
    direction = direction[scalp][:guides]
    guides = len(direction)
    radii = torch.tensor([head.ru, head.rv, head.rw])
    centre = torch.tensor([head.u, head.v, head.w])
    root = centre + direction * radii
    side = torch.sign(direction[:, 0] - 0.35 * style.parting + 1e-3 * torch.from_numpy(rng.normal(size=guides)).float())
    # Roots leave along the skull, down and away from the parting, and as far off it as the hair has volume.
    normal = F.normalize(direction / radii, dim=-1)
    comb = torch.zeros_like(normal)
    comb[:, 0], comb[:, 1], comb[:, 2] = side * (0.9 * (direction[:, 2] > -0.3)), 0.7, 0.25 * direction[:, 2].sign()
    comb = comb - (comb * normal).sum(-1, keepdim=True) * normal
    heading = comb * (1.4 - 0.5 * min(style.volume, 1.6)) + normal * (0.15 + style.volume)
    length = style.length * torch.from_numpy(rng.uniform(0.75, 1.15, guides)).float()
    stiff = 0.97 if style.volume > 1.2 else 0.80 + 0.12 * style.volume
    pull = torch.tensor([style.wind * 0.35, 1.0, -0.05]) * (0.03 if style.volume > 1.2 else 1.0)
    gap = torch.from_numpy(rng.uniform(0.004, 0.028, guides)).float() * (0.5 + style.volume)
    here, curve = root, [root]
    for _ in range(steps - 1):
        heading = F.normalize(stiff * F.normalize(heading, dim=-1) + (1 - stiff) * 2.0 * pull, dim=-1)
        here = _push_out(here + heading * (length / (steps - 1))[:, None], body, gap)
        # What the head pushed aside keeps going that way.
        heading = here - curve[-1]
        curve.append(here)
    guide = torch.stack(curve, 1)
    return _fill(style, guide, rng)


def _fill(style: HairStyle, guide: Tensor, rng: Rng) -> Strands:
    """Strands about their guides: spread at the root, gathered toward the tip, curled together, frizzed apart."""
    n, steps = style.count, 48
    guide = F.interpolate(guide.transpose(1, 2), size=steps, mode="linear", align_corners=True).transpose(1, 2)
    owner = torch.from_numpy(rng.integers(len(guide), size=n))
    along = torch.linspace(0, 1, steps)[None, :, None]
    loose = torch.from_numpy(rng.random(n) < style.flyaway)[:, None, None]
    spread = torch.from_numpy(rng.normal(0, 0.016, (n, 1, 3))).float()
    gather = 1 - style.clumping * along**0.7
    phase = torch.from_numpy(rng.uniform(0, 6.2832, len(guide))).float()[owner][:, None]
    phase = phase + torch.from_numpy(rng.normal(0, 0.35, (n, 1))).float()
    angle = 6.2832 * style.turns * along[..., 0] + phase
    helix = torch.stack([angle.cos(), 0.4 * angle.sin(), angle.sin()], -1) * style.curl * along.clamp(max=0.3) / 0.3
    # Frizz: a smooth wandering of each strand's own, bells about eight knots; flyaways wander much further.
    knots = torch.from_numpy(rng.normal(0, 1, (n, 3, 8))).float()
    bells = torch.exp(-((torch.linspace(0, 7, steps) - torch.arange(8.0)[:, None]) ** 2) / (2 * 0.6**2))
    wander = (knots @ bells).transpose(1, 2)
    wander = (wander - wander[:, :1]) * along.sqrt() * style.frizz * torch.where(loose, 4.0, 1.0)
    lift = torch.from_numpy(rng.normal(0, 0.05, (n, 1, 3))).float() * along**1.5 * loose
    points = guide[owner] + spread * torch.where(loose, 1 + 0.6 * along, gather) + helix + wander + lift
    # Strands end at their own lengths: the curve is kept, its last part cut off.
    keep = torch.from_numpy(rng.uniform(0.7, 1.0, n)).float()
    place = along[..., 0] * keep[:, None] * (steps - 1)
    lower = place.floor().long().clamp(max=steps - 2)
    t = (place - lower)[..., None]
    rows = torch.arange(n)[:, None]
    points = points[rows, lower] * (1 - t) + points[rows, lower + 1] * t
    tone = (
        torch.from_numpy(rng.normal(1, 0.10, (n, 1))).float()
        * torch.from_numpy(rng.normal(1, 0.08, (len(guide), 1))).float()[owner]
    )
    tint = torch.from_numpy(rng.normal(0, 0.012, (n, 3))).float()
    colour = (torch.tensor(style.colour) * tone + tint).clamp(0.01, 0.97)
    width = style.width * torch.from_numpy(rng.uniform(0.6, 1.3, n)).float() * torch.where(loose[:, 0, 0], 0.7, 1.0)
    return Strands(points, width, colour)


def grow_fur(
    surface: Surface,
    u: Tensor,
    v: Tensor,
    albedo: Tensor,
    cover: Tensor,
    rng: Rng,
    *,
    length: float,
    count: int,
    width: float,
    comb: tuple[float, float] = (0.0, 0.6),
    clumping: float = 0.5,
) -> Strands:
    """Short strands all over a body, leaning along the comb and out at the outline.

    Args:
        surface: the body.
        u: ``[H, W]`` the grid the body was raised on.
        v: ``[H, W]``.
        albedo: ``[3, H, W]`` display-encoded colour the fur takes at its root.
        cover: ``[H, W]`` where fur grows and how long it is there, 0 to 1.
        rng: where the numbers come from.
        length: mean length.
        count: strands.
        width: width of a strand.
        comb: direction in the picture that fur lies in.
        clumping: how far neighbours lean together, 0 to 1.

    Returns:
        Strands of 10 points.
    """
    # Roots are drawn evenly over the body's skin, not over its picture: steep parts carry more of them.
    density = (cover * (surface.distance > 0)) / surface.normal[2].clamp(min=0.18)
    cumulative = np.cumsum(density.double().numpy().reshape(-1))
    pick = np.searchsorted(cumulative, rng.random(count) * cumulative[-1]).clip(max=density.numel() - 1)
    index = torch.from_numpy(pick)

    def flat(image: Tensor) -> Tensor:
        picked = image.flatten(-2)[..., index]
        return picked.T if picked.ndim == 2 else picked

    jitter = torch.from_numpy(rng.uniform(-0.5, 0.5, (2, count))).float() / surface.scale
    root = torch.stack([flat(u) + jitter[0], flat(v) + jitter[1], flat(surface.depth)], -1)
    normal = flat(surface.normal)
    tile = tile_noise(rng, feature=24, exponent=1.6)
    tile2 = tile_noise(rng, feature=24, exponent=1.6)
    swirl = torch.stack(
        [lookup(tile, root[:, 0] * 1.5, root[:, 1] * 1.5), lookup(tile2, root[:, 0] * 1.5, root[:, 1] * 1.5)], -1
    )
    tuft = torch.stack(
        [lookup(tile, root[:, 0] * 9, root[:, 1] * 9), lookup(tile2, root[:, 0] * 9, root[:, 1] * 9)], -1
    )
    own = torch.from_numpy(rng.normal(0, 0.22, (count, 3))).float()
    heading = 0.75 * normal + own
    heading[:, :2] += torch.tensor(comb) + 0.25 * swirl + 0.55 * clumping * tuft
    heading = F.normalize(heading, dim=-1)
    steps = torch.linspace(0, 1, 10)[None, :, None]
    reach = (length * flat(cover) * torch.from_numpy(rng.uniform(0.5, 1.25, count)).float())[:, None, None]
    droop = torch.tensor([comb[0], comb[1] + 0.35, -0.1])
    bend = torch.from_numpy(rng.normal(0, 0.25, (count, 1, 3))).float()
    points = root[:, None] + reach * (steps * heading[:, None] + 0.5 * steps**2 * (droop + bend))
    tone = torch.from_numpy(rng.normal(1, 0.12, (count, 1))).float() * (1 + 0.06 * tuft[:, :1])
    colour = (flat(albedo) * tone).clamp(0.01, 0.98)
    return Strands(points, width * torch.from_numpy(rng.uniform(0.6, 1.3, count)).float(), colour)
