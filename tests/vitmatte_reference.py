"""transformers' ViTMatte with weights drawn so that its alpha varies: a reference that shares no code with ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting

from videomatte.models.vitmatte import ViTMatte, ViTMatteConfig

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "image_size": 64,
    "pretrain_image_size": 48,
    "window_size": 3,
    "window_block_indices": [0, 2],
    "residual_block_indices": [1, 3],
}
"""A backbone small enough for every test, with every kind of block."""
SMALL: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 6}
BASE: dict[str, Any] = {"hidden_size": 768, "num_attention_heads": 12}
"""The published backbones, as far as they differ from each other."""

_PUBLISHED: dict[str, Any] = {
    "num_channels": 4,
    "image_size": 512,
    "pretrain_image_size": 224,
    "use_relative_position_embeddings": True,
    "window_size": 14,
    "window_block_indices": [0, 1, 3, 4, 6, 7, 9, 10],
    "residual_block_indices": [2, 5, 8, 11],
}


def reference(backbone: dict[str, Any], seed: int = 0) -> VitMatteForImageMatting:
    """The reference network in evaluation mode, weights drawn from a seed."""
    settings = {**_PUBLISHED, **backbone}
    config = VitMatteConfig(
        backbone_config=VitDetConfig(**settings, out_features=[f"stage{settings.get('num_hidden_layers', 12)}"]),
        hidden_size=settings["hidden_size"],
        convstream_hidden_sizes=[48, 96, 192],
        fusion_hidden_sizes=[256, 128, 64, 32],
    )
    model = VitMatteForImageMatting(config).eval()
    draw(model, seed)
    # Centre the logits and scale them to deviation 1: alpha then varies by some 0.2, as the tests assert.
    last = model.decoder.matting_head.matting_convs[3]
    logits = torch.logit(reference_alpha(model, *picture(1, 128, 128)).double())
    mean, deviation = float(logits.mean()), float(logits.std())
    last.weight.data /= deviation
    last.bias.data = (last.bias.data - mean) / deviation
    return model


@torch.no_grad()
def draw(model: nn.Module, seed: int = 0) -> None:
    """Draw every weight and statistic at the scale that training leaves behind, so that no part is silent.

    Initialised as for training, the network's alpha is constant to 1e-7 and equality would prove nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.dtype != torch.float32:
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(noise.mul(0.3).exp())
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(noise.mul(0.1))
        elif "position_embeddings" in name or "pos_embed" in name or "rel_pos" in name:
            tensor.copy_(noise.mul(0.2))
        elif tensor.ndim == 1:  # scales of LayerNorm and BatchNorm
            tensor.copy_(1 + noise.mul(0.1))
        elif "fc2" in name or "proj.weight" in name or "conv3" in name:  # what branches add to the stream of tokens
            tensor.copy_(noise.mul(0.5 * tensor[0].numel() ** -0.5))
        else:
            tensor.copy_(noise.mul((2 if tensor.ndim == 4 else 1) ** 0.5 * tensor[0].numel() ** -0.5))


def picture(batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A smooth coloured picture ``[B, 3, H, W]`` in 0..1 and a trimap ``[B, 1, H, W]`` with all three values."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 4, 2 + height // 32, 2 + width // 32, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    fine = torch.rand(batch, 3, height, width, generator=generator)
    trimap = (smooth[:, 3:] * 3).floor().clamp(0, 2) / 2
    return (0.8 * smooth[:, :3] + 0.2 * fine), trimap


def reference_alpha(model: VitMatteForImageMatting, rgb: Tensor, trimap: Tensor) -> Tensor:
    """The reference's alpha, with its image processor's default preprocessing."""
    height, width = rgb.shape[2:]
    pixels = torch.cat([(rgb - 0.5) / 0.5, trimap], dim=1)
    pixels = nn.functional.pad(pixels, (0, -width % 32, 0, -height % 32))
    with torch.inference_mode():
        alpha: Tensor = model(pixels).alphas
    return alpha[:, :, :height, :width]


def ours(model: VitMatteForImageMatting) -> ViTMatte:
    """Our network with the reference's weights, taken over by name."""
    backbone = model.config.backbone_config
    network = ViTMatte(
        ViTMatteConfig(
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            embed_dim=backbone.hidden_size,
            depth=backbone.num_hidden_layers,
            heads=backbone.num_attention_heads,
            image_size=backbone.image_size,
            pretrain_image_size=backbone.pretrain_image_size,
            window_size=backbone.window_size,
            window_blocks=tuple(backbone.window_block_indices),
            residual_blocks=tuple(backbone.residual_block_indices),
        )
    )
    network.load_state_dict({_our_name(name): tensor for name, tensor in model.state_dict().items()})
    return network


def _our_name(name: str) -> str:
    for theirs, published in (
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.projection", "patch_embed.proj"),
        ("encoder.layer", "blocks"),
        (".attention.", ".attn."),
        (".batch_norm.", ".bn."),
        ("fusion_blocks", "fusion_blks"),
    ):
        name = name.replace(theirs, published)
    return name
