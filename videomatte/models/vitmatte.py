"""ViTMatte: a plain vision transformer and a light decoder, from a picture and its trimap to alpha.

Source: Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers", Information Fusion
2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.errors import ShapeError
from videomatte.models.backbone import PlainViT
from videomatte.models.blocks import alpha_near
from videomatte.models.detail_capture import DetailCapture
from videomatte.models.heap import give_back_freed_memory
from videomatte.models.mask_decoder import MaskDecoder
from videomatte.models.precision import autocast
from videomatte.models.tokens import features_near

__all__ = ["BASE", "SMALL", "ViTMatte", "ViTMatteConfig"]

_DIVISOR = 32
"""Pictures are filled up to a multiple of this, as in training."""
_LARGE_BATCH = 3_000_000
"""Pixels from which on memory is worth more than the time it takes to ask the system for it again and again: a sixth on
pictures of 2560×1440, which take minutes, but twice the time of small networks on small ones."""


@dataclass(frozen=True, kw_only=True)
class ViTMatteConfig:
    """What a checkpoint of ViTMatte is made of. The defaults are ViTMatte-S as published."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from RGB in 0..1; ImageNet's mean as in the original training."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """What RGB is divided by after that."""
    in_chans: int = 4
    """Channels of the input: RGB, trimap, and any further ones."""
    embed_dim: int = 384
    """Channels of a token."""
    depth: int = 12
    """Transformer blocks."""
    heads: int = 6
    """Attention heads a block."""
    mlp_ratio: float = 4
    """Hidden channels of a block's MLP over ``embed_dim``."""
    patch_size: int = 16
    """Side of a patch, in pixels."""
    image_size: int = 512
    """Side of the training picture, which global blocks' relative positions fit, in pixels."""
    pretrain_image_size: int = 224
    """Side of the pre-training picture, which the absolute positions fit, in pixels."""
    window_size: int = 14
    """Side of the attention windows, in tokens."""
    window_blocks: tuple[int, ...] = (0, 1, 3, 4, 6, 7, 9, 10)
    """Blocks that attend within windows."""
    residual_blocks: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks that end in convolutions."""
    decoder: Literal["detail_capture", "mask"] = "detail_capture"
    """:class:`DetailCapture`, or :class:`MaskDecoder`, which does not look at the picture again."""
    convstream_out: tuple[int, ...] = (48, 96, 192)
    """Channels of DetailCapture's convolution stream."""
    fusion_out: tuple[int, ...] = (256, 128, 64, 32)
    """Channels of DetailCapture's fusion blocks."""


SMALL = ViTMatteConfig()
"""ViTMatte-S."""
BASE = ViTMatteConfig(embed_dim=768, heads=12)
"""ViTMatte-B."""


class ViTMatte(nn.Module):
    """The network, with normalisation and padding inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ViTMatteConfig = SMALL) -> None:
        super().__init__()
        self.config = config
        self.backbone = PlainViT(
            in_chans=config.in_chans,
            embed_dim=config.embed_dim,
            depth=config.depth,
            heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            patch_size=config.patch_size,
            image_size=config.image_size,
            pretrain_image_size=config.pretrain_image_size,
            window_size=config.window_size,
            window_blocks=config.window_blocks,
            residual_blocks=config.residual_blocks,
        )
        self.decoder: nn.Module = (
            MaskDecoder(config.embed_dim)
            if config.decoder == "mask"
            else DetailCapture(config.embed_dim, config.in_chans, config.convstream_out, config.fusion_out)
        )
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor, trimap: Tensor, extra: Tensor | None = None) -> Tensor:
        """Alpha of a batch of pictures.

        Convention: alpha's pixels are the picture's. What is missing to a multiple of 32 is filled with zeros (after
        normalisation) at the right and the bottom, and only there where it is missing; the original fills a whole
        32 pixels on an axis that fits.

        Args:
            rgb: ``[B, 3, H, W]`` in 0..1.
            trimap: ``[B, 1, H, W]``, 0 sure background, 0.5 unknown, 1 sure foreground.
            extra: ``[B, in_chans - 4, H, W]``, what else a network was trained to be told.

        Returns:
            ``[B, 1, H, W]`` float32 in 0..1. Known pixels are the network's opinion too.

        Raises:
            ShapeError: shapes do not fit each other or the network.
        """
        images = self._images(rgb, trimap, extra)
        with autocast(images.device, self.backbone.patch_embed.proj.weight.dtype):
            alpha: Tensor = self.decoder(self.backbone(images), images)
        return alpha[:, :, : rgb.shape[2], : rgb.shape[3]]

    def near_unknown(
        self, rgb: Tensor, trimap: Tensor, wanted: Tensor | None = None, *, shared: bool = False
    ) -> Tensor:
        """Alpha of a batch of pictures, computed only where something unknown depends on it.

        That is the decoder near unknown pixels (:mod:`videomatte.models.blocks`), and the backbone for pictures that
        have any. What comes out is what :meth:`forward` gives, unless tokens are shared.

        Args:
            rgb, trimap: as of :meth:`forward`.
            wanted: ``[B, 1, H, W]`` bool, which of the unknown pixels matter; all if not given.
            shared: have the backbone use one token for many patches away from unknown pixels
                (:mod:`videomatte.models.tokens`): several times faster, and an approximation.

        Returns:
            As :meth:`forward`, but known pixels are as in the trimap, and unknown ones that do not matter are anything.

        Raises:
            ShapeError: as :meth:`forward`.
        """
        unknown = (trimap > 0.25) & (trimap < 0.75)
        if wanted is not None:
            unknown &= wanted
        if not isinstance(self.decoder, DetailCapture):
            return torch.where(unknown, self(rgb, trimap), trimap.round())
        some = unknown.flatten(1).any(1)
        alpha = trimap.float().round()
        if some.any():
            images, unknown = self._images(rgb[some], trimap[some], None), unknown[some]
            padded = F.pad(unknown, (0, -rgb.shape[3] % _DIVISOR, 0, -rgb.shape[2] % _DIVISOR))
            with autocast(images.device, self.backbone.patch_embed.proj.weight.dtype):
                if shared:
                    near = F.max_pool2d(F.max_pool2d(padded.float(), self.config.patch_size), 3, 1, 1)[:, 0] > 0
                    features = features_near(self.backbone, images, near)
                else:
                    features = self.backbone(images)
                computed = alpha_near(self.decoder, features, images, padded)
            alpha[some] = torch.where(unknown, computed[:, :, : rgb.shape[2], : rgb.shape[3]], alpha[some])
        return alpha

    def _images(self, rgb: Tensor, trimap: Tensor, extra: Tensor | None) -> Tensor:
        """``[B, in_chans, H, W]``, normalised and filled up."""
        self._check(rgb, trimap, extra)
        if rgb.device.type == "cpu" and rgb[:, 0].numel() >= _LARGE_BATCH:
            give_back_freed_memory()
        parts = [(rgb.float() - self.mean) / self.std, trimap.float(), *([] if extra is None else [extra.float()])]
        images = F.pad(torch.cat(parts, dim=1), (0, -rgb.shape[3] % _DIVISOR, 0, -rgb.shape[2] % _DIVISOR))
        return images.contiguous(memory_format=torch.channels_last)

    def _check(self, rgb: Tensor, trimap: Tensor, extra: Tensor | None) -> None:
        wanted = {"rgb": (rgb, 3), "trimap": (trimap, 1)}
        if extra is not None or self.config.in_chans != 4:
            wanted["extra"] = (torch.empty(0) if extra is None else extra, self.config.in_chans - 4)
        B, H, W = rgb.shape[0], rgb.shape[-2], rgb.shape[-1]
        for name, (tensor, channels) in wanted.items():
            if tensor.shape != (B, channels, H, W):
                raise ShapeError(
                    f"{name} must be [B, {channels}, H, W] like all of a batch, got {list(tensor.shape)}"
                    f" where rgb is {list(rgb.shape)}"
                )
