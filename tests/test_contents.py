"""Each format and each content it can hold comes back by two readers: matte, colour and time."""

import dataclasses
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from readback import hair, picture, read_av, read_ffmpeg
from test_sinks import clip, mattes

from videomatte.errors import UsageError
from videomatte.io.choice import choose_format
from videomatte.io.formats import FORMATS, ImageFormat, VideoFormat
from videomatte.io.pixel_layout import pixel_layout
from videomatte.io.planes import frame_tensors
from videomatte.io.sink import open_sink
from videomatte.io.source import open_source
from videomatte.types import Colour, MatteFrame, TrimapFrame

MATTES = [f for f in FORMATS if "alpha" in f.planes]
EXACT = [f for f in FORMATS if f.colour_exact and "420" not in f.planes["both"]]
IMAGES = [f for f in FORMATS if isinstance(f, ImageFormat)]


def write(folder: Path, fmt: VideoFormat | ImageFormat, **options: object) -> list[Path]:
    """The files of four frames."""
    path = folder / (f"m{fmt.suffix}" if isinstance(fmt, VideoFormat) else "frames")
    with open_sink(path, options.pop("info", clip()), format=fmt.name, **options) as sink:
        for matte in mattes(4, start=3003):
            sink.write(matte)
    return sorted(path.glob(f"*{fmt.suffix}")) if path.is_dir() else [path]


def decoded(files: list[Path]) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """RGB and alpha of every frame, full range, float64 in [0, 1]."""
    found = []
    for file in files:
        with av.open(file) as container:
            for frame in container.decode(video=0):
                rgb, alpha = frame_tensors(frame, Colour(full_range=True), "left", torch.device("cpu"))
                peak = {torch.uint8: 255, torch.uint16: 65535}.get(rgb.dtype, 1)
                found.append((rgb.double() / peak, None if alpha is None else alpha.double() / peak))
    return found


def samples_by_ffmpeg(file: Path, pixel_format: str) -> np.ndarray:
    """All samples of a file as the system's ffmpeg decodes them into its own planes, in [0, 1]."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg on this system to read back with: apt install ffmpeg")
    command = ["ffmpeg", "-v", "error", "-i", file, "-f", "rawvideo", "-pix_fmt", pixel_format, "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    layout = pixel_layout(pixel_format)
    kind = "f4" if layout.is_float else "u1" if layout.depth == 8 else "u2"
    values = np.frombuffer(raw, (">" if pixel_format.endswith("be") else "<") + kind).astype(float)
    return values if layout.is_float else values / (2**layout.depth - 1)


@pytest.mark.parametrize("fmt", MATTES, ids=lambda f: f.name)
def test_a_matte_alone_is_full_range_grey_within_the_bound(fmt: VideoFormat | ImageFormat, tmp_path: Path) -> None:
    files = write(tmp_path, fmt, content="alpha")
    wanted = [hair(48, 64, n)[0].double().numpy() for n in range(4)]
    for (rgb, alpha), truth in zip(decoded(files), wanted, strict=True):
        assert alpha is None
        assert np.abs(rgb[0].numpy() - truth).max() * 255 <= fmt.alpha_error
    by_ffmpeg = np.concatenate([samples_by_ffmpeg(file, fmt.planes["alpha"]) for file in files]).reshape(4, 48, 64)
    assert np.abs(by_ffmpeg - np.stack(wanted)).max() * 255 <= fmt.alpha_error
    if isinstance(fmt, VideoFormat):
        slack = 0 if fmt.container.keeps_ticks else Fraction(1, 2000)
        for read in (read_av, read_ffmpeg):
            times = [Fraction(3003 * (n + 1), 90000) for n in range(4)]
            assert all(abs(a - b) <= slack for a, b in zip(read(files[0]).pts, times, strict=True))


@pytest.mark.parametrize("fmt", EXACT, ids=lambda f: f.name)
@pytest.mark.parametrize("content", ["both", "foreground"])
def test_exact_formats_give_every_code_of_8_bit_colour_back(
    content: str, fmt: VideoFormat | ImageFormat, tmp_path: Path
) -> None:
    found = decoded(write(tmp_path, fmt, content=content))
    assert len(found) == 4
    for number, (rgb, alpha) in enumerate(found):
        assert torch.equal((rgb * 255).round(), picture(48, 64, number).double())
        assert (alpha is not None) == (content == "both")
        if alpha is not None:
            assert (alpha - hair(48, 64, number).double()).abs().max() * 255 <= fmt.alpha_error


@pytest.mark.parametrize("name", ["tiff", "exr"])
def test_images_are_read_alike_by_ffmpeg(name: str, tmp_path: Path) -> None:
    fmt = next(f for f in FORMATS if f.name == name)
    files = write(tmp_path, fmt)
    for number, file in enumerate(files):
        values = samples_by_ffmpeg(file, fmt.planes["both"])
        if name == "tiff":
            values = values.reshape(48, 64, 4).transpose(2, 0, 1)
        else:
            values = values.reshape(4, 48, 64)[[2, 0, 1, 3]]
        assert np.abs(values[3] - hair(48, 64, number)[0].numpy()).max() * 255 <= fmt.alpha_error
        assert np.abs(values[:3] - picture(48, 64, number).numpy() / 255).max() <= 0.6 / 1023


def test_exr_keeps_what_is_brighter_than_white(tmp_path: Path) -> None:
    with open_sink(tmp_path / "a.exr", clip(pixel_format="gbrpf32le", bit_depth=32)) as sink:
        matte = next(mattes())
        sink.write(dataclasses.replace(matte, foreground=torch.full((3, 48, 64), 7.25)))
    assert sink.notes == []
    ((rgb, _),) = decoded([tmp_path / "a.exr"])
    assert (rgb == 7.25).all()
    sink = open_sink(tmp_path / "a.mov", clip(pixel_format="gbrpf32le", bit_depth=32))
    assert ".exr keeps them" in sink.notes[0]


@pytest.mark.parametrize("name", ["prores4444", "ffv1", "qtrle", "exr"])
def test_premultiplied_is_colour_times_alpha_and_says_so(name: str, tmp_path: Path) -> None:
    fmt = next(f for f in FORMATS if f.name == name)
    files = write(tmp_path, fmt, premultiplied=True)
    if isinstance(fmt, VideoFormat):
        with av.open(files[0]) as movie:
            said = {key.lower(): value for key, value in movie.metadata.items()}
            assert said["comment"] == "premultiplied alpha"
    if name != "prores4444":
        for number, (rgb, _) in enumerate(decoded(files)):
            wanted = picture(48, 64, number).double() / 255 * hair(48, 64, number).double()
            assert (rgb - wanted).abs().max() * 255 <= 0.51


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("m.webm", {"premultiplied": True}, ["straight by its standard", ".mov (ProRes 4444)"]),
        ("m.png", {"premultiplied": True}, [".exr"]),
        ("m.webm", {"content": "alpha"}, ["a matte alone", ".mp4 (H.264 matte, 10 bits)", ".mkv"]),
        ("m.mp4", {"content": "alpha", "format": "h264"}, ["--format h264-matte"]),
        ("m.mov", {"content": "alpha", "format": "prores4444"}, ["--format png-mov"]),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_what_can(
    path: str, options: dict[str, object], says: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refusal:
        open_sink(tmp_path / path, clip(), **options)
    for part in says:
        assert part in str(refusal.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "info",
    [
        clip(pixel_format="yuv420p10le", bit_depth=10),
        clip(colour=Colour(9, False, 9, 16)),
        clip(colour=Colour(9, False, 9, 18)),
    ],
    ids=["10 bits", "PQ", "HLG"],
)
def test_deep_and_hdr_clips_never_pass_through_8_bits(info: object, tmp_path: Path) -> None:
    for path, name in (("m.webm", None), ("m.mov", "qtrle"), ("m.mkv", "ffv1-8"), ("m.mov", "png-mov")):
        with pytest.raises(UsageError, match=r"8 bits of colour and the clip has 10: write .*(prores4444|ffv1|\.mov)"):
            open_sink(tmp_path / path, info, format=name)
    open_sink(tmp_path / "m.mov", info)
    open_sink(tmp_path / "m.mp4", info, content="alpha")
    assert choose_format("m.mp4", content="foreground", colour_bits=10).name == "hevc"
    with open_sink(tmp_path / "m.mp4", info, content="foreground") as sink:
        for matte in mattes(2):
            sink.write(matte)
    tags = read_av(tmp_path / "m.mp4").tags
    assert (tags["pixel_format"], tags["tag"]) == ("yuv420p10le", "hvc1")


@pytest.mark.parametrize("fmt", IMAGES, ids=lambda f: f.name)
def test_a_numbered_sequence_keeps_its_numbers(fmt: ImageFormat, tmp_path: Path) -> None:
    files = write(tmp_path, fmt, info=clip(start_number=1001))
    assert [f.name for f in files] == [f"{n:06d}{fmt.suffix}" for n in range(1001, 1005)]


def test_an_hlg_clip_keeps_its_ten_bits_and_its_tags(data: Path, tmp_path: Path) -> None:
    source_path = data / "10_awkward/made/hlg_10bit_hevc.mp4"
    with open_source(source_path) as source:
        with pytest.raises(UsageError, match="8 bits of colour and the clip has 10"):
            open_sink(tmp_path / "m.webm", source.info)
        with open_sink(tmp_path / "m.mov", source.info) as sink:
            for frame in source:
                sure = torch.full((1, frame.height, frame.width), 255, dtype=torch.uint8)
                opaque = torch.ones(1, frame.height, frame.width)
                sink.write(MatteFrame(TrimapFrame(frame, sure, "key"), opaque))
    with av.open(source_path) as container:
        before = next(container.decode(video=0))
    with av.open(tmp_path / "m.mov") as container:
        after = next(container.decode(video=0))
    assert (after.colorspace, after.color_primaries, after.color_trc, after.color_range) == (9, 9, 18, 1)
    assert (before.colorspace, before.color_trc) == (9, 18)
    luma = [
        np.frombuffer(f.planes[0], "<u2").reshape(f.height, -1)[:, : f.width] / 2 ** (f.format.components[0].bits - 10)
        for f in (before, after)
    ]
    # Measured: 0.45 codes of 10 bits on average; the same luma rounded to 8 bits is off by 1.0
    assert np.abs(luma[0] - luma[1]).mean() <= 0.7
    assert read_av(tmp_path / "m.mov").pts == read_av(source_path).pts


def test_a_full_range_bt601_clip_is_limited_bt601_in_prores_and_true(data: Path, tmp_path: Path) -> None:
    source_path = data / "10_awkward/bt601_full_range.mp4"
    with open_source(source_path) as source, open_sink(tmp_path / "m.mov", source.info) as sink:
        frames = []
        for frame in source:
            frames.append(frame.rgb)
            sure = torch.full((1, frame.height, frame.width), 255, dtype=torch.uint8)
            sink.write(MatteFrame(TrimapFrame(frame, sure, "key"), torch.ones(1, frame.height, frame.width)))
    assert (read_av(tmp_path / "m.mov").tags["matrix"], read_av(tmp_path / "m.mov").tags["range"]) == (6, 1)
    with open_source(tmp_path / "m.mov") as again:
        errors = [(a.rgb.double() / 257 - b.double()).abs().mean() for a, b in zip(again, frames, strict=True)]
    # Measured: 0.14 levels of 8 bits; a wrong range or matrix is off by several
    assert max(errors) <= 0.5


@pytest.mark.parametrize("name", ["prores4444", "prores4444-fast"])
def test_prores_keeps_full_opacity(name: str, tmp_path: Path) -> None:
    fmt = next(f for f in FORMATS if f.name == name)
    for alpha, matte in zip(read_av(write(tmp_path, fmt)[0]).alpha, mattes(4), strict=True):
        truth = matte.alpha[0].numpy()
        assert (alpha[truth == 0] == 0).all()
        assert (alpha[truth == 1] == 1).all()
