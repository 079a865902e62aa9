"""The stage that gives mattes their foreground.

mattes = Foreground()(mattes)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from videomatte.refine.despill import despill
from videomatte.refine.foreground import estimate_foreground
from videomatte.refine.unmix import unmix
from videomatte.trimaps.hue import hue_behind, screen_hue
from videomatte.types import BACKGROUND, UNKNOWN, MatteFrame, finite_unit_range

__all__ = ["Foreground"]


class Foreground:
    """Gives every matte the subject's own colour, straight, where the background shines through.

    Where the trimap's maker knows the background it is unmixed, else both layers are estimated. Where that, or what the
    trimap is sure of, is a coloured screen, its light is taken off the edges. Frames are looked at one by one. Off the
    edges, where the trimap is sure of the subject, the foreground is the frame, to the bit.
    """

    def __call__(self, mattes: Iterator[MatteFrame]) -> Iterator[MatteFrame]:
        """Frame by frame; none is held back."""
        for matte in mattes:
            yield replace(matte, foreground=_foreground(matte))


def _foreground(matte: MatteFrame) -> Tensor:
    """``[3, H, W]`` float32."""
    image = finite_unit_range(matte.frame.rgb)
    trimap, plate = matte.source.trimap, matte.source.background
    if plate is None:
        foreground = estimate_foreground(image[None], matte.alpha[None])[0][0]
        hue = hue_behind(image, trimap == BACKGROUND)
    else:
        plate = finite_unit_range(plate)
        foreground = unmix(image[None], matte.alpha[None], plate[None])[0]
        hue = screen_hue(plate)
    return foreground if hue is None else despill(foreground, matte.alpha, hue, trimap == UNKNOWN)
