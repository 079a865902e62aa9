"""Awkward files by name: time, orientation, colour, depth and alpha against ffmpeg and against what is known."""

import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from videomatte.errors import InputError
from videomatte.io import open_source
from videomatte.types import Frame, unit_range


def frames_of(path: Path, **options: str) -> list[Frame]:
    with open_source(path, **options) as source:  # type: ignore[arg-type]
        return list(source)


def ffmpeg_frames(path: Path, frame: Frame, graph: str, before: Sequence[str] = (), pix_fmt: str = "gbrp") -> Tensor:
    """``[N, 3, H, W]`` (``[N, 1, H, W]`` for gray) as the ffmpeg command makes them: uint8, uint16 for ``gbrp16le``."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("no ffmpeg command")
    command = [
        ffmpeg,
        "-v",
        "error",
        *before,
        "-i",
        str(path),
        "-map",
        "0:v:0",
        "-vf",
        graph,
        "-fps_mode",
        "passthrough",
    ]
    done = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"], capture_output=True, check=True)
    dtype = np.uint16 if "16" in pix_fmt else np.uint8
    planes = np.frombuffer(done.stdout, dtype).reshape(-1, 1 if pix_fmt == "gray" else 3, frame.height, frame.width)
    return torch.from_numpy(planes[:, [2, 0, 1]] if pix_fmt.startswith("gbr") else planes.copy())


def zscale(matrix: str, full: bool = False, pix_fmt: str = "gbrp", chroma: str = "center") -> str:
    """zimg told how the file was made: an independent implementation with the same cubic filter for chroma."""
    swing = "full" if full else "limited"
    return (
        f"zscale=matrixin={matrix}:rangein={swing}:chromalin={chroma}:matrix=gbr:range=full:dither=none"
        f":filter=bicubic:param_a=0:param_b=0.5,format={pix_fmt}"
    )


@pytest.mark.parametrize(
    ("name", "matrix", "full"),
    [
        ("10_awkward/bt601_full_range.mp4", "170m", True),
        ("10_awkward/testsrc2_odd_height_and_width_444.mp4", "170m", False),
        ("10_awkward/made/odd_255x193_yuv444.mp4", "170m", False),
        ("10_awkward/made/single_frame.mp4", "170m", False),
        ("10_awkward/made/vfr_irregular.mp4", "170m", False),
        ("10_awkward/made/interlaced_tff.mpg", "170m", False),
        ("10_awkward/test_non_zero_start.mp4", "170m", False),
        ("06_greenscreen_real/video/mdn_yellowgreen_wall.mp4", "170m", False),
    ],
)
def test_eight_bit_pictures_are_those_of_ffmpeg(name: str, matrix: str, full: bool, data: Path) -> None:
    """Every frame, to within the rounding of two implementations: same frames, same order, same way up, same colour."""
    path = data / name
    frames = frames_of(path, end="40")
    # What was drawn by a program was RGB before FFmpeg's scaler, which puts chroma in the middle; a camera does not.
    graph = zscale(matrix, full, chroma="left" if name.startswith("06") else "center")
    reference = ffmpeg_frames(path, frames[0], f"select=lt(n\\,40),{graph}")
    assert len(frames) == len(reference)
    for frame, expected in zip(frames, reference, strict=True):
        assert (frame.rgb.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("10_awkward/made/hlg_10bit_hevc.mp4", "2020_ncl"),
        ("10_awkward/nasa_13013_hdr.mp4", "2020_ncl"),
        ("10_awkward/testsrc2_hdr.mp4", "2020_ncl"),
        ("10_awkward/h265_10bits.mp4", "170m"),
    ],
)
def test_ten_bit_pictures_stay_deep(name: str, matrix: str, data: Path) -> None:
    path = data / name
    frames = frames_of(path, end="20")
    assert frames[0].rgb.dtype == torch.uint16
    assert len(torch.unique(frames[0].rgb[1].int())) > 256  # more than 8 bits can tell apart
    reference = ffmpeg_frames(
        path, frames[0], f"select=lt(n\\,20),{zscale(matrix, pix_fmt='gbrp16le')}", pix_fmt="gbrp16le"
    )
    for frame, expected in zip(frames, reference, strict=True):
        assert (frame.rgb.int() - expected.int()).abs().max() <= 1


def test_nasa_13013_rotated_is_upright(data: Path) -> None:
    path = data / "10_awkward/nasa_13013_rotated.mp4"
    frames = frames_of(path)
    assert {f.rgb.shape for f in frames} == {(3, 480, 270)}
    assert len(frames) == 17
    # ffmpeg turns the planes before it makes RGB and so moves the chroma; made RGB first, the pictures are the same.
    turned_after = ffmpeg_frames(path, frames[0], f"{zscale('709')},transpose=cclock", ["-noautorotate"])
    turned_by_itself = ffmpeg_frames(path, frames[0], zscale("709"))
    for frame, expected, automatic in zip(frames, turned_after, turned_by_itself, strict=True):
        assert (frame.rgb.int() - expected.int()).abs().max() <= 1
        assert (frame.rgb.int() - automatic.int()).abs().double().mean() < 0.5


def test_vfr_irregular_keeps_its_times(data: Path) -> None:
    path = data / "10_awkward/made/vfr_irregular.mp4"
    with av.open(str(path)) as container:
        stored = sorted(p.pts for p in container.demux(video=0) if p.pts is not None)
    frames = frames_of(path)
    assert [f.pts for f in frames] == stored
    assert len(frames) == 40
    assert len({b - a for a, b in pairwise(stored)}) > 5
    with av.open(str(path)) as container:
        assert {f.time_base for f in frames} == {container.streams.video[0].time_base}


def test_late_starts_are_kept(data: Path) -> None:
    assert frames_of(data / "10_awkward/made/video_starts_0.8s_late.mp4", end="1")[0].seconds == 0.8
    assert frames_of(data / "10_awkward/made/audio_starts_1.2s_late.mp4", end="1")[0].seconds == 0
    first = frames_of(data / "10_awkward/test_non_zero_start.mp4", start="0.2", end="0.3s")
    assert [f.index for f in first] == [6, 7, 8]
    assert first[0].pts * first[0].time_base == Fraction(127995, 15360) + Fraction(6, 30)


def test_single_frame(data: Path) -> None:
    (frame,) = frames_of(data / "10_awkward/made/single_frame.mp4")
    assert frame.rgb.shape == (3, 192, 256)


REFUSED = {
    "zero_bytes.mp4": "is empty",
    "truncated_faststart.mp4": r"cut short: the file ends in frame \d+ of 48",
    "truncated_no_moov.mp4": "not readable",
    "audio_only.m4a": "no video stream",
    "resolution_change.ts": "change from 256 x 192 to 320 x 240 at frame 18",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused(name: str, data: Path) -> None:
    with pytest.raises(InputError, match=rf"{name}: .*{REFUSED[name]}"):
        frames_of(data / "10_awkward/made" / name)


def test_the_whole_part_of_a_truncated_file_can_be_had(data: Path) -> None:
    assert len(frames_of(data / "10_awkward/made/truncated_faststart.mp4", end="12")) == 12


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("alpha_ffv1.mkv", 0.0),
        ("alpha_png.mov", 0.0),
        ("alpha_qtrle.mov", 0.0),
        ("alpha_prores4444.mov", 0.5 / 255),  # 16-bit alpha, decoded to 12 bits
        ("alpha_vp9.webm", 60 / 255),  # lossy: strands of hair under quantisation
        ("alpha_vp8.webm", 60 / 255),
    ],
)
def test_alpha_carriers_carry_their_alpha(name: str, bound: float, data: Path) -> None:
    truth = frames_of(data / "10_awkward/made/alpha_gt")
    frames = frames_of(data / "10_awkward/made" / name)
    assert len(frames) == len(truth) == 8
    for frame, true in zip(frames, truth, strict=True):
        assert frame.alpha is not None
        assert true.alpha is not None
        error = (unit_range(frame.alpha) - unit_range(true.alpha)).abs()
        assert error.max() <= bound
        assert error.mean() <= bound / 5
        if bound == 0:
            assert torch.equal(frame.rgb, true.rgb)


@pytest.mark.parametrize(("name", "decoder"), [("alpha_vp9.webm", "libvpx-vp9"), ("alpha_vp8.webm", "libvpx")])
def test_webm_alpha_is_what_ffmpegs_libvpx_reads(name: str, decoder: str, data: Path) -> None:
    path = data / "10_awkward/made" / name
    frames = frames_of(path)
    reference = ffmpeg_frames(path, frames[0], "alphaextract", ["-c:v", decoder], pix_fmt="gray")
    for frame, expected in zip(frames, reference, strict=True):
        assert frame.alpha is not None
        assert torch.equal(frame.alpha, expected)


def test_pictures_with_alpha_and_depth(data: Path) -> None:
    import skimage.io

    (frame,) = frames_of(data / "10_awkward/rgba.png")
    truth = torch.from_numpy(skimage.io.imread(data / "10_awkward/rgba.png")).permute(2, 0, 1)
    assert frame.alpha is not None
    assert torch.equal(torch.cat([frame.rgb, frame.alpha]), truth)
    (deep,) = frames_of(data / "10_awkward/gradient_16bit.png")
    reference = ffmpeg_frames(data / "10_awkward/gradient_16bit.png", deep, "null", pix_fmt="gbrp16le")[0]
    assert deep.rgb.dtype == torch.uint16
    assert torch.equal(deep.rgb, reference)
    (gif,) = frames_of(data / "10_awkward/transparent.gif")
    assert gif.alpha is not None
    assert gif.alpha.min() == 0


def test_every_other_movie_of_the_data_opens(data: Path) -> None:
    for path in sorted(
        p for p in data.rglob("*") if p.suffix in (".mp4", ".mov", ".mkv", ".webm", ".ts", ".mpg", ".gif")
    ):
        if path.name in REFUSED:
            continue
        frames = frames_of(path, end="3")
        assert 1 <= len(frames) <= 3
        assert all(f.rgb.shape == frames[0].rgb.shape for f in frames)
