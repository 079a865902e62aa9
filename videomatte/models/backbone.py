"""The plain vision transformer of ViTMatte: windowed and global blocks at one scale, with convolutions between them.

Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022 (the plain backbone);
Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers", Information Fusion 2024 (its
hyperparameters for matting). Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.attention import GridAttention
from videomatte.models.precision import Float32Conv2d

__all__ = ["Block", "ChannelNorm", "PlainViT", "ResBottleneck", "absolute_positions"]

NORM_EPS = 1e-6


class PlainViT(nn.Module):
    """Patches of a picture, a trimap and whatever else a network is given, to features of one scale.

    Args:
        in_chans: channels of the input, 4 for RGB and trimap.
        embed_dim: channels of a token.
        depth: number of blocks.
        heads: attention heads a block.
        mlp_ratio: hidden channels of a block's MLP over ``embed_dim``.
        patch_size: side of a patch, in pixels.
        image_size: side of the training picture in pixels; global blocks' tables of relative positions fit it.
        pretrain_image_size: side of the pre-training picture in pixels; the absolute positions fit it.
        window_size: side of the windows in tokens.
        window_blocks: indices of the blocks that attend within windows; the others attend to everything.
        residual_blocks: indices of the blocks that end in a residual convolution block.
    """

    def __init__(
        self,
        *,
        in_chans: int = 4,
        embed_dim: int = 384,
        depth: int = 12,
        heads: int = 6,
        mlp_ratio: float = 4,
        patch_size: int = 16,
        image_size: int = 512,
        pretrain_image_size: int = 224,
        window_size: int = 14,
        window_blocks: Collection[int] = (0, 1, 3, 4, 6, 7, 9, 10),
        residual_blocks: Collection[int] = (2, 5, 8, 11),
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size)
        # The first position belongs to pre-training's class token: never used, but part of every checkpoint.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (pretrain_image_size // patch_size) ** 2, embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                heads,
                mlp_ratio,
                grid=window_size if index in window_blocks else image_size // patch_size,
                window=window_size if index in window_blocks else 0,
                residual=index in residual_blocks,
            )
            for index in range(depth)
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(_init_linear)

    def forward(self, images: Tensor) -> Tensor:
        """Features of a picture.

        Args:
            images: ``[B, in_chans, H, W]``; H and W are multiples of the patch size.

        Returns:
            ``[B, embed_dim, H / patch_size, W / patch_size]``, channels last in memory.
        """
        x: Tensor = self.patch_embed(images)  # [B, h, w, C]
        x = x + absolute_positions(self.pos_embed, x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """One token a patch: a convolution whose stride is its kernel, which is one matrix product over patches."""

    def __init__(self, in_chans: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Pixels ``[B, in_chans, H, W]`` to tokens ``[B, H / patch, W / patch, C]``."""
        B, C, H, W = images.shape
        side = self.proj.kernel_size[0]
        patches = images.permute(0, 2, 3, 1).reshape(B, H // side, side, W // side, side * C).transpose(2, 3).flatten(3)
        return F.linear(patches, self.proj.weight.permute(0, 2, 3, 1).flatten(1), self.proj.bias)


class Block(nn.Module):
    """A transformer block; with ``window``, attention stays within windows; with ``residual``, convolutions follow.

    The stream of tokens stays in float32 under autocast: only what the branches add to it is computed in less.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, *, grid: int, window: int, residual: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = GridAttention(dim, heads, grid, window)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.residual = ResBottleneck(dim) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[B, H, W, C]`` to tokens of the same shape."""
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        if self.residual is not None:
            x = self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[..., C]`` to tokens of the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class ResBottleneck(nn.Module):
    """Residual bottleneck of 1×1, 3×3 and 1×1 convolutions at half the channels, normalised over channels.

    In float32 throughout: of all that bfloat16 would round, this costs least time and moves alpha most.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = Float32Conv2d(dim, dim // 2, 1, bias=False)
        self.norm1 = ChannelNorm(dim // 2)
        self.conv2 = Float32Conv2d(dim // 2, dim // 2, 3, padding=1, bias=False)
        self.norm2 = ChannelNorm(dim // 2)
        self.conv3 = Float32Conv2d(dim // 2, dim, 1, bias=False)
        self.norm3 = ChannelNorm(dim)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.norm3.weight)  # the block starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W]`` to features of the same shape."""
        out: Tensor = F.gelu(self.norm1(self.conv1(x)))
        out = F.gelu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return x + out


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``[B, C, H, W]``."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """Normalise each pixel over its channels."""
        # Free of copies where memory is channels last, as it is all through the backbone.
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def absolute_positions(pos_embed: Tensor, height: int, width: int) -> Tensor:
    """Positions learned on pre-training's square grid, resized bicubically to this picture's.

    Convention: rows first; pixel centres at half-integers (``align_corners=False``); the grid of pre-training returns
    itself.

    Args:
        pos_embed: ``[1, 1 + L², C]``, the class token's first.
        height, width: size of the grid, in tokens.

    Returns:
        ``[1, height, width, C]``.
    """
    side = math.isqrt(pos_embed.shape[1] - 1)
    grid = pos_embed[:, 1:].reshape(1, side, side, -1)
    if (height, width) == (side, side):
        return grid
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
