"""Awkward clips by name, in the OUTPUT: time, sound, orientation and colour, read back by ffmpeg and ffprobe.

Every clip is carried opaque into lossless 16-bit FFV1 and into ProRes, and both files are held to what the system's
own ffmpeg makes of the source. ``pictures`` are zimg's, told by hand what the source is: the one thing ffmpeg would
guess otherwise.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videomatte.io import open_sink, open_source
from videomatte.types import Frame, MatteFrame, TrimapFrame


@dataclass(frozen=True)
class Expected:
    """What is known of a clip."""

    file: str
    matrix: str
    """As zimg names it."""
    frames: int
    """That are taken."""
    size: tuple[int, int]
    """Width and height when upright."""
    tags: tuple[str, str | None, str | None]
    """Matrix, primaries and transfer, as ffprobe names them, in ProRes."""
    full: bool = False
    deep: bool = False
    turn: str = ""
    """ffmpeg's filter that makes it upright."""
    sound: bool = False


UNTAGGED = ("smpte170m", None, None)
"""A small picture that says nothing is BT.601 by the rule, in its pixels and in its matrix; no more is made up."""

CLIPS = [
    Expected("made/vfr_irregular.mp4", "170m", 40, (256, 192), UNTAGGED),
    Expected("made/audio_starts_1.2s_late.mp4", "170m", 36, (256, 192), UNTAGGED, sound=True),
    Expected("made/video_starts_0.8s_late.mp4", "170m", 36, (256, 192), UNTAGGED, sound=True),
    Expected("nasa_13013_rotated.mp4", "709", 8, (270, 480), ("bt709", "bt709", "bt709"), turn="transpose=cclock"),
    Expected("made/hlg_10bit_hevc.mp4", "2020_ncl", 8, (256, 192), ("bt2020nc", "bt2020", "arib-std-b67"), deep=True),
    Expected("nasa_13013_hdr.mp4", "2020_ncl", 8, (320, 180), ("bt2020nc", "bt2020", "smpte2084"), deep=True),
    Expected("bt601_full_range.mp4", "170m", 8, (320, 240), ("smpte170m", "smpte170m", "smpte170m"), full=True),
    Expected("made/odd_255x193_yuv444.mp4", "170m", 8, (255, 193), UNTAGGED),
    Expected("testsrc2_odd_height_and_width_444.mp4", "170m", 8, (321, 241), UNTAGGED),
    Expected("made/interlaced_tff.mpg", "170m", 8, (352, 288), UNTAGGED),
]


@dataclass
class Carried:
    clip: Expected
    source: Path
    exact: Path
    """16-bit FFV1."""
    movie: Path
    """ProRes 4444."""


def opaque(frames: Iterator[Frame]) -> Iterator[MatteFrame]:
    for frame in frames:
        sure = torch.full((1, frame.height, frame.width), 255, dtype=torch.uint8)
        yield MatteFrame(TrimapFrame(frame, sure, "key"), torch.ones(1, frame.height, frame.width))


@pytest.fixture(scope="module", params=CLIPS, ids=lambda clip: Path(clip.file).stem)
def carried(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("no ffmpeg on this system to read back with: apt install ffmpeg")
    clip: Expected = request.param
    folder = tmp_path_factory.mktemp("carried")
    made = Carried(clip, data / "10_awkward" / clip.file, folder / "exact.mkv", folder / "movie.mov")
    with open_source(made.source, end=str(clip.frames)) as source:
        frames = list(source)
    for path in (made.exact, made.movie):
        with open_sink(path, source.info) as sink:
            for matte in opaque(iter(frames)):
                sink.write(matte)
    return made


def probe(path: Path, *words: str) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", *words, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)  # type: ignore[no-any-return]


def times(path: Path, kind: str, count: int | None = None) -> list[Fraction]:
    """Seconds at which the packets of a stream are shown, in order."""
    found = probe(path, "-select_streams", f"{kind}:0", "-show_packets", "-show_entries", "stream=time_base:packet=pts")
    base = Fraction(found["streams"][0]["time_base"])
    return sorted(int(packet["pts"]) * base for packet in found["packets"])[:count]


def pictures(path: Path, clip: Expected, graph: str, pix_fmt: str) -> np.ndarray:
    """``[8, planes, H, W]``, the first as ffmpeg makes them."""
    words = ["ffmpeg", "-v", "error", "-noautorotate", "-i", str(path), "-map", "0:v:0", "-vf", graph]
    words += ["-frames:v", "8", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"]
    raw = subprocess.run(words, check=True, capture_output=True).stdout
    width, height = clip.size
    return np.frombuffer(raw, "<u2" if "16" in pix_fmt else np.uint8).astype(int).reshape(8, -1, height, width)


def test_time_is_kept(carried: Carried) -> None:
    wanted = times(carried.source, "v", carried.clip.frames)
    assert len(wanted) == carried.clip.frames
    assert times(carried.movie, "v") == wanted, "MOV keeps every tick"
    exact = times(carried.exact, "v")
    assert len(exact) == len(wanted)
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(exact, wanted, strict=True)), "Matroska counts in ms"
    if "vfr" in carried.clip.file:
        assert len({b - a for a, b in pairwise(wanted)}) > 5


def test_sound_stays_where_it_was(carried: Carried) -> None:
    for path, slack in ((carried.movie, Fraction(0)), (carried.exact, Fraction(1, 1000))):
        streams = probe(path, "-show_entries", "stream=codec_type")["streams"]
        assert [s["codec_type"] for s in streams].count("audio") == carried.clip.sound
        if not carried.clip.sound:
            continue
        lead = [times(p, "a")[0] - times(p, "v")[0] for p in (carried.source, path)]
        assert abs(lead[0] - lead[1]) <= slack
        assert abs(lead[1]) > Fraction(7, 10), "the late start is there"
        hashes = [
            subprocess.run(
                ["ffmpeg", "-v", "error", "-i", str(p), "-map", "0:a:0", "-c", "copy", "-f", "streamhash", "-"],
                check=True, capture_output=True,
            ).stdout
            for p in (carried.source, path)
        ]  # fmt: skip
        assert hashes[0] == hashes[1]


def test_orientation_size_and_tags_are_told_and_true(carried: Carried) -> None:
    for path in (carried.exact, carried.movie):
        (stream,) = probe(path, "-select_streams", "v", "-show_streams")["streams"]
        assert (stream["width"], stream["height"]) == carried.clip.size
        assert not stream.get("side_data_list"), "the pictures stand upright by themselves"
        if path == carried.movie:
            found = tuple(stream.get(f"color_{what}") for what in ("space", "primaries", "transfer"))
            assert found == carried.clip.tags
            assert stream["color_range"] == "tv"


def test_colour_is_that_of_the_source(carried: Carried) -> None:
    clip = carried.clip
    deep = "gbrp16le" if clip.deep else "gbrp"

    def zscale(full: bool) -> str:
        swing = "full" if full else "limited"
        # These clips were RGB before FFmpeg's scaler, which puts chroma in the middle; ProRes here has all of it.
        graph = f"zscale=matrixin={clip.matrix}:rangein={swing}:chromalin=center:matrix=gbr:range=full:filter=bicubic"
        return f"{graph}:param_a=0:param_b=0.5:dither=none,format={deep}"

    made = pictures(carried.source, clip, ",".join([zscale(clip.full), *([clip.turn] if clip.turn else [])]), deep)
    exact = pictures(carried.exact, clip, "null", "gbrap16le")
    assert (exact[:, 3] == 65535).all(), "opaque is opaque"
    if clip.deep:
        assert len(np.unique(exact[:, 0])) > 256
    else:
        assert not (exact % 257).any(), "eight bits are written as eight bits"
        exact //= 257
    # Two implementations of one formula, each rounded once: one level of 8 bits, or of 16, sixty times finer than 10.
    assert np.abs(exact[:, :3] - made).max() <= 1
    # ProRes: lossy, read with the tags it bears. A wrong matrix or range costs some ten levels.
    prores = pictures(carried.movie, clip, zscale(full=False), deep)
    assert np.abs(prores - made).mean() / (257 if clip.deep else 1) <= 1
