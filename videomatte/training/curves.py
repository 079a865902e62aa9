"""A picture of a run: what it was trained on, what it measured."""

from __future__ import annotations

import json
from pathlib import Path

from videomatte.errors import UsageError

__all__ = ["draw_curves"]

_LOSSES = ("unknown", "known", "laplacian", "gradient", "temporal")


def draw_curves(log: Path, picture: Path) -> None:
    """Draw the losses and the validation's errors over the steps of a log.

    Args:
        log: JSON lines as :func:`videomatte.training.loop.append` writes them.
        picture: where the PNG goes.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("curves are drawn by matplotlib: pip install 'videomatte[train]'") from error
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    learned = [e for e in entries if "unknown" in e]
    measured = [e for e in entries if "validation" in e]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in _LOSSES:
        left.plot([e["step"] for e in learned], [e[name] for e in learned], label=name, linewidth=1)
    left.set(title="loss, as summed", xlabel="step", yscale="log")
    left.legend()
    for name in measured[0]["validation"] if measured else ():
        values = [e["validation"][name]["mad"] for e in measured]
        right.plot([e["step"] for e in measured], values, label=name, marker=".")
    right.set(title="validation: MAD of the unknown region", xlabel="step")
    if measured:
        right.legend()
    figure.savefig(picture, dpi=100)
