"""Outputs as people write them, and several of them in one pass."""

from pathlib import Path

import av
import pytest
import torch
from readback import read_av, read_png

import videomatte
from videomatte.cli import main
from videomatte.errors import UsageError
from videomatte.io import Output
from videomatte.io.output import check_apart

pytest.importorskip("pymatting")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("m.mov", Output("m.mov")),
        ("alpha:m.mp4", Output("m.mp4", "alpha")),
        ("ffv1-8:m.mkv", Output("m.mkv", "both", "ffv1-8")),
        ("composite,hevc:over.mp4", Output("over.mp4", "composite", "hevc")),
        ("hevc,composite:over.mp4", Output("over.mp4", "composite", "hevc")),
        ("alpha:frames.v2/", Output("frames.v2/", "alpha")),
        ("alpha:alpha:m.mov", Output("alpha:m.mov", "alpha")),
        ("./alpha:m.mov", Output("./alpha:m.mov")),
        ("shot:12.mov", Output("shot:12.mov")),
        ("C:\\clips\\m.mov", Output("C:\\clips\\m.mov")),
        ("c:/clips/m.mov", Output("c:/clips/m.mov")),
    ],
)
def test_words_before_a_colon_say_what_an_output_holds(text: str, wanted: Output) -> None:
    assert Output.parse(text) == wanted


def test_what_no_word_says_is_said_by_the_settings() -> None:
    assert Output.parse("m.mkv", content="alpha", format="ffv1") == Output("m.mkv", "alpha", "ffv1")
    assert Output.parse("both:m.mkv", content="alpha", format="ffv1") == Output("m.mkv", "both", "ffv1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alhpa:m.mov", "did you mean 'alpha'"),
        ("alpha,prores444:m.mov", "did you mean 'prores4444'"),
        ("alpha,h265x:m.mov", "neither a content nor a format"),
        ("alpha,both:m.mov", "one content"),
        ("ffv1,ffv1:m.mkv", "one format"),
    ],
)
def test_a_misspelt_word_is_no_file_name(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Output.parse(text)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no output"),
        (["m.mov", "m.webm", "./m.mov"], "twice"),
        (["m.mov", "alpha:sub/../m.mov"], "twice"),
        (["frames", "frames/"], "twice"),
        (["frames/", "frames/m.mov"], "lies in"),
        (["frames/alpha/", "frames/"], "frames/alpha/: lies in frames/"),
    ],
)
def test_outputs_that_would_overwrite_each_other_are_refused(names: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_apart([Output.parse(name) for name in names])


def test_one_pass_writes_all_and_each_is_as_if_written_alone(green_clip: Path, tmp_path: Path) -> None:
    names = ["matte.mov", "vp9-fast:web.webm", "alpha:matte.mkv", "foreground:frames/", "foreground:colour.mp4"]
    (tmp_path / "alone").mkdir()
    outputs = [name.replace(":", f":{tmp_path}/") if ":" in name else f"{tmp_path}/{name}" for name in names]
    alone = [output.replace(str(tmp_path), f"{tmp_path}/alone") for output in outputs]
    assert main(["matte", str(green_clip), *(w for o in outputs for w in ("-o", o)), "--end", "3", "--quiet"]) == 0
    for output in alone:
        videomatte.matte(green_clip, output, end="3")
    for name in ("matte.mov", "web.webm", "matte.mkv", "colour.mp4"):
        together, single = read_av(tmp_path / name), read_av(tmp_path / "alone" / name)
        assert len(together.pts) == 3
        assert together.pts == single.pts
        assert all(
            (a == b).all()
            for x, y in zip(together.planes, single.planes, strict=True)
            for a, b in zip(x, y, strict=True)
        )
    for number in range(3):
        together, single = (read_png(tmp_path / place / f"{number:06d}.png") for place in ("frames", "alone/frames"))
        assert (together[0] == single[0]).all()


def test_a_refused_output_stops_the_others_before_any_work(green_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"over\.mp4"):
        videomatte.matte(green_clip, [tmp_path / "m.mov", tmp_path / "over.mp4"])
    with pytest.raises(UsageError, match="premultiplied"):
        videomatte.matte(green_clip, f"alpha:{tmp_path}/m.mkv", premultiplied=True)
    assert not list(tmp_path.iterdir())


def test_premultiplied_is_for_outputs_that_hold_both(green_clip: Path, tmp_path: Path) -> None:
    videomatte.matte(
        green_clip, [f"{tmp_path}/m.mov", f"foreground:{tmp_path}/f.mov"], premultiplied=True, end="1", audio=False
    )
    with av.open(str(tmp_path / "m.mov")) as container:
        assert container.metadata["comment"] == "premultiplied alpha"
    with av.open(str(tmp_path / "f.mov")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert torch.from_numpy(frame).float().std() > 10, "the screen is still there"
