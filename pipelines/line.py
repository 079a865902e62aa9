"""The middle of the line, from frames to mattes: what every pipeline that makes mattes has in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import torch

from videomatte.config import MatteSettings
from videomatte.engine import Clock
from videomatte.io import open_source
from videomatte.matting import open_matting
from videomatte.trimaps import ChromaKey, TrimapFiles
from videomatte.types import Frame, MatteFrame, TrimapStage

__all__ = ["Line"]


class Line:
    """Trimap, then matte: frames in, mattes out. A context manager, for it may hold files open.

    Args:
        settings: which stages there are, and what they do.
        device: where tensors live.
        clock: is told how long each stage takes.

    Raises:
        UsageError: from entering it, where settings contradict each other.
        InputError: from entering or running it, where a trimap cannot be read.
        ModelError: from entering it, where the model cannot be loaded.
    """

    def __init__(self, settings: MatteSettings, device: torch.device, clock: Clock) -> None:
        self._settings = settings
        self._device = device
        self._clock = clock
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._trimaps = _open_trimaps(self._settings, stack)
            self._matting = open_matting(self._settings.model, self._device, self._settings.batch)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __call__(self, frames: Iterator[Frame]) -> Iterator[MatteFrame]:
        """One matte for each frame, in order."""
        trimaps = self._clock.stage("trimap", self._trimaps(frames))
        return self._clock.stage("matte", self._matting(trimaps))

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be done otherwise than asked, one sentence each."""
        return tuple(getattr(self._matting, "fallbacks", ()))


def _open_trimaps(settings: MatteSettings, stack: ExitStack) -> TrimapStage:
    if settings.trimap is None:
        return ChromaKey(settings.key or "auto")
    trimaps = stack.enter_context(open_source(settings.trimap))
    return TrimapFiles(trimaps, clip_ends_early=settings.end is not None)
