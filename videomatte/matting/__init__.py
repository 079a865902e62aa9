"""The matting stage: frames with trimaps in, frames with mattes out."""

from __future__ import annotations

import torch

from videomatte.matting.closed_form import ClosedFormMatting
from videomatte.matting.network import NetworkMatting
from videomatte.models.load import load_model
from videomatte.types import MattingStage

__all__ = ["ClosedFormMatting", "NetworkMatting", "open_matting"]


def open_matting(model: str, device: torch.device | str = "cpu", batch: int = 1) -> MattingStage:
    """The matting stage that a model's name stands for.

    Args:
        model: ``closed-form``, which runs on the CPU whatever the device, or what `load_model` takes.
        device: where a network runs.
        batch: most frames a network computes together.

    Raises:
        ModelError: there is no such model, or what it needs is not installed or cannot be had.
    """
    if model == "closed-form":
        return ClosedFormMatting()
    return NetworkMatting(load_model(model, torch.device(device)), device, batch)
