"""The README's commands and snippets run as they stand."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from videomatte.cli import main

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
pytest.importorskip("pymatting")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_commands_and_snippets_run_in_order(green_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, in one folder, as a reader would: later commands use what earlier ones left."""
    shutil.copytree(green_clip.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("console") for line in block.splitlines() if line.startswith("videomatte ")]
    assert len(commands) >= 6
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    snippets = blocks("python")
    assert len(snippets) >= 2
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})
    for name in ("matte.mov", "matte.webm", "frames", "traced.mov", "cutout.png", "composed.mov"):
        assert (tmp_path / name).exists(), name


def test_make_targets_named_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
