"""The models that can be trained: how each answers a crop and a picture, and how its weights are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from videomatte.models.embedded import EmbeddedMatting, load_embedded
from videomatte.training.data import Batch, Prior, Vary
from videomatte.training.vary import vary_colours, vary_prior

__all__ = ["Trainable", "open_trainable", "trainable", "write_weights"]


@dataclass(frozen=True)
class Trainable:
    """What the loop needs to know of a model."""

    model: nn.Module
    """What is trained."""
    kind: str
    """Written into the weights: embedded or vitmatte."""
    prior: Prior | None
    """What the network is told besides picture and trimap; nothing in it is learned, so it is made once and kept."""
    vary: Vary
    """Makes more of a crop."""
    predict: Callable[[nn.Module, Batch], Tensor]
    """Alpha ``[B, 1, h, w]`` of crops, with gradients."""
    answer: Callable[[nn.Module, Tensor, Tensor, Tensor | None], Tensor]
    """Alpha ``[B, 1, H, W]`` of whole pictures from rgb, trimap and prior; 0 and 1 where the trimap is."""


def open_trainable(name: str, *, scratch: bool) -> Trainable:
    """A model by name or path, ready to train.

    Args:
        name: ``embedded``, a name of the registry or the path of a checkpoint.
        scratch: start from random weights.

    Raises:
        ModelError: it cannot be found or loaded.
    """
    if name == "embedded":
        return trainable(EmbeddedMatting() if scratch else load_embedded())
    from videomatte.models.registry import load_model

    model = load_model(name)
    return trainable(type(model)(model.config) if scratch else model)


def trainable(model: nn.Module) -> Trainable:
    """What the loop needs to know of ``model``: the embedded one, or a network from picture and trimap alone."""
    if isinstance(model, EmbeddedMatting):
        return Trainable(model, "embedded", model.prior, vary_prior, _refine_crops, _correct)
    return Trainable(
        model, "vitmatte", None, vary_colours, lambda network, batch: network(batch.rgb, batch.trimap), _known_forced
    )


def write_weights(model: nn.Module, kind: str, path: Path) -> None:
    """Weights in half precision as ``--model`` takes them, under their name only when whole.

    Args:
        model: as trained.
        kind: as in :class:`Trainable`.
        path: a ``.safetensors`` file, replaced if it is there.
    """
    # Counters of batches, the only integers, serve training alone.
    tensors = {name: t.half().contiguous() for name, t in model.state_dict().items() if t.is_floating_point()}
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={"format": "pt", "videomatte": kind})
    partial.replace(path)


def _refine_crops(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.prior is not None
    return cast("EmbeddedMatting", model).refine(batch.rgb, batch.trimap, batch.prior)


def _correct(model: nn.Module, rgb: Tensor, trimap: Tensor, prior: Tensor | None) -> Tensor:
    assert prior is not None
    return cast("EmbeddedMatting", model).correct(rgb, trimap, prior)


def _known_forced(model: nn.Module, rgb: Tensor, trimap: Tensor, prior: Tensor | None) -> Tensor:  # noqa: ARG001
    return torch.where(trimap == 0.5, model(rgb, trimap), trimap)
