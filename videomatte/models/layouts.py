"""The layouts that checkpoints of ViTMatte come in, and what each says of the network.

==============  ================================================================  ===================================
layout          what it is                                                        normalisation
==============  ================================================================  ===================================
transformers    a folder with ``config.json`` and ``model.safetensors`` or        that of ``preprocessor_config.json``,
                ``pytorch_model.bin``                                             else mean and deviation 0.5
hustvl          a ``.pth`` of the original, its weights under ``model``           ImageNet's
videomatte      a ``.safetensors`` with its configuration in the header           its configuration's
==============  ================================================================  ===================================

Weights of the first two that come without a ``config.json`` are taken for ViTMatte-S or -B, by their width.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from videomatte.errors import ModelError
from videomatte.models.vitmatte import BASE, SMALL, ViTMatteConfig

__all__ = ["configuration"]

_HALF = (0.5, 0.5, 0.5)


def configuration(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> ViTMatteConfig:
    """What network a file's weights belong to, and what its input is normalised by.

    Args:
        file: where they were read.
        tensors: the weights by name.
        metadata: of a ``.safetensors`` file's header.

    Raises:
        ModelError: it is another network than ViTMatte, or cannot be told.
    """
    if "videomatte" in metadata:
        return _our_config(file, metadata)
    if any(name.startswith("backbone.embeddings.") for name in tensors):
        mean, std = _normalisation(file.with_name("preprocessor_config.json"))
        beside = file.with_name("config.json")
        config = _transformers_config(beside) if beside.is_file() else _published(file, tensors)
        return dataclasses.replace(config, mean=mean, std=std)
    return _published(file, tensors)


def _our_config(file: Path, metadata: dict[str, str]) -> ViTMatteConfig:
    if metadata["videomatte"] != "vitmatte":
        raise ModelError(f"{file}: weights of {metadata['videomatte']}, not of ViTMatte")
    try:
        settings: dict[str, Any] = json.loads(metadata["config"])
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return ViTMatteConfig(**settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{file}: its header holds no configuration this version knows ({error})") from error


def _published(file: Path, tensors: dict[str, Tensor]) -> ViTMatteConfig:
    widths = {config.embed_dim: config for config in (SMALL, BASE)}
    norm = next(
        (t for name, t in tensors.items() if name.endswith(("blocks.0.norm1.weight", "layer.0.norm1.weight"))), None
    )
    if norm is None:
        raise ModelError(
            f"{file}: not a checkpoint of ViTMatte: it has weights such as {', '.join(sorted(tensors)[:2])}"
        )
    if norm.shape[0] not in widths:
        raise ModelError(
            f"{file}: {norm.shape[0]} channels wide: without a config.json only 384 (S) and 768 (B) are known"
        )
    return widths[norm.shape[0]]


def _transformers_config(file: Path) -> ViTMatteConfig:
    """What transformers' ``VitMatteConfig`` says; what it leaves out has ``VitDetConfig``'s defaults."""
    config = _read_json(file)
    backbone: dict[str, Any] = config.get("backbone_config") or {}
    if config.get("model_type") != "vitmatte" or backbone.get("model_type", "vitdet") != "vitdet":
        raise ModelError(f"{file}: describes a {config.get('model_type')} model, not ViTMatte")
    depth = backbone.get("num_hidden_layers", 12)
    only = {  # the one value of each that the published networks have, and what leaving it out means
        "out_features": ([f"stage{depth}"], [f"stage{depth}"]),
        "use_absolute_position_embeddings": (True, True),
        "use_relative_position_embeddings": (True, False),
        "qkv_bias": (True, True),
        "hidden_act": ("gelu", "gelu"),
        "layer_norm_eps": (1e-6, 1e-6),
    }
    for name, (wanted, default) in only.items():
        if backbone.get(name, default) != wanted:
            raise ModelError(f"{file}: {name} is {backbone.get(name, default)}, only {wanted} is known")
    return ViTMatteConfig(
        in_chans=backbone.get("num_channels", 3),
        embed_dim=backbone.get("hidden_size", 768),
        depth=depth,
        heads=backbone.get("num_attention_heads", 12),
        mlp_ratio=backbone.get("mlp_ratio", 4),
        patch_size=backbone.get("patch_size", 16),
        image_size=backbone.get("image_size", 224),
        pretrain_image_size=backbone.get("pretrain_image_size", 224),
        window_size=backbone.get("window_size", 0),
        window_blocks=tuple(backbone.get("window_block_indices", ())),
        residual_blocks=tuple(backbone.get("residual_block_indices", ())),
        convstream_out=tuple(config.get("convstream_hidden_sizes", SMALL.convstream_out)),
        fusion_out=tuple(config.get("fusion_hidden_sizes", SMALL.fusion_out)),
    )


def _normalisation(file: Path) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if not file.is_file():
        return _HALF, _HALF
    settings = _read_json(file)
    if not settings.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = (tuple(settings.get(name, _HALF)) for name in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3:
        raise ModelError(f"{file}: image_mean and image_std must have three entries, got {mean} and {std}")
    return mean, std


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{file}: not a JSON file, or truncated: download it again ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file}: not a configuration")
    return content
