"""What the camera does to a scene: layers looked up through their motion, gathered over the time the shutter is open.

A frame is the mean of several instants within the exposure, each looked up at a slightly different place within the
pixel, so that one set of samples blurs motion and smooths edges (Cook, Porter, Carpenter, "Distributed ray tracing",
SIGGRAPH 1984). Premultiplied colour and alpha are averaged, never straight colour.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.scenes.motion import Pose, Similarity, Sway
from videomatte.scenes.noise import between, resize, smoothstep
from videomatte.scenes.subjects import Layer

__all__ = ["backdrop_flow", "expose_backdrop", "expose_layers", "fill", "instants", "layer_flow", "layer_travel"]

LATTICE = 8
"""Pixels between the places at which a motion is worked out; it is smooth, and interpolated between them."""
PIXELS_PER_SAMPLE = 1.5
"""Motion within the shutter that one more instant is spent on."""
MOST_SAMPLES = 16


def instants(distance: float, shutter: float, least: int) -> list[tuple[float, float, float]]:
    """When and where within pixels to look, for a motion of ``distance`` pixels while the shutter is open.

    Args:
        distance: pixels moved while the shutter is open.
        shutter: time the shutter is open, in frames.
        least: samples taken when nothing moves.

    Returns:
        Times in frames about the frame's own, evenly spread, and offsets over a pixel, from the plastic number's
        sequence (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018).
    """
    count = min(MOST_SAMPLES, max(least, math.ceil(distance / PIXELS_PER_SAMPLE)))
    times = [shutter * ((k + 0.5) / count - 0.5) for k in range(count)]
    # Offsets that are 0 on average: otherwise the picture would jump by a part of a pixel with the number of samples.
    x = [(0.7548777 * k) % 1 for k in range(count)]
    y = [(0.5698403 * k) % 1 for k in range(count)]
    middle_x, middle_y = sum(x) / count, sum(y) / count
    return [(times[k], x[k] - middle_x, y[k] - middle_y) for k in range(count)]


def lattice(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel places ``x, y`` about ``LATTICE`` pixels apart, the outermost at the outermost pixels' centres."""
    rows, columns = -(-height // LATTICE) + 1, -(-width // LATTICE) + 1
    x = torch.linspace(0.5, width - 0.5, columns).expand(rows, columns)
    y = torch.linspace(0.5, height - 0.5, rows)[:, None].expand(rows, columns)
    return x, y


def _spread(nodes: list[Tensor], height: int, width: int) -> Tensor:
    """Values at a lattice's nodes, at every pixel: ``[C, height, width]``."""
    values = torch.stack(nodes)
    rows, columns = values.shape[1:]
    # The lattice's outermost nodes lie on the outermost pixels' centres.
    return between(values, torch.linspace(0, rows - 1, height), torch.linspace(0, columns - 1, width))


def _look_up(picture: Tensor, x: Tensor, y: Tensor, height: int, width: int, padding: str) -> Tensor:
    """A picture at pixel places given on a lattice: ``[C, height, width]``.

    Convention: pixel centres at half-integers, ``align_corners=False`` throughout; places ``[0, W] x [0, H]`` cover it.
    """
    rows, columns = picture.shape[-2:]
    grid = _spread([2 * x / columns - 1, 2 * y / rows - 1], height, width).permute(1, 2, 0)
    return F.grid_sample(picture[None], grid[None], mode="bilinear", padding_mode=padding, align_corners=False)[0]


def expose_backdrop(canvas: Tensor, maps: list[tuple[Similarity, float, float]], height: int, width: int) -> Tensor:
    """The mean of a backdrop seen through several camera maps, each with an offset in pixels: ``[3, H, W]``."""
    x, y = lattice(height, width)
    total = torch.zeros(canvas.shape[0], height, width)
    for similarity, dx, dy in maps:
        total += _look_up(canvas, *similarity(x + dx, y + dy), height, width, "border")
    return total / len(maps)


def _to_layer(
    layer: Layer, sway: Sway, similarity: Similarity, seconds: float, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Frame pixels to places on a layer, in frame heights of the subject."""
    u, v = similarity(x, y)
    du, dv = sway(u, v, seconds, layer.loose)
    return _swing(layer, -1, seconds, u + du, v + dv)


def _swing(layer: Layer, sign: int, seconds: float, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Turn about the layer's joint, by its angle or back."""
    if layer.pivot is None or layer.turn is None:
        return u, v
    angle = sign * layer.turn(seconds)
    c, s = math.cos(angle), math.sin(angle)
    u, v = u - layer.pivot[0], v - layer.pivot[1]
    return c * u - s * v + layer.pivot[0], s * u + c * v + layer.pivot[1]


def expose_layers(
    layers: list[Layer], pose: Pose, sway: Sway, moments: list[tuple[float, float, float]], height: int, width: int
) -> tuple[Tensor, Tensor]:
    """The subject over the exposure.

    Args:
        layers: back to front.
        pose: where it stands.
        sway: how it moves within itself.
        moments: time in seconds and offset in pixels of each sample.
        height: rows of the frame.
        width: columns.

    Returns:
        ``[4, H, W]`` premultiplied colour and alpha, and ``[L, H, W]``, how much of each layer is seen at the middle
        sample.
    """
    total = torch.zeros(4, height, width)
    seen = torch.zeros(len(layers), height, width)
    for k, (seconds, dx, dy) in enumerate(moments):
        instant = torch.zeros(4, height, width)
        similarity = pose.to_canvas(seconds, width, height)
        for number, layer in enumerate(layers):
            box = _box(layer, similarity, height, width)
            if box is None:
                continue
            top, bottom, left, right = box
            x, y = lattice(bottom - top, right - left)
            u, v = _to_layer(layer, sway, similarity, seconds, x + (left + dx), y + (top + dy))
            scale_u = layer.picture.shape[2] / (layer.bounds[2] - layer.bounds[0])
            scale_v = layer.picture.shape[1] / (layer.bounds[3] - layer.bounds[1])
            x, y = (u - layer.bounds[0]) * scale_u, (v - layer.bounds[1]) * scale_v
            over = _look_up(layer.picture, x, y, bottom - top, right - left, "zeros")
            under = instant[:, top:bottom, left:right]
            clear = 1 - over[3:]
            under.mul_(clear).add_(over)
            if k == len(moments) // 2:
                seen[:number, top:bottom, left:right] *= clear
                seen[number, top:bottom, left:right] = over[3]
        total += instant
    return total / len(moments), seen


def _box(layer: Layer, similarity: Similarity, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Rows and columns of the frame a layer can reach, or None where it reaches none."""
    left, top, right, bottom = layer.bounds
    reach = 0.12
    if layer.pivot is not None and layer.turn is not None:
        reach += math.hypot(right - left, bottom - top) * layer.turn.reach
    u = torch.tensor([left - reach, right + reach, left - reach, right + reach])
    v = torch.tensor([top - reach, top - reach, bottom + reach, bottom + reach])
    x, y = similarity.inverse()(u, v)
    x0, x1 = max(0, int(x.min())), min(width, int(x.max()) + 2)
    y0, y1 = max(0, int(y.min())), min(height, int(y.max()) + 2)
    return (y0, y1, x0, x1) if x1 - x0 > 1 and y1 - y0 > 1 else None


def layer_flow(layer: Layer, pose: Pose, sway: Sway, seconds: float, later: float, height: int, width: int) -> Tensor:
    """How far the points of a layer seen at one time have gone at another: ``[2, H, W]`` pixels (dx, dy)."""
    x, y = lattice(height, width)
    return _spread(list(_advance(layer, pose, sway, seconds, later, x, y, height, width)), height, width)


def layer_travel(layer: Layer, pose: Pose, sway: Sway, seconds: float, later: float, height: int, width: int) -> float:
    """The furthest any point of a layer goes between two times, in pixels."""
    box = _box(layer, pose.to_canvas(seconds, width, height), height, width)
    if box is None:
        return 0.0
    top, bottom, left, right = box
    x, y = lattice(bottom - top, right - left)
    dx, dy = _advance(layer, pose, sway, seconds, later, x + left, y + top, height, width)
    return float((dx.square() + dy.square()).max().sqrt())


def _advance(
    layer: Layer, pose: Pose, sway: Sway, seconds: float, later: float, x: Tensor, y: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    u, v = _to_layer(layer, sway, pose.to_canvas(seconds, width, height), seconds, x, y)
    u, v = sway.undo(*_swing(layer, 1, later, u, v), later, layer.loose)
    to_x, to_y = pose.to_canvas(later, width, height).inverse()(u, v)
    return to_x - x, to_y - y


def backdrop_flow(now: Similarity, later: Similarity, height: int, width: int) -> Tensor:
    """How far the points of a backdrop go between two camera maps: ``[2, H, W]`` pixels (dx, dy), exact."""
    x = torch.arange(width) + 0.5
    y = (torch.arange(height) + 0.5)[:, None]
    x, y = x.expand(height, width), y.expand(height, width)
    to_x, to_y = later.inverse()(*now(x, y))
    return torch.stack([to_x - x, to_y - y])


def fill(premultiplied: Tensor, alpha: Tensor, least: float = 1 / 1024) -> Tensor:
    """Straight colour everywhere: the subject's own where it is seen, spread from there where it is not.

    Push-pull (Gortler et al., "The lumigraph", 1996): colour is gathered into ever coarser pictures, weighted by alpha,
    and each hole is filled from the finest one that has anything there.

    Args:
        premultiplied: ``[3, H, W]``.
        alpha: ``[1, H, W]``.
        least: alpha from which the pixel's own colour is taken as it is.

    Returns:
        ``[3, H, W]`` straight, ``premultiplied / alpha`` wherever alpha is at least ``least``.
    """
    levels = [torch.cat([premultiplied, alpha])]
    while max(levels[-1].shape[1:]) > 1:
        coarse = F.avg_pool2d(levels[-1][None], 2, ceil_mode=True, count_include_pad=False)[0]
        levels.append(coarse)
    colour = levels[-1][:3] / levels[-1][3:].clamp(min=1e-6)
    for level in reversed(levels[:-1]):
        weight = level[3:]
        enlarged = resize(colour, level.shape[1], level.shape[2])
        share = smoothstep(0.0, least, weight)
        colour = torch.lerp(enlarged, level[:3] / weight.clamp(min=1e-9), share)
    return colour.clamp(0, 1)
