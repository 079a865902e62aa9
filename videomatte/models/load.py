"""A model by its name or path: to run, or to train on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from videomatte.errors import ModelError
from videomatte.models.checkpoint import header, read_checkpoint
from videomatte.models.precision import Precision, prepare
from videomatte.models.registry import find, locate

__all__ = ["load_model", "load_network"]


def load_model(
    name: str,
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
    *,
    compile: bool = False,  # noqa: A002
) -> nn.Module:
    """A model ready to run, called as ``model(rgb, trimap) -> alpha``.

    ``rgb`` is ``[B, 3, H, W]`` in 0..1, ``trimap`` ``[B, 1, H, W]`` with 0 for sure background, 0.5 for unknown and 1
    for sure foreground, alpha ``[B, 1, H, W]`` float32 in 0..1; any height and width, normalisation is inside.

    Args:
        name: a name that the registry knows; ``owner/name`` on the Hugging Face hub in transformers' layout; a folder
            in that layout; a ``.safetensors`` of transformers or of ours; a ``.pth`` of the original.
        device: where it runs.
        precision: ``auto`` is the device's fastest that is safe; see :func:`videomatte.models.precision.compute_dtype`.
        compile: use ``torch.compile``: each new size of picture costs a minute or more before it runs faster.

    Raises:
        ModelError: there is no such model, or its weights cannot be had or do not fit.
        UsageError: the device cannot compute in that precision.
    """
    return prepare(load_network(name), torch.device(device), precision, compile=compile)


def load_network(name: str) -> nn.Module:
    """A model to train on: in float32 on the CPU, in evaluation mode, BatchNorm as it was.

    Args:
        name: as for :func:`load_model`.

    Raises:
        ModelError: as :func:`load_model`.
    """
    from videomatte.models.embedded import load_embedded

    entry = None if Path(name).exists() else find(name)
    if entry is not None and entry.name == "embedded":
        return load_embedded()
    if entry is not None and entry.name == "laplacian":
        from videomatte.models.laplacian import LaplacianMatting

        return LaplacianMatting().eval()
    if entry is not None and entry.source == "pymatting":
        raise ModelError(f"{entry.name} is solved by PyMatting, frame by frame: it is not a network")
    path = locate(name)
    if path.suffix == ".safetensors" and header(path).get("videomatte") == "embedded":
        return load_embedded(path)
    return read_checkpoint(path)
