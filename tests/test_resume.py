"""What is finished outlasts whatever stops a run, and the same command makes of it what an undisturbed run makes."""

import json
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import av
import interrupted
import pytest
import torch

import videomatte
from videomatte.cli import main
from videomatte.errors import InputError, OutputError
from videomatte.io import segments, tee
from videomatte.scenes import SceneSettings, write_clip
from videomatte.types import MatteFrame, RunReport, TrimapFrame

FRAMES, LENGTH = 8, 3
SETTINGS: dict[str, object] = {"key": "green", "model": "laplacian", "foreground": "source", "temporal": 0.0}
OUTPUTS = ["m.mov", "m.webm", "ffv1:m.mkv", "frames/", "alpha:matte.mp4"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = SceneSettings(width=96, height=64, frames=FRAMES, seed=3, backdrop="green")
    return write_clip(scene, tmp_path_factory.mktemp("clip"))


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEGMENT_FRAMES", "SHORT_SEGMENT_FRAMES"):
        monkeypatch.setattr(segments, name, LENGTH)


def inside(folder: Path, name: str) -> str:
    words, colon, path = name.rpartition(":")
    return f"{words}{colon}{folder}/{path}"


def file_of(folder: Path, name: str) -> Path:
    return folder / name.rpartition(":")[2]


def work(path: Path) -> Path:
    return path.with_name(f".{path.name}.videomatte")


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All outputs of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SEGMENT_FRAMES", "SHORT_SEGMENT_FRAMES"):
            patch.setattr(segments, name, LENGTH)
        videomatte.matte(clip, [inside(folder, name) for name in OUTPUTS], **SETTINGS)
    return folder


class Stopped(Exception):  # noqa: N818 - says what happened
    pass


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None, BaseException], None]:
    """Has a run fail when the frame of this number is written."""
    plain = tee.Tee.write

    def arrange(number: int | None, error: BaseException) -> None:
        def write(self: tee.Tee, matte: MatteFrame) -> None:
            if matte.frame.index == number:
                raise error
            plain(self, matte)

        monkeypatch.setattr(tee.Tee, "write", write)

    return arrange


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Fresh processes that have everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["interrupted", "pipelines.process_clip", "videomatte.models.laplacian"])
    return context


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("name", OUTPUTS[:4])
def test_a_killed_run_goes_on_to_the_very_same_frames(
    name: str, clip: Path, undisturbed: Path, tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def run(kill_at: int | None) -> int | None:
        process = processes.Process(
            target=interrupted.run, args=(clip, [inside(folder, name)], folder, kill_at, SETTINGS)
        )
        process.start()
        process.join(60)
        return process.exitcode

    assert run(None) == 0
    events = int((tmp_path / "events").read_text())
    shutil.rmtree(folder)
    folder.mkdir()
    draw = random.Random(name)  # killed at some of its dealings with the disk, twice, before it may end
    # The last three are those that leave no trace of the work: nothing is to be gone on with behind them.
    assert run(draw.randrange(events // 2, events - 3)) == -signal.SIGKILL
    if not file_of(folder, name).exists():
        assert run(draw.randrange(3, 12)) == -signal.SIGKILL
    assert run(None) == 0
    assert [p.name for p in folder.iterdir()] == [file_of(folder, name).name]
    assert interrupted.content(file_of(folder, name)) == interrupted.content(file_of(undisturbed, name))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_after_an_error_the_same_command_goes_on(
    error: BaseException,
    clip: Path,
    undisturbed: Path,
    tmp_path: Path,
    stop_at: Callable,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ["matte", str(clip), *(f"--{name}={value}" for name, value in SETTINGS.items()), "--quiet"]
    words += [word for name in OUTPUTS for word in ("-o", inside(tmp_path, name))]
    stop_at(7, error)
    assert main(words) in (130, 143)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("; the same command goes on from frame 6")
    assert all(p.name.startswith(".") for p in tmp_path.iterdir()), "nothing unfinished has a name that people see"
    stop_at(None, error)
    assert main(words) == 0
    assert f"{tmp_path}/m.mov: going on from frame 6, 6 finished frames are there" in caplog.messages
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(file_of(tmp_path, name).name for name in OUTPUTS)
    for name in OUTPUTS:
        assert interrupted.content(file_of(tmp_path, name)) == interrupted.content(file_of(undisturbed, name))


def test_before_a_segment_is_finished_an_error_leaves_nothing(clip: Path, tmp_path: Path, stop_at: Callable) -> None:
    stop_at(2, Stopped())
    with pytest.raises(Stopped) as caught:
        videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    assert not hasattr(caught.value, "__notes__")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def left(clip: Path, tmp_path: Path, stop_at: Callable) -> Path:
    """What would have become ``m.mov``, stopped at frame 7, six frames finished."""
    stop_at(7, Stopped())
    with pytest.raises(Stopped):
        videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    stop_at(None, Stopped())
    return work(tmp_path / "m.mov")


def test_matting_goes_on_where_it_stopped_and_keying_does_not(
    left: Path, clip: Path, undisturbed: Path, tmp_path: Path
) -> None:
    report = videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    assert (report.frames_in, report.frames_out) == (FRAMES, 2)
    assert any("going on from frame 6" in note for note in report.fallbacks)
    assert interrupted.content(tmp_path / "m.mov") == interrupted.content(undisturbed / "m.mov")


def test_stages_that_look_around_see_what_they_would_have(clip: Path, tmp_path: Path, stop_at: Callable) -> None:
    """A filter over time needs the mattes before the first that is wanted, and batches their own frames."""
    settings = SETTINGS | {"temporal": 1.0, "batch": 2}  # segments of four frames, then
    videomatte.matte(clip, tmp_path / "whole.mov", **settings)
    stop_at(6, Stopped())
    with pytest.raises(Stopped):
        videomatte.matte(clip, tmp_path / "m.mov", **settings)
    stop_at(None, Stopped())
    assert videomatte.matte(clip, tmp_path / "m.mov", **settings).frames_out == 4
    assert interrupted.content(tmp_path / "m.mov") == interrupted.content(tmp_path / "whole.mov")


@pytest.mark.parametrize("change", [{"key": "auto"}, {"end": "7"}])
def test_other_settings_start_over_and_say_so(
    change: dict[str, object], left: Path, clip: Path, tmp_path: Path
) -> None:
    report = videomatte.matte(clip, tmp_path / "m.mov", **(SETTINGS | change))
    (name,) = change
    assert any(f"{name} changed since a run that left 6 finished frames: starting over" in n for n in report.fallbacks)
    assert report.frames_out == int(str(change.get("end", FRAMES)))
    assert not left.exists()


def test_a_changed_clip_starts_over_and_says_so(left: Path, clip: Path, tmp_path: Path) -> None:
    times = clip.stat()
    os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns + 1000))
    report = videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert any("the clip has changed since" in note for note in report.fallbacks)
    assert report.frames_out == FRAMES


def test_a_damaged_segment_is_made_again_with_all_behind_it(
    left: Path, clip: Path, undisturbed: Path, tmp_path: Path
) -> None:
    second = left / "000001.mov"
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(data)
    report = videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    assert any("going on from frame 3" in n and "after frame 3 are damaged" in n for n in report.fallbacks)
    assert interrupted.content(tmp_path / "m.mov") == interrupted.content(undisturbed / "m.mov")


def test_a_manifest_that_nobody_understands_starts_over(left: Path, clip: Path, tmp_path: Path) -> None:
    (left / "manifest.json").write_text("{")
    assert videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS).frames_out == FRAMES


def test_several_outputs_go_on_from_the_first_frame_that_one_lacks(
    left: Path, clip: Path, undisturbed: Path, tmp_path: Path
) -> None:
    manifest = json.loads((left / "manifest.json").read_text())
    assert [(s["first"], s["end"]) for s in manifest["segments"]] == [(0, 3), (3, 6)]
    names = ["m.mov", "frames/"]
    report = videomatte.matte(clip, [inside(tmp_path, name) for name in names], **SETTINGS)
    assert any("m.mov: going on from frame 6" in note for note in report.fallbacks)
    assert report.frames_out == FRAMES
    for name in names:
        assert interrupted.content(file_of(tmp_path, name)) == interrupted.content(file_of(undisturbed, name))


def test_outputs_of_long_and_short_segments_go_on_together(
    clip: Path, undisturbed: Path, tmp_path: Path, stop_at: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leans on other frames in one of them: its segments are short, and it has more of them already."""
    monkeypatch.setattr(segments, "SEGMENT_FRAMES", 6)
    names = ["m.mov", "alpha:matte.mp4"]
    outputs = [inside(tmp_path, name) for name in names]
    stop_at(5, Stopped())
    with pytest.raises(Stopped) as caught:
        videomatte.matte(clip, outputs, **SETTINGS)
    assert not hasattr(caught.value, "__notes__"), "the other one has nothing to go on with"
    stop_at(7, Stopped())
    with pytest.raises(Stopped) as caught:
        videomatte.matte(clip, outputs, **SETTINGS)
    assert caught.value.__notes__ == ["the same command goes on from frame 6"]
    stop_at(None, Stopped())
    assert videomatte.matte(clip, outputs, **SETTINGS).frames_out == 2
    assert interrupted.content(tmp_path / "m.mov") == interrupted.content(undisturbed / "m.mov")
    with av.open(str(tmp_path / "matte.mp4")) as movie:
        assert [packet.is_keyframe for packet in movie.demux(video=0) if packet.size] == [
            n % 6 == 0 for n in range(FRAMES)
        ]


def test_one_run_at_a_time_on_one_output(clip: Path, tmp_path: Path, stop_at: Callable) -> None:
    path = tmp_path / "m.mov"
    with videomatte.open_source(clip) as source, videomatte.open_sink(path, source.info) as sink:
        with pytest.raises(OutputError, match=rf"m.mov: another run is writing it \(process {os.getpid()} on .*\)"):
            videomatte.matte(clip, path, overwrite=True, **SETTINGS)
        trimap = torch.zeros((1, 64, 96), dtype=torch.uint8)
        for frame in source:  # the first goes on undisturbed
            sink.write(MatteFrame(TrimapFrame(frame, trimap, "key"), trimap.float()))
    assert [p.name for p in tmp_path.iterdir()] == ["m.mov"]


def test_a_full_disk_keeps_what_is_finished(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: segments fit, and the whole does not."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = (undisturbed / "m.mov").stat().st_size * 2 // 3
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(OutputError, match=r"m\.mov: cannot be written: file too large") as caught:
            videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.__notes__ == ["the same command goes on to its end"]
    report = videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    assert (report.frames_in, report.frames_out) == (0, 0), "all frames were there: nothing is decoded again"
    assert interrupted.content(tmp_path / "m.mov") == interrupted.content(undisturbed / "m.mov")


def test_a_clip_that_is_gone_is_one_line_and_loses_nothing(left: Path, clip: Path, tmp_path: Path) -> None:
    away = clip.rename(clip.with_name("away.mp4"))
    try:
        with pytest.raises(InputError, match=r"clip\.mp4"):
            videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS)
    finally:
        away.rename(clip)
    assert videomatte.matte(clip, tmp_path / "m.mov", **SETTINGS).frames_out == 2


def test_a_composite_goes_on_with_the_background_where_it_was(clip: Path, tmp_path: Path, stop_at: Callable) -> None:
    from pipelines.greenscreen import replace_background

    def run(output: Path) -> RunReport:
        return replace_background(clip, clip, output, **(SETTINGS | {"temporal": 1.0}))

    run(tmp_path / "whole.mp4")
    stop_at(7, Stopped())
    with pytest.raises(Stopped):
        run(tmp_path / "m.mp4")
    stop_at(None, Stopped())
    assert any("going on from frame 6" in note for note in run(tmp_path / "m.mp4").fallbacks)
    assert interrupted.content(tmp_path / "m.mp4") == interrupted.content(tmp_path / "whole.mp4")
