"""A picture of what tuning measured."""

from __future__ import annotations

from pathlib import Path

from videomatte.engine.tuning import TuneReport
from videomatte.errors import UsageError

__all__ = ["draw_tuning"]


def draw_tuning(report: TuneReport, picture: Path) -> None:
    """Draw frames a second and memory against the batch, and the stages' shares.

    Args:
        report: what was measured.
        picture: where the PNG goes.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("pictures are drawn by matplotlib: pip install 'videomatte[train]'") from error
    figure = Figure(figsize=(12, 4), layout="constrained")
    speed, memory, shares = figure.subplots(1, 3)
    trials = [*report.trials, *((report.duel.default, report.duel.rival) if report.duel else ())]
    for precision in sorted({trial.candidate.precision for trial in trials}):
        some = [trial for trial in trials if trial.candidate.precision == precision]
        speed.scatter([t.candidate.batch for t in some], [1 / t.median for t in some], label=precision, alpha=0.6)
    if report.duel is not None:
        for trial, name in ((report.duel.default, "default"), (report.duel.rival, "best rival")):
            speed.axhline(1 / trial.median, linestyle="--" if name == "default" else ":", color="grey", label=name)
        speed.legend()
    speed.set(title="frames a second", xlabel="batch", ylim=(0, None))
    known = {batch: need / 1e6 for batch, need in report.memory_by_batch.items() if need is not None}
    memory.plot(list(known), list(known.values()), marker="o", label="predicted")
    if report.measured_bytes is not None:
        memory.scatter([report.chosen.batch], [report.measured_bytes / 1e6], color="C1", zorder=3, label="measured")
    memory.set(title="memory of a batch, MB", xlabel="batch", ylim=(0, None))
    memory.legend()
    shares.barh([stage.name for stage in report.stages], [100 * stage.share for stage in report.stages])
    shares.invert_yaxis()
    shares.set(title="stages alone, % of the work")
    figure.suptitle(f"{Path(report.clip).name}, {report.size[0]}×{report.size[1]}, {report.model}")
    figure.savefig(picture, dpi=100)
