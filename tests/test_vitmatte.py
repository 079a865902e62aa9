"""The whole network against transformers' with the same weights, and what it promises beyond that."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from vitmatte_reference import SMALL, TINY, draw, ours, picture, reference, reference_alpha

from videomatte.errors import ShapeError, UsageError
from videomatte.models.precision import compute_dtype, prepare
from videomatte.models.vitmatte import ViTMatte, ViTMatteConfig

CPU = torch.device("cpu")
PARITY = {"atol": 1e-4, "rtol": 0}  # what float32 allows after 12 blocks; measured 5e-6
MINI = ViTMatteConfig(
    embed_dim=32, depth=2, heads=2, image_size=64, window_size=3, window_blocks=(0,), residual_blocks=(1,)
)


@pytest.mark.parametrize(
    ("backbone", "batch", "height", "width"),
    [(TINY, 3, 64, 96), (TINY, 1, 72, 100), (TINY, 2, 17, 200), (SMALL, 1, 240, 256)],
    ids=["tiny", "tiny odd", "tiny thin", "small"],
)
def test_alpha_is_that_of_transformers(backbone: dict[str, object], batch: int, height: int, width: int) -> None:
    model = reference(backbone)
    rgb, trimap = picture(batch, height, width)
    expected = reference_alpha(model, rgb, trimap)
    assert expected.std() > 0.1
    network = ours(model)
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(rgb, trimap), expected, **PARITY)
        torch.testing.assert_close(prepare(network, CPU, "fp32")(rgb, trimap), expected, **PARITY)


@pytest.mark.parametrize("backbone", [TINY, SMALL], ids=["tiny", "small"])
def test_autocast_stays_within_a_grey_level_on_average(backbone: dict[str, object]) -> None:
    model = reference(backbone)
    rgb, trimap = picture(1, 192, 224)
    expected = reference_alpha(model, rgb, trimap)
    assert expected.std() > 0.1
    with torch.inference_mode():
        alpha = prepare(ours(model), CPU, "bf16")(rgb, trimap)
    assert alpha.dtype == torch.float32
    difference = (alpha - expected).abs()
    assert difference.mean() <= 1 / 255
    assert difference.max() <= 8 / 255


def test_prepared_weights_need_no_conversion() -> None:
    network = prepare(ViTMatte(MINI), CPU, "bf16")
    for name, module in network.named_modules():
        assert not isinstance(module, nn.BatchNorm2d), name
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            delicate = name == "decoder.matting_head.matting_convs.3" or ".residual." in name
            assert module.weight.dtype == (torch.float32 if delicate else torch.bfloat16), name
            assert module.weight.ndim == 2 or module.weight.is_contiguous(memory_format=torch.channels_last), name
        elif isinstance(module, nn.LayerNorm):
            assert module.weight.dtype == torch.float32, name
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_mask_decoder_is_the_other_decoder() -> None:
    network = ViTMatte(ViTMatteConfig(**{**vars(MINI), "decoder": "mask"})).eval()
    draw(network)
    rgb, trimap = picture(2, 50, 70)
    alpha = network(rgb, trimap)
    assert alpha.shape == (2, 1, 50, 70)
    assert alpha.std() > 0.05
    images = nn.functional.pad(torch.cat([(rgb - network.mean) / network.std, trimap], dim=1), (0, 26, 0, 14))
    expected = network.decoder(network.backbone(images), images)[:, :, :50, :70]
    torch.testing.assert_close(alpha, expected, atol=1e-6, rtol=1e-5)


def test_further_channels_reach_the_network() -> None:
    network = ViTMatte(ViTMatteConfig(**{**vars(MINI), "in_chans": 6})).eval()
    draw(network)
    rgb, trimap = picture(1, 32, 32)
    quiet, loud = torch.zeros(1, 2, 32, 32), torch.ones(1, 2, 32, 32)
    assert not torch.allclose(network(rgb, trimap, quiet), network(rgb, trimap, loud))
    with pytest.raises(ShapeError, match="extra must be"):
        network(rgb, trimap)


def test_network_trains_in_its_published_parts() -> None:
    network = ViTMatte(MINI).train()
    rgb, trimap = picture(2, 64, 64)
    network(rgb, trimap).mean().backward()
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert silent == []


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_alpha_of_any_size(compute: str) -> None:
    network = prepare(ViTMatte(MINI), CPU, compute)
    for height, width in ((1, 1), (31, 33), (64, 32)):
        alpha = network(*picture(1, height, width))
        assert alpha.shape == (1, 1, height, width)
        assert alpha.dtype == torch.float32
        assert 0 <= alpha.min() <= alpha.max() <= 1


@pytest.mark.parametrize(
    ("rgb", "trimap", "message"),
    [
        ((1, 4, 8, 8), (1, 1, 8, 8), r"rgb must be \[B, 3, H, W\]"),
        ((2, 3, 8, 8), (1, 1, 8, 8), r"trimap must be .*\[1, 1, 8, 8\] where rgb is \[2, 3, 8, 8\]"),
        ((1, 3, 8, 8), (1, 1, 8, 9), "trimap must be"),
        ((3, 8, 8), (1, 1, 8, 8), "rgb must be"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(rgb: tuple[int, ...], trimap: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        ViTMatte(MINI)(torch.rand(rgb), torch.rand(trimap))


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities = {"avx512_bf16": False, "avx2": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert compute_dtype(CPU) == torch.float32
    capabilities["avx512_bf16"] = True
    assert compute_dtype(CPU) == torch.bfloat16
    assert compute_dtype(CPU, "fp32") == torch.float32
    assert compute_dtype(torch.device("meta")) == torch.float32
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        compute_dtype(CPU, "fp16")
    with pytest.raises(UsageError, match="precision 'fp8'"):
        compute_dtype(CPU, "fp8")  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("compute", ["fp32", "fp16", "bf16"])
def test_alpha_on_cuda(compute: str) -> None:
    model = reference(SMALL)
    rgb, trimap = picture(2, 240, 256)
    expected = reference_alpha(model, rgb, trimap)
    with torch.inference_mode():
        alpha = prepare(ours(model), torch.device("cuda"), compute)(rgb.cuda(), trimap.cuda()).cpu()
    difference = (alpha - expected).abs()
    # TF32 is off in PyTorch's products by default but on in its convolutions, hence the same bound for all three.
    assert difference.mean() <= 1 / 255
    assert difference.max() <= 8 / 255
