"""Mattes held against true ones, frame by frame, one frame of each in memory."""

from __future__ import annotations

import dataclasses
import math
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

from torch import Tensor

from videomatte.errors import InputError
from videomatte.io import open_source
from videomatte.metrics import ClipErrors, MatteErrors
from videomatte.trimaps.files import trimap_from_picture
from videomatte.types import Frame, unit_range

__all__ = ["EvaluationReport", "evaluate"]

_ROWS = (
    ("MAD", "mad", 1e3, "× 1e3"),
    ("MSE", "mse", 1e3, "× 1e3"),
    ("SAD", "sad", 1.0, "thousand pixels"),
    ("Grad", "grad", 1.0, "thousand pixels"),
    ("Conn", "conn", 1.0, "thousand pixels"),
    ("dtSSD", "dtssd", 1e2, "× 1e2"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class EvaluationReport:
    """How far a clip's mattes are from the truth."""

    predicted: Path
    """The mattes that were judged."""
    true: Path
    """The true mattes."""
    trimap: Path | None
    """The trimaps whose unknown area alone was compared, or ``None``: everything was."""
    frames: int
    """Frames compared."""
    errors: MatteErrors
    """Means over the frames, in the units of :mod:`videomatte.metrics`."""

    def table(self) -> str:
        """The report for people: one error a line, scaled as papers print it."""
        where = "everywhere" if self.trimap is None else f"where {self.trimap} is unknown"
        plural = "s" * (self.frames != 1)
        lines = [f"{self.predicted} against {self.true}: {self.frames} frame{plural}, {where}"]
        for name, field, scale, unit in _ROWS:
            value = getattr(self.errors, field)
            shown = "-" if value is None or math.isnan(value) else f"{value * scale:.3f}"
            lines.append(f"  {name:<6} {shown:>10}  {unit}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The report for programs: plain numbers, unscaled, ``None`` for what could not be measured."""
        errors = {field: getattr(self.errors, field) for _, field, _, _ in _ROWS}
        return {
            "predicted": str(self.predicted),
            "true": str(self.true),
            "trimap": None if self.trimap is None else str(self.trimap),
            "frames": self.frames,
            # JSON has no NaN.
            "errors": {name: None if value is None or math.isnan(value) else value for name, value in errors.items()},
        }


def evaluate(predicted: Path, true: Path, trimap: Path | None = None) -> EvaluationReport:
    """Compare mattes with true ones.

    Frames are matched by order. A matte is the alpha channel of its file, or the grey of a file that has none. MESSDdt
    is left out: it needs the true motion, see :func:`videomatte.metrics.messddt`.

    Args:
        predicted: mattes to judge: a movie, an image or a folder of images.
        true: the true mattes, as many and of the same size.
        trimap: trimaps, as many and of the same size; only where they are unknown is compared.

    Returns:
        The clip's mean errors.

    Raises:
        InputError: a file cannot be read, sizes or numbers of frames differ, or a file without an alpha channel is in
            colour. The message names the files.
    """
    errors = ClipErrors()
    frames = 0
    paths = [predicted, true] + ([] if trimap is None else [trimap])
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(path)) for path in paths]
        clips = [iter(source) for source in sources]
        for pictures in zip_longest(*clips):
            if any(picture is None for picture in pictures):
                counts = [
                    frames + (picture is not None) + sum(1 for _ in clip)
                    for picture, clip in zip(pictures, clips, strict=True)
                ]
                raise InputError(_named(paths, [f"{n} frame{'s' * (n != 1)}" for n in counts]) + ": give as many")
            sizes = [f"{picture.width}x{picture.height}" for picture in pictures]
            if len(set(sizes)) > 1:
                raise InputError(f"frame {frames}: {_named(paths, sizes)}: make them of one size")
            region = None if trimap is None else _trimap(pictures[2], trimap)
            errors.update(_alpha(pictures[0], predicted), _alpha(pictures[1], true), region)
            frames += 1
    return EvaluationReport(predicted, true, trimap, frames, errors.mean())


def _named(paths: list[Path], values: list[str]) -> str:
    return ", ".join(f"{path} has {value}" for path, value in zip(paths, values, strict=True))


def _alpha(picture: Frame, path: Path) -> Tensor:
    if picture.alpha is not None:
        return unit_range(picture.alpha)
    rgb = unit_range(picture.rgb)
    # Chroma noise of lossy mattes stays far below this.
    if (rgb.amax(0) - rgb.amin(0)).mean() > 0.05:
        raise InputError(f"{path}: is in colour and has no alpha channel, so it holds no matte (frame {picture.index})")
    return rgb.mean(0, keepdim=True)


def _trimap(picture: Frame, path: Path) -> Tensor:
    try:
        return trimap_from_picture(picture.rgb, picture.alpha)
    except InputError as error:
        raise InputError(f"{path}: frame {picture.index} {error}") from error
