"""The transposed-convolution decoder against plain functions with copied weights."""

from __future__ import annotations

import torch
from test_detail_capture import EXACT, double_size, drawn, matting_head
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.mask_decoder import MaskDecoder
from videomatte.models.precision import fold_batchnorm


def transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Transposed convolution whose stride is its kernel, written out: each pixel becomes a patch of its own."""
    patches = torch.einsum("bchw,cokl->bohkwl", x, weight.double())
    return patches.flatten(4).flatten(2, 3) + bias.double().view(-1, 1, 1)


def by_hand(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
    w = {name.removeprefix("output_upscaling."): tensor.double() for name, tensor in weights.items()}
    x = double_size(features.double())
    for conv, bn in (("0", "1"), ("3", "4")):
        x = transposed(x, w[f"{conv}.weight"], w[f"{conv}.bias"])
        statistics = (w[f"{bn}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *statistics).clamp(min=0)
    return double_size(torch.sigmoid(matting_head(x, weights, "matting_head.")))


def test_mask_decoder() -> None:
    module = drawn(MaskDecoder(24))
    features, images = torch.randn(2, 24, 3, 5), torch.randn(2, 4, 48, 80)
    alpha = module(features, images)
    assert alpha.shape == (2, 1, 48, 80)
    assert alpha.std() > 0.05
    torch.testing.assert_close(alpha.double(), by_hand(features, module.state_dict()), **EXACT)

    fold_batchnorm(module)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    torch.testing.assert_close(module(features, images), alpha, **EXACT)
