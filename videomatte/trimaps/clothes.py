"""Clothes of nearly the screen's colour, told from the screen by their hue."""

import math

import torch
from torch import Tensor

from videomatte.components import by_label, held_by_label, label_components, without_specks
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
_SLIGHT_TURN = math.sin(math.radians(5))
"""The same of what hangs together with that: more than a screen's own hue varies, but for the coarsest compression."""
_LEAST_CLOTH = 0.006
"""Share of the picture that clothes of another hue fill, or more: hair that the screen shines through, veils over it
and shadows where cloth lights cloth are turned by as much in some places, but in small ones."""
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


def foreign_islands(rgb: Tensor, known: Tensor, before: Tensor | None = None) -> Tensor:
    """Pieces of what was taken for the screen that are a coat of nearly its colour, and what is between them.

    They lie within the subject, or between it and the picture's lower border, and are of another hue than the screen
    around, or of much more chroma. A gap under an arm shows the same screen, if darker.

    Args:
        rgb: ``[3, H, W]`` float32, 1.0 at white, a reduced picture.
        known: ``[H, W]`` bool, what was taken for the screen.
        before: ``[H, W]`` bool, the coat of the frame before, if there is one: where it was, half the evidence is
            enough, so that no coat comes and goes with the noise.

    Returns:
        ``[H, W]`` bool: a part of ``known``, and what lies between the pieces of a coat.

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
    strength, strength_around = (
        torch.bincount(labels.flatten(), torch.hypot(*values).flatten(), minlength=len(areas))
        for values in (colour, empty)
    )
    brighter = (strength > _BRIGHTER * strength_around) & (areas > (size / 100) ** 2)
    brighter[0] = False
    coat = _turned(colour, empty, labels > 0, torch.zeros_like(known) if before is None else before)
    if coat.any():
        # What lies between two pieces of cloth and is no screen is cloth of another colour, or in front of it.
        coat |= erode(dilate(coat, size / 100), size / 100) & ~without_specks(known & ~coat, 4)
    return coat | by_label(brighter, labels)


def _turned(colour: Tensor, empty: Tensor, islands: Tensor, before: Tensor) -> Tensor:
    """What of the islands is turned from the screen's hue and hangs together with enough that is turned by much.

    A hysteresis, as in :func:`videomatte.trimaps.silhouette.hangs_together`: cloth is of one hue only more or less, and
    taking each of its pieces for itself would let a change as small as noise decide on any of them anew.
    """
    size = max(islands.shape)
    # Edges are mixtures, and are left out of means.
    mean = box_mean(colour * islands, 1)
    length = torch.hypot(*mean) * torch.hypot(*empty)
    across = along(mean, empty)[1].abs()
    foreign, least = islands & (across > _FOREIGN_TURN * length), _LEAST_CLOTH * islands.numel()
    if foreign.sum() <= least / 2:
        return torch.zeros_like(islands)
    turned = islands & (across > _SLIGHT_TURN * length)
    # Between strands of hair, which turn hues as well, the screen's own shows; so it does beside its shadows.
    inner = turned & ~dilate(without_specks(islands & ~turned, 4), size / 100)
    labels, areas = label_components(dilate(inner, size / 40))
    strong, weak, kept = (
        held_by_label(which, labels, areas) for which in (inner & foreign, inner, inner & dilate(before, size / 40))
    )
    cloth = inner & by_label(strong > torch.where(2 * kept > weak, least / 2, least), labels)
    return turned & dilate(cloth, size / 100)
