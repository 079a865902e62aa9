"""Each stage of the line by itself, on a few frames that are held: how long it takes, and what the network's takes."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import torch

from pipelines.line import Line
from videomatte.config import MatteSettings
from videomatte.engine import Clock
from videomatte.engine.memory import PeakMemory
from videomatte.io import open_sink, open_source
from videomatte.matting import NetworkMatting, open_matting
from videomatte.refine import Foreground, Temporal
from videomatte.types import UNKNOWN, ClipInfo, MatteFrame, MattingStage, StageReport, TrimapFrame

__all__ = ["Alone", "stages_alone"]

T = TypeVar("T")

_HELD_BYTES = 600_000_000
"""Most that the frames and mattes take that are held, at some 40 bytes a pixel."""


@dataclass(frozen=True)
class Alone:
    """What was measured, and what to measure more of it with."""

    info: ClipInfo
    """The clip."""
    stages: tuple[StageReport, ...]
    """Seconds a frame and share of each stage."""
    trimaps: list[TrimapFrame]
    """Frames with trimaps."""
    matting: MattingStage
    """The matting stage, warm."""

    @property
    def unknown(self) -> float:
        """Share of the frames that is unknown."""
        return sum(float((one.trimap == UNKNOWN).float().mean()) for one in self.trimaps) / len(self.trimaps)

    def predicted(self, batch: int, matting: MattingStage | None = None) -> int | None:
        """Peak bytes of a batch, predicted."""
        stage, frame = matting or self.matting, self.trimaps[0].frame
        if not isinstance(stage, NetworkMatting):
            return None
        return stage.peak_bytes(frame.height, frame.width, batch, self.trimaps[0].trimap[0] == UNKNOWN)

    def measured(self, settings: MatteSettings, device: torch.device) -> tuple[int | None, int | None]:
        """Peak bytes of a batch with other settings: predicted, and measured in a process of its own.

        In this one, what earlier runs have left would be used again, and nothing seem to be taken.
        """
        frames = (self.trimaps * settings.batch)[: settings.batch]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "batch"
            file.write_bytes(pickle.dumps((settings, str(device), frames)))
            command = [sys.executable, "-m", "pipelines.stages_alone", str(file)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        measured = json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else None
        return self.predicted(settings.batch, _open(settings, device)), measured


def stages_alone(clip: Path, output: str, settings: MatteSettings, device: torch.device, frames: int) -> Alone:
    """Run one stage after the other; errors as of `pipelines.process_clip`.

    Args:
        clip: the clip.
        output: name of an output of the format that is meant; a file of this name is made and removed.
        settings: of the line.
        device: where tensors live.
        frames: how many, at most.
    """
    seconds: dict[str, float] = {}

    def alone(name: str, make: Callable[[], Iterable[T]]) -> list[T]:
        _finish(device)
        started = perf_counter()
        items = list(make())
        _finish(device)
        seconds[name] = (perf_counter() - started) / max(1, len(items))
        return items

    with open_source(
        clip, decoder=settings.decoder, start=settings.start, device=device, threads=settings.decoder_threads
    ) as source:
        info = source.info
        count = max(2, min(frames, _HELD_BYTES // (40 * info.width * info.height)))
        pictures = alone("decode", lambda: islice(source, count))
    with Line(settings, device, Clock(), info) as line:
        trimaps = alone("trimap", lambda: line.trimaps(iter(pictures)))
    matting = _open(settings, device)
    list(matting(iter(trimaps[: settings.batch])))
    mattes = alone("matte", lambda: matting(iter(trimaps)))
    if settings.foreground == "estimate":
        mattes = alone("foreground", lambda: Foreground()(iter(mattes)))
    if settings.temporal:
        mattes = alone("temporal", lambda: Temporal(settings.temporal)(iter(mattes)))

    def encoded() -> list[MatteFrame]:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_sink(Path(folder) / output, info, format=settings.format, threads=settings.encoder_threads) as sink,
        ):
            for matte in mattes:
                sink.write(matte)
        return mattes

    alone("encode", encoded)
    total = sum(seconds.values())
    stages = tuple(StageReport(name, value, value / total) for name, value in seconds.items())
    return Alone(info, stages, trimaps, matting)


def _open(settings: MatteSettings, device: torch.device) -> MattingStage:
    return open_matting(
        settings.model,
        device,
        settings.batch,
        regions=settings.regions,
        precision=settings.precision,
        compile=settings.compile,
        memory=settings.memory,
    )


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _measure(file: Path) -> int | None:
    """Bytes that the batch in a file takes in this process."""
    settings, name, frames = pickle.loads(file.read_bytes())
    device = torch.device(name)
    stage = _open(dataclasses.replace(settings, memory=settings.memory or "1000TB"), device)  # have memory given back
    with PeakMemory(device) as memory:
        list(stage(iter(frames)))
    return memory.bytes


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]))) + "\n")
