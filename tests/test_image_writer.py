"""Images are exact in 16 bits, and frames hold the codes that tensors stand for."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from readback import hair, picture, read_png

from videomatte.io.av_frame import alpha_codes, av_frame
from videomatte.io.formats import FORMATS, ImageFormat, VideoFormat
from videomatte.io.image_writer import ImageWriter, encode_image
from videomatte.types import Colour

PNG = next(f for f in FORMATS if isinstance(f, ImageFormat))
BT709 = Colour(matrix=1, full_range=False, primaries=1, transfer=1)


@pytest.mark.parametrize("reader", ["av", "ffmpeg"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32], ids=str)
def test_png_is_exact_in_16_bits(dtype: torch.dtype, reader: str, tmp_path: Path) -> None:
    rgb, alpha = picture(33, 47, dtype=dtype), hair(33, 47)
    with ImageWriter(tmp_path / "a.png", PNG, colour=BT709, folder=False) as writer:
        writer.write(rgb, alpha, 0)
    colour, found = read_png(tmp_path / "a.png", reader)
    scale = {torch.uint8: 257, torch.uint16: 1, torch.float32: 65535}[dtype]
    wanted = rgb.double().numpy().transpose(1, 2, 0) * scale
    assert np.abs(colour - wanted).max() <= (0.5 + 1e-6 if dtype == torch.float32 else 0)
    assert np.abs(found - alpha[0].double().numpy() * 65535).max() <= 0.51  # half a step, and float32's own rounding
    assert PNG.alpha_error >= 0.51 / 65535 * 255


@pytest.mark.parametrize("pixel_format", ["gray16be", "gray", "rgb48be"])
def test_other_png_layouts_are_full_range_and_exact(pixel_format: str, tmp_path: Path) -> None:
    fmt = replace(PNG, planes={"foreground": pixel_format})
    bits = 8 if pixel_format == "gray" else 16
    ramp = torch.linspace(0, 2**bits - 1, 256).round().to(torch.uint8 if bits == 8 else torch.uint16)
    for colour in (BT709, Colour(), Colour(matrix=0, full_range=True, primaries=1, transfer=13)):
        (tmp_path / "a.png").write_bytes(
            encode_image(ramp.expand(3, 2, 256).contiguous(), None, fmt, "foreground", colour=colour)
        )
        with av.open(tmp_path / "a.png") as container:
            plane = next(container.decode(video=0)).planes[0]
        row = np.frombuffer(plane, np.uint8 if bits == 8 else ">u2")[: 768 if "rgb" in pixel_format else 256]
        assert (row == np.repeat(ramp.numpy(), len(row) // 256)).all()


def test_png_says_what_its_colour_means_and_how_wide_its_pixels_are(tmp_path: Path) -> None:
    with ImageWriter(
        tmp_path / "a.png", PNG, colour=Colour(9, False, 9, 16), folder=False, sample_aspect=Fraction(16, 11)
    ) as writer:
        writer.write(picture(33, 47), hair(33, 47), 0)
    with av.open(tmp_path / "a.png") as container:
        frame = next(container.decode(video=0))
        found = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
        assert found == (0, 2, 9, 16)  # RGB, full, BT.2020, PQ
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.gpu
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_frames_made_on_a_gpu_are_those_made_on_the_cpu(fmt: VideoFormat | ImageFormat) -> None:
    for dtype in (torch.uint8, torch.uint16, torch.float32):
        rgb, alpha = picture(33, 64, dtype=dtype), hair(33, 64) if fmt.has_alpha else None
        here = av_frame(rgb, alpha, fmt.pixel_format, BT709)
        there = av_frame(rgb.cuda(), None if alpha is None else alpha.cuda(), fmt.pixel_format, BT709)
        stored = np.dtype(np.uint8 if fmt.alpha_bits in (0, 8) else ">u2" if fmt.pixel_format[-2:] == "be" else "<u2")
        for a, b in zip(here.planes, there.planes, strict=True):
            assert a.line_size == a.width * stored.itemsize * (4 if fmt is PNG else 1), "64 columns need no padding"
            # one code: the order of float32 sums may differ
            difference = np.frombuffer(a, stored).astype(int) - np.frombuffer(b, stored)
            assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("depth", [8, 10, 16])
def test_alpha_codes_round_to_nearest_and_keep_the_ends(depth: int) -> None:
    peak = 2**depth - 1
    exact = torch.arange(0, peak + 1, dtype=torch.float64)
    for shift in (-0.49, 0.0, 0.49):
        codes = alpha_codes(((exact + shift) / peak).float().reshape(1, 1, -1), depth).int()
        # float32 cannot tell 0.49 from 0.5 of a 16-bit step everywhere: one step of slack there
        assert (codes - exact.int()).abs().max() <= (1 if shift and depth == 16 else 0)
    for dtype, top in ((torch.uint8, 255), (torch.uint16, 65535)):
        ends = alpha_codes(torch.tensor([[[0, top]]]).to(dtype), depth)
        assert ends.tolist() == [[0, peak]]
    assert alpha_codes(torch.tensor([[[-0.1, 1.1]]]), depth).tolist() == [[0, peak]]
