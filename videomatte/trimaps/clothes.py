"""Clothes of nearly the screen's colour, told from the screen by their hue."""

import math

import torch
from torch import Tensor

from videomatte.components import by_label, label_components, without_specks
from videomatte.trimaps.hue import along, chroma, dot, tint_of
from videomatte.trimaps.morphology import dilate, erode
from videomatte.trimaps.spread import spread
from videomatte.windows import box_mean

__all__ = ["TINT", "foreign_islands", "of_another_hue"]

TINT = 0.08
"""How far from the plate's tint (:func:`videomatte.trimaps.hue.tint_of`) a pixel may be and still show the screen, as
creases are where cloth lights cloth."""
_FOREIGN_TURN = math.sin(math.radians(10))
"""By how much another hue than the screen's is turned from it."""
_LEAST_ACROSS = 0.06
"""Chroma across the screen's hue, in units of the screen's own, below which a hue is noise."""
_BRIGHTER = 1.4
"""How many times the chroma of the screen around it an island has that shows something else: gaps are darker, and veils
paler."""


def of_another_hue(colour: Tensor, empty: Tensor, noise: Tensor, reach: int) -> Tensor:
    """Where a frame's colours are of another hue than its screen's, by more than shadows, light and noise make.

    What is grey, black or white pales the screen behind it or darkens it, but does not turn it.

    Args:
        colour: ``[2, H, W]`` float32, the frame in the plane of chroma.
        empty: ``[2, H, W]`` float32, the empty screen there.
        noise: ``[H, W]`` float32, standard deviation of the screen's colours, in units of its chroma.
        reach: pixels to each side that colours are averaged over.

    Returns:
        ``[H, W]`` bool.

    Convention:
        Squares are centred on their pixel: nothing moves.
    """
    strength = dot(empty, empty).sqrt_().clamp_(min=1e-4)
    mean = box_mean(colour, reach)
    across, turned = along(mean, empty / strength)[1].abs_(), dot(mean, mean).sqrt_().mul_(_FOREIGN_TURN)
    return (across > turned) & (across > (3 * noise).clamp(min=_LEAST_ACROSS) * strength)


def foreign_islands(rgb: Tensor, known: Tensor) -> Tensor:
    """Pieces of what was taken for the screen that are a coat of nearly its colour.

    They lie within the subject, or between it and the picture's lower border, and are of another hue than the screen
    around, or of much more chroma. A gap under an arm shows the same screen, if darker.

    Args:
        rgb: ``[3, H, W]`` float32, 1.0 at white, a reduced picture.
        known: ``[H, W]`` bool, what was taken for the screen.

    Returns:
        ``[H, W]`` bool, a part of ``known``.

    Convention:
        Pixel on pixel.
    """
    size = max(known.shape)
    # Where one cloth ends before another.
    seams = tint_of(box_mean(rgb, 1), box_mean(rgb, size // 20)) > TINT / 2
    # Dark screens are full of holes: the grain's, not theirs.
    whole = ~without_specks(~known | seams, (size / 60) ** 2)
    labels, areas = label_components(erode(whole, size / 160))
    mainland = torch.zeros_like(areas, dtype=torch.bool)
    mainland[torch.cat([labels[0], labels[:, 0], labels[:, -1]])] = True
    mainland[0] = False
    if not mainland.any():
        return torch.zeros_like(known)
    around = spread(rgb, by_label(mainland, labels)[None], size / 24)
    labels, areas = label_components(known & ~dilate(by_label(mainland, labels), size / 80))
    # By hue and chroma, not tint and light: smoke and veils pale the screen that shows through, but do not turn it.
    colour, empty = chroma(rgb), chroma(around)
    turn = (torch.atan2(colour[1], colour[0]) - torch.atan2(empty[1], empty[0])).sin()
    turn, strength, strength_around = (
        torch.bincount(labels.flatten(), values.flatten(), minlength=len(areas))
        for values in (turn, torch.hypot(*colour), torch.hypot(*empty))
    )
    turned, brighter = turn.abs() > _FOREIGN_TURN * areas, strength > _BRIGHTER * strength_around
    turned[0] = brighter[0] = False
    # Shadows where cloth lights cloth may be of a tint of their own, but only small ones are.
    turned &= (areas * turned).max() > 0.005 * known.numel()
    return by_label(turned | (brighter & (areas > (size / 100) ** 2)), labels)
