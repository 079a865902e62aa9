"""What a run says of itself: a summary for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable
from pathlib import Path

from videomatte.config import fingerprint
from videomatte.engine.clock import Clock
from videomatte.engine.memory import peak_memory_bytes
from videomatte.errors import OutputError
from videomatte.types import RunReport, Suggestion

__all__ = ["run_report", "summary", "write_report"]


SUGGESTIONS = 3
"""Frames worth painting that the summary names; the report has them all."""


def run_report(
    clock: Clock,
    started: float,
    settings: dict[str, object],
    *,
    frames_out: int,
    fallbacks: Iterable[str],
    paint_next: tuple[Suggestion, ...],
    apart_bytes: int = 0,
) -> RunReport:
    """What a run that has just ended did.

    Args:
        clock: has counted the stages, those that decode as ``decode``.
        started: when the run began, by `time.perf_counter`.
        settings: the resolved ones.
        frames_out, fallbacks, paint_next: as in `RunReport`.
        apart_bytes: largest resident sets of the processes that the matting had to itself.
    """
    here = peak_memory_bytes()
    return RunReport(
        frames_in=clock.items("decode"),
        frames_out=frames_out,
        seconds=time.perf_counter() - started,
        stages=clock.report(),
        peak_memory_bytes=None if here is None else here + apart_bytes,
        settings=settings,
        settings_fingerprint=fingerprint(settings),
        fallbacks=tuple(fallbacks),
        paint_next=paint_next,
    )


def summary(report: RunReport, output: Path | str) -> str:
    """A few lines: what was written, how fast, and which stage the time went to."""
    lines = [f"{output}: {report.frames_out} frames in {report.seconds:.1f} s, {report.fps:.2f} fps"]
    if report.peak_memory_bytes is not None:
        lines[0] += f", peak memory {report.peak_memory_bytes / 2**20:.0f} MiB"
    for stage in report.stages:
        per_frame = 1000 * stage.seconds / report.frames_out if report.frames_out else 0.0
        lines.append(f"  {stage.name:<8} {stage.share:6.1%}  {per_frame:8.1f} ms a frame")
    if report.tuned is not None:
        lines.append(f"  tuned for this machine: {report.tuned}")
    lines += [f"  note: {fallback}" for fallback in report.fallbacks]
    lines += [f"  worth painting: frame {one.frame}, {one.reason}" for one in report.paint_next[:SUGGESTIONS]]
    return "\n".join(lines)


def write_report(report: RunReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    values = {**dataclasses.asdict(report), "fps": report.fps}
    try:
        path.write_text(json.dumps(values, indent=2, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the report: {error.strerror}") from error
