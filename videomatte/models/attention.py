"""Self-attention over a grid of tokens with decomposed relative positions, exact and lean."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.precision import full_precision

__all__ = ["GridAttention", "attend", "join_windows", "relative_positions", "split_windows"]

_SCORES_AT_ONCE = {"cpu": 2**24, "cuda": 2**26}
"""Scores whose bias is held at a time: on a CPU little enough for its cache, on CUDA enough to fill the device."""


def attend(query: Tensor, key: Tensor, value: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attention with decomposed relative positions: softmax(q·k / √d + q·R_h + q·R_w) · v.

    The bias depends on the query, so fused kernels cannot make it themselves; it is made for a few rows of queries at
    a time and handed to them, and the N×N scores of N = H·W tokens never exist. (Appending q·R_h and q·R_w to the
    query and one-hot codes to the key is exact too, but makes heads of d + H + W channels: 2 to 3 times slower on a
    CPU at 46×80 tokens.) Positions and softmax are computed in float32 whatever the inputs' dtype.

    Source: Li et al., "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", CVPR 2022.

    Args:
        query, key, value: ``[B, heads, H, W, d]``.
        rel_h: ``[H, H, d]``, from :func:`relative_positions`.
        rel_w: ``[W, W, d]``, likewise.

    Returns:
        ``[B, heads, H, W, d]``, dtype of ``query``, or float32 on a CPU.
    """
    B, heads, H, W, d = query.shape
    if query.device.type == "cpu":
        # PyTorch's CPU kernel multiplies bfloat16 no faster than float32, and reads contiguous float32 faster.
        query, key, value = query.float(), key.float().contiguous(), value.float().contiguous()
    key, value = key.flatten(2, 3), value.flatten(2, 3)
    at_once = _SCORES_AT_ONCE.get(query.device.type, _SCORES_AT_ONCE["cuda"])
    rows = min(H, max(1, at_once // (B * heads * W * H * W)))
    # One buffer for the bias of all parts: fresh memory for each would cost more than filling it. Kernels take a bias
    # of the query's dtype only.
    buffer = None if torch.is_grad_enabled() else query.new_empty(rows * B * heads * W * H * W)
    parts = []
    with full_precision(query.device):
        along_h = torch.einsum("bnhwc,hkc->bnhwk", query.float(), rel_h).contiguous()
        along_w = torch.einsum("bnhwc,wkc->bnhwk", query.float(), rel_w).contiguous()
        for q, h, w in zip(*(torch.split(x, rows, dim=2) for x in (query, along_h, along_w)), strict=True):
            shape = (*w.shape[:4], H, W)
            out = None if buffer is None else buffer[: math.prod(shape)].view(shape)
            bias = torch.add(h[..., :, None], w[..., None, :], out=out).to(q.dtype).view(B, heads, -1, H * W)
            part = F.scaled_dot_product_attention(q.flatten(2, 3), key, value, attn_mask=bias)
            parts.append(part.view(B, heads, -1, W, d))
    return torch.cat(parts, dim=2)


def relative_positions(table: Tensor, size: int) -> Tensor:
    """The vectors of a table of relative positions for each pair of places on an axis.

    A table learned for another size is resized linearly, as its authors do.

    Convention: entry [i, j] belongs to the offset i - j of query i from key j; the table's middle row is offset 0.

    Args:
        table: ``[2L - 1, d]`` for the offsets -(L - 1)..L - 1.
        size: number of places on the axis.

    Returns:
        ``[size, size, d]`` float32.
    """
    table = table.float()
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.T[None], size=2 * size - 1, mode="linear", align_corners=False)[0].T
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + size - 1]


def split_windows(x: Tensor, window: int) -> Tensor:
    """Cut a grid into windows, filled up with zeros at the right and the bottom.

    Convention: windows start at row 0, column 0 and do not overlap; they are ordered by picture, row, column.

    Args:
        x: ``[B, H, W, C]``.
        window: side of a window.

    Returns:
        ``[B · windows, window, window, C]``.
    """
    B, H, W, C = x.shape
    x = F.pad(x, (0, 0, 0, -W % window, 0, -H % window))
    x = x.view(B, -(-H // window), window, -(-W // window), window, C)
    return x.transpose(2, 3).reshape(-1, window, window, C)


def join_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Undo :func:`split_windows`.

    Args:
        windows: ``[B · windows, window, window, C]``.
        height, width: size of the grid, in tokens.

    Returns:
        ``[B, height, width, C]``.
    """
    window, C = windows.shape[1], windows.shape[3]
    rows, columns = -(-height // window), -(-width // window)
    x = windows.view(-1, rows, columns, window, window, C).transpose(2, 3)
    return x.reshape(-1, rows * window, columns * window, C)[:, :height, :width]


class GridAttention(nn.Module):
    """Multi-head self-attention of a grid of tokens.

    Args:
        dim: channels of a token.
        heads: number of heads; divides ``dim``.
        grid: side of the grid the tables of relative positions are learned for, in tokens.
    """

    def __init__(self, dim: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[B, H, W, C]`` to tokens of the same shape."""
        B, H, W, _ = x.shape
        qkv = self.qkv(x).view(B, H, W, 3, self.heads, -1)
        query, key, value = qkv.permute(3, 0, 4, 1, 2, 5).unbind(0)  # [B, heads, H, W, d] each
        rel_h, rel_w = relative_positions(self.rel_pos_h, H), relative_positions(self.rel_pos_w, W)
        x = attend(query, key, value, rel_h, rel_w)
        out: Tensor = self.proj(x.permute(0, 2, 3, 1, 4).flatten(3))
        return out
