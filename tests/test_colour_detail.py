"""Colour's detail, given back from brightness: against pictures before their chroma was halved."""

from dataclasses import replace
from typing import Literal

import av
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.io.colour import planes_to_rgb, rgb_to_planes
from videomatte.io.pixel_layout import ChromaSiting, pixel_layout
from videomatte.matting import colour_detail
from videomatte.matting.colour_detail import _repeats
from videomatte.scenes import random_scene, render
from videomatte.trimaps.morphology import BAND
from videomatte.types import Colour

BT709 = Colour(matrix=1, full_range=False)


def strands(height: int = 120, width: int = 160, seed: int = 0) -> Tensor:
    """Thin lines of one colour, partly transparent, over another: ``[3, H, W]``."""
    torch.manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    cover = torch.zeros(height, width)
    for _ in range(40):
        angle, offset, thickness = torch.rand(3) * torch.tensor([3.1416, 1.0, 1.2])
        across = (rows - height * offset) * angle.cos() + (columns - width * offset) * angle.sin()
        cover = torch.maximum(cover, (thickness + 0.5 - across.abs()).clamp(0, 1) * 0.8)
    front, back = torch.tensor([0.75, 0.55, 0.3]), torch.tensor([0.15, 0.6, 0.2])
    return back[:, None, None] + cover * (front - back)[:, None, None]


def stored(rgb: Tensor, pix_fmt: str, siting: ChromaSiting = "centre") -> Tensor:
    """As a reader of such a file has it: ``[3, H, W]`` in 0..1."""
    layout = pixel_layout(pix_fmt, siting)
    codes = (rgb * 255).round().to(torch.uint8)
    return planes_to_rgb(rgb_to_planes(codes, layout, BT709), layout, BT709, *rgb.shape[1:]).float() / 255


def add_colour_detail(pictures: Tensor) -> Tensor:
    """Everywhere."""
    return colour_detail.add_colour_detail(pictures, torch.ones_like(pictures[:, :1], dtype=torch.bool))


def error(rgb: Tensor, truth: Tensor) -> float:
    return float((rgb - truth).square().mean().sqrt())


@pytest.mark.parametrize(
    ("pix_fmt", "siting", "left"),
    [("yuv420p", "centre", 0.7), ("yuv420p", "left", 0.8), ("yuv422p", "left", 1.0)],
)
def test_strands_get_their_colour_back(pix_fmt: str, siting: ChromaSiting, left: float) -> None:
    """Two colours mixed lie on a line, which is what is assumed; where chroma lies in the middle that is all there is
    to the loss but rounding and windows of two strands. Elsewhere means over squares are not quite what was stored;
    with the columns alone halved, much of the detail is there, and it must not become worse."""
    truth = strands()
    blurred = stored(truth, pix_fmt, siting)
    assert error(add_colour_detail(blurred[None])[0], truth) < left * error(blurred, truth) + 1e-6


def test_a_rendered_subject_comes_nearer_to_the_truth() -> None:
    """Fur before a screen, many colours and soft light, without the damage that scenes have; at its edge. The lens has
    blurred most of what chroma could lose."""
    settings = replace(random_scene(3, 320, 180, 1), backdrop="green", subject="fur")
    (frame,) = render(settings)
    truth = frame.alpha * frame.foreground + (1 - frame.alpha) * torch.tensor([0.2, 0.6, 0.3])[:, None, None]
    blurred = stored(truth.clamp(0, 1), "yuv420p")
    soft = ((frame.alpha > 0.02) & (frame.alpha < 0.98))[0]
    better = add_colour_detail(blurred[None])[0]
    assert error(better[:, soft], truth[:, soft]) < 0.98 * error(blurred[:, soft], truth[:, soft])


@pytest.mark.parametrize("size", [(120, 160), (119, 157), (3, 5), (1, 1)])
def test_full_colour_and_grey_stay_as_they_are(size: tuple[int, int]) -> None:
    """A picture with full colour has nothing to gain; rounding to 8 bits hides some detail from the measurement."""
    rgb = strands(120, 160)[:, : size[0], : size[1]]
    for picture in (rgb, rgb.mean(0, keepdim=True).expand(3, -1, -1)):
        found = add_colour_detail(picture[None])[0]
        assert found.shape == picture.shape
        assert (found - picture).abs().max() < 0.01


def test_nothing_moves_and_brightness_stays() -> None:
    rgb = stored(strands(), "yuv420p")
    found = add_colour_detail(rgb[None])[0]
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    before, after = (torch.einsum("c,chw->hw", weights, picture) for picture in (rgb, found))
    inside = ((found > 0) & (found < 1)).all(0)
    assert (before - after).abs()[inside].max() < 1e-6
    shifted = add_colour_detail(rgb[None, :, 20:, 32:])[0]
    assert (shifted - found[:, 20:, 32:])[:, 8:, 8:].abs().max() < 0.01  # how much is missing is measured anew


def by_ffmpeg(rgb: Tensor, pix_fmt: str, matrix: Literal["ITU601", "ITU709"] = "ITU601") -> Tensor:
    """What programs get that ask FFmpeg for RGB, of 8-bit movie pictures made by it, too: ``[3, H, W]`` in 0..1."""
    codes = (rgb * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    movie = av.VideoFrame.from_ndarray(codes, "rgb24").reformat(format=pix_fmt, dst_colorspace=matrix)
    pictures = movie.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
    return torch.from_numpy(pictures).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("matrix", ["ITU601", "ITU709"])
@pytest.mark.parametrize("size", [(120, 160), (118, 150)])
def test_repeated_colour_is_interpolated(size: tuple[int, int], matrix: Literal["ITU601", "ITU709"]) -> None:
    """FFmpeg's pictures are taken for what they are and become as good as those of a reader that interpolates; its
    converter's rounding costs a little, and brightness by another matrix than BT.709's a little more."""
    truth = strands(*size)
    steps = by_ffmpeg(truth, "yuv420p", matrix)
    assert _repeats(steps[None]).all()
    found = add_colour_detail(steps[None])[0]
    assert error(found, truth) < 1.15 * error(add_colour_detail(stored(truth, "yuv420p")[None])[0], truth)
    assert error(found, truth) < 0.6 * error(steps, truth)


def test_only_repeated_colour_is_taken_for_it() -> None:
    """Each picture for itself; noise, greys and flat colour tell nothing."""
    truth = strands()
    steps = by_ffmpeg(truth, "yuv420p")
    others = [
        truth,
        stored(truth, "yuv420p"),
        stored(truth, "yuv420p", "left"),
        by_ffmpeg(truth, "yuv444p"),
        by_ffmpeg(truth, "yuv422p"),
        torch.rand_like(truth),
        steps.mean(0, keepdim=True).expand(3, -1, -1),
        torch.full_like(truth, 0.5),
        steps.roll(1, 2),  # squares that begin elsewhere
    ]
    assert _repeats(torch.stack([*others, steps])).tolist() == [False] * len(others) + [True]


def test_bands_leave_no_seam_and_frames_are_alone() -> None:
    tall = stored(strands(330, 40), "yuv420p")
    with_others = add_colour_detail(torch.stack([tall, tall.flip(1), torch.rand_like(tall)]))
    assert torch.equal(with_others[0], add_colour_detail(tall[None])[0])
    short = add_colour_detail(tall[None, :, 100:160])[0]  # across the end of the first band, all in one
    lost = add_colour_detail(tall[None])[0] - tall
    ratio = (lost[:, 110:150] * (short - tall[:, 100:160])[:, 10:50]).sum() / lost[:, 110:150].square().sum()
    # The part's own need differs by a factor; but for that, and cutting to 0..1, the same was added.
    assert (lost[:, 110:150] * ratio - (short - tall[:, 100:160])[:, 10:50]).abs().max() < 0.005


def test_detail_is_added_where_it_is_asked_for() -> None:
    """As everywhere but for how much is lacking, which is measured where it is added; in the rest nothing changes."""
    rgb = stored(strands(3 * BAND + 10, 301), "yuv420p")[None]
    asked = torch.zeros_like(rgb[:, :1], dtype=torch.bool)
    asked[..., BAND - 5 : BAND + 20, 101:160] = True  # across two bands
    asked[..., 2 * BAND + 30, 300] = True
    some = colour_detail.add_colour_detail(rgb, asked)
    near = F.max_pool2d(asked.float(), 2 * colour_detail.AROUND + 1, 1, colour_detail.AROUND) > 0
    added, all_added = some - rgb, add_colour_detail(rgb) - rgb
    ratio = (added * all_added * asked).sum() / (all_added.square() * asked).sum()
    assert 0.8 < ratio < 1.25
    assert ((added - ratio * all_added).abs() * near).max() < 0.005  # cut off at 0 and 1
    far = F.max_pool2d(asked.float(), (4 * BAND + 1, 65), 1, (2 * BAND, 32)) == 0
    assert far.any()
    assert not (added * far).any()
    assert torch.equal(colour_detail.add_colour_detail(rgb, torch.zeros_like(asked)), rgb)
