"""One suite for everything that gives frames: what every source promises, and what each does beside."""

import subprocess
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
import torch
from clips import coded_picture, number_in, write_clip

from videomatte.errors import InputError, UsageError
from videomatte.io import open_source, probe
from videomatte.types import Frame, Source

Decoder = Literal["av", "decord"]

COUNT = 60
IRREGULAR = [0, 40, 73, 120, 121, 180, *(200 + 37 * k + (k * k) % 23 for k in range(COUNT - 6))]
B_FRAMES = {"bf": "3", "b-adapt": "0", "crf": "12"}

MOVIES: dict[str, Callable[[Path], Path]] = {
    "b_frames.mp4": lambda p: write_clip(p, COUNT, options=B_FRAMES),
    "b_frames.mov": lambda p: write_clip(p, COUNT, options=B_FRAMES, seconds_of_sound=3),
    "b_frames.mkv": lambda p: write_clip(p, COUNT, options=B_FRAMES),
    "open_gop.mp4": lambda p: write_clip(p, COUNT, options=B_FRAMES | {"x264-params": "open-gop=1"}),
    "open_gop.mkv": lambda p: write_clip(p, COUNT, options=B_FRAMES | {"x264-params": "open-gop=1"}),
    "refresh.mp4": lambda p: write_clip(p, COUNT, options={"x264-params": "intra-refresh=1", "crf": "12"}),
    "irregular.mp4": lambda p: write_clip(p, COUNT, options=B_FRAMES, times=IRREGULAR),
    "irregular.mkv": lambda p: write_clip(p, COUNT, options=B_FRAMES, times=IRREGULAR),
    "late.mp4": lambda p: write_clip(p, COUNT, options=B_FRAMES, times=[900 + t for t in IRREGULAR]),
    "vp9.webm": lambda p: write_clip(p, COUNT, codec="libvpx-vp9", options={"crf": "20", "cpu-used": "8"}),
    "hevc.mp4": lambda p: write_clip(p, COUNT, codec="libx265", options={"crf": "12", "x265-params": "log-level=none"}),
    "odd.mp4": lambda p: write_clip(p, COUNT, pix_fmt="yuv444p", size=(97, 169), options=B_FRAMES),
    "fragments.mp4": lambda p: write_clip(
        p, COUNT, options=B_FRAMES, container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ),
}
"""Movies both decoders read."""

AV_MOVIES: dict[str, Callable[[Path], Path]] = {
    "deep.mov": lambda p: write_clip(p, COUNT, codec="prores_ks", pix_fmt="yuv422p10le"),
    "b_frames.ts": lambda p: write_clip(p, COUNT, options=B_FRAMES),
    "b_frames.avi": lambda p: write_clip(p, COUNT, options=B_FRAMES),
    "b_frames.h264": lambda p: write_clip(p, COUNT, options=B_FRAMES),
    "mpeg2.mpg": lambda p: write_clip(p, COUNT, codec="mpeg2video", options={"bf": "2", "qscale": "2"}),
    "exact.mkv": lambda p: write_clip(p, COUNT, codec="ffv1", pix_fmt="bgr0"),
}
"""Movies of which decord gets something wrong, and which it refuses."""


@pytest.fixture(scope="session")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Made when first asked for."""
    folder = tmp_path_factory.mktemp("movies")

    def movie(name: str) -> Path:
        path = folder / name
        return path if path.exists() else {**MOVIES, **AV_MOVIES}[name](path)

    return movie


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A numbered sequence that does not start at 0."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        write_image(folder / f"shot.{998 + number:04d}.png", coded_picture(number))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not an image")
    return folder


def write_image(path: Path, pixels: np.ndarray, pix_fmt: str = "rgb24", codec: str = "png", **options: str) -> Path:
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    frame = av.VideoFrame.from_ndarray(pixels, pix_fmt)
    encoder.height, encoder.width = frame.height, frame.width
    encoder.pix_fmt, encoder.time_base, encoder.options = pix_fmt, Fraction(1, 24), options
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
    return path


CASES = [
    *(pytest.param("av", name, id=f"av-{name}") for name in [*MOVIES, *AV_MOVIES]),
    *(pytest.param("decord", name, id=f"decord-{name}") for name in MOVIES if name != "exact.mkv"),
    pytest.param("av", "images", id="images"),
]


@pytest.fixture
def opener(request: pytest.FixtureRequest, movies: Callable[[str], Path], images: Path) -> Callable[..., Source]:
    decoder, name = request.param
    if decoder == "decord":
        pytest.importorskip("decord")
    path = images if name == "images" else movies(name)
    return lambda start=None, end=None: open_source(path, decoder=decoder, start=start, end=end)


all_sources = pytest.mark.parametrize("opener", [c.values for c in CASES], ids=[c.id for c in CASES], indirect=True)


def frames_of(source: Source) -> list[Frame]:
    with source:
        return list(source)


@all_sources
def test_every_frame_comes_once_in_order(opener: Callable[..., Source]) -> None:
    with opener() as source:
        info = source.info
        frames = list(source)
    assert [number_in(f.rgb) for f in frames] == [f.index for f in frames] == list(range(COUNT))
    assert info.frame_count in (None, COUNT)
    assert all(a.pts < b.pts for a, b in pairwise(frames))
    for frame in frames:
        assert frame.rgb.shape == (3, info.height, info.width)
        assert frame.rgb.dtype == (torch.uint8 if info.bit_depth == 8 else torch.uint16)
        assert frame.rgb.is_contiguous()
        assert frame.time_base == info.time_base
        assert frame.alpha is None
        assert not info.has_alpha


@all_sources
def test_a_start_gives_the_very_frames_of_the_whole(opener: Callable[..., Source]) -> None:
    whole = frames_of(opener())
    for start in (0, 1, 11, 12, 13, 29, 47, COUNT - 1):
        part = frames_of(opener(str(start), str(start + 3)))
        assert [f.index for f in part] == list(range(start, min(start + 3, COUNT)))
        for frame in part:
            assert frame.pts == whole[frame.index].pts
            assert torch.equal(frame.rgb, whole[frame.index].rgb)
    assert [f.index for f in frames_of(opener("47"))] == list(range(47, COUNT))


@all_sources
def test_times_select_by_the_clock_from_the_first_frame(opener: Callable[..., Source]) -> None:
    whole = frames_of(opener())
    seconds = [(f.pts - whole[0].pts) * f.time_base for f in whole]
    first, last = seconds[17], seconds[41]
    part = frames_of(opener(f"{float(first):.4f}", f"{float(last):.4f}s"))
    assert [f.index for f in part] == list(range(17, 41))
    between = seconds[20] + (seconds[21] - seconds[20]) * Fraction(7, 10)  # half a tick is allowed for rounding
    assert frames_of(opener(f"{float(between):.4f}", "30"))[0].index == 21


@all_sources
def test_what_lies_outside_is_told(opener: Callable[..., Source]) -> None:
    with pytest.raises(InputError, match="no frame between"):
        frames_of(opener(str(COUNT)))
    with pytest.raises(UsageError, match="nothing lies between"):
        opener("20", "20")


@all_sources
def test_closing_twice_and_early_is_fine(opener: Callable[..., Source]) -> None:
    with opener() as source:
        next(iter(source))
    source.close()


@pytest.mark.parametrize("name", ["irregular.mp4", "irregular.mkv", "late.mp4"])
@pytest.mark.parametrize("decoder", ["av", "decord"])
def test_irregular_times_are_kept(decoder: Decoder, name: str, movies: Callable[[str], Path]) -> None:
    if decoder == "decord":
        pytest.importorskip("decord")
    frames = frames_of(open_source(movies(name), decoder=decoder))
    late = 900 if name == "late.mp4" else 0
    assert [f.pts * f.time_base for f in frames] == [Fraction(late + t, 1000) for t in IRREGULAR]


@pytest.mark.parametrize("name", ["b_frames.avi", "b_frames.h264"])
def test_containers_without_times_run_at_their_rate(name: str, movies: Callable[[str], Path]) -> None:
    frames = frames_of(open_source(movies(name)))
    assert [(f.pts - frames[0].pts) * f.time_base for f in frames] == [Fraction(k, 25) for k in range(COUNT)]


def test_joined_recordings_run_on(movies: Callable[[str], Path], tmp_path: Path) -> None:
    """Two transport streams end to end: the clock that starts anew in the middle goes on instead."""
    data = movies("b_frames.ts").read_bytes()
    (tmp_path / "joined.ts").write_bytes(data + data)
    frames = frames_of(open_source(tmp_path / "joined.ts"))
    assert [number_in(f.rgb) for f in frames] == [*range(COUNT), *range(COUNT)]
    assert [(f.pts - frames[0].pts) * f.time_base for f in frames] == [Fraction(k, 25) for k in range(2 * COUNT)]


@pytest.mark.parametrize("name", AV_MOVIES)
def test_decord_refuses_what_it_gets_wrong(name: str, movies: Callable[[str], Path]) -> None:
    if name == "exact.mkv":
        pytest.skip("8-bit RGB in Matroska is right")
    with pytest.raises(InputError, match=r"decord reads .*: use --decoder av"):
        open_source(movies(name), decoder="decord")


@pytest.mark.parametrize("name", [n for n in MOVIES if n not in ("fragments.mp4",)])
def test_decord_gives_the_colours_of_pyav(name: str, movies: Callable[[str], Path]) -> None:
    pytest.importorskip("decord")
    ours = frames_of(open_source(movies(name)))
    theirs = frames_of(open_source(movies(name), decoder="decord"))
    error = torch.stack([(a.rgb.int() - b.rgb.int()).abs().double().mean() for a, b in zip(ours, theirs, strict=True)])
    # 4:4:4 differs by rounding alone; 4:2:0 where red meets its wrap-around, for decord repeats chroma.
    assert error.max() < (0.1 if name == "odd.mp4" else 2.5)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", B_FRAMES),
        ("libx264", B_FRAMES | {"x264-params": "open-gop=1"}),
        ("libx265", {"x265-params": "log-level=none:open-gop=1"}),
    ],
)
def test_decord_is_right_across_batches(codec: str, options: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("decord")
    clip = write_clip(tmp_path / "long.mp4", 300, codec=codec, pix_fmt="yuv444p", options=options, gop=23)
    ours = frames_of(open_source(clip))
    theirs = frames_of(open_source(clip, decoder="decord"))
    for a, b in zip(ours, theirs, strict=True):
        assert number_in(b.rgb) == b.index
        # Both round once; a picture that leant on a missing one would be off by tens of levels.
        assert (a.rgb.int() - b.rgb.int()).abs().max() <= 1


def test_decord_refuses_a_clip_in_which_it_cannot_seek(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    options = {"x264-params": "intra-refresh=1", "crf": "20"}
    clip = write_clip(tmp_path / "refresh.mp4", 300, options=options, gop=23)
    with pytest.raises(InputError, match="does not find frame 64 again"):
        frames_of(open_source(clip, decoder="decord"))
    assert [number_in(f.rgb) for f in frames_of(open_source(clip, start="250"))] == list(range(250, 300))


def test_edit_list_hides_frames(movies: Callable[[str], Path], tmp_path: Path) -> None:
    """A cut inside a group of pictures: the frames before it are in the file, to be decoded and not shown."""
    cut = tmp_path / "cut.mp4"
    command = ["ffmpeg", "-v", "error", "-ss", "0.6", "-i", str(movies("b_frames.mp4")), "-c", "copy", str(cut)]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        pytest.skip("no ffmpeg command")
    frames = frames_of(open_source(cut))
    assert [number_in(f.rgb) for f in frames] == list(range(15, COUNT))
    assert [f.index for f in frames] == list(range(COUNT - 15))
    assert probe(cut).frame_count == COUNT - 15
    part = frames_of(open_source(cut, start="20", end="22"))
    assert [number_in(f.rgb) for f in part] == [35, 36]
    with pytest.raises(InputError, match="edit lists"):
        open_source(cut, decoder="decord")


def test_a_source_is_iterated_once(movies: Callable[[str], Path]) -> None:
    for decoder in ("av", "decord"):
        with open_source(movies("b_frames.mp4"), decoder=decoder) as source:  # type: ignore[arg-type]
            assert len(list(source)) == COUNT
            with pytest.raises(RuntimeError, match="iterated once"):
                iter(source)


@pytest.mark.parametrize("name", ["b_frames.mp4", "b_frames.mkv", "fragments.mp4", "vp9.webm", "deep.mov"])
def test_a_file_cut_short_never_passes_for_a_short_clip(
    name: str, movies: Callable[[str], Path], tmp_path: Path
) -> None:
    data = movies(name).read_bytes()
    if name in ("b_frames.mp4", "deep.mov"):  # the index must be in front to be there at all
        whole = write_clip(
            tmp_path / name, COUNT, options=B_FRAMES if name == "b_frames.mp4" else {},
            codec="libx264" if name == "b_frames.mp4" else "prores_ks",
            pix_fmt="yuv420p" if name == "b_frames.mp4" else "yuv422p10le",
            container_options={"movflags": "faststart"},
        )  # fmt: skip
        data = whole.read_bytes()
    path = tmp_path / f"cut_{name}"
    path.write_bytes(data[: int(len(data) * 0.7)])
    with pytest.raises(InputError, match=rf"(?s)cut_{name}.*damaged or cut short.*(frame|promises)"):
        frames_of(open_source(path))
    if name == "b_frames.mp4":
        assert [number_in(f.rgb) for f in frames_of(open_source(path, end="30"))] == list(range(30))


@pytest.mark.parametrize("name", ["b_frames.mp4", "b_frames.mkv", "b_frames.ts", "b_frames.h264"])
def test_damage_in_the_middle_is_told_with_its_frame(name: str, movies: Callable[[str], Path], tmp_path: Path) -> None:
    data = bytearray(movies(name).read_bytes())
    middle = len(data) // 2
    noise = torch.randint(0, 256, (1500,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    data[middle : middle + len(noise)] = noise.tobytes()
    path = tmp_path / name
    path.write_bytes(data)
    good = []
    with open_source(path) as source, pytest.raises(InputError, match=r"frame \d+ cannot be decoded"):
        good.extend(number_in(frame.rgb) for frame in source)
    assert 10 < len(good) < 50
    assert good == list(range(len(good)))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["b_frames.mp4", "deep.mov"])
def test_frames_made_on_the_gpu_are_those_of_the_cpu(name: str, movies: Callable[[str], Path]) -> None:
    with open_source(movies(name), device="cuda") as source:
        gpu = list(source)
    for frame, reference in zip(gpu, frames_of(open_source(movies(name))), strict=True):
        assert frame.rgb.is_cuda
        assert (frame.rgb.cpu().int() - reference.rgb.int()).abs().max() <= (1 if frame.rgb.dtype == torch.uint8 else 2)
