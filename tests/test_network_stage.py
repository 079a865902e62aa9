"""The network as a stage, with stand-in networks that say what they were given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from vitmatte_reference import draw

from videomatte.errors import ModelError
from videomatte.matting.network import NetworkMatting
from videomatte.models.precision import prepare
from videomatte.models.vitmatte import ViTMatte, ViTMatteConfig
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, MattingStage, TrimapFrame


def trimap_frame(index: int, height: int = 6, width: int = 8, dtype: torch.dtype = torch.uint8) -> TrimapFrame:
    white = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}[dtype]
    rgb = torch.full((3, height, width), index / 10).mul(white).to(dtype)
    trimap = torch.full((1, height, width), UNKNOWN, dtype=torch.uint8)
    trimap[:, 0], trimap[:, -1] = BACKGROUND, FOREGROUND
    return TrimapFrame(Frame(index, index, Fraction(1, 25), rgb), trimap, "generated")


class RedAsAlpha:
    """Answers with the red channel; fails above a number of pixels at once, as a full GPU does."""

    def __init__(self, most_pixels: int | None = None) -> None:
        self.most_pixels = most_pixels
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, rgb: Tensor, trimap: Tensor) -> Tensor:
        assert rgb.dtype == trimap.dtype == torch.float32
        assert rgb.shape == (trimap.shape[0], 3, *trimap.shape[2:])
        self.batches.append(tuple(trimap.shape))
        if self.most_pixels is not None and trimap.numel() > self.most_pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return rgb[:, :1]


def middle(alpha: Tensor) -> float:
    return float(alpha[0, 2, 3])


def test_is_a_matting_stage() -> None:
    assert isinstance(NetworkMatting(RedAsAlpha()), MattingStage)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_known_pixels_are_forced_and_order_is_kept(dtype: torch.dtype) -> None:
    items = [trimap_frame(index, dtype=dtype) for index in range(7)]
    mattes = list(NetworkMatting(RedAsAlpha(), batch=3)(iter(items)))
    assert [matte.source for matte in mattes] == items
    for index, matte in enumerate(mattes):
        assert matte.alpha.dtype == torch.float32
        assert (matte.alpha[:, 0] == 0).all()
        assert (matte.alpha[:, -1] == 1).all()
        assert middle(matte.alpha) == pytest.approx(index / 10, abs=0.5 / 255)
        matte.alpha.mul_(0.5)  # later stages may work in place


def test_batches_are_full_of_one_size() -> None:
    network = RedAsAlpha()
    sizes = [(6, 8)] * 5 + [(4, 8)] * 2 + [(6, 8)]
    items = [trimap_frame(index, *size) for index, size in enumerate(sizes)]
    mattes = list(NetworkMatting(network, batch=4)(iter(items)))
    assert network.batches == [(4, 1, 6, 8), (1, 1, 6, 8), (2, 1, 4, 8), (1, 1, 6, 8)]
    assert [matte.frame.index for matte in mattes] == list(range(8))
    network.batches.clear()
    mixed = [trimap_frame(0), trimap_frame(1, dtype=torch.uint16)]
    assert len(list(NetworkMatting(network, batch=4)(iter(mixed)))) == 2
    assert network.batches == [(1, 1, 6, 8)] * 2


class PlateAsAlpha(RedAsAlpha):
    """Answers with the plate's red channel, or the frame's where there is none."""

    takes_plate = True

    def __call__(self, rgb: Tensor, trimap: Tensor, plate: Tensor | None = None) -> Tensor:
        return super().__call__(rgb, trimap) if plate is None else plate[:, :1]


def test_what_is_known_of_the_background_is_told_to_those_who_ask() -> None:
    items = [trimap_frame(index) for index in range(4)]
    told = [replace(item, background=255 - item.frame.rgb) if item.frame.index > 1 else item for item in items]
    alphas = [middle(matte.alpha) for matte in NetworkMatting(PlateAsAlpha(), batch=3)(iter(told))]
    assert alphas == pytest.approx([0, 0.1, 0.8, 0.7], abs=1 / 255)
    alphas = [middle(matte.alpha) for matte in NetworkMatting(RedAsAlpha(), batch=3)(iter(told))]
    assert alphas == pytest.approx([0, 0.1, 0.2, 0.3], abs=1 / 255)


def test_no_more_is_held_back_than_a_batch() -> None:
    taken = 0

    def frames() -> Iterator[TrimapFrame]:
        nonlocal taken
        for index in range(10):
            taken += 1
            yield trimap_frame(index)

    mattes = NetworkMatting(RedAsAlpha(), batch=3)(frames())
    for given in range(10):
        next(mattes)
        assert taken <= given // 3 * 3 + 3


def test_a_full_memory_halves_the_batch_and_goes_on() -> None:
    network = RedAsAlpha(most_pixels=2 * 6 * 8)
    stage = NetworkMatting(network, batch=8)
    mattes = list(stage(trimap_frame(index) for index in range(11)))
    assert [matte.frame.index for matte in mattes] == list(range(11))
    assert [round(middle(matte.alpha), 2) for matte in mattes[:8]] == [index / 10 for index in range(8)]
    # Eight and four do not fit, two do; later batches start at two.
    assert [batch[0] for batch in network.batches] == [8, 4, 2, 2, 2, 2, 2, 1]
    assert len(stage.fallbacks) == 2
    assert "8 frames of 8x6 at once: went on with 4" in stage.fallbacks[0]


def test_a_frame_that_does_not_fit_alone_is_an_error_for_people() -> None:
    stage = NetworkMatting(RedAsAlpha(most_pixels=5), batch=2)
    with pytest.raises(ModelError, match=r"single frame of 8x6: use a smaller model"):
        list(stage(iter([trimap_frame(0)])))


def test_float_sources_with_highlights_and_holes_give_alpha() -> None:
    item = trimap_frame(5, dtype=torch.float32)
    item.frame.rgb[0, 2, 3:6] = torch.tensor([float("nan"), float("inf"), 7.5])
    (matte,) = NetworkMatting(RedAsAlpha())(iter([item]))
    assert matte.alpha[0, 2, 3:6].tolist() == [0, 1, 1]


def test_batches_of_a_real_network_give_what_single_frames_give() -> None:
    config = ViTMatteConfig(
        embed_dim=32, depth=2, heads=2, image_size=64, window_size=3, window_blocks=(0,), residual_blocks=(1,)
    )
    network = ViTMatte(config)
    draw(network)
    prepare(network, torch.device("cpu"), "fp32")
    items = [trimap_frame(index, 50, 70) for index in range(4)]
    for item in items:
        item.frame.rgb.add_(torch.randint(0, 50, item.frame.rgb.shape, dtype=torch.uint8))
    single, batched = (list(NetworkMatting(network, batch=batch)(iter(items))) for batch in (1, 3))
    assert torch.stack([matte.alpha for matte in single])[:, :, 1:-1].std() > 0.05
    for one, other in zip(single, batched, strict=True):
        torch.testing.assert_close(one.alpha, other.alpha, atol=1e-5, rtol=0)
