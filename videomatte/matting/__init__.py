"""The matting stage: frames with trimaps in, frames with mattes out."""

from __future__ import annotations

import torch

from videomatte.errors import ModelError
from videomatte.matting.closed_form import ClosedFormMatting
from videomatte.types import MattingStage

__all__ = ["ClosedFormMatting", "open_matting"]


def open_matting(model: str, device: torch.device) -> MattingStage:
    """The matting stage that a model's name stands for.

    Args:
        model: ``closed-form``.
        device: where a network runs; closed-form matting runs on the CPU whatever it says.

    Raises:
        ModelError: there is no such model, or what it needs is not installed.
    """
    if model == "closed-form":
        return ClosedFormMatting()
    raise ModelError(f"no model is called {model!r}: there is closed-form")
