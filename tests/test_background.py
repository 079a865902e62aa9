"""Backgrounds: the right picture at the right time, of the clip's size, in the clip's encoding."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.io
import skimage.transform
import torch
from clips import coded_picture, number_in, write_clip

from videomatte.errors import InputError, UsageError
from videomatte.fit import fit
from videomatte.io import open_source, probe
from videomatte.io.background import Background, open_background
from videomatte.types import ClipInfo, Colour

HEIGHT, WIDTH = 96, 168
FILM = Fraction(24000, 1001)


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips of frames that say their number: 30 a second for a second, and at uneven times."""
    folder = tmp_path_factory.mktemp("movies")
    uneven = [0, 40, 50, 200, 220, 300, 500, 510]
    return {
        "steady": write_clip(folder / "steady.mp4", 30, rate=30),
        "steady.mkv": write_clip(folder / "steady.mkv", 30, rate=30),
        "uneven": write_clip(folder / "uneven.mkv", len(uneven), times=uneven),
    }


def clip(movies: dict[str, Path], **changes: object) -> ClipInfo:
    return replace(probe(movies["steady"]), colour=Colour(1, False, 1, 1), **changes)


def shown(background: Background, times: list[Fraction]) -> list[int]:
    with background:
        return [number_in((background(time) * 255).round().to(torch.uint8)) for time in times]


def at_rate(rate: Fraction, count: int) -> list[Fraction]:
    return [n / rate for n in range(count)]


def test_frames_are_matched_by_time(movies: dict[str, Path]) -> None:
    """23.976 over 30: at each time the last frame that has begun."""
    times = at_rate(FILM, 12)
    assert shown(open_background(str(movies["steady"]), clip(movies)), times) == [int(time * 30) for time in times]


@pytest.mark.parametrize("rate", [30, 60, 25])
def test_times_in_whole_milliseconds_are_taken_for_what_they_mean(rate: int, movies: dict[str, Path]) -> None:
    """Matroska rounds 1/30 s to 33 ms and 2/30 s to 67: neither side's rounding shows a frame too early or late."""
    exact = at_rate(Fraction(rate), 12)
    rounded = [Fraction(round(1000 * time), 1000) for time in exact]
    wanted = [int(time * 30) for time in exact]
    for name in ("steady", "steady.mkv"):
        assert shown(open_background(str(movies[name]), clip(movies)), exact) == wanted
        assert shown(open_background(str(movies[name]), clip(movies)), rounded) == wanted


def test_uneven_times_on_either_side(movies: dict[str, Path]) -> None:
    begins = [Fraction(t, 1000) for t in (0, 40, 50, 200, 220, 300, 500, 510)]
    times = at_rate(Fraction(25), 12)
    wanted = [max(n for n, begin in enumerate(begins) if begin <= time) for time in times]
    assert shown(open_background(str(movies["uneven"]), clip(movies)), times) == wanted
    assert shown(open_background(str(movies["steady"]), clip(movies)), begins) == [int(30 * t) for t in begins]


@pytest.mark.parametrize(
    ("end", "wanted"), [("loop", [28, 29, 0, 1, 29, 0, 15]), ("hold", [28, 29, 29, 29, 29, 29, 29])]
)
def test_what_follows_the_last_frame(end: str, wanted: list[int], movies: dict[str, Path]) -> None:
    times = [Fraction(n, 30) for n in (28, 29, 30, 31, 59, 60, 315)]
    assert shown(open_background(str(movies["steady"]), clip(movies), end=end), times) == wanted


def test_once_is_followed_by_black(movies: dict[str, Path]) -> None:
    with open_background(str(movies["steady"]), clip(movies), end="once") as background:
        assert background(Fraction(29, 30)).max() > 0.5
        for time in (Fraction(1), Fraction(5)):
            assert not background(time).any()


def test_a_loop_shows_the_last_frame_as_long_as_the_file_says(movies: dict[str, Path]) -> None:
    """The uneven clip's last frame lasts as long as the one before it, 10 ms, where the file does not say."""
    with open_source(movies["uneven"]) as source:
        *_, last = source
    length = Fraction(510, 1000) + ((last.duration or 0) * last.time_base or Fraction(10, 1000))
    times = [length - Fraction(2, 1000), length + Fraction(2, 1000), 2 * length + Fraction(45, 1000)]
    assert shown(open_background(str(movies["uneven"]), clip(movies)), times) == [7, 0, 1]


@pytest.mark.parametrize("start", ["12", "0.4", "0:00.4"])
def test_it_begins_where_asked_and_loops_to_there(start: str, movies: dict[str, Path]) -> None:
    times = [Fraction(n, 30) for n in (0, 1, 17, 18, 19)]
    assert shown(open_background(str(movies["steady"]), clip(movies), start=start), times) == [12, 13, 29, 12, 13]


def test_memory_does_not_grow(movies: dict[str, Path]) -> None:
    """No more than two frames are held, however long it plays."""
    with open_background(str(movies["steady"]), clip(movies)) as background:
        pictures = [background(Fraction(n, 300)) for n in range(40)]
    assert all(a is b for n, (a, b) in enumerate(pairwise(pictures), 1) if n % 10), "a picture is made once, then kept"
    assert len({id(picture) for picture in pictures}) == 4


def test_an_image_is_shown_for_good(tmp_path: Path, movies: dict[str, Path]) -> None:
    picture = coded_picture(77, HEIGHT, WIDTH)
    av.VideoFrame.from_ndarray(picture, "rgb24").save(tmp_path / "still.png")
    for end in ("loop", "hold"):
        with open_background(str(tmp_path / "still.png"), clip(movies), end=end) as background:
            for time in (Fraction(0), Fraction(1, 24), Fraction(3600)):
                made = background(time)
                assert torch.equal(made * 255, torch.from_numpy(picture).permute(2, 0, 1).float()), "exact, of its size"


def test_what_is_transparent_lies_over_black(tmp_path: Path, movies: dict[str, Path]) -> None:
    rgba = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    rgba[:, :84, 3], rgba[:, 84:, 3] = 0, 51
    skimage.io.imsave(tmp_path / "glass.png", rgba, check_contrast=False)
    with open_background(str(tmp_path / "glass.png"), clip(movies)) as background:
        made = background(Fraction(0)) * 255
    assert not made[:, :, :84].any()
    torch.testing.assert_close(made[:, :, 84:], torch.full((3, HEIGHT, 84), 40.0))


@pytest.mark.parametrize("what", ["#FF8000", "#ff8000"])
def test_a_colour_is_its_code(what: str, movies: dict[str, Path]) -> None:
    with open_background(what, clip(movies)) as background:
        assert (background(Fraction(7)) * 255).flatten().tolist() == [255, 128, 0]
    with open_background("Teal", clip(movies)) as background:
        assert (background(Fraction(0)) * 255).flatten().tolist() == [0, 128, 128]


def test_a_colour_looks_the_same_in_another_encoding(movies: dict[str, Path]) -> None:
    with open_background("white", replace(clip(movies), colour=Colour(9, False, 9, 18))) as background:
        assert background(Fraction(0)).flatten().tolist() == pytest.approx([0.75] * 3, abs=0.003)  # BT.2408


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("nowhere.png", InputError, r"nowhere\.png: no background.*#RRGGBB"),
        ("orang", InputError, "no such file, and it is no colour"),
        ("#12345", UsageError, "#RRGGBB"),
    ],
)
def test_no_background(what: str, error: type[Exception], says: str, movies: dict[str, Path]) -> None:
    with pytest.raises(error, match=says):
        open_background(what, clip(movies))


def test_a_colour_has_no_beginning(movies: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="--background-start 3"):
        open_background("red", clip(movies), start="3")


def test_a_start_behind_the_end(movies: dict[str, Path]) -> None:
    with (
        pytest.raises(UsageError, match=r"--background-start 30: .*steady\.mp4 ends before"),
        open_background(str(movies["steady"]), clip(movies), start="30"),
    ):
        pass


# Fitting


def test_a_picture_that_fits_is_left_alone() -> None:
    picture = torch.rand(3, 30, 40)
    for how in ("cover", "contain", "stretch"):
        assert torch.equal(fit(picture, 30, 40, how), picture)


@pytest.mark.parametrize(("rows", "columns"), [(60, 80), (15, 20), (45, 60), (37, 71)])
def test_stretching_is_scikit_images_within_its_kernel(rows: int, columns: int) -> None:
    """A smooth picture, so that the kernels' differences (ours is Keys' cubic, theirs a spline) hardly matter."""
    y, x = torch.meshgrid(torch.arange(30) / 30, torch.arange(40) / 40, indexing="ij")
    picture = torch.stack([0.5 + 0.4 * torch.sin(5 * x + 3 * y), 0.3 + 0.5 * x * y, 0.5 + 0.3 * torch.cos(6 * y)])
    wanted = skimage.transform.resize(picture.permute(1, 2, 0).numpy(), (rows, columns), order=3, mode="edge")
    made = fit(picture, rows, columns, "stretch").permute(1, 2, 0).numpy()
    inner = (slice(3, -3), slice(3, -3))  # they go on differently beyond the border
    np.testing.assert_allclose(made[inner], wanted[inner], atol=0.01)


@pytest.mark.parametrize("how", ["cover", "contain"])
@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 200), (33, 33), (90, 41)])
def test_the_middle_stays_the_middle_and_shapes_are_kept(how: str, height: int, width: int) -> None:
    """A picture symmetric both ways stays so; a disc stays a disc, of the size that the scale says."""
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(60) - 29.5, indexing="ij")
    disc = ((12 - torch.hypot(x, y)).clamp(0, 1) * 0.8 + 0.2).expand(3, -1, -1)
    made = fit(disc, height, width, how)
    assert made.shape == (3, height, width)
    scale = (max if how == "cover" else min)(height / 40, width / 60)
    # The inner half of the disc is in the frame whatever is cut off; its middle is the frame's to half a pixel, for
    # what is cut off or added may be odd.
    ink = (made[0] - 0.2).clamp(min=0)
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    assert float((ink.sum(1) * rows).sum() / ink.sum()) == pytest.approx(height / 2, abs=0.51)
    assert float((ink.sum(0) * columns).sum() / ink.sum()) == pytest.approx(width / 2, abs=0.51)
    if how == "contain":
        assert float(ink.sum() / 0.8) == pytest.approx(np.pi * 11.5**2 * scale**2, rel=0.05)
        bars = made[0] == 0
        assert int(bars.sum()) == height * width - round(40 * scale) * round(60 * scale)
    else:
        assert (made > 0.1).all(), "the frame is covered"


def test_values_stay_within_the_pictures() -> None:
    edges = (torch.rand(3, 20, 20) > 0.5).float() * 0.6 + 0.2
    made = fit(edges, 90, 90, "cover")
    assert made.min() >= 0.2
    assert made.max() <= 0.8


def test_pixels_that_are_not_square_are_made_so() -> None:
    """PAL widescreen, 720 x 576 of pixels 64:45, is 1024 wide: in a frame of 16:9 it shows whole, without bars."""
    picture = torch.rand(3, 72, 90)
    made = fit(picture, 72, 128, "contain", Fraction(64, 45))
    assert torch.equal(made, fit(picture, 72, 128, "stretch"))


def test_a_strip_needs_no_more_memory_than_the_frame() -> None:
    """Scaled whole it would have 10^10 pixels."""
    strip = torch.linspace(0, 1, 100_000)[None, :, None].expand(3, -1, 4)
    made = fit(strip, 300, 400, "cover")
    assert made.shape == (3, 300, 400)
    assert made.mean() == pytest.approx(0.5, abs=0.01)
