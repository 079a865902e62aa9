"""Conformance suite: what every matting stage promises, whatever it does inside."""

from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from videomatte.matting.closed_form import ClosedFormMatting
from videomatte.matting.network import NetworkMatting
from videomatte.models.laplacian import LaplacianMatting
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, MatteFrame, MattingStage, TrimapFrame

STAGES: dict[str, Callable[[], MattingStage]] = {
    "closed-form": ClosedFormMatting,
    "laplacian": lambda: NetworkMatting(LaplacianMatting()),
    "laplacian by threes": lambda: NetworkMatting(LaplacianMatting(), batch=3),
}


@pytest.fixture(scope="module", params=STAGES)
def stage(request: pytest.FixtureRequest) -> MattingStage:
    return STAGES[request.param]()


def trimap_frame(rgb: Tensor, trimap: Tensor, index: int = 0) -> TrimapFrame:
    return TrimapFrame(Frame(index, index * 512, Fraction(1, 12800), rgb), trimap, "generated")


def edge(height: int = 40, width: int = 56, band: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """A blurred vertical edge between two textured colours: RGB in 0..1, trimap, true alpha."""
    columns = torch.arange(width, dtype=torch.float32).expand(1, height, width)
    alpha = ((columns - width / 2) / (band / 2)).add(1).div(2).clamp(0, 1)
    texture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)) * 0.04
    warm, cold = torch.tensor([0.8, 0.5, 0.2])[:, None, None], torch.tensor([0.1, 0.3, 0.6])[:, None, None]
    trimap = torch.full((1, height, width), UNKNOWN, dtype=torch.uint8)
    trimap[alpha == 0] = BACKGROUND
    trimap[alpha == 1] = FOREGROUND
    return alpha * (warm + texture) + (1 - alpha) * (cold + texture), trimap, alpha


def as_uint8(rgb: Tensor) -> Tensor:
    return rgb.mul(255).round().to(torch.uint8)


def matte_one(stage: MattingStage, rgb: Tensor, trimap: Tensor) -> Tensor:
    (matte,) = stage(iter([trimap_frame(rgb, trimap)]))
    assert matte.alpha.isfinite().all()
    assert matte.alpha.min() >= 0
    assert matte.alpha.max() <= 1
    assert (matte.alpha[trimap == BACKGROUND] == 0).all()
    assert (matte.alpha[trimap == FOREGROUND] == 1).all()
    return matte.alpha


def test_is_a_matting_stage(stage: MattingStage) -> None:
    assert isinstance(stage, MattingStage)


def test_one_out_per_one_in_in_order_carrying_its_source(stage: MattingStage) -> None:
    rgb, trimap, _ = edge()
    items = [trimap_frame(as_uint8(rgb).roll(n, 1), trimap, n) for n in range(5)]
    mattes = list(stage(iter(items)))
    assert all(isinstance(matte, MatteFrame) for matte in mattes)
    assert [id(matte.source) for matte in mattes] == [id(item) for item in items]


def test_no_frames_give_no_mattes_and_each_run_starts_afresh(stage: MattingStage) -> None:
    rgb, trimap, _ = edge()
    assert list(stage(iter([]))) == []
    first, second = (matte_one(stage, as_uint8(rgb), trimap) for _ in range(2))
    assert torch.equal(first, second)


def test_hands_on_an_error_from_upstream(stage: MattingStage) -> None:
    def broken() -> Iterator[TrimapFrame]:
        rgb, trimap, _ = edge()
        yield trimap_frame(as_uint8(rgb), trimap)
        raise RuntimeError("decoder gone")

    with pytest.raises(RuntimeError, match="decoder gone"):
        list(stage(broken()))


def test_finds_a_linear_edge_between_two_colours(stage: MattingStage) -> None:
    rgb, trimap, alpha = edge()
    found = matte_one(stage, as_uint8(rgb), trimap)
    unknown = trimap == UNKNOWN
    # The trimap itself (one half everywhere) is .25 off; the texture leaves each method a few hundredths, and a solver
    # that clips haze at both ends stretches a straight ramp by a hundredth.
    assert (found - alpha)[unknown].abs().mean() < 0.05


def test_input_is_left_as_it_was(stage: MattingStage) -> None:
    rgb, trimap, _ = edge()
    pixels = as_uint8(rgb)
    item = trimap_frame(pixels.clone(), trimap.clone())
    list(stage(iter([item])))
    assert torch.equal(item.frame.rgb, pixels)
    assert torch.equal(item.trimap, trimap)


@pytest.mark.parametrize("depth", [torch.uint16, torch.float32])
def test_deep_sources_give_the_matte_of_their_8_bit_version(stage: MattingStage, depth: torch.dtype) -> None:
    rgb, trimap, _ = edge()
    pixels = as_uint8(rgb)
    deep = pixels.int().mul(257).to(torch.uint16) if depth == torch.uint16 else pixels.float() / 255
    assert torch.allclose(matte_one(stage, deep, trimap), matte_one(stage, pixels, trimap), atol=1e-4)


def test_float_sources_above_white_and_broken_pixels_do_not_spread(stage: MattingStage) -> None:
    rgb, trimap, _ = edge()
    bright = rgb * 6
    bright[:, 5, 5] = float("nan")
    bright[:, 20, 28] = float("inf")
    matte_one(stage, bright, trimap)


@pytest.mark.parametrize(
    ("known", "expected"), [((BACKGROUND, FOREGROUND), None), ((BACKGROUND,), 0.0), ((FOREGROUND,), 1.0), ((), None)]
)
def test_frames_that_lack_a_kind_of_known_pixel_get_an_answer(
    stage: MattingStage, known: tuple[int, ...], expected: float | None
) -> None:
    rgb, trimap, _ = edge()
    for value in {BACKGROUND, FOREGROUND} - set(known):
        trimap[trimap == value] = UNKNOWN
    alpha = matte_one(stage, as_uint8(rgb), trimap)
    if expected is not None:
        assert torch.allclose(alpha, torch.full_like(alpha, expected), atol=1e-3)


@pytest.mark.parametrize("value", [BACKGROUND, FOREGROUND])
def test_nothing_unknown_is_the_trimap(stage: MattingStage, value: int) -> None:
    rgb, trimap, _ = edge()
    alpha = matte_one(stage, as_uint8(rgb), torch.full_like(trimap, value))
    assert torch.equal(alpha, torch.full_like(alpha, value // 255))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 3), (4, 33), (65, 5)])
def test_small_and_odd_sizes(stage: MattingStage, size: tuple[int, int]) -> None:
    rgb = torch.rand(3, *size)
    trimap = torch.full((1, *size), UNKNOWN, dtype=torch.uint8)
    trimap[0, 0, 0] = BACKGROUND
    trimap[0, -1, -1] = FOREGROUND
    assert matte_one(stage, as_uint8(rgb), trimap).shape == (1, *size)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_picture_gets_an_answer(stage: MattingStage, level: float) -> None:
    rgb, trimap, _ = edge()
    matte_one(stage, as_uint8(torch.full_like(rgb, level)), trimap)


def test_unknown_pixels_on_the_frame_edge(stage: MattingStage) -> None:
    rgb, trimap, alpha = edge()
    trimap[:, :3] = trimap[:, -3:] = UNKNOWN
    found = matte_one(stage, as_uint8(rgb), trimap)
    assert (found - alpha).abs().mean() < 0.04


@pytest.mark.gpu
def test_answers_on_the_device_of_the_frame(stage: MattingStage) -> None:
    rgb, trimap, _ = edge()
    alpha = matte_one(stage, as_uint8(rgb).cuda(), trimap.cuda())
    assert alpha.device.type == "cuda"
