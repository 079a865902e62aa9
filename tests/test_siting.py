"""Where chroma lies: told from pictures, against conversions by zimg and by FFmpeg's scaler."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from videomatte.io import open_source
from videomatte.io.pixel_layout import ChromaSiting
from videomatte.io.siting import siting_of

WIDTH, HEIGHT = 320, 240


@cache
def discs(seed: int) -> np.ndarray:
    """Overlapping discs of plain colours, their edges a pixel soft: ``[H, W, 3]`` uint8."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.broadcast_to(random.uniform(0, 1, 3), (HEIGHT, WIDTH, 3)).copy()
    for _ in range(60):
        x, y, radius = random.uniform(0, WIDTH), random.uniform(0, HEIGHT), random.uniform(6, 40)
        cover = np.clip(radius - np.hypot(columns - x, rows - y), 0, 1)[..., None]
        picture += cover * (random.uniform(0, 1, 3) - picture)
    picture += random.normal(0, 0.01, picture.shape)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def encoded(path: Path, pictures: list[np.ndarray], location: str, pix_fmt: str, *codec: str) -> Path:
    """A movie whose chroma zimg has put where it is told to."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("no ffmpeg command")
    command = [ffmpeg, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-i", "-"]
    graph = f"format=gbrp,zscale=matrix=709:range=limited:chromal={location}:filter=bilinear,"
    graph += f"format=yuv420p,format={pix_fmt}" if pix_fmt == "nv12" else f"format={pix_fmt}"
    command += ["-vf", graph, *codec, str(path)]
    subprocess.run(command, input=b"".join(p.tobytes() for p in pictures), check=True, capture_output=True)
    return path


@pytest.mark.parametrize("crf", ["12", "26"])
@pytest.mark.parametrize(("location", "expected"), [("left", "left"), ("center", "centre")])
def test_movies_are_read_as_they_were_made(tmp_path: Path, location: str, expected: str, crf: str) -> None:
    """Chroma read in the wrong place puts more error at edges than H.264 of good quality does."""
    pictures = [discs(seed) for seed in range(3)]
    path = encoded(tmp_path / "clip.mp4", pictures, location, "yuv420p", "-c:v", "libx264", "-crf", crf)
    with av.open(path) as container:
        assert siting_of(container.decode(video=0)) == expected
    with open_source(path) as source:
        for frame, picture in zip(source, pictures, strict=True):
            error = frame.rgb.permute(1, 2, 0).double().numpy() - picture
            blue_yellow = error[..., 2] - error[..., :2].mean(-1)
            # A shift by half a pixel shows as error along the horizontal gradient of the colour difference.
            truth = picture.astype(float)
            gradient = np.gradient(truth[..., 2] - truth[..., :2].mean(-1), axis=1)
            shift = (blue_yellow * gradient).sum() / np.square(gradient).sum()
            assert abs(shift) < 0.1  # pixels; 0.4 and more by the other siting


def test_the_scaler_of_ffmpeg_is_found_out(tmp_path: Path) -> None:
    """What PyAV and FFmpeg make of RGB when nothing is said."""
    path = tmp_path / "clip.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", 24)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", {"crf": "14"}
        for seed in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(discs(seed), format="rgb24")))
        container.mux(stream.encode())
    with av.open(path) as container:
        assert siting_of(container.decode(video=0)) == "centre"


@pytest.mark.parametrize("pix_fmt", ["yuv422p10le", "nv12"])
@pytest.mark.parametrize(("location", "expected"), [("left", "left"), ("center", "centre")])
def test_deep_and_interleaved_chroma(tmp_path: Path, location: str, expected: ChromaSiting, pix_fmt: str) -> None:
    path = encoded(tmp_path / "clip.nut", [discs(5)], location, pix_fmt, "-c:v", "rawvideo")
    with av.open(path) as container:
        assert siting_of(container.decode(video=0)) == expected


@pytest.mark.parametrize("kind", ["plain", "noise", "grey"])
def test_pictures_that_say_nothing_are_read_by_the_standard(kind: str) -> None:
    random = np.random.default_rng(3)
    planes = {
        "plain": np.full((HEIGHT * 3 // 2, WIDTH), 90, np.uint8),
        "noise": random.integers(0, 256, (HEIGHT * 3 // 2, WIDTH), dtype=np.uint8),
        "grey": np.concatenate([discs(1)[..., 1], np.full((HEIGHT // 2, WIDTH), 128, np.uint8)]),
    }[kind]
    assert siting_of([av.VideoFrame.from_ndarray(planes, format="yuv420p")]) == "left"


def test_formats_without_pairs_are_left_alone() -> None:
    picture = av.VideoFrame.from_ndarray(discs(2), format="rgb24")
    assert siting_of([picture, picture.reformat(format="yuv444p"), picture.reformat(format="gray")]) == "left"
