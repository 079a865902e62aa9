"""What stands behind the subject, large enough for the camera to move over, and the light it gives."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.scenes.noise import Rng, blur, luma, resize, stream
from videomatte.scenes.places import paint_place
from videomatte.scenes.screens import paint_screen, screen_colour
from videomatte.scenes.surface import Light, decode

__all__ = ["Backdrop", "BackdropKind", "make_backdrop"]

BackdropKind = Literal["place", "green", "blue"]


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A painted backdrop and the light of its set."""

    canvas: Tensor
    """``[3, H, W]`` display-encoded, larger than the frame by the camera's reach."""
    light: Light
    """What lights a subject that stands before it."""


def make_backdrop(
    kind: BackdropKind,
    size: tuple[int, int],
    margin: tuple[float, float],
    level: float,
    defocus: float,
    uneven: float,
    creases: float,
    seed: int,
) -> Backdrop:
    """Paint a backdrop.

    Args:
        kind: a place, or a screen's paint.
        size: rows and columns of the frame.
        margin: how far the camera sees beyond the frame to each side, and up and down, in frame heights.
        level: how brightly the set is lit.
        defocus: Gaussian blur of a place in frame heights; screens are blurred by half of it.
        uneven: unevenness of a screen's light.
        creases: strength of a screen's folds.
        seed: of the scene.
    """
    rng = stream(seed, "backdrop", kind)
    rows, columns = size[0] + 2 * round(margin[1] * size[0]) + 4, size[1] + 2 * round(margin[0] * size[0]) + 4
    if kind == "place":
        # What is blurred away need not be painted: the picture is made smaller by as much as it will be out of focus.
        sigma = defocus * size[0]
        shrink = max(1.0, sigma)
        small = paint_place(round(rows / shrink), round(columns / shrink), size[0] / shrink, rng)
        canvas = resize(blur(small, sigma / shrink), rows, columns) * (0.3 + 0.7 * level)
    else:
        canvas = paint_screen(screen_colour(kind, level, rng), rows, columns, float(size[0]), uneven, creases, rng)
        canvas = blur(canvas, 0.5 * defocus * size[0])
    return Backdrop(canvas.clamp(0, 1), _light(canvas, kind, level, stream(seed, "light")))


def _light(canvas: Tensor, kind: BackdropKind, level: float, rng: Rng) -> Light:
    """A key light from a random side, and ambient light of the place's own mean colour."""
    means = F.interpolate(canvas[None], size=(4, 4), mode="area")[0]
    mean = decode(means.reshape(3, 16).sum(1)[:, None, None] / 16)
    warmth = float(rng.normal(0, 0.06))
    warm = torch.tensor([1 + warmth, 1.0, 1 - warmth])[:, None, None]
    white = torch.ones(3, 1, 1)
    power = level**1.5 * float(rng.uniform(0.75, 1.15))
    if kind == "place":
        # Subjects are exposed for, but not wholly: a dark place leaves them darker.
        bright = float((luma(mean) / 0.2) ** 0.3)
        power = power * min(max(bright, 0.55), 1.25)
        tint = mean / luma(mean).clamp(min=1e-4)
        ambient = (0.5 * white + 0.5 * tint) * 0.35 * power
    else:
        ambient = white * 0.38 * power
    side = float(rng.uniform(-1, 1))
    direction = (side, -float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.35, 0.9)))
    rim = warm * power * float(rng.choice([0.0, 0.3, 0.9]))
    return Light(direction, warm * power, ambient, rim)
