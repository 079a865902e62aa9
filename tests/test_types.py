"""The types that travel check their own shapes and print both sides when they disagree."""

import dataclasses
from fractions import Fraction

import pytest
import torch

from videomatte.errors import ShapeError
from videomatte.types import Frame, MatteFrame, TrimapFrame, finite_unit_range, from_unit_range, unit_range


def frame(height: int = 4, width: int = 6, **changes: object) -> Frame:
    values = {"index": 0, "pts": 7, "time_base": Fraction(1, 24), "rgb": torch.zeros(3, height, width).byte()}
    return Frame(**{**values, **changes})  # type: ignore[arg-type]


def trimap_frame(**changes: object) -> TrimapFrame:
    values = {"frame": frame(), "trimap": torch.zeros(1, 4, 6).byte(), "origin": "key"}
    return TrimapFrame(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rgb", "said"),
    [
        (torch.zeros(4, 4, 6).byte(), r"Frame\.rgb must be \[3, H, W\], got \[4, 4, 6\]"),
        (torch.zeros(4, 6).byte(), r"Frame\.rgb must be \[3, H, W\], got \[4, 6\]"),
        (torch.zeros(3, 4, 6).long(), r"Frame\.rgb must be .*uint8.* got torch\.int64"),
    ],
)
def test_frame_refuses_wrong_pixels(rgb: torch.Tensor, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        frame(rgb=rgb)


def test_frame_refuses_alpha_of_another_size_or_depth() -> None:
    with pytest.raises(ShapeError, match=r"\[1, 4, 5\] and \[3, 4, 6\]"):
        frame(alpha=torch.zeros(1, 4, 5).byte())
    with pytest.raises(ShapeError, match="uint8"):
        frame(alpha=torch.zeros(1, 4, 6))


def test_time_is_derived_from_pts() -> None:
    assert frame(pts=36, time_base=Fraction(1, 24)).seconds == 1.5
    assert (frame().height, frame().width) == (4, 6)


def test_trimap_frame_refuses_what_does_not_fit_its_frame() -> None:
    with pytest.raises(ShapeError, match=r"TrimapFrame\.trimap and Frame\.rgb .* \[1, 5, 6\] and \[3, 4, 6\]"):
        trimap_frame(trimap=torch.zeros(1, 5, 6).byte())
    with pytest.raises(ShapeError, match="uint8"):
        trimap_frame(trimap=torch.zeros(1, 4, 6))
    with pytest.raises(ShapeError, match="confidence"):
        trimap_frame(confidence=torch.zeros(1, 3, 6))


def test_matte_frame_refuses_what_does_not_fit_its_frame() -> None:
    with pytest.raises(ShapeError, match=r"MatteFrame\.alpha .* \[1, 4, 7\] and \[3, 4, 6\]"):
        MatteFrame(trimap_frame(), torch.zeros(1, 4, 7))
    with pytest.raises(ShapeError, match="float32"):
        MatteFrame(trimap_frame(), torch.zeros(1, 4, 6).byte())
    with pytest.raises(ShapeError, match=r"MatteFrame\.foreground"):
        MatteFrame(trimap_frame(), torch.zeros(1, 4, 6), torch.zeros(1, 4, 6))


def test_each_item_carries_the_one_it_came_from() -> None:
    source = trimap_frame()
    assert MatteFrame(source, torch.zeros(1, 4, 6)).frame is source.frame


def test_items_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame().pts = 3  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_unit_range_puts_white_at_one(dtype: torch.dtype) -> None:
    top = torch.iinfo(dtype).max
    pixels = torch.tensor([0, 1, top // 2, top], dtype=torch.int32).to(dtype)
    expected = torch.tensor([0, 1 / top, (top // 2) / top, 1], dtype=torch.float64)
    torch.testing.assert_close(unit_range(pixels).double(), expected, rtol=0, atol=1e-7)  # float32's own rounding


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_from_unit_range_is_its_inverse_and_holds_integers_to_their_range(dtype: torch.dtype) -> None:
    top = 1 if dtype.is_floating_point else torch.iinfo(dtype).max
    pixels = torch.arange(0, top + 1, max(1, top // 997), dtype=torch.int32).to(dtype)
    assert torch.equal(from_unit_range(unit_range(pixels), dtype), pixels)
    beyond = from_unit_range(torch.tensor([-0.5, 1.5]), dtype)
    assert beyond.tolist() == ([-0.5, 1.5] if dtype.is_floating_point else [0, top])


def test_what_is_no_number_becomes_one() -> None:
    broken = torch.tensor([float("nan"), float("inf"), float("-inf"), 0.25, 3.0, -0.5])
    assert finite_unit_range(broken).tolist() == [0.0, 1.0, 0.0, 0.25, 3.0, -0.5]
    assert finite_unit_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]


def test_unit_range_leaves_linear_light_above_one_alone() -> None:
    pixels = torch.tensor([0.0, 1.0, 7.5])
    assert torch.equal(unit_range(pixels), pixels)
