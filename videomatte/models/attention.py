"""Self-attention over a grid of tokens with decomposed relative positions, exact and lean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.precision import full_precision

__all__ = ["GridAttention", "attend", "attend_places", "join_windows", "relative_positions", "split_windows"]

_SCORES_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}
"""Scores that are held at a time: on a CPU so few that they stay in its cache, on CUDA enough to fill the device."""


def attend(query: Tensor, key: Tensor, value: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attention with decomposed relative positions: softmax(q·k / √d + q·R_h + q·R_w) · v.

    The bias depends on the query, so fused kernels cannot make it themselves; it is made for some queries at a time,
    and the N×N scores of N = H·W tokens never exist. (Appending q·R_h and q·R_w to the query and one-hot codes to the
    key is exact too, but makes heads of d + H + W channels: 2 to 3 times slower on a CPU at 46×80 tokens.) Positions
    and softmax are computed in float32 whatever the inputs' dtype, and so are the scores.

    Source: Li et al., "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", CVPR 2022.

    Args:
        query, key, value: ``[B, heads, H, W, d]``.
        rel_h: ``[H, H, d]``, from :func:`relative_positions`.
        rel_w: ``[W, W, d]``, likewise.

    Returns:
        ``[B, heads, H, W, d]``, dtype of ``value``.
    """
    B, heads, H, W, d = query.shape
    N = H * W
    at_once = _SCORES_AT_ONCE.get(query.device.type, _SCORES_AT_ONCE["cuda"])
    queries = min(N, max(1, at_once // N))
    groups = max(1, at_once // (queries * N))
    with full_precision(query.device):
        exact = query.to(torch.float32, memory_format=torch.contiguous_format)
        along_h = torch.einsum("bnhwc,hkc->bnhwk", exact, rel_h).reshape(B * heads, N, H, 1)
        along_w = torch.einsum("bnhwc,wkc->bnhwk", exact, rel_w).reshape(B * heads, N, 1, W)
        if query.device.type == "cpu":
            query, key = exact, key.to(torch.float32, memory_format=torch.contiguous_format)
        query, key, value = (x.reshape(B * heads, N, d) for x in (query, key, value))
        out = [
            _attend_biased(some_q, k, v, (some_h + some_w).flatten(2))
            for q, k, v, h, w in zip(
                *(torch.split(x, groups) for x in (query, key, value, along_h, along_w)), strict=True
            )
            for some_q, some_h, some_w in zip(*(torch.split(x, queries, dim=1) for x in (q, h, w)), strict=True)
        ]
    return torch.cat([part.flatten(0, 1) for part in out]).view(B, heads, H, W, d)


def attend_places(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rel_h: Tensor,
    rel_w: Tensor,
    rows: Tensor,
    columns: Tensor,
    weight: Tensor,
    groups: list[int],
) -> Tensor:
    """As :func:`attend`, for tokens that do not fill a grid: within groups of neighbours, each at a place of its own.

    Args:
        query, key, value: ``[heads, n, d]``.
        rel_h: ``[H, H, d]``, from :func:`relative_positions`.
        rel_w: ``[W, W, d]``, likewise.
        rows, columns: ``[n]`` int64, places of the tokens, below H and W.
        weight: ``[n]`` float32, added to the scores of a token as a key: the logarithm of how many it stands for.
        groups: sizes of the groups, in order; their sum is n.

    Returns:
        ``[heads, n, d]``, dtype of ``value``.
    """
    at_once = _SCORES_AT_ONCE.get(query.device.type, _SCORES_AT_ONCE["cuda"])
    out = []
    with full_precision(query.device):
        exact = query.float()
        if query.device.type == "cpu":
            query, key = exact, key.float()
        first = 0
        for size in groups:
            here = slice(first, first + size)
            keys, values, key_rows, key_columns = key[:, here], value[:, here], rows[here], columns[here]
            for part in range(first, first + size, max(1, at_once // (size * len(query)))):
                some = slice(part, min(part + max(1, at_once // (size * len(query))), first + size))
                along_h = torch.einsum("hnc,nkc->hnk", exact[:, some], rel_h[rows[some]])
                along_w = torch.einsum("hnc,nkc->hnk", exact[:, some], rel_w[columns[some]])
                bias = along_h[:, :, key_rows].add_(along_w[:, :, key_columns]).add_(weight[here])
                out.append(_attend_biased(query[:, some], keys, values, bias))
            first += size
    return torch.cat(out, dim=1)


def _attend_biased(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention of some queries ``[G, n, d]`` to all keys and values ``[G, N, d]``, with a float32 bias ``[G, n, N]``.

    PyTorch's fused kernel on CPUs reads a bias twice as slowly as these matrix products do, and multiplies bfloat16 no
    faster than float32.
    """
    if query.device.type == "cpu":
        scores = bias.baddbmm_(query, key.mT, alpha=query.shape[-1] ** -0.5)
        return torch.softmax(scores, dim=-1).to(value.dtype) @ value
    out = F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=bias[None].to(query.dtype))
    return out[0]


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


def split_windows(x: Tensor, window: int, fill: Tensor) -> Tensor:
    """Cut a grid into windows, filled up at the right and the bottom.

    Convention: windows start at row 0, column 0 and do not overlap; they are ordered by picture, row, column.

    Args:
        x: ``[B, H, W, C]``.
        window: side of a window.
        fill: ``[C]``, the token to fill up with.

    Returns:
        ``[B · windows, window, window, C]``.
    """
    B, H, W, C = x.shape
    rows, columns = -(-H // window), -(-W // window)
    if H % window or W % window:
        filled = fill.to(x.dtype).repeat(B, rows * window, columns * window, 1)
        filled[:, :H, :W] = x
        x = filled
    x = x.reshape(B, rows, window, columns, window, C)
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
        window: side of the windows that attention stays within, in tokens; 0 for none.
    """

    def __init__(self, dim: int, heads: int, grid: int, window: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[B, H, W, C]`` to tokens of the same shape."""
        qkv = self.qkv(x)
        if self.window:
            # Windows are filled up with tokens of zeros, of which the linear layer leaves its bias.
            qkv = split_windows(qkv, self.window, fill=self.qkv.bias)
        query, key, value = qkv.unflatten(3, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)  # [B, heads, H, W, d] each
        rel_h = relative_positions(self.rel_pos_h, query.shape[2])
        rel_w = relative_positions(self.rel_pos_w, query.shape[3])
        values = attend(query, key, value, rel_h, rel_w).permute(0, 2, 3, 1, 4).flatten(3)
        if self.window:
            values = join_windows(values, x.shape[1], x.shape[2]).contiguous()
        out: Tensor = self.proj(values)
        return out
