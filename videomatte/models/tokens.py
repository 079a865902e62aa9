"""A plain vision transformer near unknown pixels: a token a patch there, one token for many patches elsewhere.

What is far from all unknown pixels is in the picture only for the sake of context, so that its patches are merged and
go through the network as one token that stands for all of them: it is their mean, and counts as many times as it has
members where others attend to it. Where nothing is merged, the result is the full network's.

Sources: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023 (merging, and attention in proportion to the
members); Lu, de Geus, Dubbelman, "Content-aware Token Sharing for Efficient Semantic Segmentation with Vision
Transformers", CVPR 2023 (tokens shared by place).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.models.attention import GridAttention, attend_places, relative_positions
from videomatte.models.backbone import Block, PlainViT, ResBottleneck, absolute_positions
from videomatte.models.precision import full_precision

__all__ = ["Sharing", "features_near", "share"]

CELL = 3
"""Side, in patches, of what is merged into one token where nothing in it is wanted by itself."""


@dataclass(frozen=True)
class Sharing:
    """Which token each place of a grid of patches has, over a batch of pictures.

    Tokens are ordered by picture, then by window of the transformer, so that each window's are neighbours. The grid is
    filled up to whole windows, as the windowed blocks fill it up.
    """

    of: Tensor
    """``[B, rows, columns]`` int64: number of the token, of filled-up places too."""
    rows: Tensor
    """``[n]`` int64: row of a token in its picture, that of its members' middle."""
    columns: Tensor
    """``[n]`` int64: likewise."""
    members: Tensor
    """``[n]`` float32: how many places share it."""
    filling: Tensor
    """``[n]`` bool: whether it stands for what was filled up, beyond the picture."""
    windows: list[int]
    """How many tokens each window has, in order; windows without any do not occur."""
    pictures: list[int]
    """How many tokens each picture has."""


def share(wanted: Tensor, window: int, cell: int = CELL) -> Sharing:
    """Share tokens among places.

    Convention: row 0, column 0 is the top left patch; cells start at their window's top left.

    Args:
        wanted: ``[B, h, w]`` bool, places that have a token of their own.
        window: side of the transformer's windows, in patches.
        cell: side of the squares in which all other places share one token, in patches.
    """
    B, h, w = wanted.shape
    filled = F.pad(torch.ones_like(wanted), (0, -w % window, 0, -h % window))
    wanted = F.pad(wanted, (0, -w % window, 0, -h % window))
    H, W = wanted.shape[1:]
    device = wanted.device
    x = torch.arange(W, device=device)
    y = torch.arange(H, device=device)[:, None]
    b = torch.arange(B, device=device)[:, None, None]
    cells = -(-window // cell)
    # A number for every group that orders as tokens do: picture, window, then place or cell, or all that is filling.
    per_window = window * window + cells * cells + 1
    of_window = (b * (H // window) + y // window) * (W // window) + x // window
    place = y % window * window + x % window
    shared = window * window + y % window // cell * cells + x % window // cell
    within = torch.where(wanted, place, torch.where(filled, shared, per_window - 1))
    if bool(wanted.sum() == B * h * w):  # nothing is shared: filling is not, either, and all is as in the full network
        within = place.expand(B, H, W)
    keys, of, counts = torch.unique(
        of_window * per_window + within, return_inverse=True, return_counts=True, sorted=True
    )
    n = len(keys)
    flat = of.flatten()

    def middle(along: Tensor) -> Tensor:
        total = torch.zeros(n, device=device).index_add_(0, flat, along.expand(B, H, W).flatten().float())
        mean: Tensor = total / counts
        return mean.round().long()

    window_of = keys // per_window
    return Sharing(
        of=of,
        rows=middle(y),
        columns=middle(x),
        members=counts.float(),
        filling=torch.zeros(n, dtype=torch.bool, device=device).index_put_((flat,), ~filled.flatten()),
        windows=torch.unique_consecutive(window_of, return_counts=True)[1].tolist(),
        pictures=torch.bincount(window_of // ((H // window) * (W // window)), minlength=B).tolist(),
    )


def features_near(backbone: PlainViT, images: Tensor, wanted: Tensor, cell: int = CELL) -> Tensor:
    """The backbone's features, exact in the limit where all is wanted.

    Args:
        backbone: in evaluation mode.
        images: ``[B, in_chans, H, W]``; H and W are multiples of the patch size.
        wanted: ``[B, H / patch_size, W / patch_size]`` bool, places whose features matter.
        cell: as for :func:`share`.

    Returns:
        ``[B, embed_dim, H / patch_size, W / patch_size]``, channels last in memory; places that share a token have the
        same features.
    """
    h, w = wanted.shape[1:]
    blocks = [cast("Block", block) for block in backbone.blocks]
    window = max(block.attn.window for block in blocks) or max(h, w)
    sharing = share(wanted, window, cell)
    x: Tensor = backbone.patch_embed(images)
    x = x + absolute_positions(backbone.pos_embed, h, w)
    of = sharing.of[:, :h, :w]
    x = _mean(x.flatten(0, 2), of.flatten(), len(sharing.members))
    around = _around(sharing, h, w)
    for block in blocks:
        x = _block(block, x, sharing, around, (h, w))
    return x[of].permute(0, 3, 1, 2)


def _mean(x: Tensor, of: Tensor, n: int) -> Tensor:
    """``[n, C]`` means of ``[places, C]``; zeros where a token has no place."""
    total = torch.zeros(n, x.shape[1], device=x.device).index_add_(0, of, x.float())
    return total / torch.bincount(of, minlength=n).clamp(min=1)[:, None]


def _around(sharing: Sharing, h: int, w: int) -> Tensor:
    """``[n, 9]``: the tokens at the places around a token's own, row by row; n beyond the picture."""
    n = len(sharing.members)
    of = F.pad(sharing.of[:, :h, :w], (1, 1, 1, 1), value=n)
    offsets = torch.arange(3, device=of.device)
    rows = sharing.rows[:, None, None] + offsets[:, None]
    columns = sharing.columns[:, None, None] + offsets
    picture = torch.repeat_interleave(
        torch.arange(len(of), device=of.device), torch.tensor(sharing.pictures, device=of.device)
    )
    return of[picture[:, None, None], rows.clamp(max=h + 1), columns.clamp(max=w + 1)].flatten(1)


def _block(block: Block, x: Tensor, sharing: Sharing, around: Tensor, size: tuple[int, int]) -> Tensor:
    """A transformer block on tokens ``[n, C]``, as :class:`Block` is on a grid."""
    x = x + _attention(block.attn, block.norm1(x), sharing, size)
    x = x + block.mlp(block.norm2(x))
    return x if block.residual is None else _residual(block.residual, x, around)


def _attention(attention: GridAttention, x: Tensor, sharing: Sharing, size: tuple[int, int]) -> Tensor:
    """Attention within each window, or within each picture, as in :class:`GridAttention`."""
    window = attention.window
    # Filling is zeros of which the linear layer leaves its bias; pictures as a whole are not filled up.
    qkv = attention.qkv(x.masked_fill(sharing.filling[:, None], 0))
    qkv = qkv.unflatten(1, (3, attention.heads, -1)).permute(1, 2, 0, 3)  # [3, heads, n, d]
    rows, columns = (sharing.rows % window, sharing.columns % window) if window else (sharing.rows, sharing.columns)
    height, width = (window, window) if window else size
    weight = sharing.members.log()
    if not window:
        weight = weight.masked_fill(sharing.filling, -torch.inf)
        rows, columns = rows.clamp(max=height - 1), columns.clamp(max=width - 1)
    query, key, value = qkv
    values = attend_places(
        query,
        key,
        value,
        relative_positions(attention.rel_pos_h, height),
        relative_positions(attention.rel_pos_w, width),
        rows,
        columns,
        weight,
        sharing.windows if window else sharing.pictures,
    )
    out: Tensor = attention.proj(values.permute(1, 0, 2).flatten(1))
    return out


def _residual(residual: ResBottleneck, x: Tensor, around: Tensor) -> Tensor:
    """Convolutions on tokens ``[n, C]``: the places around a token are those around its members' middle."""
    with full_precision(x.device):
        out = F.gelu(_norm(residual.norm1, F.linear(x, residual.conv1.weight.flatten(1))))
        out = F.pad(out, (0, 0, 0, 1))[around].flatten(1)
        out = F.linear(out, residual.conv2.weight.permute(0, 2, 3, 1).flatten(1))
        out = F.linear(F.gelu(_norm(residual.norm2, out)), residual.conv3.weight.flatten(1))
        return x + _norm(residual.norm3, out)


def _norm(norm: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
