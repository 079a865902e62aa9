"""YUV to RGB and back, against the formulas of H.273 in float64 and against zimg through Debian's ffmpeg."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import Tensor

from videomatte.errors import InputError, ShapeError
from videomatte.io.colour import planes_to_alpha, planes_to_rgb, resolve_colour, rgb_to_planes
from videomatte.io.pixel_layout import ChromaSiting, PixelLayout, pixel_layout
from videomatte.types import Colour

WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
ZSCALE_MATRIX = {1: "709", 6: "170m", 9: "2020_ncl", 8: "ycgco"}


def codes_of(layout: PixelLayout, plane: int, height: int, width: int) -> Tensor:
    """Random samples over all values the depth allows."""
    rows, samples = layout.plane_shape(plane, height, width)
    values = torch.randint(0, 2**layout.depth, (rows, samples)) << layout.padding_bits
    return values.to(layout.dtype)


def smooth_planes(layout: PixelLayout, height: int, width: int) -> list[Tensor]:
    """Planes of a soft picture well inside the gamut, as cameras make them: no value is clipped on the way."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    rgb = torch.stack([0.5 + 0.3 * f for f in ((rows + columns).sin(), (2 * rows).cos(), (columns * 1.7).sin())])
    return rgb_to_planes(rgb, layout, Colour(matrix=1, full_range=False))


def h273_rgb(y: np.ndarray, cb: np.ndarray, cr: np.ndarray, depth: int, matrix: int, full: bool) -> np.ndarray:
    """R, G, B in [0, 1] from code values, in float64, straight from H.273 clause 8.3."""
    kr, kb = WEIGHTS[matrix]
    y, cb, cr = (p.astype(np.float64) for p in (y, cb, cr))
    if full:
        luma, pb, pr = (y / (2**depth - 1), *((c - 2 ** (depth - 1)) / (2**depth - 1) for c in (cb, cr)))
    else:
        unit = 2 ** (depth - 8)
        luma, pb, pr = ((y / unit - 16) / 219, *((c / unit - 128) / 224 for c in (cb, cr)))
    r = luma + 2 * (1 - kr) * pr
    b = luma + 2 * (1 - kb) * pb
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    rgb: np.ndarray = np.clip(np.stack([r, g, b]), 0, 1)
    return rgb


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", sorted(WEIGHTS))
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv444p10le", "yuv444p12le", "yuv444p16le"])
def test_444_is_the_formula_of_h273(pix_fmt: str, matrix: int, full: bool) -> None:
    layout = pixel_layout(pix_fmt)
    planes = [codes_of(layout, plane, 70, 90) for plane in range(3)]
    rgb = planes_to_rgb(planes, layout, Colour(matrix=matrix, full_range=full), 70, 90)
    peak = 255 if layout.depth == 8 else 65535
    y, cb, cr = (p.numpy() for p in planes)
    reference = h273_rgb(y, cb, cr, layout.depth, matrix, full) * peak
    assert rgb.dtype == (torch.uint8 if layout.depth == 8 else torch.uint16)
    # Half a step is what rounding costs; float32 adds 2^-24 of the few terms of up to 2 * peak each.
    assert np.abs(rgb.numpy().astype(np.float64) - reference).max() <= 0.5 + 8 * 2 * peak * 2**-24


@pytest.mark.parametrize("matrix", [1, 6, 7, 8, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("pix_fmt", "exact"), [("yuv444p", False), ("yuv444p10le", True), ("yuv444p16le", False)])
def test_444_round_trip_of_rgb(pix_fmt: str, exact: bool, full: bool, matrix: int) -> None:
    """8-bit RGB survives 10 bits exactly. At equal depth YUV has fewer colours: it costs what rounding must."""
    layout = pixel_layout(pix_fmt)
    peak, dtype = (65535, torch.uint16) if layout.depth == 16 else (255, torch.uint8)
    rgb = torch.randint(0, peak + 1, (3, 64, 64)).to(dtype)
    colour = Colour(matrix=matrix, full_range=full)
    back = planes_to_rgb(rgb_to_planes(rgb, layout, colour), layout, colour, 64, 64)
    scale = 257 if back.dtype != dtype else 1
    error = (back.double() / scale).round() - rgb.double()
    # Half a code of luma and of chroma, whose gain to blue is at most 1.88: 1.4 at full range, 1.65 at limited, and
    # the result is a whole number.
    assert error.abs().max() <= (0 if exact else 1 if full else 2)
    assert error.abs().mean() < 0.6


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv444p10le"])
def test_444_round_trip_of_yuv(pix_fmt: str) -> None:
    """Codes that stand for colours inside RGB come back to within one."""
    layout = pixel_layout(pix_fmt)
    planes = smooth_planes(layout, 64, 64)
    colour = Colour(matrix=1, full_range=False)
    back = rgb_to_planes(planes_to_rgb(planes, layout, colour, 64, 64), layout, colour)
    worst = max((a.int() - b.int()).abs().max().item() for a, b in zip(planes, back, strict=True))
    # 10 bits pass through 16-bit RGB untouched; 8-bit RGB is rounded once, at most half a level of luma and chroma.
    assert worst <= (1 if layout.depth == 8 else 0)


@pytest.mark.parametrize(
    ("siting", "full", "matrix"), [("centre", False, 1), *(("left", f, m) for f in (False, True) for m in (1, 6, 8, 9))]
)
@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv420p10le", "yuv422p10le", "nv12"]
)
def test_zimg_makes_the_same_rgb(pix_fmt: str, siting: ChromaSiting, full: bool, matrix: int) -> None:
    height, width = 50, 76
    layout = pixel_layout(pix_fmt, siting)
    planes = smooth_planes(layout, height, width)
    deep = layout.depth > 8
    rgb = planes_to_rgb(planes, layout, Colour(matrix=matrix, full_range=full), height, width)
    reference = zscale(planes, pix_fmt, height, width, matrix=matrix, full=full, siting=siting, deep=deep)
    error = (rgb.double() - reference.double()).abs().max().item()
    # The same linear filter in both, each in float32 and rounded once: a tie may fall either way.
    assert error <= 1


def zscale(
    planes: list[Tensor], pix_fmt: str, height: int, width: int, *, matrix: int, full: bool, siting: str, deep: bool
) -> Tensor:
    """``[3, H, W]`` made by zimg's bicubic filter with Keys' kernel: an independent implementation."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("no ffmpeg command")
    location = "left" if siting == "left" else "center"
    graph = (
        ("format=yuv420p," if pix_fmt == "nv12" else "")
        + f"zscale=matrixin={ZSCALE_MATRIX[matrix]}:rangein={'full' if full else 'limited'}:chromalin={location}"
        + ":matrix=gbr:range=full:filter=bicubic:param_a=0:param_b=0.5:dither=none"
        + f",format={'gbrp16le' if deep else 'gbrp'}"
    )
    command = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{width}x{height}", "-i", "-"]
    command += ["-vf", graph, "-f", "rawvideo", "-pix_fmt", "gbrp16le" if deep else "gbrp", "-"]
    data = b"".join(plane.contiguous().numpy().tobytes() for plane in planes)
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    gbr = np.frombuffer(done.stdout, np.uint16 if deep else np.uint8).reshape(3, height, width)
    return torch.from_numpy(gbr[[2, 0, 1]].copy())


@pytest.mark.parametrize("siting", ["left", "centre"])
@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p10le", "yuv422p12le", "yuv440p10le", "yuv411p", "yuv410p", "nv12", "nv21", "nv16", "p010le"]
)
def test_subsampled_chroma_stays_in_place(pix_fmt: str, siting: ChromaSiting) -> None:
    """A ramp of colour, the same everywhere in slope, comes back where it was: a shift of half a pixel would show."""
    layout = pixel_layout(pix_fmt, siting)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    rgb = torch.stack([columns / 79, 0.2 + rows / 160, 0.9 - columns / 158])
    colour = Colour(matrix=1, full_range=True)
    back = planes_to_rgb(rgb_to_planes(rgb, layout, colour), layout, colour, 64, 80).double()
    error = (back / (255 if layout.depth == 8 else 65535) - rgb.double())[:, 8:-8, 8:-8]
    # A quarter of a pixel of red alone is 0.25 / 79 = 0.0032 in the mean; rounding to 8 bits averages out.
    assert error.mean(dim=(1, 2)).abs().max() < (0.0008 if layout.depth == 8 else 0.0001)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (5, 7), (64, 65), (129, 127)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv411p", "yuv410p", "nv12", "p010le", "gray", "gbrp"])
def test_any_size_keeps_a_flat_colour(pix_fmt: str, size: tuple[int, int]) -> None:
    layout = pixel_layout(pix_fmt)
    colour = Colour(matrix=6, full_range=False)
    flat = torch.tensor([200, 200, 200] if layout.is_gray else [200, 30, 90], dtype=torch.uint8)
    planes = rgb_to_planes(flat.view(3, 1, 1).expand(3, *size).contiguous(), layout, colour)
    assert [tuple(p.shape) for p in planes] == [layout.plane_shape(k, *size) for k in range(len(planes))]
    rgb = planes_to_rgb(planes, layout, colour, *size)
    levels = rgb.double() / (255 if rgb.dtype == torch.uint8 else 65535) * 255
    assert rgb.shape == (3, *size)
    # Half a code of chroma is 0.5 * 1.77 * 255 / 224 = 1.0 levels of blue, plus half a code of luma.
    assert (levels - flat.view(3, 1, 1)).abs().max() <= 1.6


def test_bands_leave_no_seam() -> None:
    """Rows are converted in bands on a CPU: a tall picture equals the same rows at the top of a short one."""
    layout = pixel_layout("yuv420p")
    planes = [codes_of(layout, k, 300, 40) for k in range(3)]
    colour = Colour(matrix=1, full_range=False)
    tall = planes_to_rgb(planes, layout, colour, 300, 40)
    part = planes_to_rgb([planes[0][100:180], planes[1][50:90], planes[2][50:90]], layout, colour, 80, 40)
    assert torch.equal(tall[:, 103:177], part[:, 3:-3])  # the part's own edge rows have no neighbours to look at


@pytest.mark.parametrize(
    "pix_fmt",
    ["rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "0bgr", "gbrp", "rgb48le", "rgba64be", "gbrp16le"],
)
def test_rgb_passes_untouched(pix_fmt: str) -> None:
    layout = pixel_layout(pix_fmt)
    peak, dtype = (255, torch.uint8) if layout.depth == 8 else (65535, torch.uint16)
    rgb = torch.randint(0, peak + 1, (3, 17, 23)).to(dtype)
    planes = rgb_to_planes(rgb, layout, Colour())
    assert torch.equal(planes_to_rgb(planes, layout, Colour(), 17, 23), rgb)
    if layout.plane_count == 1:
        red = {"rgb24": 0, "bgr24": 2, "rgba": 0, "bgra": 2, "argb": 1, "abgr": 3, "rgb0": 0, "0bgr": 3}.get(pix_fmt, 0)
        assert torch.equal(planes[0][:, red :: layout.components[0].step], rgb[0])
    else:
        assert all(torch.equal(plane, rgb[k]) for plane, k in zip(planes, (1, 2, 0), strict=True))  # G, B, R


@pytest.mark.parametrize("pix_fmt", ["gbrpf32le", "rgbf32le", "rgbaf16le", "gbrapf32le"])
def test_floats_keep_values_beyond_white(pix_fmt: str) -> None:
    layout = pixel_layout(pix_fmt)
    rgb = (torch.rand(3, 9, 11) * 20 - 2).to(layout.dtype).float()
    back = planes_to_rgb(rgb_to_planes(rgb, layout, Colour(transfer=8)), layout, Colour(), 9, 11)
    assert back.dtype == torch.float32
    assert torch.equal(back, rgb)


def test_gray_is_the_three_channels_alike() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(16, 16)
    rgb = planes_to_rgb([codes], pixel_layout("gray"), Colour(), 16, 16)
    assert torch.equal(rgb, codes.expand(3, 16, 16))
    limited = planes_to_rgb([codes], pixel_layout("gray"), Colour(full_range=False), 16, 16)
    assert limited[0].flatten()[16].item() == 0
    assert limited[0].flatten()[235].item() == 255
    deep = planes_to_rgb([torch.tensor([[0, 512, 1023]]).to(torch.uint16)], pixel_layout("gray10le"), Colour(), 1, 3)
    assert deep[1].tolist() == [[0, round(512 / 1023 * 65535), 65535]]


@pytest.mark.parametrize(
    ("pix_fmt", "code", "value"),
    [("yuva420p", 127, 127), ("yuva444p10le", 511, round(511 * 65535 / 1023)), ("yuva444p12le", 4095, 65535),
     ("gbrap16le", 12345, 12345), ("ya8", 200, 200), ("rgba", 3, 3)],
)  # fmt: skip
def test_alpha_is_full_range_whatever_the_colour(pix_fmt: str, code: int, value: int) -> None:
    layout = pixel_layout(pix_fmt)
    planes = [torch.zeros(layout.plane_shape(k, 4, 6), dtype=layout.dtype) for k in range(layout.plane_count)]
    component = layout.components[-1]
    planes[component.plane][:, component.offset :: component.step] = torch.tensor(code).to(layout.dtype)
    alpha = planes_to_alpha(planes, layout)
    assert alpha is not None
    assert alpha.shape == (1, 4, 6)
    assert alpha.dtype == planes_to_rgb(planes, layout, Colour(full_range=False), 4, 6).dtype
    assert set(alpha.flatten().tolist()) == {value}


def test_p010_is_yuv420p10_moved_up() -> None:
    planar, packed = pixel_layout("yuv420p10le"), pixel_layout("p010le")
    planes = [codes_of(planar, k, 20, 30) for k in range(3)]
    interleaved = torch.stack([planes[1].int(), planes[2].int()], dim=-1).flatten(1) << 6
    moved = [(planes[0].int() << 6).to(torch.uint16), interleaved.to(torch.uint16)]
    colour = Colour(matrix=9, full_range=False)
    expected = planes_to_rgb(planes, planar, colour, 20, 30)
    assert torch.equal(planes_to_rgb(moved, packed, colour, 20, 30), expected)
    again, reference = rgb_to_planes(expected, packed, colour), rgb_to_planes(expected, planar, colour)
    assert torch.equal(again[0].int() >> 6, reference[0].int())
    assert torch.equal(again[1][:, 1::2].int() >> 6, reference[2].int())
    assert (again[0].int() & 63).max() == 0


@pytest.mark.parametrize(
    ("pix_fmt", "size", "tags", "expected"),
    [
        ("yuv420p", (576, 720), Colour(), (6, False)),
        ("yuv420p", (720, 1280), Colour(), (1, False)),
        ("yuv420p", (1280, 720), Colour(), (1, False)),
        ("yuv420p", (576, 720), Colour(matrix=2), (6, False)),
        ("yuv420p", (576, 720), Colour(matrix=0), (6, False)),
        ("yuvj420p", (576, 720), Colour(matrix=1), (1, True)),
        ("yuv420p", (576, 720), Colour(matrix=9, full_range=True), (9, True)),
        ("gray", (576, 720), Colour(), (6, True)),
        ("gbrp", (576, 720), Colour(matrix=1), (0, True)),
        ("gbrp", (576, 720), Colour(full_range=False), (0, False)),
    ],
)
def test_rules_for_what_a_file_does_not_say(
    pix_fmt: str, size: tuple[int, int], tags: Colour, expected: tuple[int, bool]
) -> None:
    colour = resolve_colour(tags, pixel_layout(pix_fmt), *size)
    assert (colour.matrix, colour.full_range) == expected


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(InputError, match="matrix 10"):
        planes_to_rgb([torch.zeros(2, 2, dtype=torch.uint8)] * 3, pixel_layout("yuv444p"), Colour(matrix=10), 2, 2)
    with pytest.raises(InputError, match="rgb565"):
        pixel_layout("rgb565le")
    with pytest.raises(ShapeError, match=r"plane 1 of a 4x4 yuv420p is \[2, 2\], got \[4, 4\]"):
        planes_to_rgb([torch.zeros(4, 4, dtype=torch.uint8)] * 3, pixel_layout("yuv420p"), Colour(), 4, 4)


def test_layouts_are_what_the_library_says() -> None:
    """Depth, planes, sizes and alpha of every format we read, against FFmpeg's own description."""
    av = pytest.importorskip("av")
    read = 0
    for name in av.video.format.names:
        try:
            layout = pixel_layout(name)
        except InputError:
            continue
        described = av.video.format.VideoFormat(name, 101, 75)
        assert described.is_rgb == layout.is_rgb, name
        assert [c.plane for c in described.components] == [c.plane for c in layout.components], name
        assert {c.bits for c in described.components} == {layout.depth}, name
        assert [c.is_alpha for c in described.components].count(True) == layout.has_alpha, name
        if not layout.is_rgb and not layout.is_gray:
            assert (described.components[1].height, described.components[1].width) == layout.chroma_size(75, 101), name
        read += 1
    assert read > 150


@pytest.mark.gpu
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "p010le", "gbrp12le", "rgb48le", "gray"])
def test_gpu_makes_what_the_cpu_makes(pix_fmt: str) -> None:
    layout = pixel_layout(pix_fmt)
    planes = [codes_of(layout, k, 301, 217) for k in range(layout.plane_count)]
    colour = Colour(matrix=1, full_range=False)
    cpu = planes_to_rgb(planes, layout, colour, 301, 217)
    gpu = planes_to_rgb([p.cuda() for p in planes], layout, colour, 301, 217)
    step = 1 if layout.depth == 8 else 2  # fused multiply-add on one side only: a tie may round the other way
    assert (gpu.cpu().int() - cpu.int()).abs().max() <= step
    back = rgb_to_planes(gpu, layout, colour)
    again = rgb_to_planes(gpu.cpu(), layout, colour)
    assert (
        max((a.cpu().int() - b.int()).abs().max() for a, b in zip(back, again, strict=True)) <= 1 << layout.padding_bits
    )
