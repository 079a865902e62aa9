"""What is tried, how it is measured, and where what was found goes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import pytest
import yaml

from videomatte.cli import Matte, main, parse
from videomatte.engine.halving import Duel, Trial
from videomatte.engine.tuning import Knobs, TuneReport, advice, candidates, steady_seconds, words
from videomatte.errors import UsageError
from videomatte.layers import tuned_preset
from videomatte.scenes import SceneSettings, write_clip
from videomatte.tuned import machine_name, tuned_path, write_preset
from videomatte.types import StageReport

DEFAULT = Knobs(1, "auto", "auto", compile=False, decoder_threads=0, encoder_threads=0)


@pytest.fixture(autouse=True)
def config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def test_candidates_are_the_default_each_change_alone_and_then_some() -> None:
    options = {"batch": (1, 2, 4), "precision": ("auto", "fp32"), "encoder_threads": (0, 1, 2)}
    found = candidates(DEFAULT, options, most=10)
    assert found[0] == DEFAULT
    assert len(found) == len(set(found)) == 10
    alone = {knobs for knobs in found if sum(a != b for a, b in zip(knobs, DEFAULT, strict=True)) == 1}
    assert len(alone) == 2 + 1 + 2
    assert len(candidates(DEFAULT, options, most=100)) == 3 * 2 * 3
    assert candidates(DEFAULT, {}, most=10) == [DEFAULT]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_full_line_is_timed_whatever_is_done_first_and_last(batch: int) -> None:
    """A simulated line: a slow start, batches of ``batch`` at 0.5 s a frame, a stage that looks one frame ahead."""
    frames, per_frame, look_ahead = 24, 0.5, 1
    done = [10 + per_frame * batch * (i // batch + 1) for i in range(frames)]
    marks = [done[min(i + look_ahead, frames - 1)] for i in range(frames)]
    assert steady_seconds(marks, batch) == pytest.approx(per_frame)
    assert steady_seconds(marks[: 2 * batch], batch) == float("inf"), "too short to tell"


def test_bottleneck_is_named_with_what_would_move_it() -> None:
    stages = [StageReport("decode", 0.7, 0.7), StageReport("matte", 0.2, 0.2), StageReport("encode", 0.1, 0.1)]
    assert "decode takes 70%" in advice(stages)
    assert "--decoder-threads" in advice(stages)
    assert "a smaller model" in advice([replace(stages[0], name="matte")])


def test_report_in_words_has_the_gain_the_memory_and_the_table() -> None:
    best = DEFAULT._replace(batch=4)
    trials = (Trial(best, 8, (0.5, 0.52)), Trial(DEFAULT, 8, (1.0, 1.1)))
    report = TuneReport(
        clip="c.mp4",
        size=(64, 48),
        model="embedded",
        machine="m",
        unknown=0.1,
        stages=(StageReport("matte", 1.0, 1.0),),
        trials=trials,
        duel=Duel(Trial(DEFAULT, 8, (1.0, 1.2)), Trial(best, 8, (0.5, 0.5))),
        chosen=best,
        memory_by_batch={1: 10**6, 4: 4 * 10**6},
        predicted_bytes=4 * 10**6,
        measured_bytes=5 * 10**6,
        preset="p.yaml",
    )
    text = words(report)
    assert "2.20 times as fast (2.00 to 2.40)" in text
    assert "predicted 4 MB, measured 5 MB" in text
    assert report.gain == pytest.approx(2.2)


def settings_of(words: list[str], clip: Path) -> tuple[Matte, Path | None]:
    command = parse(words)
    assert isinstance(command, Matte)
    tuned = tuned_preset(words[0], clip, command.settings)
    again = parse(words, tuned) if tuned else command
    assert isinstance(again, Matte)
    return again, tuned


def test_tuned_stands_before_preset_and_flags_and_behind_the_defaults(green_clip: Path, tmp_path: Path) -> None:
    path = tuned_path(machine_name("cpu"), 320, 180, "embedded")
    write_preset(path, {"batch": 4, "precision": "fp32", "encoder_threads": 2}, "found\nhere")
    preset = tmp_path / "mine.yaml"
    preset.write_text("precision: auto\nencoder_threads: 3\n")
    words = ["matte", str(green_clip), "-o", "m.mov", "--device", "cpu"]
    command, tuned = settings_of(words, green_clip)
    assert tuned == path
    chosen = command.settings
    assert (chosen.batch, chosen.precision, chosen.encoder_threads, chosen.regions) == (4, "fp32", 2, "auto")
    chosen = settings_of([*words, "--preset", str(preset), "--encoder-threads", "0"], green_clip)[0].settings
    assert (chosen.batch, chosen.precision, chosen.encoder_threads) == (4, "auto", 0)
    assert settings_of([*words, "--batch", "1"], green_clip)[0].settings.batch == 1, "a flag wins, default or not"


def test_tuned_is_for_that_machine_size_and_model_alone(green_clip: Path) -> None:
    words = ["matte", str(green_clip), "-o", "m.mov", "--device", "cpu"]
    here = machine_name("cpu")
    for machine, width, model in (("other", 320, "embedded"), (here, 321, "embedded"), (here, 320, "laplacian")):
        write_preset(tuned_path(machine, width, 180, model), {"batch": 4}, "")
    command, tuned = settings_of(words, green_clip)
    assert tuned is None
    assert command.settings.batch == 1
    assert settings_of([*words, "--model", "laplacian"], green_clip)[0].settings.batch == 4


def test_checkpoints_of_one_name_are_two_models(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "model.safetensors" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    assert len({tuned_path("m", 64, 48, str(path)) for path in paths}) == 2


def test_a_damaged_tuned_preset_names_its_file(
    green_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_preset(tuned_path(machine_name("cpu"), 320, 180, "embedded"), {"batsh": 4}, "")
    assert main(["matte", str(green_clip), "-o", str(tmp_path / "m.mov"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "embedded.yaml" in error
    assert "batsh" in error


def test_tune_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(SceneSettings(width=96, height=64, frames=6, seed=3, backdrop="green"), tmp_path / "scene")
    saved, report, picture = (tmp_path / name for name in ("mine.yaml", "tune.json", "tune.png"))
    tuning = ["tune", str(clip), "--key", "green", "--model", "laplacian", "--frames", "6", "--device", "cpu"]
    assert main([*tuning, "--save", str(saved), "--report", str(report), "--picture", str(picture)]) == 0
    text = capsys.readouterr().out
    assert "of the work" in text
    found = json.loads(report.read_text())
    assert found["stages"][0]["name"] == "decode"
    assert sum(stage["share"] for stage in found["stages"]) == pytest.approx(1)
    assert found["gain"] >= 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    if found["preset"] is not None:
        values = yaml.safe_load(saved.read_text())
        assert parse(["matte", "c.mp4", "-o", "m.mov", "--preset", str(saved)]).settings.batch == values.get("batch", 1)  # type: ignore[attr-defined]
    assert (found["preset"] is not None) == saved.exists()


def test_a_later_run_says_that_it_used_what_was_tuned(
    green_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tuned_path(machine_name("cpu"), 320, 180, "laplacian")
    write_preset(path, {"batch": 2}, "")
    output, report = tmp_path / "m.mov", tmp_path / "r.json"
    run = ["matte", str(green_clip), "-o", str(output), "--model", "laplacian", "--end", "3", "--device", "cpu"]
    assert main([*run, "--report", str(report)]) == 0
    assert f"tuned for this machine: {path}" in capsys.readouterr().out
    said = json.loads(report.read_text())
    assert (said["tuned"], said["settings"]["batch"], said["frames_out"]) == (str(path), 2, 3)


def test_tune_refuses_what_it_cannot_measure(green_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(green_clip), "--frames", "1"]) == 2
    assert "--frames" in capsys.readouterr().err
    assert main(["tune", str(green_clip), "--end", "5"]) == 2
    assert "--end" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_reach_decoder_and_encoder_and_change_no_frame(green_clip: Path, tmp_path: Path, threads: int) -> None:
    run = ["matte", str(green_clip), "--model", "laplacian", "--end", "3", "--quiet", "--device", "cpu"]
    files = [tmp_path / "a.mkv", tmp_path / f"b{threads}.mkv"]
    flags = ["--decoder-threads", str(threads), "--encoder-threads", str(threads)]
    for file, more in zip(files, ([], flags), strict=True):
        assert main([*run, "-o", str(file), *more]) == 0
    pictures = []
    for file in files:
        with av.open(str(file)) as movie:
            pictures.append([frame.to_ndarray().tobytes() for frame in movie.decode(video=0)])
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 3


def test_negative_threads_are_refused() -> None:
    with pytest.raises((UsageError, SystemExit)):
        parse(["matte", "c.mp4", "-o", "m.mov", "--decoder-threads", "-1"])
