"""Conformance suite: what every trimap stage promises, whatever it does inside."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from videomatte.trimaps import ChromaKey, CleanPlate, Holdout, Masks, TrimapFiles
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, ClipInfo, Colour, Frame, TrimapFrame, TrimapStage

FRAMES, HEIGHT, WIDTH = 5, 60, 96


class Pictures:
    """A source of five trimaps that never were in a file."""

    def __init__(self) -> None:
        self.info = ClipInfo(
            path=Path("trimaps"), container="images", codec="png", width=WIDTH, height=HEIGHT,
            time_base=Fraction(1, 25), average_rate=Fraction(25), frame_count=FRAMES, duration_seconds=None,
            pixel_format="rgb24", bit_depth=8, colour=Colour(), rotation_degrees=0, sample_aspect=Fraction(1),
            has_alpha=False,
        )  # fmt: skip

    def __iter__(self):
        for index in range(FRAMES):
            levels = torch.tensor([0, 128, 255, 128], dtype=torch.uint8).repeat_interleave(WIDTH // 4)
            yield Frame(index, index, Fraction(1, 25), levels.roll(index).expand(3, HEIGHT, WIDTH))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        pass


class Green(Pictures):
    """A clean plate of the screen in the clip."""

    def __iter__(self):
        plate = torch.tensor([0.06, 0.75, 0.25]).view(3, 1, 1).expand(3, HEIGHT, WIDTH)
        for index in range(FRAMES):
            yield Frame(index, index, Fraction(1, 25), (plate * 255).round().to(torch.uint8))


STAGES: dict[str, Callable[[], TrimapStage]] = {
    "chroma": ChromaKey,
    "chroma-green": lambda: ChromaKey("green"),
    "chroma-colour": lambda: ChromaKey("#10C040"),
    "files": lambda: TrimapFiles(Pictures()),
    "plate": lambda: CleanPlate(Green()),
    "masks": lambda: Masks(Pictures()),
    "holdout": lambda: Holdout(ChromaKey("green"), keep=Pictures(), drop=Pictures()),
}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> TrimapStage:
    return STAGES[request.param]()


def clip(dtype: torch.dtype = torch.uint8, device: str = "cpu") -> list[Frame]:
    """A grey box that walks before a green screen."""
    frames = []
    for index in range(FRAMES):
        rgb = torch.tensor([0.06, 0.75, 0.25]).view(3, 1, 1).repeat(1, HEIGHT, WIDTH)
        rgb += 0.01 * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(index))
        rgb[:, 20:, 30 + 3 * index : 60 + 3 * index] = 0.5
        rgb = rgb.clamp(0, 1)
        scale = {torch.uint8: 255, torch.uint16: 65535}.get(dtype)
        pixels = (rgb * scale).round().to(dtype) if scale else rgb
        frames.append(Frame(index, 100 + 40 * index, Fraction(1, 1000), pixels.to(device)))
    return frames


def test_is_a_trimap_stage(stage: TrimapStage) -> None:
    assert isinstance(stage, TrimapStage)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_one_out_per_one_in_in_order_carrying_its_frame(stage: TrimapStage, dtype: torch.dtype) -> None:
    frames = clip(dtype)
    before = [frame.rgb.clone() for frame in frames]
    items = list(stage(iter(frames)))
    assert all(isinstance(item, TrimapFrame) for item in items)
    assert [id(item.frame) for item in items] == [id(frame) for frame in frames]
    for item, untouched in zip(items, before, strict=True):
        assert torch.equal(item.frame.rgb, untouched)
        assert item.trimap.shape == (1, HEIGHT, WIDTH)
        assert set(item.trimap.unique().tolist()) == {BACKGROUND, UNKNOWN, FOREGROUND}


def test_a_run_can_be_repeated_and_gives_the_same(stage: TrimapStage) -> None:
    first, second = ([item.trimap for item in stage(iter(clip()))] for _ in range(2))
    assert len(first) == len(second) == FRAMES
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_takes_anything_that_can_be_iterated(stage: TrimapStage) -> None:
    assert len(list(stage(clip()))) == FRAMES  # type: ignore[arg-type] - a source is handed over as it is


def test_hands_on_an_error_from_upstream(stage: TrimapStage) -> None:
    def broken():
        yield from clip()[:3]
        raise RuntimeError("upstream")

    with pytest.raises(RuntimeError, match="upstream"):
        list(stage(broken()))


def test_works_frame_by_frame_with_a_bounded_look_ahead(stage: TrimapStage) -> None:
    pulled = 0

    def counted():
        nonlocal pulled
        for frame in clip():
            pulled += 1
            yield frame

    for number, _ in enumerate(stage(counted())):
        assert pulled == number + 1


@pytest.mark.gpu
def test_the_trimap_is_on_the_frames_device(stage: TrimapStage) -> None:
    on_cpu = [item.trimap for item in stage(iter(clip()))]
    for item, expected in zip(stage(iter(clip(device="cuda"))), on_cpu, strict=True):
        assert item.trimap.device == item.frame.rgb.device
        # Sums are taken in another order: a pixel at a threshold may fall to the other side.
        assert (item.trimap.cpu() != expected).float().mean() < 0.01
