"""What can be turned to make a run faster, which of it is worth trying, and what a measurement says in words."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from videomatte.engine.halving import Duel, Trial
from videomatte.errors import OutputError
from videomatte.types import StageReport

__all__ = [
    "SHORTEST",
    "Knobs",
    "TuneReport",
    "advice",
    "candidates",
    "steady_seconds",
    "table",
    "words",
    "write_tuning",
]

SHORTEST = 3
"""Batches that a measurement takes at least."""
MATTERS = 0.1
"""Share of the stages' time from which on a stage's knobs are tried."""

_ADVICE = {
    "decode": "a faster disk, a clip that is lighter to decode (ProRes, H.264), or --decoder-threads",
    "trimap": "a key or masks instead of keyframes or a plate, or a smaller clip",
    "matte": "a GPU, a smaller model (--model embedded or laplacian), or a narrower unknown band",
    "foreground": "a GPU, or --foreground source where the source's colours will do",
    "temporal": "a GPU, or --temporal 0 where nothing flickers",
    "encode": "a faster format (--format prores4444, or ffv1 in .mkv), --encoder-threads, or a faster disk",
}


class Knobs(NamedTuple):
    """Settings that change how fast mattes are made; fields as in `videomatte.config.TrimapSettings`."""

    batch: int
    precision: str
    regions: str
    compile: bool
    decoder_threads: int
    encoder_threads: int


@dataclass(frozen=True)
class TuneReport:
    """What tuning found: printed by the command line, written by ``--report``."""

    clip: str
    """What was measured on."""
    size: tuple[int, int]
    """Width and height."""
    model: str
    """The model."""
    machine: str
    """The machine, as presets are named after it."""
    unknown: float
    """Share of the frames that is unknown."""
    stages: tuple[StageReport, ...]
    """Each stage alone, at the default settings: seconds a frame."""
    trials: tuple[Trial[Knobs], ...]
    """Everything that was measured on the way, round by round."""
    duel: Duel[Knobs] | None
    """The last rival against the default; ``None`` where there was nothing to try."""
    chosen: Knobs
    """What is in the preset."""
    memory_by_batch: dict[int, int | None]
    """Predicted peak of each batch that was tried, in bytes."""
    predicted_bytes: int | None
    """Predicted peak of a batch as chosen, beyond the model and the frames."""
    measured_bytes: int | None
    """The same as measured."""
    preset: str | None
    """The preset that was written; ``None`` where the default is best."""

    @property
    def gain(self) -> float:
        """How many times as fast as the default settings the chosen ones are."""
        return self.duel.gain if self.duel is not None and self.duel.won else 1.0


def candidates(default: Knobs, options: Mapping[str, Sequence[object]], most: int, seed: int = 0) -> list[Knobs]:
    """What to try: the default first, then each change by itself, then combinations drawn at random, as in Hyperband.

    Args:
        default: the settings as they are.
        options: the values worth trying, by the names of fields; other fields stay as they are.
        most: how many candidates there may be, unless changes by themselves are more.
        seed: of what is drawn.
    """
    single = [default._replace(**{name: value}) for name, values in options.items() for value in values]  # type: ignore[arg-type]
    every = [default._replace(**dict(zip(options, values, strict=True))) for values in product(*options.values())]  # type: ignore[arg-type]
    found = list(dict.fromkeys([default, *single]))
    rest = [knobs for knobs in dict.fromkeys(every) if knobs not in found]
    return found + random.Random(seed).sample(rest, min(len(rest), max(0, most - len(found))))


def steady_seconds(marks: Sequence[float], batch: int) -> float:
    """Seconds a frame of a line while it is full.

    What comes of the first batch, with all that is done for the first time, does not count, and neither does what comes
    of the last one, which nothing follows: from the end of a batch to the end of a later one, all stages had something
    to do, and as many batches were begun as ended.

    Args:
        marks: when each frame was through, in seconds; of `SHORTEST` batches at least.
        batch: frames that came together.
    """
    whole = len(marks) // batch * batch
    first, last = batch - 1, whole - batch - 1
    if last <= first:
        return math.inf
    return (marks[last] - marks[first]) / (last - first)


def advice(stages: Sequence[StageReport]) -> str:
    """What holds a run up, and what would move it."""
    slowest = max(stages, key=lambda stage: stage.seconds)
    return f"{slowest.name} takes {slowest.share:.0%} of the work: {_ADVICE[slowest.name]} would move it"


def table(report: TuneReport) -> str:
    """All that was measured, in rounds."""
    varied = [name for name in Knobs._fields if len({getattr(t.candidate, name) for t in report.trials}) > 1]
    heads = [name.replace("_threads", "") for name in varied]
    lines = ["".join(f"{head:>10}" for head in [*heads, "frames", "fps", "ms", "spread"])]
    for trial in report.trials:
        values = [str(getattr(trial.candidate, name)) for name in varied]
        numbers = [str(trial.frames), f"{1 / trial.median:.2f}", f"{1000 * trial.median:.1f}", f"{trial.spread:.0%}"]
        lines.append("".join(f"{cell:>10}" for cell in values + numbers))
    return "\n".join(lines)


def words(report: TuneReport) -> str:
    """The report for people."""
    width, height = report.size
    lines = [f"{report.clip}: {width}x{height}, {report.unknown:.0%} unknown, {report.model} on {report.machine}"]
    lines += [f"  {one.name:<10} alone {1000 * one.seconds:8.1f} ms a frame  {one.share:6.1%}" for one in report.stages]
    if report.trials:
        lines.append(table(report))
    lines.append(advice(report.stages))
    if report.predicted_bytes is not None:
        measured = "not told by the system" if report.measured_bytes is None else _megabytes(report.measured_bytes)
        lines.append(f"memory of a batch: predicted {_megabytes(report.predicted_bytes)}, measured {measured}")
    if report.duel is not None:
        low, high = min(report.duel.gains), max(report.duel.gains)
        lines.append(
            f"best against default, {len(report.duel.gains)} rounds in turn: "
            f"{report.duel.gain:.2f} times as fast ({low:.2f} to {high:.2f})"
        )
    if report.preset is None:
        lines.append("the default settings are as fast as any: no preset is needed")
    else:
        lines.append(f"{report.preset}: {report.gain:.2f} times as fast as the default settings")
    return "\n".join(lines)


def write_tuning(report: TuneReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    values = {**dataclasses.asdict(report), "gain": report.gain, "advice": advice(report.stages)}
    values["chosen"] = report.chosen._asdict()
    values["trials"] = [{**dataclasses.asdict(trial), **trial.candidate._asdict()} for trial in report.trials]
    try:
        path.write_text(json.dumps(values, indent=2, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the report: {error.strerror}") from error


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
