"""The decoder's modules against plain functions with copied weights, and its bands against the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vitmatte_reference import draw

from videomatte.models import detail_capture
from videomatte.models.detail_capture import (
    Basic_Conv3x3,
    Basic_Conv3x3_attn,
    ConvStream,
    DetailCapture,
    Fusion_Block,
    Matting_Head,
)
from videomatte.models.precision import fold_batchnorm

EXACT = {"atol": 1e-5, "rtol": 1e-4}  # float32, sums of some hundred terms in another order


def drawn(module: nn.Module) -> nn.Module:
    draw(module)
    return module.eval()


def conv_bn_relu(x: Tensor, weights: dict[str, Tensor], prefix: str, stride: int) -> Tensor:
    """Convolution, BatchNorm and ReLU written out, in float64."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    x = F.conv2d(x.double(), w[f"{prefix}conv.weight"], stride=stride, padding=1)
    mean, var = (w[f"{prefix}bn.running_{name}"].view(-1, 1, 1) for name in ("mean", "var"))
    scale, shift = (w[f"{prefix}bn.{name}"].view(-1, 1, 1) for name in ("weight", "bias"))
    return ((x - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)


def double_size(x: Tensor) -> Tensor:
    """Bilinear upsampling by 2 written out: an output pixel is 3/4 of the nearest input pixel and 1/4 of the next."""
    for axis in (2, 3):
        padded = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, x.shape[axis] - 1, 1)], dim=axis)
        n = x.shape[axis]
        before, after = padded.narrow(axis, 0, n), padded.narrow(axis, 2, n)
        x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], dim=axis + 1).flatten(axis, axis + 1)
    return x


@pytest.mark.parametrize("stride", [1, 2])
def test_basic_conv(stride: int) -> None:
    module = drawn(Basic_Conv3x3(5, 7, stride=stride))
    x = torch.randn(2, 5, 9, 12)
    torch.testing.assert_close(module(x).double(), conv_bn_relu(x, module.state_dict(), "", stride), **EXACT)


def test_basic_conv_attn_normalises_tokens_then_convolves() -> None:
    module = drawn(Basic_Conv3x3_attn(5, 7, stride=2))
    tokens = torch.randn(2, 9, 12, 5)
    mean, var = tokens.mean(-1, keepdim=True), tokens.var(-1, correction=0, keepdim=True)
    expected = (tokens - mean) / (var + 1e-5).sqrt() * module.ln.weight + module.ln.bias
    expected = F.conv2d(expected.permute(0, 3, 1, 2).clamp(min=0), module.conv.weight, stride=2, padding=1)
    torch.testing.assert_close(module(tokens), expected, **EXACT)


def test_conv_stream_keeps_every_level_and_its_arguments() -> None:
    widths = [6, 8]
    first, second = drawn(ConvStream(3, widths)), ConvStream(3, widths)
    assert widths == [6, 8]
    assert first.conv_chans == second.conv_chans == [3, 6, 8]
    assert ConvStream().conv_chans == ConvStream().conv_chans == [4, 48, 96, 192]

    x = torch.randn(1, 3, 16, 24)
    levels = first(x)
    half = conv_bn_relu(x, first.state_dict(), "convs.0.", 2)
    quarter = conv_bn_relu(half, first.state_dict(), "convs.1.", 2)
    assert list(levels) == ["D0", "D1", "D2"]
    assert levels["D0"] is x
    torch.testing.assert_close(levels["D1"].double(), half, **EXACT)
    torch.testing.assert_close(levels["D2"].double(), quarter, **EXACT)


def test_fusion_block() -> None:
    module = drawn(Fusion_Block(5 + 3, 4))
    x, D = torch.randn(2, 5, 6, 7), torch.randn(2, 3, 12, 14)
    expected = conv_bn_relu(torch.cat([D, double_size(x)], dim=1), module.conv.state_dict(), "", 1)
    torch.testing.assert_close(module(x, D).double(), expected, **EXACT)


def matting_head(x: Tensor, weights: dict[str, Tensor], prefix: str = "") -> Tensor:
    """The head written out, in float64."""
    w = {name.removeprefix(f"{prefix}matting_convs."): tensor.double() for name, tensor in weights.items()}
    x = F.conv2d(x.double(), w["0.weight"], w["0.bias"], padding=1)
    x = F.batch_norm(x, w["1.running_mean"], w["1.running_var"], w["1.weight"], w["1.bias"]).clamp(min=0)
    return F.conv2d(x, w["3.weight"], w["3.bias"])


def test_matting_head() -> None:
    module = drawn(Matting_Head(6, 5))
    x = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(module(x).double(), matting_head(x, module.state_dict()), **EXACT)


def detail_capture_by_hand(features: Tensor, images: Tensor, module: nn.Module, levels: int) -> Tensor:
    weights = module.state_dict()
    details = [images.double()]
    for level in range(levels - 1):
        details.append(conv_bn_relu(details[-1], weights, f"convstream.convs.{level}.", 2))
    x = features.double()
    for level in range(levels):
        fused = torch.cat([details[levels - 1 - level], double_size(x)], dim=1)
        x = conv_bn_relu(fused, weights, f"fusion_blks.{level}.conv.", 1)
    return matting_head(x, weights, "matting_head.")


@pytest.mark.parametrize("img_chans", [3, 4])
@pytest.mark.parametrize("use_sigmoid", [True, False])
@pytest.mark.parametrize(
    ("convstream_out", "fusion_out"), [((6, 8, 10), (12, 9, 7, 5)), ([5], [4, 3]), ((6, 7, 8, 9), (9, 8, 7, 6, 5))]
)
def test_detail_capture(
    img_chans: int, use_sigmoid: bool, convstream_out: tuple[int, ...], fusion_out: tuple[int, ...]
) -> None:
    module = drawn(DetailCapture(11, img_chans, convstream_out, fusion_out, use_sigmoid=use_sigmoid))
    stride = 2 ** len(fusion_out)
    features, rgb, trimap = (torch.randn(2, c, 3 * s, 4 * s) for c, s in ((11, 1), (3, stride), (1, stride)))
    images = torch.cat([rgb, trimap], dim=1) if img_chans == 4 else rgb

    logits = detail_capture_by_hand(features, images, module, len(fusion_out))
    expected = torch.sigmoid(logits) if use_sigmoid else logits
    assert logits.std() > 0.1
    torch.testing.assert_close(module(features, images).double(), expected, **EXACT)
    # With the trimap beside the features, the picture comes without it.
    torch.testing.assert_close(module({"feature": features, "trimap": trimap}, rgb).double(), expected, **EXACT)


def test_detail_capture_leaves_its_arguments_alone() -> None:
    convstream_out, fusion_out = [6, 8], [9, 7, 5]
    DetailCapture(11, 4, convstream_out, fusion_out)
    assert (convstream_out, fusion_out) == ([6, 8], [9, 7, 5])
    with pytest.raises(ValueError, match=r"one entry more.*\[9, 7\].*\[6, 8\]"):
        DetailCapture(11, 4, [6, 8], [9, 7])


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_bands_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    module = drawn(Fusion_Block(5 + 3, 4))
    x, D = torch.randn(2, 5, 11, 6), torch.randn(2, 3, 22, 12)
    whole = module(x, D)
    monkeypatch.setattr(detail_capture, "_JOINED_AT_ONCE", rows * 2 * 8 * 4 * 6)
    torch.testing.assert_close(module(x, D), whole, **EXACT)


def test_batchnorm_folds_into_its_convolution() -> None:
    module = drawn(DetailCapture(11, 4, (6, 8), (9, 7, 5)))
    features, images = torch.randn(1, 11, 3, 4), torch.randn(1, 4, 24, 32)
    expected = module(features, images)
    fold_batchnorm(module)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    torch.testing.assert_close(module(features, images), expected, **EXACT)
