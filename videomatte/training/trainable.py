"""The models that can be trained: how each answers a crop and a picture, and how its weights are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from videomatte.errors import ModelError
from videomatte.models.checkpoint import stored, write_checkpoint
from videomatte.models.embedded import EmbeddedMatting
from videomatte.models.load import load_network
from videomatte.models.vitmatte import ViTMatte
from videomatte.training.data import Batch, Prior, Vary
from videomatte.training.vary import vary_colours, vary_prior

__all__ = ["Trainable", "open_trainable", "trainable"]


@dataclass(frozen=True)
class Trainable:
    """What the loop needs to know of a model."""

    model: nn.Module
    """What is trained."""
    prior: Prior | None
    """What the network is told besides picture and trimap; nothing in it is learned, so it is made once and kept."""
    vary: Vary
    """Makes more of a crop."""
    predict: Callable[[nn.Module, Batch], Tensor]
    """Alpha ``[B, 1, h, w]`` of crops, with gradients."""
    answer: Callable[[nn.Module, Tensor, Tensor, Tensor | None], Tensor]
    """Alpha ``[B, 1, H, W]`` of whole pictures from rgb, trimap and prior; 0 and 1 where the trimap is."""
    write: Callable[[nn.Module, Path], None]
    """Weights in half precision as ``--model`` takes them, into a ``.safetensors`` that is replaced if it is there."""


def open_trainable(name: str, *, scratch: bool) -> Trainable:
    """A model by name or path, ready to train.

    Args:
        name: as for :func:`videomatte.models.load.load_network`.
        scratch: start from random weights.

    Raises:
        ModelError: it cannot be found or loaded, or has no weights.
    """
    if name == "embedded" and scratch:
        return trainable(EmbeddedMatting())
    model = load_network(name)
    if isinstance(model, EmbeddedMatting):
        return trainable(EmbeddedMatting() if scratch else model)
    if isinstance(model, ViTMatte):
        return trainable(ViTMatte(model.config) if scratch else model)
    raise ModelError(f"{name} has no weights to train")


def trainable(model: EmbeddedMatting | ViTMatte) -> Trainable:
    """What the loop needs to know of ``model``."""
    if isinstance(model, EmbeddedMatting):
        return Trainable(model, model.prior, vary_prior, _refine_crops, _correct, _write_embedded)
    return Trainable(model, None, vary_colours, _whole_crops, _known_forced, _write_network)


def _write_embedded(model: nn.Module, path: Path) -> None:
    """Half precision, under its name only when whole."""
    partial = path.with_suffix(".part")
    save_file(stored(model.state_dict(), torch.float16), partial, metadata={"format": "pt", "videomatte": "embedded"})
    partial.replace(path)


def _write_network(model: nn.Module, path: Path) -> None:
    write_checkpoint(cast("ViTMatte", model), path, torch.float16)


def _whole_crops(model: nn.Module, batch: Batch) -> Tensor:
    alpha: Tensor = model(batch.rgb, batch.trimap)
    return alpha


def _refine_crops(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.prior is not None
    return cast("EmbeddedMatting", model).refine(batch.rgb, batch.trimap, batch.prior)


def _correct(model: nn.Module, rgb: Tensor, trimap: Tensor, prior: Tensor | None) -> Tensor:
    assert prior is not None
    return cast("EmbeddedMatting", model).correct(rgb, trimap, prior)


def _known_forced(model: nn.Module, rgb: Tensor, trimap: Tensor, prior: Tensor | None) -> Tensor:  # noqa: ARG001
    return torch.where(trimap == 0.5, model(rgb, trimap), trimap)
