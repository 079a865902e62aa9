"""What is read back is compared with what was meant, and one wrong pixel is found."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from threading import Event, Timer

import numpy as np
import pytest
import torch
from readback import hair, picture
from test_sinks import clip, mattes

from videomatte.errors import OutputError
from videomatte.io.formats import FORMATS, Content, ImageFormat, VideoFormat
from videomatte.io.image_writer import ImageWriter
from videomatte.io.segments import MovieSegments
from videomatte.io.sink import open_sink
from videomatte.io.verify import Expected, ReadBack, _packed, _unpacked, read_images, read_movie
from videomatte.io.video_writer import VideoWriter
from videomatte.types import Colour

HEIGHT, WIDTH, COUNT = 34, 50, 4
TICK = Fraction(1, 90000)
ROWS = [(fmt, content) for fmt in FORMATS for content in fmt.planes]
rows = pytest.mark.parametrize(("fmt", "content"), ROWS, ids=lambda value: getattr(value, "name", value))


def exhaust(items: Iterator[None]) -> None:
    for _ in items:
        pass


def alphas() -> list[torch.Tensor]:
    return [hair(HEIGHT, WIDTH, n) for n in range(COUNT)]


def written(
    folder: Path, fmt: VideoFormat | ImageFormat, content: Content, numbers: Sequence[int] = range(COUNT)
) -> Path:
    common = {"content": content, "colour": Colour(1, False, 1, 1)}
    path = folder / f"m{fmt.suffix}" if isinstance(fmt, VideoFormat) else folder / "frames"
    if isinstance(fmt, VideoFormat):
        writer = VideoWriter(path, fmt, width=WIDTH, height=HEIGHT, time_base=TICK, rate=None, **common)
    else:
        writer = ImageWriter(path, fmt, folder=True, **common)
    with writer:
        for place, number in enumerate(numbers):
            rgb = None if content == "alpha" else picture(HEIGHT, WIDTH, number)
            alpha = None if content == "foreground" else hair(HEIGHT, WIDTH, number)
            writer.write(rgb, alpha, 3003 * place if isinstance(fmt, VideoFormat) else place)
    return path


def read(path: Path, fmt: VideoFormat | ImageFormat, content: Content) -> ReadBack:
    if isinstance(fmt, VideoFormat):
        return read_movie(path, content)
    return read_images(sorted(path.glob(f"*{fmt.suffix}")), content)


def expected(
    folder: Path,
    fmt: VideoFormat | ImageFormat,
    content: Content,
    meant: Sequence[torch.Tensor],
    late: Fraction = Fraction(0),
) -> Expected:
    is_movie = isinstance(fmt, VideoFormat)
    found = Expected(
        folder / "out", fmt, Fraction(1, 2000) if is_movie and not fmt.container.keeps_ticks else Fraction(0), folder
    )
    for number, alpha in enumerate(meant):
        seconds = 3003 * number * TICK + (late if number == 2 else 0)
        found.add(100 + number, seconds if is_movie else None, None if content == "foreground" else alpha)
    return found


@rows
def test_every_row_of_the_table_reads_back_as_meant(
    fmt: VideoFormat | ImageFormat, content: Content, tmp_path: Path
) -> None:
    path = written(tmp_path, fmt, content)
    with expected(tmp_path, fmt, content, alphas()) as wanted:
        exhaust(wanted.compared(read(path, fmt, content)))


@rows
def test_a_missing_a_surplus_and_a_late_frame_are_found(
    fmt: VideoFormat | ImageFormat, content: Content, tmp_path: Path
) -> None:
    path = written(tmp_path, fmt, content)
    missing, surplus = "frame 104 is missing, 4 of 5 frames", "more frames"
    for meant, says in (([*alphas(), alphas()[0]], missing), (alphas()[:3], surplus)):
        with expected(tmp_path, fmt, content, meant) as wanted, pytest.raises(OutputError, match=says):
            exhaust(wanted.compared(read(path, fmt, content)))
    if isinstance(fmt, VideoFormat):
        late, says = Fraction(1, 900), r"frame 102 is at 0\.06\d+ s, not at 0\.06"
        with expected(tmp_path, fmt, content, alphas(), late) as wanted, pytest.raises(OutputError, match=says):
            exhaust(wanted.compared(read(path, fmt, content)))


@pytest.mark.parametrize(
    ("fmt", "content"), [(f, c) for f, c in ROWS if c != "foreground"], ids=lambda value: getattr(value, "name", value)
)
def test_a_wrong_alpha_is_found(fmt: VideoFormat | ImageFormat, content: Content, tmp_path: Path) -> None:
    """Where alpha is exact, one pixel that is off by no more than thrice the bound; where it is lossy, a frame."""
    path = written(tmp_path, fmt, content)
    meant = alphas()
    if fmt.alpha_error > 1:
        meant[2] = hair(HEIGHT, WIDTH, 2).flip(2)
    else:
        step = max(3 * fmt.alpha_error / 255, 1 / (2**fmt.alpha_bits - 1))
        meant[2][0, 20, 10] += -step if meant[2][0, 20, 10] > 0.5 else step
    says = r"frame 102 has an alpha that is off by .*/255, of .* allowed"
    with expected(tmp_path, fmt, content, meant) as wanted, pytest.raises(OutputError, match=says):
        exhaust(wanted.compared(read(path, fmt, content)))


def test_what_is_kept_for_the_comparison_has_no_name(tmp_path: Path) -> None:
    fmt = next(f for f in FORMATS if f.name == "prores4444")
    path = written(tmp_path, fmt, "both")
    with expected(tmp_path, fmt, "both", alphas()) as wanted:
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        exhaust(wanted.compared(read_movie(path, "both")))


@pytest.mark.parametrize("side", [20, 48, 100])
def test_a_full_disk_is_told_once(side: int, tmp_path: Path) -> None:
    """A limit on the size of files stands in for it. What did not fit is not asked for again on leaving."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    fmt = next(f for f in FORMATS if f.name == "prores4444")
    wanted = Expected(tmp_path / "m.mov", fmt, Fraction(0), tmp_path)
    torch.manual_seed(0)

    def fill() -> None:
        for index in range(60):
            wanted.add(index, None, torch.rand(1, side, side))

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
        with pytest.raises(OSError, match="File too large"):
            fill()
        wanted.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("run", [1, 3, 4, 5, 6, 7, 40, 60])
def test_codes_are_kept_as_they_are_and_never_grow(run: int, dtype: type[np.generic]) -> None:
    codes = np.resize(np.repeat(np.array([255, 0, 7], dtype), run), (6, 20))
    stored = _packed(codes)
    assert len(stored) <= codes.nbytes
    assert np.array_equal(_unpacked(stored, codes.dtype, codes.size).reshape(codes.shape), codes)


@pytest.mark.parametrize("name", ["m.mov", "m.mkv", "m.webm"])
def test_a_segment_that_the_disk_has_spoilt_is_not_published(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MovieSegments.end

    def end(self: MovieSegments) -> list[str]:
        (file,) = plain(self)
        place = next(tmp_path.glob(f".*/{file}"))
        data = bytearray(place.read_bytes())
        half = len(data) // 2
        data[half : half + 400] = bytes(400)
        place.write_bytes(data)
        return [file]

    def write(**options: bool) -> None:
        with open_sink(tmp_path / name, clip(), **options) as sink:
            for matte in mattes(12):
                sink.write(matte)

    monkeypatch.setattr(MovieSegments, "end", end)
    with pytest.raises(OutputError, match="when read back: the disk or the encoder is at fault"):
        write()
    assert not list(tmp_path.iterdir())
    write(verify=False)
    assert (tmp_path / name).exists(), "who does not want to know is not told"


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Segments of three frames; of what is read back the first frame is held until this is set."""
    go_on, plain = Event(), MovieSegments.read

    def read(self: MovieSegments, folder: Path, names: Sequence[str]) -> ReadBack:
        for frame in plain(self, folder, names):
            assert go_on.wait(60)
            yield frame

    monkeypatch.setattr(MovieSegments, "read", read)
    monkeypatch.setattr("videomatte.io.segments.SHORT_SEGMENT_FRAMES", 3)
    return go_on


def test_a_segment_is_read_back_while_the_next_is_written(slowly: Event, tmp_path: Path) -> None:
    with open_sink(tmp_path / "m.mov", clip()) as sink:
        for number, matte in enumerate(mattes(8)):
            if number == 5:  # nothing has been read back so far; before the second segment ends, the first has to be
                assert sink.finished == 0
                slowly.set()
            sink.write(matte)
        assert sink.finished == 3
    assert sink.finished == 8
    assert [p.name for p in tmp_path.iterdir()] == ["m.mov"]


def test_a_run_that_fails_waits_a_moment_for_what_is_read_back_and_then_gives_it_up(
    slowly: Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*, seconds: float, patience: float) -> int:
        monkeypatch.setattr("videomatte.io.file_sink._PATIENCE", patience)
        slowly.clear()
        sink = open_sink(tmp_path / "m.mov", clip(), job={}).__enter__()
        for matte in mattes(4):
            sink.write(matte)
        Timer(seconds, slowly.set).start()
        sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        return sink.finished

    assert run(seconds=1, patience=0.1) == 0
    assert not list(tmp_path.iterdir())
    assert run(seconds=0.1, patience=60) == 3
    assert {p.name for p in tmp_path.glob("*/*")} == {"000000.mov", "lock", "manifest.json"}
