"""The middle of the line, from frames to mattes: what every pipeline that makes mattes has in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import dropwhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from pipelines.keyframes import Keyframes, keyframe_paths
from videomatte.config import MatteSettings
from videomatte.cores import IN_SMALL_STEPS
from videomatte.engine import Clock, Threads
from videomatte.errors import UsageError
from videomatte.io import open_source
from videomatte.matting import open_matting
from videomatte.matting.apart import MattingApart, workers_worth
from videomatte.refine import LEAD, Foreground, Temporal
from videomatte.trimaps import ChromaKey, CleanPlate, Holdout, Masks, Propagate, TrimapFiles
from videomatte.trimaps.holdout import hold
from videomatte.types import ClipInfo, Frame, MatteFrame, MattingStage, Source, Suggestion, TrimapFrame, TrimapStage

__all__ = ["AHEAD", "Line"]

AHEAD = 1
"""Frames that wait between two stages of the line: stages take alike from frame to frame, and a frame of 3840×2160 with
its trimap, alpha and colours takes 0.2 GB."""


WORTH_A_PROCESS = 10.0
"""Seconds that a clip's matting has to take on one core, roughly, before processes for it are worth starting."""
_A_FRAME, _A_PIXEL = 0.15, 0.8e-6
"""Those seconds: for a frame however small, and further ones for each of its pixels. Measured on two cores of 2021."""


class Line:
    """Trimap, matte, foreground, calm: frames in, mattes out. A context manager, for it may hold files open.

    Args:
        settings: which stages there are, and what they do.
        device: where tensors live.
        clock: is told how long each stage takes.
        info: the clip that the frames come from.
        trimaps: a stage to take trimaps from instead of the one that the settings name.
        frames: how many the job has, if that is known.

    Raises:
        UsageError: from entering it, where settings contradict each other.
        InputError: from entering or running it, where a trimap cannot be read.
        ModelError: from entering or running it, where the model cannot be loaded or run.
    """

    def __init__(
        self,
        settings: MatteSettings,
        device: torch.device,
        clock: Clock,
        info: ClipInfo,
        trimaps: TrimapStage | None = None,
        frames: int | None = None,
    ) -> None:
        self._info = info
        self._frames = frames
        self._given_trimaps = trimaps
        self._settings = settings
        self._device = device
        self._clock = clock
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            keyframes = self._keyframe_paths()
            self._matting = self._open_matting(stack, one_by_one=keyframes is not None)
            self._propagate = None if keyframes is None else self._open_propagation(keyframes, stack)
            if self._propagate is None:
                self._trimaps = _open_trimaps(self._settings, self._given_trimaps, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __call__(self, frames: Iterator[Frame], threads: Threads, skip_before: int = 0) -> Iterator[MatteFrame]:
        """One matte for each frame, in order; trimaps and mattes are made in threads of their own.

        Args:
            frames: all of the clip.
            threads: of the run.
            skip_before: number of the first frame whose matte is wanted. Those before it get their trimaps all the
                same, for a key learns from every frame, but are not matted.
        """
        # What is averaged over time hangs on the frame before, too; whole batches, so that all are as they would be.
        batch = self._settings.batch
        first = skip_before - (-(-LEAD // batch) * batch if self._settings.temporal else 0)
        if self._propagate is not None:
            # Each trimap depends on the mattes before it.
            mattes = self._clock.stage("trimap", self._propagate(frames))
            mattes = dropwhile(lambda item: item.frame.index < first, mattes)
        else:
            trimaps = self._clock.stage("trimap", self._trimaps(frames))
            trimaps = dropwhile(lambda item: item.frame.index < first, trimaps)
            trimaps = threads.boundary(trimaps, depth=AHEAD)
            mattes = self._matte(self._clock.stage(None, trimaps))
        mattes = self._clock.stage(None, threads.boundary(mattes, depth=AHEAD))
        if self._settings.foreground == "estimate":
            mattes = self._clock.stage("foreground", Foreground()(mattes))
        if self._settings.temporal == 0:
            return mattes
        mattes = self._clock.stage("temporal", Temporal(self._settings.temporal)(mattes))
        return dropwhile(lambda item: item.frame.index < skip_before, mattes)

    def trimaps(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """One trimap for each frame, in order; mattes are made only where trimaps hang on them."""
        if self._propagate is None:
            return self._clock.stage("trimap", self._trimaps(frames))
        return (matte.source for matte in self._clock.stage("trimap", self._propagate(frames)))

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be done otherwise than asked, one sentence each."""
        stages = (self._matting, self._propagate)
        return tuple(note for stage in stages for note in getattr(stage, "fallbacks", ()))

    @property
    def apart_bytes(self) -> int:
        """Largest resident sets of the processes that the matting had to itself, 0 where it had none."""
        return self._matting.peak_bytes if isinstance(self._matting, MattingApart) else 0

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """Frames worth painting a trimap for, where trimaps are carried from keyframes; complete after the run."""
        return self._propagate.suggestions if self._propagate else ()

    def _matte(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        return self._clock.stage("matte", self._matting(frames))

    def _open_matting(self, stack: ExitStack, *, one_by_one: bool) -> MattingStage:
        """In processes of its own where it and the other stages would hold each other up, and starting them is worth
        it; in one where batches come one by one, since the trimaps that are carried hang on the mattes before them."""
        settings, info = self._settings, self._info
        options: dict[str, Any] = {
            "regions": settings.regions,
            "precision": settings.precision,
            "compile": settings.compile,
            "memory": settings.memory,
        }
        seconds = math.inf if self._frames is None else self._frames * (_A_FRAME + info.width * info.height * _A_PIXEL)
        if (
            settings.model in IN_SMALL_STEPS
            and self._device.type == "cpu"
            and settings.memory is None  # which is of one process
            and seconds >= WORTH_A_PROCESS
            and (workers := workers_worth(info.height, info.width, settings.batch))
        ):
            workers = 1 if one_by_one else workers
            return stack.enter_context(
                MattingApart(settings.model, settings.batch, workers=workers, clock=self._clock, **options)
            )
        return open_matting(settings.model, self._device, settings.batch, **options)

    def _keyframe_paths(self) -> dict[int, Path] | None:
        """Where the trimaps given are some of the clip's alone: which."""
        given = self._given_trimaps is None and self._settings.trimap
        return keyframe_paths(self._settings.trimap, self._info) if given else None

    def _open_propagation(self, paths: dict[int, Path], stack: ExitStack) -> Propagate:
        """The stage that carries keyframes."""
        settings, info = self._settings, self._info
        # Where trimaps alone are made the clip comes in pieces, so that no piece needs all of the mattes.
        amend = partial(
            hold, keep=_opened(settings.keep, stack), drop=_opened(settings.drop, stack), clip_ends_early=True
        )

        def reopen(start: int, end: int) -> Source:
            return open_source(info.path, decoder=settings.decoder, start=str(start), end=str(end), device=self._device)

        return Propagate(Keyframes(paths, info), self._matte, window=settings.batch, reopen=reopen, amend=amend)


def _open_trimaps(settings: MatteSettings, given: TrimapStage | None, stack: ExitStack) -> TrimapStage:
    """The stage that the settings name, or the given one, with holdout and garbage mattes around it."""
    ends_early = settings.end is not None
    opened = partial(_opened, stack=stack)
    stage: TrimapStage
    if given is not None:
        if named := settings.trimap_sources():
            raise UsageError(f"trimaps come from the stage that was given, but {' and '.join(named)} too")
        stage = given
    elif plate := opened(settings.plate):
        stage = CleanPlate(plate)
    elif masks := opened(settings.mask):
        stage = Masks(masks, band=settings.band, clip_ends_early=ends_early)
    elif settings.trimap and (trimaps := opened(Path(settings.trimap[0]))):
        stage = TrimapFiles(trimaps, clip_ends_early=ends_early)
    else:
        stage = ChromaKey(settings.key or "auto")
    if settings.keep is None and settings.drop is None:
        return stage
    return Holdout(stage, opened(settings.keep), opened(settings.drop), clip_ends_early=ends_early)


def _opened(path: Path | None, stack: ExitStack) -> Source | None:
    return None if path is None else stack.enter_context(open_source(path))
