"""The stage that puts a new background behind the subject."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
from torch import Tensor

from videomatte.composite import over, over_light, wrap_light
from videomatte.light import to_light
from videomatte.shadow import Shadow, darken
from videomatte.types import MatteFrame, unit_range

__all__ = ["ReplaceBackground"]


class ReplaceBackground:
    """Gives every matte its composite.

    Where alpha is 1 it is the foreground, where alpha is 0 the background, both to the bit unless light wrap and
    shadows say otherwise.

    Args:
        background: what is shown so many seconds after the first frame, as of `videomatte.io.open_background`.
        transfer: how the clip encodes light, by ITU-T H.273.
        linear: mix in linear light, as a lens does, not in the encoding that mattes are solved in.
        light_wrap: how much of the background's light falls on the subject's edge, 0 to 1.
        shadows: keep the shadows that the subject throws on a screen.

    Raises:
        UsageError: from the constructor, where the transfer is not known and light is to be mixed.
    """

    def __init__(
        self,
        background: Callable[[Fraction], Tensor],
        transfer: int | None,
        *,
        linear: bool = False,
        light_wrap: float = 0.0,
        shadows: bool = False,
    ) -> None:
        if linear or light_wrap or shadows:
            to_light(torch.zeros(1), transfer)  # what is not known is told before the first frame
        self._background = background
        self._transfer = transfer
        self._linear = linear
        self._wrap = light_wrap
        self._shadow = Shadow(transfer) if shadows else None

    def __call__(self, mattes: Iterator[MatteFrame]) -> Iterator[MatteFrame]:
        """Give every matte its composite; the background begins with the first."""
        first: Fraction | None = None
        for matte in mattes:
            now = matte.frame.pts * matte.frame.time_base
            first = now if first is None else first
            yield dataclasses.replace(matte, composite=self._composite(matte, self._background(now - first)))

    def _composite(self, matte: MatteFrame, background: Tensor) -> Tensor:
        # NaN and infinity, as in broken float files, would outlast any alpha: 0 times either is NaN.
        picture = torch.nan_to_num(unit_range(matte.frame.rgb))
        foreground = picture if matte.foreground is None else torch.nan_to_num(matte.foreground)
        if self._shadow is not None:
            background = darken(background, self._shadow(picture, matte.alpha), self._transfer)
        if self._wrap:
            foreground = wrap_light(foreground, matte.alpha, background, self._transfer, self._wrap)
        if self._linear:
            return over_light(foreground, matte.alpha, background, self._transfer)
        return over(foreground, matte.alpha, background)
