"""The matting stage: frames with trimaps in, frames with mattes out."""

from __future__ import annotations

import torch

from videomatte.config import parse_bytes
from videomatte.matting.closed_form import ClosedFormMatting
from videomatte.matting.network import NetworkMatting, Regions
from videomatte.models.load import load_model
from videomatte.models.precision import Precision
from videomatte.types import MattingStage

__all__ = ["ClosedFormMatting", "NetworkMatting", "open_matting"]


def open_matting(
    model: str,
    device: torch.device | str = "cpu",
    batch: int = 1,
    *,
    regions: Regions = "auto",
    precision: Precision = "auto",
    compile: bool = False,  # noqa: A002 - torch's own name for it
    memory: str | None = None,
) -> MattingStage:
    """The matting stage that a model's name stands for.

    Args:
        model: ``closed-form``, which runs on the CPU whatever else is asked for, or what `load_model` takes.
        device: where a network runs.
        batch: most frames a network computes together.
        regions: see :class:`NetworkMatting`.
        memory: the same, as people write it: ``8GB``.
        precision, compile: see :func:`videomatte.models.load.load_model`.

    Raises:
        ModelError: there is no such model, or what it needs is not installed or cannot be had.
        UsageError: the device cannot compute in that precision.
    """
    if model == "closed-form":
        return ClosedFormMatting()
    network = load_model(model, torch.device(device), precision, compile=compile)
    limit = None if memory is None else parse_bytes(memory)
    return NetworkMatting(network, device, batch, regions=regions, memory=limit)
