"""Joined movies are their segments, packet for packet, and readers find what a movie written at once would hold."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from interrupted import content as packets
from readback import Movie, hair, picture, read_av, read_ffmpeg

from videomatte.errors import OutputError
from videomatte.io.formats import FORMATS, Content, VideoFormat
from videomatte.io.join import join
from videomatte.io.video_writer import VideoWriter
from videomatte.types import Colour

HEIGHT, WIDTH, COUNT, LENGTH = 48, 64, 5, 2
TICK, RATE = Fraction(1, 90000), Fraction(30000, 1001)
PTS = [63001 + 3003 * n + n * n * 37 % 1500 for n in range(COUNT)]  # starts late, frames of all lengths
LAST = 9009
ROWS = [(f, c) for f in FORMATS if isinstance(f, VideoFormat) for c in f.planes if c != "foreground" or not f.has_alpha]


def write(path: Path, fmt: VideoFormat, content: Content, numbers: range) -> Path:
    with VideoWriter(
        path,
        fmt,
        content=content,
        width=WIDTH,
        height=HEIGHT,
        time_base=TICK,
        rate=RATE,
        colour=Colour(1, False, 1, 1),
        comment="straight alpha",
    ) as writer:
        for n in numbers:
            rgb = None if content == "alpha" else picture(HEIGHT, WIDTH, n)
            alpha = None if content == "foreground" else hair(HEIGHT, WIDTH, n)
            writer.write(rgb, alpha, PTS[n], LAST if n == COUNT - 1 else None)
    return path


def put_together(parts: list[Path], path: Path, fmt: VideoFormat) -> Path:
    last = PTS[-1] * TICK
    join(
        parts,
        path,
        fmt.container,
        time_base=TICK,
        rate=RATE,
        comment="straight alpha",
        start=None,
        shift=Fraction(0),
        last=last,
        end=last + LAST * TICK,
        audio=None,
    )
    return path


@pytest.mark.parametrize(("fmt", "content"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_every_row_survives_joining(fmt: VideoFormat, content: Content, tmp_path: Path) -> None:
    starts = range(0, COUNT, LENGTH)
    parts = [write(tmp_path / f"{n}{fmt.suffix}", fmt, content, range(n, min(n + LENGTH, COUNT))) for n in starts]
    joined = put_together(parts, tmp_path / f"joined{fmt.suffix}", fmt)
    assert [p[-1] for p in packets(joined)] == [p[-1] for part in parts for p in packets(part)]
    assert sum(bool(p[3]) for p in packets(joined)) >= len(parts), "each begins with a key frame"
    whole = read_av(write(tmp_path / f"whole{fmt.suffix}", fmt, content, range(COUNT)))
    for read in (read_av, read_ffmpeg):
        check(read, joined, whole, fmt, content)


def check(read: Callable[[Path], Movie], path: Path, whole: Movie, fmt: VideoFormat, content: Content) -> None:
    movie = read(path)
    slack = 0 if fmt.container.keeps_ticks else Fraction(1, 2000)
    assert movie.pts == whole.pts
    assert len(movie.planes) == COUNT
    assert all(abs(found - pts * TICK) <= slack for found, pts in zip(movie.pts, PTS, strict=True))
    assert abs(movie.end - (PTS[-1] + LAST) * TICK) <= 2 * slack
    assert movie.tags["size"] == (WIDTH, HEIGHT)
    assert movie.tags["range"] == whole.tags["range"]
    if read is read_av:  # names its tags by numbers
        assert movie.tags == whole.tags
    if content == "foreground":
        return
    for n, planes in enumerate(movie.planes):
        alpha = planes[0 if content == "alpha" else 3] / (2**movie.depth - 1)
        assert np.abs(alpha - hair(HEIGHT, WIDTH, n)[0].double().numpy()).max() * 255 <= fmt.alpha_error


def test_segments_of_other_settings_are_refused(tmp_path: Path) -> None:
    """Of another header: half of such a movie would be decoded by the wrong one."""
    by_name = {f.name: f for f in FORMATS}
    first = write(tmp_path / "0.mkv", by_name["ffv1"], "both", range(3))
    second = write(tmp_path / "1.mkv", by_name["ffv1-8"], "both", range(3, COUNT))
    with pytest.raises(OutputError, match="encoded otherwise"):
        put_together([first, second], tmp_path / "joined.mkv", by_name["ffv1"])
