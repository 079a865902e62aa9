"""Movies are read back by other means: alpha, colour, time and size are what went in, and a failure leaves nothing."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from readback import Movie, hair, picture, read_av, read_ffmpeg

from videomatte.errors import OutputError, ShapeError, UsageError
from videomatte.io.formats import FORMATS, Content, VideoFormat
from videomatte.io.video_writer import VideoWriter
from videomatte.types import Colour

BY_NAME = {f.name: f for f in FORMATS}
MOVIES = [f for f in FORMATS if isinstance(f, VideoFormat) and f.name != "h264-matte"]
ALPHA_MOVIES = [f for f in MOVIES if f.has_alpha]
BT709 = Colour(matrix=1, full_range=False, primaries=1, transfer=1)

movies = pytest.mark.parametrize("fmt", MOVIES, ids=lambda f: f.name)
alpha_movies = pytest.mark.parametrize("fmt", ALPHA_MOVIES, ids=lambda f: f.name)
readers = pytest.mark.parametrize("read", [read_av, read_ffmpeg], ids=["pyav", "ffmpeg"])
Reader = Callable[[Path], Movie]


def default_content(fmt: VideoFormat) -> Content:
    return next(iter(fmt.planes))


def write_movie(
    path: Path,
    fmt: VideoFormat,
    frames: list[tuple[torch.Tensor, torch.Tensor | None]],
    *,
    pts: list[int] | None = None,
    last: int | None = None,
    time_base: Fraction = Fraction(1, 25),
    rate: Fraction | None = Fraction(25),
    colour: Colour = BT709,
    content: Content | None = None,
    **options: object,
) -> Path:
    height, width = frames[0][0].shape[1:]
    with VideoWriter(
        path,
        fmt,
        content=content or default_content(fmt),
        width=width,
        height=height,
        time_base=time_base,
        rate=rate,
        colour=colour,
        **options,
    ) as writer:
        for number, (rgb, alpha) in enumerate(frames):
            shown = number if pts is None else pts[number]
            writer.write(rgb, alpha, shown, last if number == len(frames) - 1 else None)
    return path


def moving(fmt: VideoFormat, height: int, width: int, count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    return [(picture(height, width, n), hair(height, width, n) if fmt.has_alpha else None) for n in range(count)]


@readers
@alpha_movies
@pytest.mark.parametrize("size", [(96, 128), (97, 131), (34, 50)], ids=str)
def test_alpha_stays_within_the_tables_bound(
    fmt: VideoFormat, size: tuple[int, int], read: Reader, tmp_path: Path
) -> None:
    frames = moving(fmt, *size)
    movie = read(write_movie(tmp_path / f"m{fmt.suffix}", fmt, frames))
    assert movie.tags["size"] == size[::-1]
    assert movie.alpha is not None
    assert len(movie.alpha) == len(frames)
    for (_, alpha), found in zip(frames, movie.alpha, strict=True):
        assert np.abs(found - alpha[0].double().numpy()).max() * 255 <= fmt.alpha_error


@readers
def test_prores_keeps_full_and_no_alpha_exact(read: Reader, tmp_path: Path) -> None:
    fmt = BY_NAME["prores4444"]
    alpha = torch.zeros(1, 64, 64)
    alpha[:, :, 32:] = 1
    movie = read(write_movie(tmp_path / "m.mov", fmt, [(picture(64, 64), alpha), (picture(64, 64), None)]))
    assert (movie.alpha[0] == alpha[0].numpy()).all()
    assert (movie.alpha[1] == 1).all()
    assert (movie.tags["codec"], movie.tags["tag"]) == ("prores", "ap4h")


@readers
@movies
def test_irregular_time_is_kept(fmt: VideoFormat, read: Reader, tmp_path: Path) -> None:
    # 90 kHz ticks, a start 0.7 s late, gaps from a 240th to a half of a second, a last frame three times as long
    steps = [375, 3003, 3754, 45000, 377, 9001, 12000, 3003, 1501]
    pts = [63001 + sum(steps[:n]) for n in range(len(steps) + 1)]
    tick = Fraction(1, 90000)
    path = write_movie(
        tmp_path / f"m{fmt.suffix}", fmt, moving(fmt, 48, 64, len(pts)), pts=pts, last=9009, time_base=tick, rate=None
    )
    movie = read(path)
    exact = [p * tick for p in pts]
    if not fmt.container.keeps_ticks:  # stores milliseconds
        assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(movie.pts, exact, strict=True))
        assert abs(movie.end - (exact[-1] + 9009 * tick)) <= Fraction(1, 1000)
    else:
        assert movie.pts == exact
        assert movie.end == exact[-1] + 9009 * tick


@movies
def test_a_last_frame_of_unknown_length_lasts_as_long_as_the_one_before(fmt: VideoFormat, tmp_path: Path) -> None:
    movie = read_av(write_movie(tmp_path / f"m{fmt.suffix}", fmt, moving(fmt, 48, 64, 3), pts=[0, 9, 12]))
    assert movie.end == Fraction(15, 25)
    movie = read_av(write_movie(tmp_path / f"s{fmt.suffix}", fmt, moving(fmt, 48, 64, 1), rate=Fraction(5)))
    assert movie.end == Fraction(1, 5)


@movies
@pytest.mark.parametrize("time_base", [Fraction(1, 25), Fraction(1001, 30000), Fraction(1, 600), Fraction(1, 1000000)])
def test_ticks_of_any_time_base_are_kept(fmt: VideoFormat, time_base: Fraction, tmp_path: Path) -> None:
    step = max(1, round(Fraction(1, 30) / time_base))
    pts = [5 + n * step for n in range(8)]
    movie = read_av(write_movie(tmp_path / f"m{fmt.suffix}", fmt, moving(fmt, 48, 64, 8), pts=pts, time_base=time_base))
    tolerance = Fraction(1, 2000) if not fmt.container.keeps_ticks else 0
    assert all(abs(a - b * time_base) <= tolerance for a, b in zip(movie.pts, pts, strict=True))


def patches() -> torch.Tensor:
    """Flat squares of 32 pixels, ``[3, 64, 128]``: chroma subsampling has nothing to mix in their middles."""
    colours = [
        (255, 255, 255),
        (0, 0, 0),
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (200, 120, 90),
        (30, 60, 90),
        (1, 2, 3),
    ]
    squares = torch.tensor(colours, dtype=torch.uint8).reshape(2, 4, 3).permute(2, 0, 1)
    return squares.repeat_interleave(32, 1).repeat_interleave(32, 2)


LUMA = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # Kr, Kb: ITU-T H.273, table 4


def code_values(matrix: int, depth: int, *, full_range: bool) -> np.ndarray:
    """Y, Cb, Cr of the patches, ``[3, 2, 4]``, by the equations of ITU-T H.273, clause 8.3."""
    r, g, b = patches()[:, 16::32, 16::32].double().numpy() / 255
    kr, kb = LUMA[matrix]
    y = kr * r + (1 - kr - kb) * g + kb * b
    pb, pr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    if full_range:
        return np.stack([y, pb, pr]) * (2**depth - 1) + np.array([0, 1, 1])[:, None, None] * 2 ** (depth - 1)
    scale = 2 ** (depth - 8)
    return np.stack([219 * y + 16, 224 * pb + 128, 224 * pr + 128]) * scale


@readers
@pytest.mark.parametrize("fmt", [f for f in MOVIES if "yuv" in f.planes["foreground"]], ids=lambda f: f.name)
@pytest.mark.parametrize(
    ("colour", "names"),
    [
        (BT709, ("bt709", "bt709", "bt709")),
        (Colour(6, False, 6, 6), ("smpte170m", "smpte170m", "smpte170m")),
        (Colour(1, True, 1, 1), ("bt709", "bt709", "bt709")),
        (Colour(9, False, 9, 16), ("bt2020nc", "bt2020", "smpte2084")),
    ],
    ids=["709", "601", "709-full", "2020-pq"],
)
def test_opaque_colour_is_true_to_its_tags(
    fmt: VideoFormat, colour: Colour, names: tuple[str, str, str], read: Reader, tmp_path: Path
) -> None:
    movie = read(write_movie(tmp_path / f"m{fmt.suffix}", fmt, [(patches(), None)] * 3, colour=colour))
    full = bool(colour.full_range and fmt.keeps_full_range)
    assert movie.tags["range"] == (2 if full else 1)
    # The VP9 bitstream has no primaries and transfer, only its container does; ffprobe reads that.
    if read is read_ffmpeg:
        assert (movie.tags["matrix"], movie.tags["primaries"], movie.tags["transfer"]) == names
    else:
        assert movie.tags["matrix"] == colour.matrix
    expected = code_values(colour.matrix, movie.depth, full_range=full)
    # Flat patches: what is left is the encoder's quantisation. ProRes 4444 codes 10 bits at a high rate.
    tolerance = (1.5 if "prores" in fmt.name else 2.5) * 2 ** (movie.depth - 10) if movie.depth > 8 else 2.0
    for frame in movie.planes:
        for plane, wanted in zip(frame[:3], expected, strict=True):
            square = plane.shape[0] // 2
            middles = np.stack([plane[square // 4 :: square], plane[3 * square // 4 :: square]])
            middles = middles[:, :, [square // 4, *(square * k + square // 4 for k in (1, 2, 3))]]
            assert np.abs(middles - wanted).max() <= tolerance


@readers
def test_ten_bit_sources_keep_ten_bits_in_prores(read: Reader, tmp_path: Path) -> None:
    # A ramp of every 10-bit luma code: cut to 8 bits it would be off by up to 2 codes, and have 220 levels
    levels = (torch.arange(876).float() / 875 * 65535).round().to(torch.uint16)
    ramp = levels.expand(3, 64, -1).contiguous()
    movie = read(write_movie(tmp_path / "m.mov", BY_NAME["prores4444"], [(ramp, None)]))
    expected = (64 + np.arange(876)) * 2 ** (movie.depth - 10)
    assert np.abs(movie.planes[0][0] - expected).mean() <= 0.5 * 2 ** (movie.depth - 10)
    assert len(np.unique(movie.planes[0][0][32])) > 600


def test_untagged_and_rgb_sources_are_tagged_with_what_was_written(tmp_path: Path) -> None:
    # matrix 0 is RGB, 8 is YCgCo, which hardly a reader of movies knows
    for colour in (Colour(), Colour(matrix=0, full_range=True, primaries=1, transfer=13), Colour(8, False, 1, 1)):
        movie = read_av(write_movie(tmp_path / "m.mp4", BY_NAME["h264"], [(patches(), None)], colour=colour))
        assert (movie.tags["matrix"], movie.tags["range"]) == (6, 1)  # a small picture: BT.601, limited
        expected = code_values(6, 8, full_range=False)
        assert np.abs(movie.planes[0][0][16::32, 16::32] - expected[0]).max() <= 2


@movies
def test_shape_of_the_pixels_is_kept_or_refused(fmt: VideoFormat, tmp_path: Path) -> None:
    path = tmp_path / f"m{fmt.suffix}"
    if fmt.keeps_sample_aspect:
        movie = read_av(write_movie(path, fmt, moving(fmt, 48, 64, 2), sample_aspect=Fraction(16, 11)))
        assert movie.tags["sample_aspect"] == Fraction(16, 11)
        return
    with pytest.raises(UsageError, match="square"):
        write_movie(path, fmt, moving(fmt, 48, 64, 2), sample_aspect=Fraction(16, 11))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(33, 64), (32, 65), (33, 65), (1, 1)], ids=str)
@movies
def test_odd_sizes_stay_odd(fmt: VideoFormat, size: tuple[int, int], tmp_path: Path) -> None:
    if size == (1, 1) and fmt.name in ("ffv1", "ffv1-8", "hevc"):
        pytest.skip("refused, as other tests hold")
    frames = moving(fmt, *size, count=2)
    assert read_av(write_movie(tmp_path / f"m{fmt.suffix}", fmt, frames)).tags["size"] == size[::-1]


def test_one_tensor_written_again_and_again_is_each_time_what_it_was(tmp_path: Path) -> None:
    """Encoders read their frames later, from their own threads: they must not see what the caller does next."""
    rgb, alpha = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(1, 64, 64)
    with VideoWriter(
        tmp_path / "m.mov", BY_NAME["prores4444"], width=64, height=64, time_base=Fraction(1, 25), rate=None,
        colour=BT709,
    ) as writer:  # fmt: skip
        for number in range(24):
            alpha.fill_(number / 24)
            writer.write(rgb, alpha, number)
    movie = read_av(tmp_path / "m.mov")
    assert [round(float(a.mean()) * 24) for a in movie.alpha] == list(range(24))


@movies
def test_sound_is_heard_when_it_should_be(fmt: VideoFormat, tmp_path: Path) -> None:
    rate, clicks = 44100, (0.25, 0.5, 1.0)
    track = np.zeros((2, int(1.2 * rate)), np.float32)
    for click in clicks:
        start = int(click * rate)
        track[:, start : start + 400] = 0.8 * np.sin(np.arange(400) * 0.6)
    path = tmp_path / f"m{fmt.suffix}"
    with VideoWriter(
        path,
        fmt,
        content=default_content(fmt),
        width=64,
        height=48,
        time_base=Fraction(1, 25),
        rate=Fraction(25),
        colour=BT709,
        sound_rate=rate,
    ) as writer:
        writer.write_sound(track[:, :20000], rate)
        for number, (rgb, alpha) in enumerate(moving(fmt, 48, 64, 30)):
            writer.write(rgb, alpha, number)
        writer.write_sound(track[:, 20000:], rate)
    heard, times = [], []
    with av.open(path) as container:
        for frame in container.decode(audio=0):
            values = frame.to_ndarray()
            samples = values[0] if frame.format.is_planar else values[0, :: frame.layout.nb_channels]
            heard.append(samples / (1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max))
            times.append(float(frame.pts * frame.time_base) + np.arange(len(samples)) / frame.sample_rate)
    loud = np.concatenate(times)[np.abs(np.concatenate(heard)) > 0.3]
    onsets = loud[np.diff(loud, prepend=-1) > 0.1]
    # 3 ms: lossy coders ring ahead of a click
    assert onsets == pytest.approx(clicks, abs=0.003)
    assert len(read_av(path).pts) == 30


def test_a_silent_movie_takes_no_sound(tmp_path: Path) -> None:
    with (
        pytest.raises(ShapeError, match="sound_rate"),
        VideoWriter(
            tmp_path / "m.mp4",
            BY_NAME["h264"],
            content="foreground",
            width=64,
            height=48,
            time_base=Fraction(1, 25),
            rate=None,
            colour=BT709,
        ) as writer,
    ):
        writer.write_sound(np.zeros((2, 10), np.float32), 48000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rgb", "alpha", "pts", "error", "says"),
    [
        (torch.zeros(3, 48, 65), None, 9, ShapeError, r"\[3, 48, 64\], got \[3, 48, 65\]"),
        (torch.zeros(3, 48, 64), torch.zeros(1, 48, 65), 9, ShapeError, r"\[1, 48, 64\], got \[1, 48, 65\]"),
        (torch.zeros(3, 48, 64), None, 5, OutputError, "not after the 5 before"),
        (torch.zeros(3, 48, 64), None, 4, OutputError, "not after the 5 before"),
    ],
    ids=["rgb size", "alpha size", "same pts", "earlier pts"],
)
def test_what_cannot_be_written_ends_the_movie(
    rgb: torch.Tensor, alpha: torch.Tensor | None, pts: int, error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        write_movie(
            tmp_path / "m.mov", BY_NAME["prores4444"], [(torch.zeros(3, 48, 64), None), (rgb, alpha)], pts=[5, pts]
        )
    assert not list(tmp_path.iterdir())


def test_a_size_the_encoder_refuses_is_said_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"H\.264, opaque cannot hold a picture of 40000 x 40000"):
        VideoWriter(
            tmp_path / "m.mp4", BY_NAME["h264"], content="foreground", width=40000, height=40000,
            time_base=Fraction(1, 25), rate=None, colour=BT709,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_an_opaque_movie_takes_no_alpha(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="None for yuv420p"):
        write_movie(tmp_path / "m.mp4", BY_NAME["h264"], [(picture(48, 64), hair(48, 64))])


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: the system refuses the same calls."""
    names = ["m.mov", "m.webm", "m.mp4", "folder", "a.png"]
    script = f"""
        import resource, torch
        from fractions import Fraction
        from pathlib import Path
        from videomatte.errors import OutputError
        from videomatte.io.choice import choose_format, names_folder
        from videomatte.io.image_writer import ImageWriter
        from videomatte.io.video_writer import VideoWriter
        from videomatte.types import Colour
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        for name in {names}:
            content = "foreground" if name == "m.mp4" else "both"
            path, fmt = Path(name), choose_format(name, content=content)
            try:
                if fmt.name == "png":
                    writer = ImageWriter(path, fmt, content=content, colour=Colour(), folder=names_folder(path, fmt))
                else:
                    writer = VideoWriter(path, fmt, content=content, width=64, height=64, rate=None,
                                         time_base=Fraction(1, 25), colour=Colour())
                with writer:
                    for n in range(1 if path.suffix == ".png" else 30):
                        alpha = torch.rand(1, 64, 64) if fmt.has_alpha else None
                        args = [n] if fmt.name == "png" else [n, 1]
                        writer.write(torch.rand(3, 64, 64), alpha, *args)
            except OutputError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"{name}: cannot be written: file too large" for name in names]
    assert not list(tmp_path.iterdir())


def test_no_frames_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not one frame"):
        VideoWriter(
            tmp_path / "m.mov", BY_NAME["prores4444"], width=64, height=48, time_base=Fraction(1, 25), rate=None,
            colour=BT709,
        ).__exit__(None, None, None)  # fmt: skip
    assert not list(tmp_path.iterdir())
