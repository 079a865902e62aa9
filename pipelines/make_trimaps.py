"""A clip in, its trimaps out: what a matte would be made from, to look at and to mend before it is made.

Where trimaps are carried from keyframes, what lies between two of these depends on nothing else. What was found is
noted beside the output, and a later run with a keyframe more does anew only the stretch that has changed.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, groupby
from pathlib import Path

import torch
from tqdm import tqdm

from pipelines.keyframes import keyframe_paths
from pipelines.line import Line
from videomatte.config import MatteSettings, TrimapSettings, fingerprint
from videomatte.device import resolve_device
from videomatte.engine import Clock, Threads
from videomatte.engine.report import run_report
from videomatte.io import open_sink, open_source
from videomatte.io.job import describe_job
from videomatte.io.span import expected_frames
from videomatte.trimaps.files import trimap_from_picture
from videomatte.trimaps.overlay import overlay
from videomatte.types import ClipInfo, Frame, MatteFrame, RunReport, Suggestion, TrimapFrame

__all__ = ["make_trimaps"]


def make_trimaps(
    clip: Path, output: Path, settings: TrimapSettings, *, look: Path | None = None, progress: bool = False
) -> RunReport:
    """Write the trimaps of a clip: 0, 128 and 255 as grey.

    Args:
        clip: a movie, an image, a folder of images or a pattern such as ``shot.%04d.exr``.
        output: where they go; FFV1 (.mkv) and PNG keep the three values exactly.
        settings: where trimaps come from.
        look: where a movie goes that shows them over the frames.
        progress: show a bar with frames per second and time left on standard error.

    Returns:
        What the run did; `RunReport.paint_next` has the frames worth painting next.

    Raises:
        UsageError: settings contradict each other, or an output cannot be what it is asked to be.
        InputError: the clip or the trimaps cannot be read.
        ModelError: the model cannot be loaded.
        OutputError: an output cannot be written. Nothing is left under its name after any error.
    """
    started = time.perf_counter()
    clock = Clock()
    device = resolve_device(settings.device)
    count = 0
    with ExitStack() as stack:
        source = stack.enter_context(
            open_source(
                clip,
                decoder=settings.decoder,
                start=settings.start,
                end=settings.end,
                device=device,
                threads=settings.decoder_threads,
            )
        )
        total = expected_frames(source.info, settings.start, settings.end)
        line = Line(MatteSettings(**dataclasses.asdict(settings)), device, clock, source.info, frames=total)
        stack.enter_context(line)
        stretches = Stretches(line, clip, output, settings, source.info)
        stack.enter_context(clock.span("encode"))
        overwrite = settings.overwrite or stretches.remembered
        sink = stack.enter_context(
            open_sink(
                output,
                source.info,
                format=settings.format,
                content="alpha",
                audio=False,
                overwrite=overwrite,
                threads=settings.encoder_threads,
                clock=clock,
            )
        )
        shown = look and stack.enter_context(
            open_sink(
                look,
                source.info,
                content="foreground",
                overwrite=overwrite,
                threads=settings.encoder_threads,
                clock=clock,
            )
        )
        threads = stack.enter_context(Threads())
        frames = threads.boundary(clock.stage("decode", source))
        items = threads.boundary(stretches(clock.stage(None, frames)))
        for item in tqdm(clock.stage(None, items), total=total, unit="frame", disable=not progress, dynamic_ncols=True):
            sink.write(MatteFrame(item, item.trimap.float() / 255))
            if shown:
                shown.write(
                    MatteFrame(item, torch.ones_like(item.trimap).float(), overlay(item.frame.rgb, item.trimap))
                )
            count += 1
    stretches.remember()
    resolved = {"clip": str(clip), "output": str(output), **dataclasses.asdict(settings)}
    return run_report(
        clock,
        started,
        resolved,
        frames_out=count,
        fallbacks=(*line.fallbacks, *sink.notes),
        paint_next=stretches.suggestions,
        apart_bytes=line.apart_bytes,
    )


class Stretches:
    """Frames to trimaps, stretch by stretch from keyframe to keyframe; one that an earlier run found is read again.

    Args:
        line: makes trimaps.
        clip: the clip's path.
        output: where an earlier run's trimaps may be, with a note of what they were made from beside them.
        settings: where trimaps come from. Without keyframes nothing is remembered.
        info: the clip.
    """

    def __init__(self, line: Line, clip: Path, output: Path, settings: TrimapSettings, info: ClipInfo) -> None:
        self._line, self._clip, self._output, self._settings = line, clip, output, settings
        self._keyframes = (keyframe_paths(settings.trimap, info) if settings.trimap else None) or {}
        self._memory = output.with_name(output.name + ".stretches.json")
        self._before = self._recall()
        self._identities: list[tuple[int, str]] = []
        self._suggested: list[Suggestion] = []

    @property
    def remembered(self) -> bool:
        """Whether the output is an earlier run's."""
        return bool(self._before)

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """The frames worth painting next, best first; complete after the run."""
        return tuple(sorted([*self._suggested, *self._line.suggestions], key=lambda one: -one.score))

    def __call__(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """One trimap for each frame, in order."""
        starts = sorted(self._keyframes)
        begin = None
        for number, stretch in groupby(frames, key=lambda frame: sum(start <= frame.index for start in starts)):
            first = next(stretch)
            begin = first.index if begin is None else begin
            identity = self._identity(starts[max(0, number - 1) : number + 1])
            self._identities.append((first.index, identity))
            whole = chain([first], stretch)  # noqa: B031 - the rest of it: both uses together are one
            if identity in self._before:
                yield from self._again(whole, first.index - begin)
                self._suggested += [Suggestion(*one) for one in self._before[identity]]
            else:
                yield from self._line.trimaps(whole)

    def remember(self) -> None:
        """Note beside the output what it was made from."""
        if not self._keyframes:
            return
        found: dict[str, list[tuple[int, str, float]]] = {identity: [] for _, identity in self._identities}
        for one in self.suggestions:
            identity = [identity for first, identity in self._identities if first <= one.frame][-1]
            found[identity].append((one.frame, one.reason, one.score))
        self._memory.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def _recall(self) -> dict[str, list[tuple[int, str, float]]]:
        if not (self._keyframes and self._memory.is_file() and self._output.exists()):
            return {}
        try:
            found: dict[str, list[tuple[int, str, float]]] = json.loads(self._memory.read_text(encoding="utf-8"))
        except ValueError:
            return {}
        return found

    def _identity(self, ends: list[int]) -> str:
        """Everything that the trimaps between two keyframes depend on."""
        settings = {**dataclasses.asdict(self._settings), "trimap": ends}
        return fingerprint(
            describe_job(self._clip, {**settings, **{f"{end}": str(self._keyframes[end]) for end in ends}})
        )

    def _again(self, frames: Iterator[Frame], place: int) -> Iterator[TrimapFrame]:
        with open_source(self._output, start=str(place)) as trimaps:
            for frame, picture in zip(frames, trimaps, strict=False):
                trimap = trimap_from_picture(picture.rgb).to(frame.rgb.device)
                yield TrimapFrame(frame, trimap, "key" if frame.index in self._keyframes else "propagated")
