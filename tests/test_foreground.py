"""Multi-level foreground estimation: beside PyMatting's, beside known colours, and the stage that uses it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.io import open_sink, open_source
from videomatte.refine import Foreground
from videomatte.refine.foreground import estimate_foreground
from videomatte.types import Frame, MatteFrame, TrimapFrame, unit_range

pymatting = pytest.importorskip("pymatting")


def picture(path: Path) -> Tensor:
    pixels = np.asarray(Image.open(path).convert("L" if path.parent.name == "gt" else "RGB"))
    return torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / 255).permute(2, 0, 1)[None]


def smooth(*size: int, coarse: int = 8) -> Tensor:
    """Random values that change over some ten pixels."""
    values = torch.rand(*size[:2], size[2] // coarse, size[3] // coarse)
    return F.interpolate(values, size[2:], mode="bicubic").clamp(0, 1)


def peers(image: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    layers = pymatting.estimate_foreground_ml(
        image[0].permute(1, 2, 0).numpy(), alpha[0, 0].numpy(), return_background=True
    )
    return tuple(torch.from_numpy(layer).permute(2, 0, 1)[None] for layer in layers)


def agree(image: Tensor, alpha: Tensor) -> None:
    """What a composite shows of either layer, against PyMatting's.

    Both take the same steps towards the same minimum, in another order: raster there, chessboard here. Neither is at
    the minimum after two steps, so that they differ, by 0.003 on average and 0.013 at one pixel in a hundred where
    measured on the data's stills; one step more moves either by as much.
    """
    soft = ((alpha > 0) & (alpha < 1)).expand_as(image)
    for ours, theirs, share in zip(
        estimate_foreground(image, alpha), peers(image, alpha), (alpha, 1 - alpha), strict=True
    ):
        difference = (share * (ours - theirs)).abs()[soft]
        assert difference.mean() < 0.004
        assert difference.quantile(0.99) < 0.018


def test_real_mattes_agree_with_pymatting(data: Path) -> None:
    folder = data / "01_stills/alphamatting"
    for name in ("GT04.png", "GT13.png"):
        agree(picture(folder / "input" / name), picture(folder / "gt" / name))


def test_random_mattes_agree_with_pymatting() -> None:
    alpha = (smooth(1, 1, 120, 160) * 1.6 - 0.3).clamp(0, 1)
    agree(smooth(1, 3, 120, 160, coarse=20), alpha)


def test_finds_the_layers_of_a_mixture() -> None:
    """Two even colours mixed by any alpha are the energy's minimum; a few steps come close."""
    alpha = (smooth(1, 1, 96, 128) * 1.6 - 0.3).clamp(0, 1)
    front, back = (
        torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 96, 128) for colour in ([0.8, 0.3, 0.1], [0.1, 0.5, 0.4])
    )
    image = alpha * front + (1 - alpha) * back
    foreground, background = estimate_foreground(image, alpha)
    assert (foreground - front).abs().max() < 0.02
    assert (background - back).abs().max() < 0.02


def test_each_picture_of_a_batch_is_as_if_alone() -> None:
    image, alpha = torch.rand(2, 3, 150, 140), (smooth(2, 1, 150, 140) * 1.6 - 0.3).clamp(0, 1)
    for number in range(2):
        alone = estimate_foreground(image[number : number + 1], alpha[number : number + 1])
        for one, all_ in zip(alone, estimate_foreground(image, alpha), strict=True):
            assert torch.equal(one[0], all_[number])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (40, 1), (2, 300)])
def test_any_size(size: tuple[int, int]) -> None:
    image, alpha = torch.rand(1, 3, *size), torch.rand(1, 1, *size)
    for layer in estimate_foreground(image, alpha):
        assert layer.shape == image.shape
        assert layer.isfinite().all()


def test_hard_mattes_give_the_picture_back() -> None:
    image, alpha = torch.rand(1, 3, 50, 60) * 3 - 1, (torch.rand(1, 1, 50, 60) > 0.5).float()
    foreground, background = estimate_foreground(image, alpha)
    assert torch.equal(foreground * alpha, image * alpha)
    assert torch.equal(background * (1 - alpha), image * (1 - alpha))
    assert foreground.amin() >= image.amin()


def test_says_what_is_wrong_with_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\[3, 4, 4\] and \[1, 1, 4, 4\]"):
        estimate_foreground(torch.zeros(3, 4, 4), torch.zeros(1, 1, 4, 4))


@pytest.mark.gpu
def test_the_device_agrees_with_the_cpu() -> None:
    image, alpha = torch.rand(1, 3, 200, 240), smooth(1, 1, 200, 240)
    on_device = estimate_foreground(image.cuda(), alpha.cuda())
    for ours, theirs in zip(on_device, estimate_foreground(image, alpha), strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=1e-4, rtol=0)  # sums rounded in another order


def matte(rgb: Tensor, alpha: Tensor, background: Tensor | None = None) -> MatteFrame:
    trimap = torch.full_like(alpha, 128, dtype=torch.uint8).masked_fill_(alpha == 0, 0).masked_fill_(alpha == 1, 255)
    return MatteFrame(TrimapFrame(Frame(0, 0, Fraction(1, 25), rgb), trimap, "generated", background=background), alpha)


@pytest.mark.parametrize("keyed", [False, True])
def test_a_screens_light_is_taken_off_whoever_made_the_trimap(keyed: bool) -> None:
    """A grey disc lit by what is behind it: before a screen it is grey again, before a tiled wall it stays as it is."""
    alpha, grey = disc(120, 160), torch.full((3, 120, 160), 0.5)
    screen = torch.tensor([0.1, 0.7, 0.2]).view(3, 1, 1).expand(3, 120, 160)
    tiles = torch.where(torch.arange(160) % 40 < 20, screen, screen.roll(1, 0))
    lit = torch.lerp(grey, screen, 0.3 * (alpha < 1))
    edge = (alpha[0] > 0.1) & (alpha[0] < 0.9)

    def greenness(behind: Tensor) -> float:
        item = matte(alpha * lit + (1 - alpha) * behind, alpha, behind if keyed else None)
        (item,) = Foreground()(iter([item]))
        assert item.foreground is not None
        red, green, blue = item.foreground[:, edge]
        return float((green - (red + blue) / 2).mean())

    assert greenness(screen) < 0.01
    assert greenness(tiles) > 0.1


def write_png(path: Path, rgb: Tensor) -> None:
    layout = "rgb48be" if rgb.dtype == torch.uint16 else "rgb24"
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = *rgb.shape[1:], layout, Fraction(1, 25)
    pixels = rgb.permute(1, 2, 0).contiguous().numpy()
    frame = av.VideoFrame.from_ndarray(pixels, format=layout.replace("be", "le")).reformat(format=layout)
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


def disc(height: int, width: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = torch.hypot(rows - height / 2, columns - width / 2)
    return ((height / 3 - distance) / 6 + 0.5).clamp(0, 1)[None]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("keyed", [False, True])
def test_the_inside_is_the_source_to_the_bit(tmp_path: Path, deep: bool, keyed: bool) -> None:
    """From a file through the stage into a file: the subject's inside keeps its every code value."""
    rgb = torch.randint(0, 65536 if deep else 256, (3, 90, 120)).to(torch.uint16 if deep else torch.uint8)
    alpha, source, path = disc(90, 120), tmp_path / "source.png", tmp_path / "out.png"
    write_png(source, rgb)
    plate = torch.zeros(3, 90, 120, dtype=torch.int32)
    plate[1] = 40000 if deep else 160
    with open_source(source) as reader:
        (frame,) = reader
        assert torch.equal(frame.rgb, rgb)
        item = matte(frame.rgb, alpha, plate.to(rgb.dtype) if keyed else None)
        (item,) = Foreground()(iter([item]))
        with open_sink(path, reader.info) as sink:
            sink.write(item)
    with open_source(path) as reader:
        (written,) = reader
    assert written.rgb.dtype == torch.uint16
    inside = F.max_pool2d((1 - alpha)[None], 13, 1, 6)[0] == 0
    assert inside.sum() > 100
    code = rgb.int() * (1 if deep else 257)  # 8-bit values are stored as 16-bit ones
    assert torch.equal(written.rgb.int() * inside, code * inside)
    soft = (alpha > 0.2) & (alpha < 0.8)
    assert (unit_range(written.rgb) - unit_range(rgb)).abs()[soft.expand(3, -1, -1)].mean() > 0.05
