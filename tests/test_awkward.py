"""Awkward files, end to end: a correct result, or one clear line and nothing under the output's name."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import videomatte
import videomatte.types
from videomatte.cli import main
from videomatte.errors import InputError
from videomatte.types import Frame, MatteFrame, TrimapFrame

MUST_FAIL = {
    "zero_bytes.mp4": "empty",
    "truncated_faststart.mp4": "frame",
    "truncated_no_moov.mp4": "",
    "audio_only.m4a": "no video",
    "resolution_change.ts": "256 ?[x×] ?192",
}
MUST_WORK = {"single_frame.mp4": 1, "vfr_irregular.mp4": 40, "interlaced_tff.mpg": 23, "odd_255x193_yuv444.mp4": 24}


def awkward_files(data: Path) -> list[Path]:
    folder = data / "10_awkward"
    return sorted(p for p in [*folder.iterdir(), *(folder / "made").iterdir()] if p.is_file())


def luma_mattes(frames: Iterator[Frame]) -> Iterator[MatteFrame]:
    """A user's own pair of stages: brightness as alpha, enough to carry any picture through the line."""
    for frame in frames:
        alpha = videomatte.types.unit_range(frame.rgb).clamp(0, 1).mean(0, keepdim=True)
        trimap = TrimapFrame(frame, torch.full_like(alpha, 128, dtype=torch.uint8), "generated")
        yield MatteFrame(trimap, alpha)


def carry(clip: Path, output: Path, end: str | None = None) -> list[Frame]:
    """Decode → sink, without a model; the frames that went in."""
    seen = []
    with videomatte.open_source(clip, end=end) as source, videomatte.open_sink(output, source.info) as sink:
        for matte in luma_mattes(iter(source)):
            seen.append(matte.frame)
            sink.write(matte)
    return seen


def test_every_file_gives_a_result_or_one_clear_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = awkward_files(data)
    assert len(files) >= 20
    for file in files:
        output = tmp_path / f"{file.name}.mov"
        words = ["matte", str(file), "-o", str(output), "--key", "green", "--quiet"]
        if file.name not in MUST_FAIL:
            # Whole files go through below, without the solver's seconds; what refines mattes knows nothing of files.
            words += ["--end", "2", "--foreground", "source", "--temporal", "0"]
        started = time.monotonic()
        code = main(words)
        assert time.monotonic() - started < 60, f"{file.name}: the promise to users"
        said = capsys.readouterr().err
        assert code in (0, 1), f"{file.name}: {said}"
        assert output.exists() == (code == 0)
        if code == 1:
            assert said.count("\n") == 1, f"{file.name}: {said}"
            assert said.startswith("videomatte: ")
            assert "internal error" not in said
            assert file.stem in said, f"{file.name}: the line names the file: {said}"
        output.unlink(missing_ok=True)
        assert not list(tmp_path.iterdir()), f"{file.name} left something behind"


@pytest.mark.parametrize("name", MUST_FAIL)
def test_what_cannot_be_read_whole_is_refused_by_name(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"(?s){name}.*{MUST_FAIL[name]}"):
        carry(data / "10_awkward" / "made" / name, tmp_path / "out.mov")
    assert not list(tmp_path.iterdir())


def test_every_readable_file_keeps_count_clock_and_size(data: Path, tmp_path: Path) -> None:
    for file in awkward_files(data):
        if file.name in MUST_FAIL:
            continue
        output = tmp_path / f"{file.name}.mov"
        went_in = carry(file, output, end="60")
        with videomatte.open_source(output) as source:
            came_out = list(source)
        assert len(went_in) == MUST_WORK.get(file.name, len(went_in))
        assert [f.pts * f.time_base for f in came_out] == [f.pts * f.time_base for f in went_in], file.name
        assert {f.rgb.shape for f in came_out} == {f.rgb.shape for f in went_in}, file.name
        output.unlink()
