"""One suite that every sink passes: what is published is whole and right, and nothing else is ever touched."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from readback import hair, picture, read_av, read_png

from videomatte.errors import OutputError, UsageError
from videomatte.io.sink import open_sink
from videomatte.types import ClipInfo, Colour, Frame, MatteFrame, Sink, TrimapFrame

HEIGHT, WIDTH = 48, 64
TICK = Fraction(1, 90000)
ALPHA_OUTPUTS = ["m.mov", "m.webm", "frames", "frames.v2/"]
every_output = pytest.mark.parametrize("name", [*ALPHA_OUTPUTS, "m.mp4", "still.png"])


def clip(path: Path = Path("clip.mp4"), **changes: object) -> ClipInfo:
    known: dict[str, object] = {
        "path": path,
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "codec": "h264",
        "width": WIDTH,
        "height": HEIGHT,
        "time_base": TICK,
        "average_rate": Fraction(30000, 1001),
        "frame_count": None,
        "duration_seconds": None,
        "pixel_format": "yuv420p",
        "bit_depth": 8,
        "colour": Colour(1, False, 1, 1),
        "rotation_degrees": 0,
        "sample_aspect": Fraction(1),
        "has_alpha": False,
    }
    return ClipInfo(**(known | changes))


def mattes(count: int = 4, *, start: int = 1234, foreground: bool = False, first: int = 0) -> Iterator[MatteFrame]:
    for n in range(first, first + count):
        frame = Frame(n, start + 3003 * n, TICK, picture(HEIGHT, WIDTH, n), duration=3003)
        trimap = TrimapFrame(frame, torch.full((1, HEIGHT, WIDTH), 128, dtype=torch.uint8), "key")
        own = 1 - picture(HEIGHT, WIDTH, n, torch.float32) if foreground else None
        yield MatteFrame(trimap, hair(HEIGHT, WIDTH, n), own)


def at(folder: Path, name: str) -> str:
    return f"{folder}/{name}"  # as typed: a Path would lose the slash


def content_for(name: str) -> str:
    return "foreground" if name == "m.mp4" else "both"


def count_for(name: str) -> int:
    return 1 if name == "still.png" else 4


def write(folder: Path, name: str, *, count: int | None = None, **options: object) -> Path:
    options.setdefault("content", content_for(name))
    with open_sink(at(folder, name), options.pop("info", clip()), **options) as sink:
        for matte in mattes(count_for(name) if count is None else count):
            sink.write(matte)
    return folder / name


def fail(folder: Path, name: str, error: BaseException, **options: object) -> None:
    """A run that ends by an exception after its last frame."""
    with open_sink(at(folder, name), clip(), content=content_for(name), **options) as sink:
        for matte in mattes(count_for(name)):
            sink.write(matte)
        raise error


def content(path: Path) -> dict[str, bytes]:
    """Every file under a path, the path itself included."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files}


@every_output
def test_it_is_a_sink(name: str, tmp_path: Path) -> None:
    sink = open_sink(at(tmp_path, name), clip(), content=content_for(name))
    assert isinstance(sink, Sink)
    assert not list(tmp_path.iterdir()), "nothing is made before it is entered"


@every_output
def test_the_output_appears_whole_at_the_end_and_not_before(name: str, tmp_path: Path) -> None:
    with open_sink(at(tmp_path, name), clip(), content=content_for(name)) as sink:
        for matte in mattes(count_for(name)):
            sink.write(matte)
            assert not (tmp_path / name).exists()
            assert all(p.name.startswith(".") for p in tmp_path.iterdir())
    assert [p.name for p in tmp_path.iterdir()] == [name.rstrip("/")]
    assert count_frames(tmp_path / name) == count_for(name)


def count_frames(path: Path) -> int:
    if path.is_dir():
        return len(list(path.glob("*.png")))
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


@every_output
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit], ids=lambda e: e.__name__)
def test_an_exception_publishes_nothing_and_leaves_nothing(
    name: str, error: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(error):
        fail(tmp_path, name, error())
    assert not list(tmp_path.iterdir())


@every_output
def test_no_frames_publish_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not one frame"):
        write(tmp_path, name, count=0)
    assert not list(tmp_path.iterdir())


@every_output
def test_an_existing_output_is_refused_before_any_work_and_kept(name: str, tmp_path: Path) -> None:
    before = content(write(tmp_path, name))
    with pytest.raises(UsageError, match="--overwrite"):
        open_sink(at(tmp_path, name), clip(), content=content_for(name))
    assert content(tmp_path / name) == before


@every_output
def test_overwriting_replaces_all_of_it(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    before = content(tmp_path / name)
    with open_sink(at(tmp_path, name), clip(), overwrite=True, content=content_for(name)) as sink:
        for matte in mattes(1, first=9):
            sink.write(matte)
    assert count_frames(tmp_path / name) == 1
    assert content(tmp_path / name) != before
    assert [p.name for p in tmp_path.iterdir()] == [name.rstrip("/")]


@every_output
def test_a_failed_run_keeps_the_output_that_was_there(name: str, tmp_path: Path) -> None:
    before = content(write(tmp_path, name))
    with pytest.raises(ValueError, match="stop"):
        fail(tmp_path, name, ValueError("stop"), overwrite=True)
    assert content(tmp_path / name) == before
    assert [p.name for p in tmp_path.iterdir()] == [name.rstrip("/")]


@every_output
def test_a_missing_folder_is_said_before_any_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist: make it first"):
        open_sink(at(tmp_path / "none", name), clip(), content=content_for(name))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere; the rest of us may not."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@every_output
def test_a_folder_closed_to_writing_is_one_line(name: str, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents):  # let nobody come as far as the folder
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o011)
    with as_nobody(), pytest.raises(OutputError, match=r"may not be written to|cannot be written: perm"):
        open_sink(at(closed, name), clip(), content=content_for(name)).__enter__()
    assert not list(closed.iterdir())


@every_output
def test_the_input_is_never_the_output(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    (tmp_path / "link").symlink_to(path)
    before = content(path)
    for info in (clip(path), clip(tmp_path / "link")):
        with pytest.raises(UsageError, match="input"):
            open_sink(at(tmp_path, name), info, overwrite=True, content=content_for(name))
    assert content(path) == before


def test_a_folder_that_holds_the_input_is_not_replaced(tmp_path: Path) -> None:
    folder = write(tmp_path, "frames")
    for inside in ("000001.png", "%06d.png"):
        with pytest.raises(UsageError, match="holds the input"):
            open_sink(folder, clip(folder / inside), overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_left_alone(overwrite: bool, tmp_path: Path) -> None:
    plates = tmp_path / "plates"
    plates.mkdir()
    (plates / "000000.png").write_bytes(b"somebody's plate")
    with pytest.raises(OutputError, match="not written by videomatte"):
        open_sink(plates, clip(), overwrite=overwrite)
    folder = write(tmp_path, "frames")
    (folder / "notes.txt").write_text("keep me")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        open_sink(folder, clip(), overwrite=overwrite)
    assert (plates / "000000.png").read_bytes() == b"somebody's plate"
    assert (folder / "notes.txt").read_text() == "keep me"


def test_a_file_put_into_the_old_folder_during_the_run_is_not_lost(tmp_path: Path) -> None:
    folder = write(tmp_path, "frames")
    with open_sink(folder, clip(), overwrite=True) as sink:
        (folder / "notes.txt").write_text("keep me")
        sink.write(next(mattes()))
    assert sorted(p.name for p in folder.iterdir()) == [".videomatte", "000000.png", "notes.txt"]


def test_an_empty_folder_is_filled_without_asking(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    assert count_frames(write(tmp_path, "frames")) == 4


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_file_is_not_replaced_by_one(overwrite: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.mov")
    with pytest.raises(OutputError, match="not a file"):
        open_sink(tmp_path / "m.mov", clip(), overwrite=overwrite)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a folder"):
        open_sink(tmp_path / "file", clip(), overwrite=overwrite)


def test_a_link_is_replaced_and_what_it_points_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "m.mov").symlink_to(tmp_path / "precious")
    write(tmp_path, "m.mov", overwrite=True)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "m.mov").is_symlink()


@every_output
def test_leftovers_of_a_killed_run_are_no_hindrance(name: str, tmp_path: Path) -> None:
    (tmp_path / f".{name.rstrip('/')}.videomatte").symlink_to(tmp_path / "elsewhere")
    write(tmp_path, name)
    assert [p.name for p in tmp_path.iterdir()] == [name.rstrip("/")]


@pytest.mark.parametrize("name", ["m.mov", "frames", "still.png"])
def test_names_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    """Not as patterns, addresses or options: a colon, a percent sign, a line break, letters of any alphabet."""
    odd = f"-\N{SNOWMAN} a:b %06d\n'{name}"
    write(tmp_path, odd, count=1)
    assert [p.name for p in tmp_path.iterdir()] == [odd]


@pytest.mark.parametrize("foreground", [False, True], ids=["source pixels", "foreground"])
@pytest.mark.parametrize("name", ["m.mov", "frames", "still.png"])
def test_colour_is_straight_and_alpha_its_own(name: str, foreground: bool, tmp_path: Path) -> None:
    count = count_for(name)
    with open_sink(at(tmp_path, name), clip()) as sink:
        for matte in mattes(count, foreground=foreground):
            sink.write(matte)
    for n, matte in enumerate(mattes(count, foreground=foreground)):
        wanted = matte.foreground if foreground else matte.frame.rgb / 255
        colour, alpha = read_frame(tmp_path / name, n)
        # ProRes: 10 bits, and its DCT on colour; the bound of the table on alpha. PNG: half a step of 16 bits.
        movie = name == "m.mov"
        assert np.abs(alpha - matte.alpha[0].numpy()).max() <= (0.2 / 255 if movie else 0.51 / 65535)
        assert np.abs(colour - wanted.numpy().transpose(1, 2, 0)).max() <= (4 / 255 if movie else 0.51 / 65535)


def read_frame(path: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour ``[H, W, 3]`` and alpha ``[H, W]`` in [0, 1]."""
    if path.suffix == ".mov":
        with av.open(path) as container:
            frames = list(container.decode(video=0))
        return frames[n].to_ndarray(format="rgb24") / 255, read_av(path).alpha[n]
    colour, alpha = read_png(path / f"{n:06d}.png" if path.is_dir() else path)
    return colour / 65535, alpha / 65535


@pytest.mark.parametrize("name", ["m.mov", "m.webm", "m.mp4"])
@pytest.mark.parametrize("start", [1234, 0, -7000], ids=["late", "at 0", "before 0"])
def test_movies_keep_the_clips_time(name: str, start: int, tmp_path: Path) -> None:
    """Before 0 nothing is shown: such a clip moves to 0 as a whole."""
    with open_sink(at(tmp_path, name), clip(), content=content_for(name)) as sink:
        for matte in mattes(start=start):
            sink.write(matte)
    wanted = [(max(start, 0) + 3003 * n) * TICK for n in range(4)]
    slack = Fraction(1, 2000) if name == "m.webm" else 0  # milliseconds
    assert all(abs(a - b) <= slack for a, b in zip(read_av(tmp_path / name).pts, wanted, strict=True))


def test_images_are_numbered_as_the_frames_of_the_clip(tmp_path: Path) -> None:
    with open_sink(tmp_path / "frames", clip()) as sink:
        for matte in mattes(3, first=100):
            sink.write(matte)
    assert sorted(p.name for p in (tmp_path / "frames").glob("*.png")) == ["000100.png", "000101.png", "000102.png"]


def test_one_image_takes_one_frame(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="more than one frame: write to a folder"):
        write(tmp_path, "still.png", count=2)
    assert not list(tmp_path.iterdir())


def test_an_opaque_format_needs_a_background(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no alpha: write .*\.mov.*\.webm.*\.png"):
        open_sink(tmp_path / "m.mp4", clip())


def test_a_composite_is_written_as_it_is(tmp_path: Path) -> None:
    with open_sink(tmp_path / "frames", clip(), content="composite") as sink:
        for n, matte in enumerate(mattes(2)):
            sink.write(dataclasses.replace(matte, composite=picture(HEIGHT, WIDTH, 40 + n, torch.float32)))
    for n in range(2):
        colour, alpha = read_frame(tmp_path / "frames", n)
        assert (alpha == 1).all()
        wanted = picture(HEIGHT, WIDTH, 40 + n, torch.float32).numpy().transpose(1, 2, 0)
        assert np.abs(colour - wanted).max() <= 0.51 / 65535


def test_a_composite_that_nobody_made_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stage has made one"):
        write(tmp_path, "m.mp4", content="composite")
    assert not list(tmp_path.iterdir())


def test_the_system_is_asked_before_any_work(tmp_path: Path) -> None:
    """A format that cannot be, a missing folder, a taken name: none needs a frame to be found out."""
    for path, options in (("m.avi", {}), ("m.webm", {"format": "prores4444"}), ("m.mov", {"format": "h265"})):
        with pytest.raises(UsageError):
            open_sink(tmp_path / path, clip(), **options)
    assert not list(tmp_path.iterdir())
