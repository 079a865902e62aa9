"""The line end to end: a clip with known truth in, alpha video out, and what happens when something breaks."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import torch

import videomatte
from pipelines import line, process_clip as pipeline
from videomatte.cli import main
from videomatte.matting import open_matting
from videomatte.refine import Foreground, Temporal
from videomatte.trimaps import ChromaKey
from videomatte.types import Frame, MatteFrame, TrimapFrame

pytest.importorskip("pymatting")


def read(path: Path) -> list[Frame]:
    with videomatte.open_source(path) as source:
        return list(source)


def pts_seconds(frames: list[Frame]) -> list[float]:
    return [frame.seconds for frame in frames]


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_every_frame_arrives_on_time_at_full_size(green_clip: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"matte{suffix}"
    report = videomatte.matte(green_clip, output)
    source, result = read(green_clip), read(output)
    assert len(result) == len(source) == report.frames_in == report.frames_out
    # WebM counts in milliseconds, so its times are right to half of one; MOV keeps the clip's own ticks.
    assert pts_seconds(result) == pytest.approx(pts_seconds(source), abs=5.1e-4 if suffix == ".webm" else 1e-9)
    assert {(f.width, f.height) for f in result} == {(f.width, f.height) for f in source}
    alpha = torch.stack([f.alpha.float() for f in result if f.alpha is not None])
    assert len(alpha) == len(source)
    assert alpha.std() > 0.2 * alpha.max(), "the matte holds a subject and a background"
    stages = {"decode", "trimap", "matte", "foreground", "temporal", "encode", "verify", "join"}
    assert {s.name for s in report.stages} == stages
    assert sum(s.share for s in report.stages) == pytest.approx(1)


def test_matte_is_near_the_truth(green_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "matte.mov"
    assert main(["matte", str(green_clip), "-o", str(output), "--quiet", "--key", "green"]) == 0
    from pipelines.evaluate import evaluate

    # The subject covers a good part of the frame: an empty or full matte is off by more than 0.2, a hard mask of the
    # screen's colour by some 0.03. A sanity bound, quality is measured in benchmarks/.
    assert evaluate(output, green_clip.parent / "alpha").errors.mad < 0.02


def test_composed_by_hand_gives_the_same_as_one_call(green_clip: Path, tmp_path: Path) -> None:
    model = open_matting("embedded")
    videomatte.matte(green_clip, tmp_path / "one.mov", key="green", end="3")
    with (
        videomatte.open_source(green_clip, end="3") as source,
        videomatte.open_sink(tmp_path / "hand.mov", source.info) as sink,
    ):
        for matte in Temporal()(Foreground()(model(ChromaKey("green")(iter(source))))):
            sink.write(matte)
    one, hand = read(tmp_path / "one.mov"), read(tmp_path / "hand.mov")
    assert len(one) == len(hand) == 3
    # Sums are split by as many threads as torch has, and PyMatting's numba changes that of the main thread alone: the
    # last bit of a float may differ, and with it how ProRes rounds a block. One level of 8 bits is far above that.
    for a, b in zip(one, hand, strict=True):
        assert (a.rgb.int() - b.rgb.int()).abs().max() <= 257
        assert a.alpha is not None
        assert b.alpha is not None
        assert (a.alpha.int() - b.alpha.int()).abs().max() <= 257


def test_report_is_written_with_resolved_settings(green_clip: Path, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    words = ["matte", str(green_clip), "-o", str(tmp_path / "m.mov"), "--end", "2", "--quiet", "--report", str(report)]
    assert main(words) == 0
    values = json.loads(report.read_text())
    assert values["frames_out"] == 2
    assert values["settings"]["end"] == "2"
    assert values["settings"]["model"] == "embedded"
    assert values["peak_memory_bytes"] > 2**20


def test_a_still_is_a_clip_of_one_frame(green_clip: Path, tmp_path: Path) -> None:
    photo, trimap = green_clip.parent / "photo.png", green_clip.parent / "trimap.png"
    assert main(["matte", str(photo), "--trimap", str(trimap), "-o", str(tmp_path / "cutout.png"), "--quiet"]) == 0
    (cutout,) = read(tmp_path / "cutout.png")
    (known,) = read(trimap)
    assert cutout.alpha is not None
    top = torch.iinfo(cutout.alpha.dtype).max
    assert (cutout.alpha.int()[known.rgb[:1] == 255] == top).all()
    assert (cutout.alpha.int()[known.rgb[:1] == 0] == 0).all()


class Broken:
    """A matting stage of the user's own that fails at its third frame."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __call__(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        for number, item in enumerate(frames):
            if number == 2:
                raise self.error("boom")
            yield MatteFrame(item, item.trimap.float() / 255)


@pytest.mark.parametrize("where", ["open_matting", "_open_trimaps", "open_source", "open_tee"])
def test_an_error_in_any_stage_leaves_no_output_and_no_thread(
    where: str, green_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_at_third(items: Iterator[object]) -> Iterator[object]:
        for number, item in enumerate(items):
            if number == 2:
                raise RuntimeError("boom")
            yield item

    module = line if where in ("open_matting", "_open_trimaps") else pipeline
    original = getattr(module, where)

    def broken(*args: object, **kwargs: object) -> object:
        if where == "open_matting":
            return Broken(RuntimeError)
        made = original(*args, **kwargs)
        if where == "_open_trimaps":
            return lambda frames: breaks_at_third(made(frames))
        if where == "open_tee":
            write, count = made.write, iter(range(9))

            def failing(item: MatteFrame) -> None:
                if next(count) == 2:
                    raise RuntimeError("boom")
                write(item)

            made.write = failing
            return made
        kind = type(made)
        monkeypatch.setattr(kind, "__iter__", lambda self, plain=kind.__iter__: breaks_at_third(plain(self)))
        return made

    monkeypatch.setattr(module, where, broken)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="boom"):
        videomatte.matte(green_clip, tmp_path / "out.mov", key="green")
    assert time.monotonic() - started < 30
    assert not [t for t in threading.enumerate() if t.name.startswith("videomatte")]
    assert not list(tmp_path.iterdir()), "neither the output nor a temporary file is left"


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to a single process on Windows")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interrupted_run_ends_at_once_and_leaves_nothing(
    name: str, code: int, green_clip: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "videomatte", "matte", str(green_clip), "-o", str(tmp_path / "out.mov")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):  # the run is under way once its temporary file is there
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        sent = time.monotonic()
        assert process.wait(timeout=20) == code
        assert time.monotonic() - sent < 5, "the promise to users"
    assert not list(tmp_path.iterdir())


def test_sound_is_carried_bit_for_bit_unless_told_otherwise(green_clip: Path, tmp_path: Path) -> None:
    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(p) for p in container.demux(audio=0) if p.size] if container.streams.audio else []

    videomatte.matte(green_clip, tmp_path / "sound.mov")
    assert packets(tmp_path / "sound.mov") == packets(green_clip) != []
    videomatte.matte(green_clip, tmp_path / "mute.mov", audio=False, end="2")
    assert not packets(tmp_path / "mute.mov")


@pytest.mark.parametrize("model", ["laplacian", "embedded"])
def test_models_run_in_the_line(model: str, green_clip: Path, tmp_path: Path) -> None:
    from pipelines.evaluate import evaluate

    videomatte.matte(green_clip, tmp_path / "matte.mov", model=model, batch=3)
    assert evaluate(tmp_path / "matte.mov", green_clip.parent / "alpha").errors.mad < 0.02  # as above, a sanity bound
