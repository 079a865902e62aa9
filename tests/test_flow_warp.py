"""Warping against SciPy, and the half-pixel traps."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow import Readable, lands_inside, read_at, resize_flow, warp


def flow_of(dx: float, dy: float, height: int, width: int, batch: int = 1) -> Tensor:
    return torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).repeat(batch, 1, height, width)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (101, 64), (720, 1280), (1, 9), (9, 1), (1, 1)])
def test_no_motion_returns_the_image_to_the_bit(mode: str, height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width)
    assert torch.equal(warp(image, torch.zeros(2, 2, height, width), mode), image)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, 2), (-5, 4), (1, -7)])
def test_whole_pixels_are_copied(mode: str, dx: int, dy: int) -> None:
    image = torch.rand(1, 2, 37, 53)
    moved = warp(image, flow_of(dx, dy, 37, 53), mode)
    inside = lands_inside(flow_of(dx, dy, 37, 53))
    rolled = image.roll((-dy, -dx), dims=(2, 3))  # the result at x is the image at x + d
    assert torch.equal(moved * inside, rolled * inside)
    assert int(inside.sum()) == (37 - abs(dy)) * (53 - abs(dx))


def test_whole_and_fractional_pixels_live_side_by_side() -> None:
    image = torch.rand(1, 1, 20, 30)
    flow = flow_of(0, 0, 20, 30)
    flow[..., 15:] = 0.5
    moved = warp(image, flow)
    assert torch.equal(moved[..., :15], image[..., :15])
    assert not torch.equal(moved[..., 15:], image[..., 15:])


@pytest.mark.parametrize(("mode", "order"), [("bilinear", 1), ("nearest", 0)])
def test_agrees_with_scipy(mode: str, order: int) -> None:
    image, flow = torch.rand(1, 1, 48, 80), torch.randn(1, 2, 48, 80) * 6
    rows, columns = np.mgrid[:48, :80].astype(np.float64)
    dx, dy = flow[0].double().numpy()
    expected = map_coordinates(image[0, 0].double().numpy(), [rows + dy, columns + dx], order=order, mode="nearest")
    # Float32 coordinates are off by up to 1e-5 px on a picture this size, times a contrast of at most 1.
    np.testing.assert_allclose(warp(image, flow, mode)[0, 0].numpy(), expected, atol=5e-5)


def test_some_pixels_are_fetched_as_all_are() -> None:
    image, flow = torch.rand(1, 3, 37, 53), 9 * torch.randn(1, 2, 37, 53)
    flow[..., :20] = flow[..., :20].round()
    places = torch.randperm(37 * 53)[:400]
    across, down = flow[0].flatten(1)[:, places]
    columns, rows = places % 53, places // 53
    some = read_at(image[0], across + columns, down + rows)
    # Vectors' ends are computed by other instructions: float32's own rounding.
    torch.testing.assert_close(some, warp(image, flow)[0].flatten(1)[:, places], rtol=0, atol=1e-6)
    still = read_at(image[0], columns.float(), rows.float())
    assert torch.equal(still, image[0].flatten(1)[:, places])


@pytest.mark.parametrize("beyond", [float("inf"), float("-inf"), float("nan"), 1e30])
def test_a_place_beyond_all_numbers_spoils_no_other(beyond: float) -> None:
    """Whole places give the pixels themselves, to the bit, whatever is read beside them."""
    image = torch.rand(3, 37, 53)
    columns, rows = torch.arange(53.0), torch.full((53,), 4.0)
    columns[7] = beyond
    flow = torch.zeros(1, 2, 37, 53)
    flow[0, 0, 4, 7] = beyond
    others = torch.arange(53) != 7
    for read in (read_at(image, columns, rows), warp(image[None], flow)[0, :, 4]):
        assert torch.equal(read[:, others], image[:, 4, others])


def test_cubic_reading_keeps_more_of_fine_lines() -> None:
    """Against Keys' kernel (a = -3/4) written out, along a row; whole places give the pixels themselves."""
    image, shift = torch.rand(1, 9, 40), 0.3
    columns, rows = torch.arange(5.0, 30), torch.full((25,), 4.0)  # off the row's ends
    at, near = -0.75, [1 + shift, shift, 1 - shift, 2 - shift]
    kernel = [(at + 2) * d**3 - (at + 3) * d**2 + 1 if d <= 1 else at * (d**3 - 5 * d**2 + 8 * d - 4) for d in near]
    row = image[0, 4]
    expected = sum(weight * row[4 + tap : 29 + tap] for tap, weight in enumerate(kernel))
    torch.testing.assert_close(read_at(image, columns + shift, rows, "bicubic")[0], expected, rtol=0, atol=5e-5)
    assert torch.equal(read_at(image, columns + 2, rows - 1, "bicubic")[0], image[0, 3, 7:32])


def test_borders_hold_outside() -> None:
    image = torch.arange(6.0).view(1, 1, 1, 6)
    flow = torch.zeros(1, 2, 1, 6)
    flow[:, 0] = 4
    assert warp(image, flow).flatten().tolist() == [4, 5, 5, 5, 5, 5]
    assert lands_inside(flow).flatten().tolist() == [True, True, False, False, False, False]


def test_gradient_reaches_image_and_flow() -> None:
    image, flow = torch.rand(1, 1, 8, 8, requires_grad=True), torch.full((1, 2, 8, 8), 0.3, requires_grad=True)
    warp(image, flow).sum().backward()
    assert image.grad is not None
    assert flow.grad is not None


def test_a_resized_flow_moves_a_resized_picture_alike() -> None:
    # A zoom about the top left corner of the picture's area: x + 0.5 grows by 10 %. Resizing must keep it a zoom.
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(90.0), indexing="ij")
    flow = 0.1 * torch.stack([columns + 0.5, rows + 0.5])[None]
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(30.0), indexing="ij")
    expected = 0.1 * torch.stack([columns + 0.5, rows + 0.5])[None]
    small = resize_flow(flow, 30, 30)
    torch.testing.assert_close(small, expected, atol=1e-5, rtol=0)
    assert resize_flow(flow, 60, 90) is flow


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(ShapeError, match=r"\[B, 2, H, W\]"):
        warp(torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8, 2))
    with pytest.raises(ShapeError, match=r"\[1, 3, 8, 9\]"):
        warp(torch.rand(1, 3, 8, 9), torch.zeros(1, 2, 8, 8))
    with pytest.raises(ShapeError, match="uint8"):
        warp(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 2, 8, 8))
    with pytest.raises(ShapeError, match="lands_inside"):
        lands_inside(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(("height", "width"), [(37, 53), (33, 65), (2, 3), (1, 1)])
def test_a_readable_reads_as_warp_does(height: int, width: int) -> None:
    images, flows = torch.rand(2, 3, height, width), 9 * torch.randn(2, 2, 4, height, width)
    flows[:, :, :2] = flows[:, :, :2].round()
    flows[:, :, 0] = 0
    read, outside = Readable(images).read(flows)
    assert torch.equal(read[:, :, 0], images)
    assert torch.equal(read[:, :, 1], warp(images, flows[:, :, 1]))  # whole flows, to the bit
    for each, flow in enumerate(flows.unbind(2)):
        # Float32 coordinates are off by up to 1e-5 px on a picture this size, times a contrast of at most 1.
        torch.testing.assert_close(read[:, :, each], warp(images, flow), rtol=0, atol=5e-5)
        assert torch.equal(outside[:, :, each] == 0, lands_inside(flow))
    one, beyond = Readable(images).read(flows[:, :, 3])
    assert torch.equal(one, read[:, :, 3])
    assert torch.equal(beyond, outside[:, :, 3])
