"""The table of outputs, and how a name chooses a row of it."""

from pathlib import Path

import av
import pytest

from videomatte.errors import UsageError
from videomatte.io.choice import choose_format, names_folder
from videomatte.io.colour import pixel_layout
from videomatte.io.formats import FORMATS, ImageFormat, VideoFormat


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_every_row_is_one_the_encoder_can_make(fmt: VideoFormat | ImageFormat, tmp_path: Path) -> None:
    able = {f.name for f in av.Codec(fmt.codec, "w").video_formats}
    odd = {fmt.odd_size_planes} - {None} if isinstance(fmt, VideoFormat) else set()
    assert {*fmt.planes.values(), *odd} <= able
    for content, planes in fmt.planes.items():
        layout = pixel_layout(planes)
        assert layout.has_alpha == (content == "both")
        assert layout.is_gray == (content == "alpha")
        depth = 16 if layout.is_float else layout.depth  # written as half floats
        assert content == "foreground" or depth == fmt.alpha_bits
        assert content == "alpha" or depth >= fmt.colour_bits >= 8
    if isinstance(fmt, VideoFormat):
        with av.open(tmp_path / "x", "w", format=fmt.container.muxer) as container:
            assert {fmt.codec, fmt.container.sound_codec} <= container.supported_codecs


def test_names_are_unique_and_bounds_are_stated() -> None:
    assert len({f.name for f in FORMATS}) == len(FORMATS)
    assert all(f.alpha_error > 0 for f in FORMATS if f.alpha_bits)
    assert all(f.opens_in for f in FORMATS)


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("matte.mov", None, "prores4444"),
        ("MATTE.MOV", None, "prores4444"),
        ("shots/a.b.webm", None, "vp9"),
        ("alpha.png", None, "png"),
        ("frames", None, "png"),
        ("frames.v2/", None, "png"),
        ("frames", "png", "png"),
        ("frames.v2", "png", "png"),
        ("matte.mov", "prores4444", "prores4444"),
    ],
)
def test_name_chooses(path: str, name: str | None, expected: str) -> None:
    assert choose_format(path, name).name == expected


def test_only_a_png_of_that_name_is_one_image(tmp_path: Path) -> None:
    png = choose_format("a.png")
    assert not names_folder("a.png", png)
    assert not names_folder("a.PNG", png)
    assert names_folder("a", png)
    assert names_folder("a.png/", png)
    (tmp_path / "b.png").mkdir()
    assert names_folder(tmp_path / "b.png", png)
    assert not names_folder("a.mov", choose_format("a.mov"))


@pytest.mark.parametrize(
    ("path", "name", "says"),
    [
        ("matte.avi", None, [".avi", ".mov", ".webm", "folder"]),
        ("matte.webm", "prores4444", ["ProRes 4444", "matte.mov", "--format vp9"]),
        ("matte.mp4", "vp9", ["matte.webm", "--format h264"]),
        ("matte", "vp9", ["folder", "matte.webm"]),
        ("matte.mov", "png", ["matte.png", "--format prores4444"]),
        ("matte.mov", "prores", ["'prores'", "did you mean 'prores4444'"]),
        ("matte.mov", "zzz", ["'zzz'", "known are", "vp9"]),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_that_can(path: str, name: str | None, says: list[str]) -> None:
    with pytest.raises(UsageError) as refusal:
        choose_format(path, name)
    for part in says:
        assert part in str(refusal.value)
