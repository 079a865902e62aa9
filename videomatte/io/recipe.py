"""How a matte becomes what is written."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from videomatte.composite import premultiply
from videomatte.errors import UsageError
from videomatte.io.formats import Content
from videomatte.types import MatteFrame, unit_range

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is made of a matte for one output."""

    content: Content
    premultiplied: bool
    composite: bool
    """Whether the opaque colour is the matte's own composite, and not its foreground."""

    @property
    def comment(self) -> str | None:
        """What the file says of itself, for readers that have to be told."""
        if self.content != "both":
            return None
        return "premultiplied alpha" if self.premultiplied else "straight alpha"

    def pixels(self, matte: MatteFrame) -> tuple[Tensor | None, Tensor | None]:
        """Colour and alpha to be written."""
        if self.composite:
            if matte.composite is None:
                raise UsageError("a composite is to be written, but no stage has made one: put in ReplaceBackground")
            return matte.composite, None
        foreground = matte.frame.rgb if matte.foreground is None else matte.foreground
        if self.content == "alpha":
            return None, matte.alpha
        if self.content == "foreground":
            return foreground, None
        return premultiply(unit_range(foreground), matte.alpha) if self.premultiplied else foreground, matte.alpha
