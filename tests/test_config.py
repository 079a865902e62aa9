"""Settings: one definition, the same from Python, from presets and from flags."""

from dataclasses import asdict
from pathlib import Path

import pytest

from videomatte.cli import Matte, parse
from videomatte.config import MatteSettings, fingerprint, preset_values, presets
from videomatte.errors import InputError, UsageError

ROOT = Path(__file__).parents[1]


def settings(*words: str) -> MatteSettings:
    command = parse(["matte", "clip.mp4", "-o", "out.mov", *words])
    assert isinstance(command, Matte)
    return command.settings


def test_flags_without_preset_are_the_defaults() -> None:
    assert settings() == MatteSettings()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_presets_load_through_the_real_parser(path: Path) -> None:
    command = path.parent.name
    assert presets(command)[path.stem] == path
    words = {"matte": ["clip.mp4"], "greenscreen": ["clip.mp4", "--background", "red"]}[command]
    by_name, by_path = (
        parse([command, *words, "-o", "out.mov", *preset]).settings
        for preset in (["--preset", path.stem], [f"--preset={path}"])
    )
    assert by_name == by_path
    # "best" names what the defaults are today, and stays best should they change.
    assert path.stem == "best" or by_name != type(by_name)(), "a preset that changes nothing is no preset"
    values = preset_values(command, path.stem, type(by_name))
    assert {name: asdict(by_name)[name] for name in values} == values


def test_flags_win_over_the_preset_and_the_preset_over_defaults(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("key: blue\noverwrite: true\ndecoder: av\n")
    chosen = settings("--key", "green", "--preset", str(preset), "--no-overwrite")
    assert (chosen.key, chosen.overwrite, chosen.decoder) == ("green", False, "av")


def test_unknown_key_in_a_preset_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    preset = tmp_path / "typo.yaml"
    preset.write_text("decodr: av\n")
    with pytest.raises(UsageError, match=r"typo\.yaml.*decodr.*did you mean 'decoder'"):
        settings("--preset", str(preset))


def test_wrong_value_in_a_preset_is_refused_like_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "wrong.yaml"
    preset.write_text("decoder: dvd\n")
    with pytest.raises(SystemExit) as exit_:
        settings("--preset", str(preset))
    assert exit_.value.code == 2
    assert "dvd" in capsys.readouterr().err


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'green'"):
        settings("--preset", "gren")


@pytest.mark.parametrize("text", ["- a\n- b\n", "key: [", "\x00"])
def test_preset_that_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    preset = tmp_path / "odd.yaml"
    preset.write_text(text)
    with pytest.raises(InputError, match=r"odd\.yaml"):
        settings("--preset", str(preset))


def test_keyword_arguments_name_the_nearest_setting() -> None:
    assert MatteSettings.of({"key": "blue"}) == MatteSettings(key="blue")
    with pytest.raises(UsageError, match="did you mean 'decoder'"):
        MatteSettings.of({"decodr": "av"})


def test_two_answers_to_one_question_are_refused() -> None:
    with pytest.raises(UsageError, match="--key and --trimap"):
        MatteSettings(key="green", trimap=Path("t.png"))


def test_every_setting_is_explained_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(["matte", "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for name in asdict(MatteSettings()):
        assert f"--{name.replace('_', '-')}" in text


def test_fingerprint_follows_values_not_order() -> None:
    assert fingerprint({"a": 1, "b": Path("x")}) == fingerprint({"b": Path("x"), "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
