"""Checkpoints of ViTMatte, read whole and strictly or refused. :mod:`videomatte.models.layouts` lists the layouts."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from videomatte.errors import ModelError
from videomatte.models.layouts import configuration
from videomatte.models.vitmatte import ViTMatte

__all__ = ["header", "read_checkpoint", "stored", "write_checkpoint"]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of a folder in transformers' layout that hold weights, the one to prefer first."""

_TRANSFORMERS_NAMES = (
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.projection", "patch_embed.proj"),
    ("encoder.layer.", "blocks."),
    (".attention.", ".attn."),
    (".batch_norm.", ".bn."),
    ("fusion_blocks.", "fusion_blks."),
)
"""Parts of parameters' names as transformers has them, and as the original and we do."""


def read_checkpoint(path: Path) -> ViTMatte:
    """A network with the weights of a checkpoint, in float32 on the CPU, in evaluation mode, ready to be trained on.

    Args:
        path: a folder in transformers' layout, or a file of any of the layouts.

    Raises:
        ModelError: the checkpoint is missing, truncated, of another network, or its weights do not fit; one line.
    """
    file = _weight_file(path) if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"{path}: no such checkpoint")
    tensors, metadata = _read_safetensors(file) if file.suffix == ".safetensors" else (_read_pickle(file), {})
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    config = configuration(file, tensors, metadata)
    try:
        model = ViTMatte(config)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: describes a network that cannot be built: {error}") from error
    _load_strictly(model, {_our_name(name): tensor for name, tensor in tensors.items()}, file)
    return model.eval()


def write_checkpoint(model: ViTMatte, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a network in our own layout, under its name only when whole.

    Args:
        model: as trained; one that was prepared for inference has lost its BatchNorm.
        path: a ``.safetensors`` file, replaced if it is there.
        dtype: what weights are stored in.
    """
    from safetensors.torch import save_file

    weights = stored(model.state_dict(), dtype)
    with torch.device("meta"):
        expected = ViTMatte(model.config).state_dict()
    if not weights.keys() <= expected.keys():
        raise ValueError("a network prepared for inference cannot be written: write it as it was trained")
    metadata = {"format": "pt", "videomatte": "vitmatte", "config": json.dumps(dataclasses.asdict(model.config))}
    partial = path.with_suffix(".part")
    save_file(weights, partial, metadata=metadata)
    partial.replace(path)


def stored(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """A network's state as it goes into a file: floating numbers alone; BatchNorm's counters serve training.

    Args:
        state: as ``state_dict`` gives it.
        dtype: of the weights. BatchNorm's statistics stay in float32: a variance may be beyond what half precision
            holds, and infinity in its place silences the channel.
    """
    return {
        name: t.to("cpu", torch.float32 if name.rpartition(".")[2].startswith("running_") else dtype).contiguous()
        for name, t in state.items()
        if t.is_floating_point()
    }


def header(file: Path) -> dict[str, str]:
    """The metadata in a ``.safetensors`` file's header.

    Raises:
        ModelError: the file is missing, truncated or something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(_damaged(file, "safetensors", error)) from error


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    metadata = header(file)
    try:
        return load_file(file), metadata
    except (SafetensorError, OSError) as error:
        raise ModelError(_damaged(file, "safetensors", error)) from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise ModelError(f"{file}: holds more than weights, which could run code: not loaded") from error
        raise ModelError(_damaged(file, "PyTorch", error)) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(_damaged(file, "PyTorch", error)) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ModelError(f"{file}: holds no weights by name, neither at the top nor under 'model'")
    return cast("dict[str, Tensor]", content)


def _damaged(file: Path, kind: str, error: Exception) -> str:
    with file.open("rb") as opened:
        if opened.read(24).startswith(b"version https://git-lfs"):
            return f"{file}: a Git LFS pointer instead of the weights: run 'git lfs pull' in its folder"
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return f"{file}: not a {kind} file, or truncated: download it again ({reason})"


def _weight_file(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder}: no checkpoint in this folder: there is no {' or '.join(WEIGHT_FILES)}")


def _our_name(name: str) -> str:
    for theirs, ours in _TRANSFORMERS_NAMES:
        name = name.replace(theirs, ours)
    return name


def _load_strictly(model: ViTMatte, tensors: dict[str, Tensor], file: Path) -> None:
    wanted = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    faults = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - wanted.keys()),
        "misshapen": [
            f"{name} {list(tensors[name].shape)} instead of {list(wanted[name].shape)}"
            for name in sorted(wanted.keys() & tensors.keys())
            if tensors[name].shape != wanted[name].shape
        ],
    }
    found = [f"{len(names)} {fault} ({_some(names)})" for fault, names in faults.items() if names]
    if found:
        raise ModelError(f"{file}: its weights do not fit the network it should be: {'; '.join(found)}")
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
