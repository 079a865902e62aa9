"""The whole job: a clip, a background, and what comes out."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.io
import torch
from clips import number_in, write_clip
from readback import hair, picture, read_av, read_png

import videomatte
from videomatte.cli import Greenscreen, main, parse
from videomatte.config import GreenscreenSettings, MatteSettings, preset_values, presets
from videomatte.errors import InputError, UsageError, VideomatteError
from videomatte.replace import ReplaceBackground
from videomatte.types import Frame, MatteFrame, TrimapFrame

FAST = ["--model", "laplacian", "--quiet"]


# The stage


def mattes(count=3, alpha=None, **changes):
    for n in range(count):
        frame = Frame(n, 500 + 40 * n, Fraction(1, 1000), picture(24, 32, n))
        trimap = TrimapFrame(frame, torch.full((1, 24, 32), 128, dtype=torch.uint8), "key")
        yield MatteFrame(trimap, hair(24, 32, n) if alpha is None else alpha, **changes)


@pytest.mark.parametrize("options", [{}, {"linear": True}, {"linear": True, "light_wrap": 0.5, "shadows": True}])
def test_opaque_pixels_are_the_source_and_empty_ones_the_background(options) -> None:
    background = torch.arange(256).repeat(3).view(3, 16, 16).repeat(1, 2, 2)[:, :24, :32] / 255
    stage = ReplaceBackground(lambda _: background, 1, **options)
    solid, empty = torch.ones(1, 24, 32), torch.zeros(1, 24, 32)
    for matte in stage(mattes(alpha=solid)):
        assert torch.equal((matte.composite * 255).round().to(torch.uint8), matte.frame.rgb)
        assert torch.equal(matte.composite, matte.frame.rgb / 255)
    if "shadows" not in options:
        for matte in stage(mattes(alpha=empty)):
            assert torch.equal(matte.composite, background)


def test_the_foreground_is_what_is_laid_over() -> None:
    own = torch.full((3, 24, 32), 0.25)
    black = torch.zeros(3, 1, 1)
    for matte in ReplaceBackground(lambda _: black, 1)(mattes(foreground=own)):
        torch.testing.assert_close(matte.composite, matte.alpha * own)


def test_what_is_no_number_does_not_shine_through() -> None:
    """Float files hold NaN and infinity; where alpha is 0 the background must be seen all the same."""
    rgb = torch.rand(3, 24, 32)
    rgb[:, :, 20:] = torch.tensor([float("nan"), float("inf"), -float("inf")]).view(3, 1, 1)
    alpha = torch.ones(1, 24, 32)
    alpha[..., 20:] = 0
    trimap = TrimapFrame(Frame(0, 0, Fraction(1, 24), rgb), torch.zeros(1, 24, 32, dtype=torch.uint8), "key")
    for options in ({}, {"linear": True, "light_wrap": 1.0}):
        stage = ReplaceBackground(lambda _: torch.full((3, 1, 1), 0.25), 8, **options)
        made = next(stage(iter([MatteFrame(trimap, alpha)]))).composite
        assert (made[..., 20:] == 0.25).all()
        assert torch.equal(made[..., :19], rgb[..., :19]) or "light_wrap" in options


def test_the_background_begins_with_the_first_frame() -> None:
    asked = []
    black = torch.zeros(3, 1, 1)
    list(ReplaceBackground(lambda time: asked.append(time) or black, 1)(mattes()))
    assert asked == [0, Fraction(40, 1000), Fraction(80, 1000)]


def test_an_unknown_transfer_is_told_before_the_first_frame() -> None:
    ReplaceBackground(lambda _: torch.zeros(3, 1, 1), 9)
    with pytest.raises(UsageError, match="--no-linear"):
        ReplaceBackground(lambda _: torch.zeros(3, 1, 1), 9, linear=True)


# The command


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames that say their number, 30 a second."""
    return write_clip(tmp_path_factory.mktemp("moving") / "moving.mp4", 20, rate=30, size=(180, 320))


def test_one_pass_writes_the_composite_and_the_matte(green_clip: Path, moving: Path, tmp_path: Path) -> None:
    words = ["greenscreen", str(green_clip), "--background", str(moving), *FAST, "--report", str(tmp_path / "r.json")]
    assert main([*words, "-o", f"{tmp_path}/over/", "-o", f"both:{tmp_path}/matte/", "--end", "4"]) == 0
    with av.open(str(moving)) as container:
        behind = [frame.to_ndarray(format="gbrp") for frame in container.decode(video=0)]
    assert behind[0].shape
    with videomatte.open_source(moving) as source:
        behind = [frame.rgb.permute(1, 2, 0).numpy() / 255 for frame in source]
    with videomatte.open_source(green_clip) as source:
        shot = [(frame.pts * frame.time_base, frame.rgb.permute(1, 2, 0).numpy() / 255) for frame in source]
    for n in range(4):
        composite, opaque = read_png(tmp_path / f"over/{n:06d}.png")
        colour, alpha = read_png(tmp_path / f"matte/{n:06d}.png")
        share = alpha[..., None] / 65535
        back = behind[int((shot[n][0] - shot[0][0]) * 30)]
        assert (opaque == 65535).all()
        # Colour and alpha were each rounded to 16 bits on their way here.
        np.testing.assert_allclose(composite / 65535, colour / 65535 * share + back * (1 - share), atol=3 / 65535)
        solid, empty = alpha == 65535, alpha == 0
        assert 0.05 < solid.mean() < 0.6
        assert empty.mean() > 0.2
        np.testing.assert_array_equal(composite[empty], np.round(back[empty] * 65535))
    resolved = json.loads((tmp_path / "r.json").read_text())["settings"]
    assert (resolved["background"], resolved["fit"]) == (str(moving), "cover")


def test_a_movie_keeps_the_clips_time_and_sound(green_clip: Path, moving: Path, tmp_path: Path) -> None:
    report = videomatte.replace_background(
        green_clip, moving, tmp_path / "out.mp4", model="laplacian", end="3", background_start="5", fit="stretch"
    )
    made = read_av(tmp_path / "out.mp4")
    assert report.frames_out == len(made.pts) == 3
    assert {stage.name for stage in report.stages} >= {"matte", "composite"}
    with av.open(str(green_clip)) as container:
        stream = container.streams.video[0]
        pts = sorted(p.pts * stream.time_base for p in container.demux(stream) if p.size)
    assert made.pts == pts[:3]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 1
    with videomatte.open_source(tmp_path / "out.mp4") as source:
        rgb = next(iter(source)).rgb
    # The bars of its number are above the subject's head.
    assert number_in(torch.cat([rgb[:, :16], rgb[:, :16]], 1)) == 5


def test_transparent_is_the_matte(green_clip: Path, tmp_path: Path) -> None:
    options = {"model": "laplacian", "end": "1"}
    videomatte.replace_background(green_clip, "transparent", f"{tmp_path}/a/", **options)
    videomatte.matte(green_clip, f"{tmp_path}/b/", **options)
    for mine, wanted in zip(read_png(tmp_path / "a/000000.png"), read_png(tmp_path / "b/000000.png"), strict=True):
        assert (mine == wanted).all()
    assert mine.min() == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--background", "red", "--content", "alpha", "-o", "o.mp4"], "--content alpha"),
        (["--background", "red", "--premultiplied", "-o", "o.mov"], "--premultiplied"),
        (["--background", "red", "-o", "alpha:o.mp4"], "seen in no output"),
        (["--background", "red", "--background-start", "3", "-o", "o.mp4"], "has no beginning"),
        (["--background", "#12", "-o", "o.mp4"], "#RRGGBB"),
        (["--background", "transparent", "--shadows", "-o", "o.mov"], "--shadows"),
        (["--background", "transparent", "--light-wrap", "0.5", "-o", "o.mov"], "--light-wrap"),
        (["--background", "transparent", "--background-start", "5", "-o", "o.mov"], "--background-start"),
        (["--background", "transparent", "-o", "o.mp4"], "holds no alpha"),
        (["--background", "transparent", "-o", "composite:o.mp4"], "needs a background"),
        (["--background", "red", "--light-wrap", "2", "-o", "o.mp4"], "--light-wrap"),
        (["--background", "red", "--shadows", "--trimap", "t.png", "-o", "o.mp4"], "--shadows"),
        (["--background", "red", "--key", "green", "--trimap", "t.png", "-o", "o.mp4"], "--trimap"),
        (["--background", "red", "--fit", "crop", "-o", "o.mp4"], "crop"),
        (["-o", "o.mp4"], "--background"),
    ],
)
def test_contradictions_are_refused_before_any_work(
    words: list[str],
    says: str,
    green_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["greenscreen", str(green_clip), *words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_background_that_is_not_there(green_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^{tmp_path}/beach\.jpg: no background"):
        videomatte.replace_background(green_clip, tmp_path / "beach.jpg", tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_the_background_is_never_overwritten(green_clip: Path, moving: Path) -> None:
    before = moving.read_bytes()
    with pytest.raises(UsageError, match="is the background itself"):
        videomatte.replace_background(green_clip, moving, moving, overwrite=True)
    assert moving.read_bytes() == before


def test_it_takes_every_setting_of_a_matte() -> None:
    matte, green = asdict(MatteSettings()), asdict(GreenscreenSettings())
    assert matte.items() <= green.items()


def test_presets_go_from_cheap_to_good() -> None:
    shipped = presets("greenscreen")
    assert set(shipped) == {"draft", "balanced", "best"}
    for name in shipped:
        command = parse(["greenscreen", "c.mp4", "--background", "red", "-o", "o.mp4", "--preset", name])
        assert isinstance(command, Greenscreen)
        values = preset_values("greenscreen", name, GreenscreenSettings)
        assert {key: asdict(command.settings)[key] for key in values} == values


def test_a_contact_sheet_shows_frames_spread_over_the_clip(green_clip: Path, tmp_path: Path) -> None:
    words = [str(green_clip), *FAST, "--sheet", str(tmp_path / "sheet.png"), "--end", "3"]
    assert main(["matte", *words, "-o", str(tmp_path / "m.mov")]) == 0
    assert main(["greenscreen", *words, "--background", "red", "-o", str(tmp_path / "o.mp4"), "--overwrite"]) == 0
    sheet = skimage.io.imread(tmp_path / "sheet.png")
    # Three rows of five tiles of 384 x 216, 8 between them; in the fourth, the composite, the upper left corner is red.
    assert sheet.shape == (3 * (216 + 8) + 8, 5 * (384 + 8) + 8, 3)
    assert sheet[12, 8 + 3 * (384 + 8) + 4].tolist() == [255, 0, 0]
    with videomatte.open_source(green_clip) as source:
        shot = next(iter(source)).rgb
    assert abs(sheet[8 : 8 + 216, 8 : 8 + 384].mean((0, 1)) - shot.float().mean((1, 2)).numpy()).max() < 3


@pytest.mark.parametrize(("name", "says"), [("s.jpg", r"s\.png"), ("none/s.png", "make it first"), ("m.png", "exists")])
def test_a_sheet_that_cannot_be_is_refused_before_any_work(
    name: str, says: str, green_clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.png").write_bytes(b"mine")
    with pytest.raises(VideomatteError, match=says):
        videomatte.matte(green_clip, tmp_path / "m.mov", sheet=tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts * Fraction(p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size]


def test_the_backgrounds_sound_runs_along_with_its_pictures(green_clip: Path, tmp_path: Path) -> None:
    """Its packets are copied; that which sounds with the background's frame 5 is heard with the first picture."""
    clip_sound = sound_of(green_clip)
    behind = tmp_path / "behind.mp4"
    with av.open(str(behind), "w") as movie, av.open(str(green_clip)) as clip:
        pictures = movie.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = movie.add_stream_from_template(clip.streams.audio[0])
        for n in range(20):
            movie.mux(pictures.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * n, np.uint8), "rgb24")))
        movie.mux(pictures.encode())
        for packet in clip.demux(audio=0):
            if packet.size:
                packet.stream = sound
                movie.mux(packet)
    words = ["greenscreen", str(green_clip), "--background", str(behind), "--sound", "background", *FAST]
    assert main([*words, "-o", str(tmp_path / "whole.mp4"), "--end", "4"]) == 0
    made, wanted = sound_of(tmp_path / "whole.mp4"), sound_of(behind)
    with av.open(str(green_clip)) as clip:
        first = min(p.pts * p.time_base for p in clip.demux(video=0) if p.size)
    assert [data for _, data in made] == [data for _, data in wanted][: len(made)]
    assert abs(made[-1][0] - first - wanted[len(made) - 1][0]) < Fraction(1, 40000), "a sample of 48 kHz"
    assert main([*words, "-o", str(tmp_path / "part.mp4"), "--end", "4", "--background-start", "5"]) == 0
    made = sound_of(tmp_path / "part.mp4")
    places = {data: time for time, data in wanted}
    assert all(abs((time - first) - (places[data] - Fraction(5, 25))) < Fraction(1, 40000) for time, data in made)
    assert 0 < len(made) < len(clip_sound)


@pytest.mark.parametrize("background", ["red", "still.png"])
def test_a_background_without_sound_is_told_of(background: str, green_clip: Path, tmp_path: Path) -> None:
    skimage.io.imsave(tmp_path / "still.png", np.zeros((9, 9, 3), np.uint8), check_contrast=False)
    what = background if background == "red" else str(tmp_path / background)
    with pytest.raises(UsageError, match="has no sound"):
        videomatte.replace_background(green_clip, what, tmp_path / "o.mp4", sound="background")
    with pytest.raises(UsageError, match="--no-audio contradict"):
        videomatte.replace_background(green_clip, what, tmp_path / "o.mp4", sound="background", audio=False)
