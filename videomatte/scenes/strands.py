"""Hair and fur drawn strand by strand: thousands of tapering curves, each with a colour, a depth and a sheen.

A strand is a polyline in space. It is sampled more densely than the pixels, each sample adding the area it covers to
the four pixels around it (exact for lines thinner than a pixel, the footprint being a tent one pixel wide). Samples are
sorted into slices by depth; within a slice coverage adds up and saturates, and the slices are laid over one another
from back to front, which gives strands that hide and shade strands for the price of a few additions each.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.scenes.noise import Rng, blur, power
from videomatte.scenes.surface import Light, Surface, decode, encode

__all__ = ["Strands", "draw_strands"]

SLICES = 10
"""Depth slices a layer is drawn in."""


@dataclass(frozen=True, slots=True)
class Strands:
    """A set of strands with the same number of points each."""

    points: Tensor
    """``[N, K, 3]`` float32 (u, v, w) in frame heights from root to tip, evenly spaced along each strand."""
    width: Tensor
    """``[N]`` width at the thickest place, in frame heights."""
    colour: Tensor
    """``[N, 3]`` display-encoded colour."""

    def select(self, which: Tensor) -> "Strands":
        """The strands that an index or a mask names."""
        return Strands(self.points[which], self.width[which], self.colour[which])


def draw_strands(
    strands: Strands,
    bounds: tuple[float, float, float, float],
    scale: float,
    light: Light,
    rng: Rng,
    *,
    sheen: float = 0.5,
    tip_fade: float = 0.6,
    shadow: float = 0.6,
    body: Surface | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw strands into two premultiplied pictures: those in front of a body and those behind it.

    Light on a strand is that of Kajiya and Kay ("Rendering fur with three dimensional textures", 1989) with two
    highlights shifted to root and tip and tinted as in Marschner et al. ("Light scattering from human hair fibers",
    2003), darkened by how much hair lies over it.

    Args:
        strands: what to draw.
        bounds: left, top, right, bottom of the canvas in frame heights.
        scale: pixels per frame height.
        light: what lights them.
        rng: for the strands' own brightness.
        sheen: strength of the highlights.
        tip_fade: how much thinner a strand is at its tip, in [0, 1].
        shadow: how dark the deepest hair is, in [0, 1].
        body: what the strands grow on, or None; samples deeper than its front go behind.

    Returns:
        Front and back, each ``[4, H, W]`` float32 premultiplied display-encoded RGB and alpha.

    Convention:
        Pixel (i, j) has its centre at ``left + (j + .5) / scale, top + (i + .5) / scale``.
    """
    left, top, right, bottom = bounds
    size = round((bottom - top) * scale), round((right - left) * scale)
    height, width = size
    empty = torch.zeros(4, height, width)
    if strands.points.shape[0] == 0:
        return empty, empty.clone()
    samples = torch.cat(_sample(strands, _shade(strands, light, rng, sheen), scale, tip_fade), 1)
    x, y = (samples[0] - left) * scale - 0.5, (samples[1] - top) * scale - 0.5
    inside = (x > 0) & (y > 0) & (x < width - 1.01) & (y < height - 1.01) & (samples[3] > 1e-4)
    chosen = inside.nonzero()[:, 0]
    x, y, samples = x[chosen], y[chosen], samples[2:, chosen]
    hidden = torch.zeros_like(x, dtype=torch.bool)
    if body is not None:
        index, on_body = body.at(left + (x + 0.5) / scale, top + (y + 0.5) / scale)
        hidden = torch.where(on_body, samples[0] < body.depth.reshape(-1)[index], samples[0] < 0)
    pictures = []
    for mask in (~hidden, hidden):
        which = mask.nonzero()[:, 0]
        pictures.append(_stack(x[which], y[which], samples[:, which], size, shadow, scale))
    return pictures[0], pictures[1]


def _shade(strands: Strands, light: Light, rng: Rng, sheen: float) -> Tensor:
    """Display-encoded colour ``[N, K, 3]`` at the strands' points."""
    count, knots = strands.points.shape[:2]
    tone = torch.from_numpy(rng.normal(0, 1, (count, 1)).clip(-2, 2)).float()
    key = F.normalize(torch.tensor(light.direction), dim=0)
    half = F.normalize(key + torch.tensor([0.0, 0.0, 1.0]), dim=0)
    tangent = strands.points[:, 1:] - strands.points[:, :-1]
    tangent = F.normalize(torch.cat([tangent, tangent[:, -1:]], 1), dim=-1)
    along_key = (tangent * key).sum(-1)
    along_half = (tangent * half).sum(-1) + 0.08 * tone
    across = (1 - along_key.square()).clamp(min=0).sqrt()
    first = power(1 - (along_half + 0.10).square(), 40)
    second = power(1 - (along_half - 0.16).square(), 12)
    shade = (1 + 0.16 * tone) * (0.65 + 0.45 * torch.linspace(0, 1, knots))
    base = decode(strands.colour)[:, None] * shade[..., None]
    key_colour, ambient = light.key.reshape(3), light.ambient.reshape(3)
    lit = base * (ambient + 0.75 * key_colour * across[..., None])
    return encode(lit + sheen * key_colour * (0.10 * first[..., None] + 0.9 * base * second[..., None]))


def _sample(strands: Strands, colour: Tensor, scale: float, tip_fade: float) -> list[Tensor]:
    """Samples about a pixel apart along all strands, ``[7, M]`` each: u, v, w, covered area in pixels, RGB.

    Strands are taken in groups of like length, so that short ones are not sampled as densely as the longest.
    """
    step = strands.points[:, 1:, :2] - strands.points[:, :-1, :2]
    length = step.square().sum(-1).sqrt().sum(1) * scale
    out = []
    for group in torch.chunk(length.argsort(stable=True), 8):
        count = max(6, int(float(length[group].max())) + 2)
        knots = torch.cat([strands.points[group], colour[group]], -1).transpose(1, 2)
        fine = F.interpolate(knots, size=count, mode="linear", align_corners=True)
        stretch = (fine[:, :2, 1:] - fine[:, :2, :-1]).square().sum(1).sqrt() * scale
        along = torch.linspace(0, 1, count)
        taper = (1 - tip_fade * along**2) * (1 - along**8)
        cover = strands.width[group, None] * scale * taper * torch.cat([stretch, stretch[:, -1:]], 1)
        sample = torch.cat([fine[:, :3], cover[:, None], fine[:, 3:]], 1)
        out.append(sample.transpose(0, 1).reshape(7, -1))
    return out


def _stack(x: Tensor, y: Tensor, samples: Tensor, size: tuple[int, int], shadow: float, scale: float) -> Tensor:
    """Samples ``[5, M]`` (w, area, RGB) laid over one another by depth: ``[4, H, W]`` premultiplied."""
    picture = torch.zeros(4, *size)
    if not len(x):
        return picture
    low, high = float(samples[0].min()), float(samples[0].max())
    slot = ((samples[0] - low) / max(high - low, 1e-6) * SLICES).to(torch.uint8).clamp(max=SLICES - 1)
    # Front to back: what already lies over a slice throws a soft shadow on it.
    for k in reversed(range(SLICES)):
        chosen = (slot == k).nonzero()[:, 0]
        if not len(chosen):
            continue
        plane, left, top = _splat(x[chosen], y[chosen], samples[1:, chosen])
        target = picture[:, top : top + plane.shape[1], left : left + plane.shape[2]]
        density, free = plane[3:], 1 - target[3:]
        # Straight colour times saturated coverage, in one factor: density may exceed 1 where strands crowd.
        share = free / density.clamp(min=1.0)
        dim = 1 - shadow * blur(target[3:], 0.006 * scale)
        target[:3] += share * dim * plane[:3]
        target[3:] += share * density
    return picture


def _splat(x: Tensor, y: Tensor, samples: Tensor) -> tuple[Tensor, int, int]:
    """Areas and colours ``[4, M]`` added to the four pixels round each place: ``[4, h, w]`` and where it lies."""
    x0, y0 = x.floor(), y.floor()
    left, top = int(x0.min()), int(y0.min())
    height, width = int(y0.max()) - top + 2, int(x0.max()) - left + 2
    fx, fy = x - x0, y - y0
    corner = (y0 - top).long() * width + (x0 - left).long()
    area = samples[0]
    plane = torch.zeros(4, height * width)
    for offset, weight in ((0, (1 - fx) * (1 - fy)), (1, fx * (1 - fy)), (width, (1 - fx) * fy), (width + 1, fx * fy)):
        index, share = corner + offset, area * weight
        for channel in range(3):
            plane[channel].scatter_add_(0, index, share * samples[1 + channel])
        plane[3].scatter_add_(0, index, share)
    return plane.reshape(4, height, width), left, top
