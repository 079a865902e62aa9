"""What makes clips like one's own fastest on one's own machine: measured, and kept for later runs.

Each stage alone shows what matters; what can be turned there is tried on the whole line by successive halving; what is
best in the end is measured against the default once more, in turn, and kept only if it is faster beyond doubt.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from pipelines.process_clip import process_clip
from pipelines.stages_alone import Alone, stages_alone
from videomatte.config import MatteSettings, TrimapSettings
from videomatte.device import resolve_device
from videomatte.engine import Clock
from videomatte.engine.halving import duel, successive_halving
from videomatte.engine.tuning import MATTERS, SHORTEST, Knobs, TuneReport, candidates, steady_seconds
from videomatte.errors import ModelError, UsageError
from videomatte.io.formats import FORMATS
from videomatte.io.span import expected_frames
from videomatte.matting import NetworkMatting
from videomatte.matting.plan import most_frames, room_bytes
from videomatte.models.precision import compute_dtype
from videomatte.tuned import machine_name, tuned_path, write_preset

__all__ = ["tune"]

_BATCHES = {"cpu": (1, 2, 4), "cuda": (1, 2, 4, 8, 16, 32)}
_CANDIDATES = 12
_FIRST = 6
"""Frames of the first round, at least."""


def tune(
    clip: Path, settings: TrimapSettings, *, frames: int = 32, save: Path | None = None, progress: bool = False
) -> TuneReport:
    """Find what makes a clip fastest, and write it as a preset.

    Args:
        clip: the clip; some frames of it from ``settings.start`` on are used.
        settings: where the subject is, the model, the device. What is to be tuned starts from here.
        frames: how many frames to measure on, at most.
        save: where the preset goes; left out, where `videomatte matte` finds it for clips of this size and this model.
        progress: show a bar on standard error.

    Raises:
        UsageError, InputError, ModelError, OutputError: as of `pipelines.process_clip`.
    """
    if frames < _FIRST:
        raise UsageError(f"--frames {frames}: at least {_FIRST} are needed to measure anything")
    if settings.end is not None:
        raise UsageError("--end: say with --frames how much of the clip is measured on")
    base = MatteSettings(**{**dataclasses.asdict(settings), "overwrite": True})
    device = resolve_device(base.device)
    output = "tuned" + next((f.suffix for f in FORMATS if f.name == base.format), ".mov")
    alone = stages_alone(clip, output, base, device, frames)
    first = alone.trimaps[0].frame.index
    job_frames = expected_frames(alone.info, settings.start, None)
    base = dataclasses.replace(base, start=str(first), end=str(first + frames))
    default = Knobs(*(getattr(base, name) for name in Knobs._fields))
    tried = candidates(default, _options(alone, base, device, frames), _CANDIDATES)
    with tempfile.TemporaryDirectory() as folder, tqdm(unit="run", disable=not progress, dynamic_ncols=True) as bar:

        def measure(knobs: Knobs, count: int) -> float:
            bar.update()
            end = first + min(frames, max(count, SHORTEST * knobs.batch))
            chosen = dataclasses.replace(base, **knobs._asdict(), end=str(end), verify=False)
            return _seconds(clip, str(Path(folder) / output), chosen, job_frames)

        trials, rival = successive_halving(tried, measure, first=max(_FIRST, frames // 8), last=frames)
        final = None if rival is None else duel(default, rival, measure, frames=max(_FIRST, frames // 2))
    chosen = final.chosen if final is not None else default
    predicted, measured = alone.measured(dataclasses.replace(base, **chosen._asdict()), device)
    machine, size = machine_name(str(device)), (alone.info.width, alone.info.height)
    preset = None
    if chosen != default:
        preset = save or tuned_path(machine, *size, base.model)
        assert final is not None
        said = f"videomatte tune: {final.gain:.2f} times as fast as the default, {size[0]}x{size[1]}, {base.model}"
        changed = {name: value for name, value in chosen._asdict().items() if value != getattr(default, name)}
        write_preset(preset, changed, f"{said}\n{machine}")
    return TuneReport(
        clip=str(clip),
        size=size,
        model=base.model,
        machine=machine,
        unknown=alone.unknown,
        stages=alone.stages,
        trials=tuple(trials),
        duel=final,
        chosen=chosen,
        memory_by_batch={batch: alone.predicted(batch) for batch in sorted({knobs.batch for knobs in tried})},
        predicted_bytes=predicted,
        measured_bytes=measured,
        preset=None if preset is None else str(preset),
    )


def _options(alone: Alone, settings: MatteSettings, device: torch.device, frames: int) -> dict[str, Sequence[object]]:
    """What is worth trying: the knobs of stages that matter, as far as device and memory go."""
    shares = {stage.name: stage.share for stage in alone.stages}
    cores = os.cpu_count() or 1
    options: dict[str, Sequence[object]] = {}
    stage = alone.matting
    if shares["matte"] >= MATTERS and isinstance(stage, NetworkMatting):
        frame = alone.trimaps[0].frame
        most = max(_BATCHES.get(device.type, _BATCHES["cuda"]))
        if (room := room_bytes(stage.memory, device)) is not None:
            most = most_frames(stage.model, frame.height, frame.width, most, room, device)
        batches = [n for n in _BATCHES.get(device.type, _BATCHES["cuda"]) if n <= min(most, frames // SHORTEST)]
        options["batch"] = sorted({settings.batch, *batches})
        options["precision"] = _precisions(device)
        if hasattr(stage.model, "near_unknown"):  # "shared" is another result: not for us to choose
            options["regions"] = tuple(dict.fromkeys((settings.regions, "auto", "full")))
        if device.type == "cuda":
            options["compile"] = (False, True)
    threads = sorted({0, 1, 2, cores} & set(range(cores + 1)))
    options |= {f"{name}r_threads": threads for name in ("decode", "encode") if shares[name] >= MATTERS}
    return options


def _precisions(device: torch.device) -> list[str]:
    """Those that differ from what auto is, as far as the device has instructions for them."""
    auto = compute_dtype(device)
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    lower = ("bf16", "fp16") if device.type == "cuda" else ()
    return ["auto", *(name for name in ("fp32", *lower) if known[name] != auto)]


def _seconds(clip: Path, output: str, settings: MatteSettings, job_frames: int | None) -> float:
    """Seconds a frame of the line, run as for the whole clip; infinite where it cannot run."""
    clock = Clock()
    try:
        process_clip(clip, [output], settings, clock=clock, job_frames=job_frames)
    except (ModelError, torch.OutOfMemoryError):
        return math.inf
    return steady_seconds(clock.marks, settings.batch)
