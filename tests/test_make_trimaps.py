"""The trimap command and the keyframes that commands take, on a short clip whose truth is known."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.keyframes import Keyframes, keyframe_paths, named_files
from videomatte.cli import main
from videomatte.config import MatteSettings
from videomatte.errors import InputError, UsageError
from videomatte.io import open_source, probe
from videomatte.io.picture import write_picture
from videomatte.types import unit_range


def read(path: Path) -> list[Tensor]:
    """The pictures with 255 at white, whole numbers where the file has 8 bits."""
    with open_source(path) as source:
        return [unit_range(frame.rgb) * 255 for frame in source]


def trimaps(clip: Path) -> list[Path]:
    return sorted((clip.parent / "trimap").glob("*.png"))


def test_one_keyframe_more_does_only_its_stretch_anew(green_clip: Path, tmp_path: Path) -> None:
    first, *_, seventh = trimaps(green_clip)[:7]
    output, look, report = tmp_path / "trimaps", tmp_path / "look.mkv", tmp_path / "report.json"
    words = ["trimap", str(green_clip), "-o", str(output), "--model", "laplacian", "--quiet"]
    given = ["--trimap", f"0={first}", "--trimap", f"6={seventh}"]
    assert main([*words, *given, "--overlay", str(look), "--report", str(report)]) == 0
    before = read(output)
    assert len(before) == 8
    assert {round(float(value), 3) for picture in before for value in picture.unique()} == {0, 128, 255}
    assert torch.allclose(before[6], read(seventh)[0], atol=0.01)
    assert len(read(look)) == 8
    assert all(set(one) == {"frame", "reason", "score"} for one in json.loads(report.read_text())["paint_next"])

    # A mark in every picture shows which are read again and which are done anew.
    for index, picture in enumerate(before):
        marked = picture.round().byte()
        marked[:, :6, :6] = 255
        write_picture(output / f"{index:06d}.png", marked)
    assert main([*words, *given, "--trimap", f"3={trimaps(green_clip)[3]}"]) == 0
    after = read(output)
    kept = [bool((picture[:, :6, :6] == 255).all()) for picture in after]
    assert kept == [False] * 6 + [True] * 2
    assert torch.allclose(after[3], read(trimaps(green_clip)[3])[0], atol=0.01)


def test_without_keyframes_it_writes_what_the_key_gives(green_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "key.mkv"
    assert main(["trimap", str(green_clip), "-o", str(output), "--key", "green", "--end", "2", "--quiet"]) == 0
    (first, _) = read(output)
    assert first.round().unique().tolist() == [0, 128, 255]


def test_matte_takes_keyframes_and_names_what_to_paint(green_clip: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "matte", tmp_path / "report.json"
    words = ["matte", str(green_clip), "--trimap", f"2={trimaps(green_clip)[2]}", "-o", f"alpha:{output}"]
    options = ["--model", "laplacian", "--foreground", "source", "--temporal", "0", "--end", "5", "--quiet"]
    assert main([*words, *options, "--report", str(report)]) == 0
    alphas = read(output)
    true = read(green_clip.parent / "alpha")[: len(alphas)]
    assert len(alphas) == 5
    for alpha, truth in zip(alphas, true, strict=True):
        wrong = ((alpha > 127) != (truth > 127)).float().mean()
        assert wrong < 0.02
    assert "paint_next" in json.loads(report.read_text())


def test_mattes_go_on_top_of_keyframes(green_clip: Path, tmp_path: Path) -> None:
    """Two keyframes make pieces of the clip, and each finds the mattes of its own frames."""
    first, *_, seventh = trimaps(green_clip)[:7]
    height, width = read(first)[0].shape[1:]
    keep = tmp_path / "keep.png"
    corner = torch.zeros(3, height, width, dtype=torch.uint8)
    corner[:, :10, :10] = 255
    write_picture(keep, corner)
    (drop := tmp_path / "drop").mkdir()
    for index in range(8):
        column = torch.zeros(3, height, width, dtype=torch.uint8)
        column[:, :, 20 + 2 * index : 24 + 2 * index] = 255
        write_picture(drop / f"{index:04d}.png", column)
    given = ["--trimap", f"0={first}", "--trimap", f"6={seventh}", "--model", "laplacian", "--quiet"]
    output = tmp_path / "plain"
    assert main(["trimap", str(green_clip), "-o", str(output), *given]) == 0
    plain = read(output)
    given += ["--keep", str(keep), "--drop", str(drop)]
    output = tmp_path / "amended"
    assert main(["trimap", str(green_clip), "-o", str(output), *given]) == 0
    for index, (trimap, without) in enumerate(zip(read(output), plain, strict=True)):
        expected = without.clone()
        expected[..., 20 + 2 * index : 24 + 2 * index] = 0
        expected[:, :10, :10] = 255
        # What a matte makes sure changes alphas around it, and with them the frames that are carried from these.
        assert (trimap[:, :10, :10] == 255).all()
        assert (trimap[..., 20 + 2 * index : 24 + 2 * index] == 0).all()
        assert (trimap != expected).float().mean() < 0.02
    output = tmp_path / "alpha"
    words = ["matte", str(green_clip), "-o", f"alpha:{output}", "--foreground", "source", "--temporal", "0"]
    assert main([*words, *given]) == 0
    for index, alpha in enumerate(read(output)):
        assert (alpha[:, :10, :10] == 255).all()
        assert (alpha[..., 20 + 2 * index : 24 + 2 * index] == 0).all()


def test_what_a_path_means(green_clip: Path, tmp_path: Path) -> None:
    info = probe(green_clip)
    paths = trimaps(green_clip)
    assert keyframe_paths([str(paths[0])], info) == {0: paths[0]}
    assert keyframe_paths([f"5={paths[5]}", f"1={paths[1]}"], info) == {5: paths[5], 1: paths[1]}
    assert keyframe_paths([str(paths[0].parent)], info) is None, "one for every frame"
    for number in (2, 6):
        shutil.copy(paths[number], tmp_path / f"shot1_{number:04d}.png")
    assert sorted(keyframe_paths([str(tmp_path)], info) or ()) == [2, 6]
    equals = tmp_path / "3=odd.png"
    shutil.copy(paths[0], equals)
    assert keyframe_paths([str(equals)], info) == {0: equals}
    assert named_files([str(equals), "4=there.png"]) == {"trimap 0": str(equals), "trimap 1": "there.png"}


def test_settings_take_one_path_or_a_dictionary() -> None:
    assert MatteSettings.of({"trimap": Path("a.png")}).trimap == ("a.png",)
    assert MatteSettings.of({"trimap": {0: "a.png", 48: "b.png"}}).trimap == ("0=a.png", "48=b.png")
    assert MatteSettings.of({"trimap": None}).trimap == ()


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (["a.png", "3=b.png"], UsageError, "each needs its frame's number"),
        (["3=a.png", "3=b.png"], UsageError, "frame 3 has two"),
    ],
)
def test_what_cannot_be_meant_is_refused(green_clip: Path, given: list[str], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        keyframe_paths(given, probe(green_clip))


def test_keyframes_are_checked_before_work_begins(green_clip: Path, tmp_path: Path) -> None:
    info = probe(green_clip)
    empty = torch.zeros(3, info.height, info.width, dtype=torch.uint8)
    write_picture(tmp_path / "empty.png", empty)
    with pytest.raises(InputError, match="no sure foreground"):
        Keyframes({0: tmp_path / "empty.png"}, info)
    Keyframes({0: trimaps(green_clip)[0], 5: tmp_path / "empty.png"}, info)
    write_picture(tmp_path / "small.png", empty[:, ::2])
    with pytest.raises(InputError, match="at the size of the clip"):
        Keyframes({0: tmp_path / "small.png"}, info)


def test_a_mask_for_a_keyframe_gets_a_band(green_clip: Path, tmp_path: Path) -> None:
    info = probe(green_clip)
    mask = torch.zeros(3, info.height, info.width, dtype=torch.uint8)
    mask[:, 50:130, 100:200] = 255
    write_picture(tmp_path / "mask.png", mask)
    trimap = Keyframes({0: tmp_path / "mask.png"}, info)[0]
    assert trimap.unique().tolist() == [0, 128, 255]
    assert trimap[0, 50, 150] == 128
    assert trimap[0, 90, 150] == 255
