"""A matting stage in processes of its own, against the same stage in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import pipelines.line
import videomatte
from videomatte.config import MatteSettings
from videomatte.engine import Clock, Threads
from videomatte.errors import ModelError
from videomatte.io import open_source
from videomatte.matting import open_matting
from videomatte.matting.apart import MattingApart, workers_worth
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, MattingStage, TrimapFrame


def trimap_frame(index: int, height: int = 48, width: int = 64, plate: bool = False) -> TrimapFrame:
    """A noisy wedge of red before green."""
    noise = torch.Generator().manual_seed(index)
    alpha = (torch.arange(width) / width * 3 - 1).clamp(0, 1).expand(height, -1)
    rgb = torch.stack([alpha, 1 - alpha, torch.zeros_like(alpha)]) * 200
    rgb = (rgb + 20 * torch.rand(rgb.shape, generator=noise)).to(torch.uint8)
    trimap = torch.where(alpha == 0, BACKGROUND, torch.where(alpha == 1, FOREGROUND, UNKNOWN)).to(torch.uint8)[None]
    behind = torch.tensor([0, 200, 0], dtype=torch.uint8)[:, None, None].expand_as(rgb) if plate else None
    return TrimapFrame(Frame(index, index, Fraction(1, 25), rgb), trimap, "key", background=behind)


@pytest.fixture(scope="module")
def apart() -> Iterator[MattingApart]:
    """Two processes for all tests that leave them alive; batches of two."""
    with MattingApart("laplacian", 2, workers=2) as stage:
        yield stage


def test_is_a_matting_stage(apart: MattingApart) -> None:
    assert isinstance(apart, MattingStage)


@pytest.mark.parametrize("count", [0, 1, 2, 11])
@pytest.mark.parametrize("plate", [False, True])
def test_mattes_are_those_of_the_stage_in_this_process(apart: MattingApart, count: int, plate: bool) -> None:
    """To the bit: the same code is given the same numbers."""
    items = [trimap_frame(index, plate=plate) for index in range(count)]
    mattes = list(apart(iter(items)))
    assert [matte.source for matte in mattes] == items
    for there, here in zip(mattes, open_matting("laplacian", batch=2)(iter(items)), strict=True):
        assert torch.equal(there.alpha, here.alpha)


def test_sizes_may_change(apart: MattingApart) -> None:
    items = [trimap_frame(index, height=40 + 8 * (index // 2)) for index in range(5)]
    for there, here in zip(apart(iter(items)), open_matting("laplacian", batch=2)(iter(items)), strict=True):
        assert torch.equal(there.alpha, here.alpha)


def test_frames_larger_than_any_pipe_pass(apart: MattingApart) -> None:
    """More than a pipe holds is on its way in both directions at once."""
    items = [trimap_frame(index, height=400, width=600) for index in range(6)]
    with Threads() as threads:
        assert len(list(threads.boundary(apart(iter(items)), depth=1))) == 6


def test_time_spent_there_counts_as_the_stages_own() -> None:
    clock = Clock()
    with MattingApart("laplacian", clock=clock) as stage:
        started = time.perf_counter()
        list(clock.stage("matte", stage(trimap_frame(index) for index in range(4))))
        passed = time.perf_counter() - started
        assert stage.peak_bytes > 2**20 or not Path("/proc").is_dir()
    (report,) = clock.report()
    assert report.name == "matte"
    assert 0 < report.seconds < passed  # without the start, of a second or more


def test_a_stream_left_early_is_no_trouble_for_the_next() -> None:
    with MattingApart("laplacian") as stage:
        mattes = stage(trimap_frame(index) for index in range(5))
        next(mattes)
        mattes.close()  # type: ignore[attr-defined]
        items = [trimap_frame(9)]
        (matte,) = stage(iter(items))
        (expected,) = open_matting("laplacian")(iter(items))
        assert torch.equal(matte.alpha, expected.alpha)


def test_what_goes_wrong_there_is_raised_here() -> None:
    with MattingApart("no-such-model") as stage, pytest.raises(ModelError, match="no-such-model") as raised:
        list(stage(iter([trimap_frame(0)])))
    assert "open_matting" in str(raised.value.__cause__), "where it went wrong is not told"


def test_what_goes_wrong_here_is_raised_here() -> None:
    def frames() -> Iterator[TrimapFrame]:
        yield trimap_frame(0)
        raise OSError("a damaged frame")

    with MattingApart("laplacian") as stage, pytest.raises(OSError, match="a damaged frame"):
        list(stage(frames()))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_process_that_is_killed_is_told_of() -> None:
    with MattingApart("laplacian") as stage:
        mattes = stage(trimap_frame(index) for index in range(5))
        next(mattes)
        assert stage._workers[0]._process is not None
        os.kill(stage._workers[0]._process.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match="stopped by signal 9"):
            list(mattes)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="this system does not show its processes as files")
def test_it_does_not_outlive_a_run_that_is_killed() -> None:
    script = (
        "import sys; sys.path[:] = sys.argv[1:]; from test_apart import *\n"
        "with MattingApart('laplacian') as stage:\n"
        "    for _ in stage(trimap_frame(index) for index in range(10**9)):\n"
        "        print(stage._workers[0]._process.pid, flush=True)"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), *sys.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        other = Path("/proc") / run.stdout.readline().strip() / "stat"
        assert other.exists()
        run.kill()
    until = time.monotonic() + 20
    # An orphan that has ended may wait to be asked how, as a zombie.
    while time.monotonic() < until and other.exists() and other.read_text().split()[2] != "Z":
        time.sleep(0.05)
    assert not other.exists() or other.read_text().split()[2] == "Z"


def test_not_more_are_started_than_memory_holds() -> None:
    assert 0 <= workers_worth(720, 1280, 1) <= 4
    assert workers_worth(10**6, 10**6, 1) == 0, "frames of hundreds of terabytes"


def test_none_where_there_is_one_core() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not tell which cores a process may use")
    script = (
        "import os, sys; sys.path[:] = sys.argv[1:]; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from videomatte.matting.apart import workers_worth; print(workers_worth(72, 128, 1))"
    )
    asked = subprocess.run([sys.executable, "-c", script, *sys.path], capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "0"


@pytest.mark.parametrize("path", ["/opt/nuke/Nuke15.0", ""])
def test_none_within_programs_that_hold_python(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(sys, "executable", path)
    assert workers_worth(72, 128, 1) == 0


@pytest.mark.parametrize(
    ("settings", "worth", "expected"),
    [
        ({"model": "laplacian"}, 0, True),
        ({"model": "laplacian"}, 10**12, False),
        ({"model": "laplacian", "memory": "2GB"}, 0, False),
        ({"model": "closed-form"}, 0, False),
    ],
)
def test_a_run_has_them_where_they_are_of_use(
    monkeypatch: pytest.MonkeyPatch, green_clip: Path, settings: dict[str, object], worth: int, expected: bool
) -> None:
    if not workers_worth(72, 128, 1):
        pytest.skip("this machine has one core, or hardly any memory")
    monkeypatch.setattr(pipelines.line, "WORTH_A_PROCESS", worth)
    given = MatteSettings.of({"key": "green", **settings})
    with (
        open_source(green_clip) as source,
        pipelines.line.Line(given, torch.device("cpu"), Clock(), source.info, frames=8) as line,
    ):
        assert isinstance(line._matting, MattingApart) is expected


def test_a_run_writes_the_same_either_way(monkeypatch: pytest.MonkeyPatch, green_clip: Path, tmp_path: Path) -> None:
    written, reports = [], []
    for worth in (0, 10**12):
        monkeypatch.setattr(pipelines.line, "WORTH_A_PROCESS", worth)
        output = tmp_path / f"{worth}.mov"
        reports.append(videomatte.matte(green_clip, output, key="green", model="laplacian", batch=2))
        written.append(output.read_bytes())
    assert written[0] == written[1]
    apart, together = ([stage.name for stage in report.stages] for report in reports)
    assert sorted(apart) == sorted(together)
    assert reports[0].frames_out == reports[1].frames_out
