"""The backbone's parts against formulas written out, and its attention against the matrix it never makes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from vitmatte_reference import draw

from videomatte.models import attention
from videomatte.models.attention import GridAttention, attend, join_windows, relative_positions, split_windows
from videomatte.models.backbone import Block, ChannelNorm, PlainViT, ResBottleneck, absolute_positions


def attention_by_hand(q: Tensor, k: Tensor, v: Tensor, table_h: Tensor, table_w: Tensor) -> Tensor:
    """Scores token by token in float64; ``[B, heads, H, W, d]``, tables ``[2H - 1, d]`` and ``[2W - 1, d]``."""
    q, k, v, table_h, table_w = (x.double() for x in (q, k, v, table_h, table_w))
    _, _, H, W, d = q.shape
    out = torch.empty_like(q)
    for i in range(H):
        for j in range(W):
            scores = torch.einsum("bnc,bnhwc->bnhw", q[:, :, i, j], k) / math.sqrt(d)
            for h in range(H):
                for w in range(W):
                    positions = table_h[i - h + H - 1] + table_w[j - w + W - 1]
                    scores[:, :, h, w] += (q[:, :, i, j] * positions).sum(-1)
            weights = scores.flatten(2).softmax(-1).view_as(scores)
            out[:, :, i, j] = torch.einsum("bnhw,bnhwc->bnc", weights, v)
    return out


@pytest.mark.parametrize("scores_at_once", [1, 2 * 3 * 4 * 5 * 20, 2**22])
def test_attention_is_exact(monkeypatch: pytest.MonkeyPatch, scores_at_once: int) -> None:
    monkeypatch.setitem(attention._SCORES_AT_ONCE, "cpu", scores_at_once)
    H, W, d = 4, 5, 8
    q, k, v = torch.randn(3, 2, 3, H, W, d)
    table_h, table_w = torch.randn(2 * H - 1, d), torch.randn(2 * W - 1, d)
    out = attend(q, k, v, relative_positions(table_h, H), relative_positions(table_w, W))
    # float32 sums of 8 to 20 terms against float64
    torch.testing.assert_close(out.double(), attention_by_hand(q, k, v, table_h, table_w), atol=1e-5, rtol=1e-5)


def test_attention_of_bfloat16_scores_in_float32() -> None:
    H, W, d = 6, 7, 16
    q, k, v = torch.randn(3, 1, 2, H, W, d).bfloat16()
    v = v.sign()  # no rounding of its own
    table_h, table_w = 3 * torch.randn(2 * H - 1, d), 3 * torch.randn(2 * W - 1, d)  # scores of some ±20
    out = attend(q, k, v, relative_positions(table_h, H), relative_positions(table_w, W))
    # Weights and sums of them are rounded to 8 bits. Were scores, those of 20 would be wrong by 0.06, weights by 6%.
    torch.testing.assert_close(out.double(), attention_by_hand(q, k, v, table_h, table_w), atol=2**-8, rtol=2**-8)


def test_attention_learns_through_every_input() -> None:
    H, W, d = 3, 4, 8
    q, k, v = (torch.randn(1, 2, H, W, d, dtype=torch.float32, requires_grad=True) for _ in range(3))
    tables = [torch.randn(2 * n - 1, d, requires_grad=True) for n in (H, W)]
    out = attend(q, k, v, relative_positions(tables[0], H), relative_positions(tables[1], W))
    out.square().sum().backward()
    expected = torch.autograd.grad(attention_by_hand(q, k, v, *tables).square().sum(), [q, k, v, *tables])
    for tensor, gradient in zip([q, k, v, *tables], expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient.float(), atol=1e-3, rtol=1e-3)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements any tensor had."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return out


def test_no_matrix_of_all_scores_is_ever_made() -> None:
    module = GridAttention(32, 4, grid=32).eval()
    tokens = torch.randn(1, 48, 80, 32)
    with torch.inference_mode(), LargestTensor() as largest:
        module(tokens)
    along_one_axis, all_scores = 4 * 48 * 80 * 80, 4 * (48 * 80) ** 2
    assert largest.elements <= max(attention._SCORES_AT_ONCE["cpu"], along_one_axis) < all_scores / 40


def test_relative_positions_by_offset() -> None:
    table = torch.arange(7.0)[:, None]  # offsets -3..3
    vectors = relative_positions(table, 4)
    assert vectors[:, :, 0].tolist() == [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]
    # A straight line stays one when it is stretched, but for the border's half pixel.
    stretched = relative_positions(table, 7)[:, :, 0]
    assert stretched.shape == (7, 7)
    torch.testing.assert_close(stretched[3, 3], torch.tensor(3.0))
    torch.testing.assert_close(stretched[4, 3] - stretched[3, 3], torch.tensor(7 / 13))


@pytest.mark.parametrize(("height", "width"), [(6, 9), (7, 8), (2, 1)])
def test_windows_and_back(height: int, width: int) -> None:
    tokens = torch.randn(2, height, width, 4)
    windows = split_windows(tokens, 3, fill=torch.zeros(4))
    rows, columns = -(-height // 3), -(-width // 3)
    assert windows.shape == (2 * rows * columns, 3, 3, 4)
    torch.testing.assert_close(join_windows(windows, height, width), tokens, atol=0, rtol=0)
    # The last window of the first picture holds its bottom right corner, filled up with zeros.
    corner = tokens[0, 3 * (rows - 1) :, 3 * (columns - 1) :]
    last = windows[rows * columns - 1]
    torch.testing.assert_close(last[: corner.shape[0], : corner.shape[1]], corner, atol=0, rtol=0)
    assert last.abs().sum() == corner.abs().sum()


def test_windows_are_filled_up_with_tokens_of_zeros() -> None:
    module = GridAttention(16, 2, grid=3, window=3).eval()
    whole = GridAttention(16, 2, grid=3).eval()
    draw(module)
    whole.load_state_dict(module.state_dict())
    tokens = torch.randn(1, 2, 2, 16)
    expected = whole(torch.nn.functional.pad(tokens, (0, 0, 0, 1, 0, 1)))[:, :2, :2]
    torch.testing.assert_close(module(tokens), expected, atol=1e-5, rtol=1e-5)


def test_windowed_blocks_see_their_window_only() -> None:
    block = Block(16, 2, 4, grid=3, window=3, residual=False).eval()
    draw(block)
    tokens = torch.randn(1, 6, 6, 16)
    changed = tokens.clone()
    changed[:, 3:, 3:] += 1
    same = (block(tokens) == block(changed)).all(-1)[0]
    assert same[:3].all()
    assert same[3:, :3].all()
    assert not same[3:, 3:].any()


def test_absolute_positions_of_the_pretraining_grid_are_themselves() -> None:
    table = torch.randn(1, 1 + 16, 3)
    assert torch.equal(absolute_positions(table, 4, 4).flatten(1, 2), table[:, 1:])
    constant = torch.ones(1, 1 + 16, 3)
    torch.testing.assert_close(absolute_positions(constant, 5, 9), torch.ones(1, 5, 9, 3))
    # Rows come first: a table that varies along rows alone still does so when resized.
    ramp = torch.arange(4.0).repeat_interleave(4)
    rows = absolute_positions(torch.cat([torch.zeros(1), ramp])[None, :, None], 8, 8)[0, :, :, 0]
    torch.testing.assert_close(rows, rows[:, :1].expand(8, 8))
    assert rows[7, 0] > rows[0, 0] + 2


def test_channel_norm() -> None:
    norm = ChannelNorm(6)
    draw(norm)
    x = torch.randn(2, 6, 3, 4)
    normal = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    expected = normal * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-5)


def test_residual_block_starts_as_the_identity() -> None:
    x = torch.randn(1, 8, 5, 6)
    assert torch.equal(ResBottleneck(8)(x), x)


def test_features_have_one_scale_and_channels_last() -> None:
    backbone = PlainViT(embed_dim=16, depth=2, heads=2, window_blocks=(0,), residual_blocks=(1,))
    features = backbone(torch.randn(2, 4, 32, 48))
    assert features.shape == (2, 16, 2, 3)
    assert features.is_contiguous(memory_format=torch.channels_last)
