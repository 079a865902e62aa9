"""One output, made in segments that are finished one by one, and published whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from videomatte.engine.clock import Clock
from videomatte.engine.threads import Threads
from videomatte.engine.undisturbed import undisturbed
from videomatte.errors import OutputError
from videomatte.io.atomic import publish, writing
from videomatte.io.formats import ImageFormat, VideoFormat
from videomatte.io.manifest import Segment, checksum
from videomatte.io.recipe import Recipe
from videomatte.io.segments import Segments
from videomatte.io.verify import Expected
from videomatte.io.work import WHOLE, Work
from videomatte.types import ClipInfo, MatteFrame

__all__ = ["FileSink"]

_PATIENCE = 1.0
"""Seconds that a run which fails waits for a segment to be read back; without it, the segment is lost."""


class FileSink:
    """Mattes to one output, segment by segment. Made by `open_sink`, which explains the arguments."""

    def __init__(
        self,
        path: Path,
        fmt: VideoFormat | ImageFormat,
        info: ClipInfo,
        recipe: Recipe,
        segments: Segments,
        *,
        length: int,
        job: Mapping[str, object] | None,
        verify: bool,
        clock: Clock,
        notes: list[str],
    ) -> None:
        self._notes = notes
        self._path, self._format, self._info, self._recipe, self._segments = path, fmt, info, recipe, segments
        self._length, self._job, self._verify, self._clock = length, job, verify, clock
        self._tick = (
            Fraction(1, 2000) if isinstance(fmt, VideoFormat) and not fmt.container.keeps_ticks else Fraction(0)
        )
        usual = 1 / (info.average_rate * info.time_base) if info.average_rate else 1
        self._duration = max(1, round(usual))
        self._last_pts: int | None = None
        self._shift: int | None = None
        self._count = 0
        self._begun = self._is_whole = False
        self._checks: tuple[Threads, Iterator[Segment | None]] | None = None
        self._was_published = False
        self._work = Work(path, job)
        self._expected: Expected

    @property
    def notes(self) -> list[str]:
        """What had to be done otherwise than asked, one sentence each; complete once the sink is left."""
        return [*self._notes, *self._segments.notes]

    @property
    def resume_at(self) -> int | None:
        """Number of the first frame that is still to come, 0 before there is any; ``None`` where all are there."""
        if self._work.ended:
            return None
        return self._work.segments[-1].end if self._work.segments else 0

    @property
    def finished(self) -> int:
        """Frames that are finished."""
        segments = self._work.segments
        return segments[-1].end - segments[0].first if segments else 0

    @property
    def can_go_on(self) -> bool:
        """Whether a later run will find what is finished."""
        return self._job is not None and bool(self._work.segments)

    def __enter__(self) -> Self:
        try:
            self._work.open()
            self._notes += self._work.notes
            self._was_published = self._work.published
            if self._work.segments:
                last = self._work.segments[-1]
                self._shift = _shift(self._work.segments[0].first_pts)
                self._last_pts, self._duration = last.last_pts, last.last_duration
            if not self._work.ended:
                self._begin()  # what cannot be encoded is told now, and not after the first frame
        except BaseException:
            self._leave(keep=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                if self._checks is not None and self._checks[0].finished(_PATIENCE):
                    with suppress(OutputError):  # there is another error to be told
                        self._settle()
            else:
                self.complete()
                with undisturbed():  # with its name there is nothing left beside it
                    if not self._was_published:
                        with writing(self._path):
                            publish(self._work.folder / WHOLE, Path(os.path.abspath(self._path)))  # noqa: PTH100
                    self._leave(keep=False)
        finally:
            self._leave(keep=True)

    def write(self, matte: MatteFrame) -> None:
        """Take the next frame, in presentation order. One that is finished already is passed over.

        Raises:
            OutputError: its time does not follow, the disk does not take it, or what is read back is not what was
                written.
        """
        frame = matte.frame
        if self.resume_at is None or frame.index < self.resume_at:
            return
        if self._shift is None:
            self._shift = _shift(frame.pts)
        if not self._begun:
            self._begin()
        rgb, alpha = self._recipe.pixels(matte)
        seconds = self._segments.write(rgb, alpha, frame, self._shift)
        if self._verify:
            with self._clock.span("verify"), writing(self._path):
                self._expected.add(frame.index, seconds, alpha)
        if not self._count:
            self._first = frame.index, frame.pts
        gap = 0 if self._last_pts is None else frame.pts - self._last_pts
        self._duration = frame.duration or max(gap, 0) or self._duration
        self._last_index, self._last_pts = frame.index, frame.pts
        self._count += 1
        if self._count == self._length:
            self._end()

    def complete(self) -> None:
        """Finish all but the rename that gives the output its name; no frame may follow.

        Raises:
            OutputError: not one frame came, the disk does not take it, or it is not what was written when read back.
            InputError: the clip's sound cannot be read any more.
        """
        if self._is_whole or self._was_published:
            return
        if self._count:
            self._end()
        self._segments.abandon()
        self._settle()
        if not self._work.segments:
            raise OutputError(f"{self._path}: not one frame came, so there is nothing to write")
        if not self._work.ended:
            self._work.mark("ended")
        with self._clock.span("join"):
            self._segments.assemble(self._work.folder, self._work.segments, self._info.time_base, self._shift or 0)
        self._work.mark("joined")
        self._is_whole = True

    def _begin(self) -> None:
        after = -1 if self._last_pts is None else self._last_pts + (self._shift or 0)
        self._segments.begin(self._work.folder, len(self._work.segments) + (self._checks is not None), after)
        with writing(self._path):
            self._expected = Expected(self._path, self._format, self._tick, self._work.folder)
        self._begun, self._count = True, 0

    def _end(self) -> None:
        """Finish writing the segment. It is read back while the next one is written."""
        self._settle()
        length, self._begun, self._count = self._count, False, 0
        index, pts = self._first
        names = self._segments.end()
        segment = Segment(index, self._last_index + 1, pts, self._last_pts or 0, self._duration, tuple(names), "")
        threads = Threads()
        self._checks = threads, threads.boundary(self._checked(segment, self._expected), depth=length + 1)

    def _checked(self, segment: Segment, expected: Expected) -> Iterator[Segment | None]:
        """The segment as it is noted, at last; before that something for every frame, so that it can be given up."""
        with self._clock.span("verify"), expected:
            if self._verify:
                yield from expected.compared(self._segments.read(self._work.folder, segment.files))
            with writing(self._path):
                digest = checksum(self._work.folder / name for name in segment.files)
        yield replace(segment, sha256=digest)

    def _settle(self) -> None:
        """Note the segment that is being read back, if there is one, once that is done."""
        if self._checks is None:
            return
        (threads, checks), self._checks, segment = self._checks, None, None
        with self._clock.span(None), threads:
            for segment in checks:  # noqa: B007 - the last is wanted
                pass
        assert segment is not None
        self._work.add(segment)

    def _leave(self, *, keep: bool) -> None:
        try:
            if self._checks is not None:
                self._checks[0].__exit__(None, None, None)
            self._segments.abandon()
            if self._begun:
                self._expected.close()
        finally:
            self._work.close(keep=keep)


def _shift(first_pts: int) -> int:
    """Ticks to add: no container shows what lies before time 0, so a clip that starts there moves as a whole."""
    return max(0, -first_pts)
