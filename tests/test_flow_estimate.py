"""Estimated flow against known motion: shifts, warps of real texture, and the Middlebury pairs."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from skimage.transform import AffineTransform, warp as sk_warp
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow import describe, estimate_both_flows, estimate_flow, flow_confidence


def to_tensor(image: np.ndarray) -> Tensor:
    if image.dtype == np.uint8:
        image = image / 255
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def texture() -> Tensor:
    return to_tensor(skimage.data.astronaut())


@pytest.fixture(scope="module")
def gravel() -> Tensor:
    return to_tensor(np.stack([skimage.data.gravel()] * 3, axis=-1))


def endpoint_error(flow: Tensor, truth: Tensor) -> Tensor:
    return (flow - truth).square().sum(dim=1).sqrt()


def load(path: Path) -> Tensor:
    return to_tensor(np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (37, 90), (300, 400), (540, 960)])
def test_equal_pictures_do_not_move(height: int, width: int) -> None:
    image = torch.rand(1, 3, height, width)
    assert not estimate_flow(image, image).any()


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, -3), (7, 4), (-24, 9)])
def test_whole_pixel_shifts_are_recovered(gravel: Tensor, dx: int, dy: int) -> None:
    first = gravel[..., 60:360, 60:460]
    second = gravel[..., 60 - dy : 360 - dy, 60 - dx : 460 - dx]  # what was at x is now at x + d
    error = endpoint_error(estimate_flow(first, second), torch.tensor([dx, dy]).view(1, 2, 1, 1))
    # A border as wide as the motion and a patch has nothing to be compared with.
    margin = max(abs(dx), abs(dy)) + 16
    assert not error[:, margin:-margin, margin:-margin].any()


def affine_pair(texture: Tensor, *, angle: float, zoom: float, shift: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The second picture of an affine motion about the centre, and its exact flow; made by scikit-image."""
    height, width = texture.shape[2:]
    to_centre = AffineTransform(translation=(-width / 2, -height / 2))
    move = AffineTransform(rotation=angle, scale=zoom)
    back = AffineTransform(translation=(width / 2 + shift[0], height / 2 + shift[1]))
    matrix = (to_centre + move + back).params
    second = sk_warp(texture[0].permute(1, 2, 0).numpy(), AffineTransform(matrix).inverse, order=3, mode="reflect")
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    moved = np.tensordot(matrix[:2], np.stack([columns, rows, np.ones_like(rows)]), axes=1)
    return to_tensor(second), torch.from_numpy((moved - [columns, rows]).astype(np.float32))[None]


@pytest.mark.parametrize("light", ["same", "gain", "gamma", "ramp", "tint"])
def test_sub_pixel_motion_under_changing_light(texture: Tensor, light: str) -> None:
    first = texture[..., 40:400, 20:500]
    second, truth = affine_pair(first, angle=0.02, zoom=1.02, shift=(3.4, -1.7))
    if light == "gain":
        second = (second * 0.6 + 0.1).clamp(0, 1)
    elif light == "gamma":
        second = second.clamp(0, 1) ** 1.5
    elif light == "ramp":
        second = (second * torch.linspace(0.5, 1.2, second.shape[3])).clamp(0, 1)
    elif light == "tint":
        second = (second * torch.tensor([1.2, 0.9, 0.7]).view(1, 3, 1, 1)).clamp(0, 1)
    error = endpoint_error(estimate_flow(first, second), truth)[:, 30:-30, 30:-30]
    # A quarter pixel of 5 px motion; brightness constancy without normalisation ends above 1 px for each of these.
    assert error.mean() < 0.25


def test_a_small_fast_object_is_caught() -> None:
    """It moves by more than its own radius: coarse-to-fine alone follows the background."""
    background = to_tensor(skimage.data.coffee())[..., :360, :480]
    cat = to_tensor(skimage.data.chelsea())[..., 100:180, 100:180]
    first, second = background.clone(), background.clone()
    first[..., 140:220, 120:200] = cat
    second[..., 130:210, 175:255] = cat
    flow = estimate_flow(first, second)
    middle = flow[..., 155:205, 135:185].flatten(2).median(dim=2).values
    torch.testing.assert_close(middle, torch.tensor([[55.0, -10.0]]), atol=0.25, rtol=0)
    assert flow[..., 260:, :].abs().mean() < 0.1


def test_a_larger_picture_is_worked_out_smaller_but_answered_in_its_own_pixels() -> None:
    small = to_tensor(skimage.data.coffee())[..., :360, :560]
    large = torch.nn.functional.interpolate(small, scale_factor=3, mode="bicubic").clamp(0, 1)
    first, second = large[..., 30:-30, 30:-30], large[..., 30 - 12 : -30 - 12, 30 - 21 : -30 - 21]
    flow = estimate_flow(first, second)
    assert flow.shape == (1, 2, *first.shape[2:])
    error = endpoint_error(flow, torch.tensor([21.0, 12.0]).view(1, 2, 1, 1))[:, 60:-60, 60:-60]
    assert error.median() < 0.35  # a tenth of a working pixel, of which one is 3.4 here


def test_pictures_of_a_batch_do_not_see_one_another(texture: Tensor) -> None:
    first, second = texture[..., 100:250, 100:300], texture[..., 98:248, 97:297]
    one, other = estimate_flow(first, second), estimate_flow(second, first)
    both = estimate_flow(torch.cat([first, second]), torch.cat([second, first]))
    # Batched products may sum in another order; what matters is that nothing but rounding differs.
    torch.testing.assert_close(both, torch.cat([one, other]), atol=2e-2, rtol=0)
    torch.testing.assert_close(
        torch.cat(estimate_both_flows(describe(first), describe(second))), both, atol=2e-2, rtol=0
    )


def test_confidence_falls_where_the_background_is_hidden() -> None:
    background = to_tensor(skimage.data.coffee())[..., :300, :400]
    cat = to_tensor(skimage.data.chelsea())[..., 100:180, 100:180]
    first, second = background.clone(), background.clone()
    first[..., 100:180, 120:200] = cat
    second[..., 100:180, 140:220] = cat
    forward, back = estimate_both_flows(describe(first), describe(second))
    confidence = flow_confidence(forward, back)[0, 0]
    assert confidence[110:170, 205:215].mean() < 0.3  # covered by the cat in the second picture
    assert confidence[110:170, 130:190].mean() > 0.9  # the cat
    assert confidence[200:, :].mean() > 0.9  # background seen in both


def test_confidence_is_the_papers_threshold() -> None:
    forward = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 20, 40).clone()
    allowed = 0.5
    for _ in range(60):  # the error depends on itself through |b|: iterate to its fixed point
        allowed = 0.01 * (9 + (3 - allowed**0.5) ** 2) + 0.5
    for factor, side in ((0.98, True), (1.02, False)):
        back = torch.tensor([-3 + factor * allowed**0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 20, 40).clone()
        confidence = flow_confidence(forward, back)[0, 0]
        assert bool((confidence[:, :37] > 0.5).all()) is side
        assert not confidence[:, 37:].any()  # leaves the picture
    assert bool((flow_confidence(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)) == 1).all())


@pytest.mark.parametrize(("name", "dis"), [("dimetrodon", 0.153), ("motorcycle_stereo", 2.628)])
def test_middlebury(data: Path, name: str, dis: float) -> None:
    """Mean endpoint error at most 1.25 times that of OpenCV's DIS at its medium preset, measured once."""
    folder = data / "08_flow" / name
    if name == "dimetrodon":
        first, second = load(folder / "frame10.png"), load(folder / "frame11.png")
        raw = (folder / "flow10.flo").read_bytes()
        width, height = np.frombuffer(raw, np.int32, 2, 4)
        truth = torch.from_numpy(np.frombuffer(raw, np.float32, -1, 12).reshape(1, height, width, 2).copy())
        truth = truth.permute(0, 3, 1, 2)
        valid = (truth.abs() < 1e9).all(dim=1)
    else:
        first, second = load(folder / "left.png"), load(folder / "right.png")
        with np.load(folder / "disp.npz") as archive:
            disparity = torch.from_numpy(archive[archive.files[0]].astype(np.float32))[None]
        valid = disparity.isfinite()
        truth = torch.stack([-disparity, torch.zeros_like(disparity)], dim=1)
    error = endpoint_error(estimate_flow(first, second), truth)[valid].mean()
    assert error <= 1.25 * dis


@pytest.mark.gpu
def test_the_same_on_a_gpu(texture: Tensor) -> None:
    first, second = texture[..., 100:400, 100:400], texture[..., 97:397, 95:395]
    on_cpu = estimate_flow(first, second)
    on_gpu = estimate_flow(first.cuda(), second.cuda()).cpu()
    # Sums in another order now and then tip a match at the borders; the picture as a whole must agree.
    assert endpoint_error(on_gpu, on_cpu).mean() < 0.02


def test_wrong_shapes_are_told() -> None:
    picture = torch.rand(1, 3, 16, 16)
    with pytest.raises(ShapeError, match=r"\[1, 3, 16, 15\]"):
        estimate_flow(picture, picture[..., :15])
    with pytest.raises(ShapeError, match="float"):
        estimate_flow((picture * 255).byte(), (picture * 255).byte())
    with pytest.raises(ShapeError, match=">= 8"):
        estimate_flow(picture[..., :7], picture[..., :7])
    with pytest.raises(ShapeError, match="flow_confidence"):
        flow_confidence(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 9))
