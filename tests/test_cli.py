"""The command line: exit codes, one-line errors, what is printed where."""

import json
from pathlib import Path

import pytest

from videomatte.cli import main


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_no_words_and_wrong_words_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["matte"]) == 2
    assert main(["mate", "clip.mp4"]) == 2
    assert main(["matte", "clip.mp4", "-o", "m.mov", "--batsh", "4"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_contradictory_settings_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matte", "clip.mp4", "-o", "m.mov", "--key", "green", "--trimap", "t.png"]) == 2
    assert "--key and --trimap" in capsys.readouterr().err


def test_missing_clip_is_one_line_and_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matte", str(tmp_path / "none.mp4"), "-o", str(tmp_path / "m.mov")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("videomatte: ")
    assert "none.mp4" in error
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "none.mp4"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_unknown_extension_is_refused_before_any_work(
    green_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matte", str(green_clip), "-o", str(tmp_path / "m.mp4")]) == 2
    assert ".mov" in last_error(capsys), "the nearest format that works is named"
    assert not list(tmp_path.iterdir())


def test_existing_output_is_kept_unless_told_otherwise(
    green_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.mov"
    output.write_text("precious")
    words = ["matte", str(green_clip), "-o", str(output), "--end", "1", "--quiet"]
    assert main(words) != 0
    assert "--overwrite" in last_error(capsys)
    assert output.read_text() == "precious"
    assert main([*words, "--overwrite"]) == 0
    assert output.stat().st_size > 1000


def test_bad_device_and_model_are_named(green_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["matte", str(green_clip), "-o", str(tmp_path / "m.mov"), "--quiet"]
    assert main([*words, "--device", "warp"]) == 2
    assert "warp" in last_error(capsys)
    assert main([*words, "--model", "no-such-model"]) in (1, 2)
    assert "no-such-model" in last_error(capsys)
    assert not list(tmp_path.iterdir())


def test_info_says_what_is_there(green_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(green_clip), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["width"], info["height"], info["codec"]) == (320, 180, "h264")
    assert len(info["audio"]) == 1
    assert main(["info", str(green_clip)]) == 0
    table = capsys.readouterr().out
    assert "320 x 180" in table
    assert "h264" in table


def test_quiet_prints_nothing(green_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["matte", str(green_clip), "-o", str(tmp_path / "m.mov"), "--end", "2"]
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*words, "--overwrite"]) == 0
    printed = capsys.readouterr()
    assert "2 frames" in printed.out
    assert "frame" in printed.err, "progress goes to standard error"


def test_evaluate_of_truth_against_itself_is_zero(green_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alpha = str(green_clip.parent / "alpha")
    assert main(["evaluate", alpha, alpha, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["errors"]["mad"] == 0


def test_models_tells_licences_and_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["laplacian"]["present"]
    assert "research only" in entries["hustvl/vitmatte-small-composition-1k"]["data_licence"]
    assert main(["models"]) == 0
    assert "laplacian  (ready)" in capsys.readouterr().out
