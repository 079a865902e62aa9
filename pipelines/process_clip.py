"""A clip in, its matte out: decode | trimap | matte | refine | encode, each in a thread of its own.

Also the frame of the other jobs on a clip, which go on from its mattes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pipelines.keyframes import named_files
from pipelines.line import AHEAD, Line
from videomatte.config import MatteSettings
from videomatte.device import resolve_device
from videomatte.engine import Clock, Threads
from videomatte.engine.report import run_report
from videomatte.errors import UsageError, naming
from videomatte.io import Output, open_source, open_tee
from videomatte.io.audio import Soundtrack
from videomatte.io.job import describe_job
from videomatte.io.sheet_sink import SheetSink
from videomatte.io.span import expected_frames
from videomatte.types import ClipInfo, RefineStage, RunReport, TrimapStage

__all__ = ["Behind", "matte", "process_clip"]

Behind = Callable[[ClipInfo, torch.device], AbstractContextManager[RefineStage]]
"""Opens what puts a background behind the mattes of a clip."""


def matte(
    clip: str | Path, output: str | Path | Sequence[str | Path], *, trimaps: TrimapStage | None = None, **settings: Any
) -> RunReport:
    """Take the subject out of a clip.

    Args:
        clip: a movie, an image, a folder of images or a pattern such as ``shot.%04d.exr``.
        output: where the matte goes; its extension chooses the format. Words in front say what it holds and its format
            (``"alpha:matte.mp4"``, see :class:`videomatte.io.Output`). Several are written in one pass.
        trimaps: a stage of your own to take trimaps from, see :class:`videomatte.types.TrimapStage`; instead of the
            settings that name one (``key``, ``mask``, ``trimap``).
        settings: fields of :class:`videomatte.MatteSettings`, such as ``key="green"``.

    Returns:
        What the run did.

    Raises:
        UsageError: settings contradict each other, or the output cannot be what it is asked to be.
        InputError: the clip or the trimaps cannot be read.
        ModelError: the model cannot be loaded.
        OutputError: the output cannot be written. Nothing is left under its name after any error.
    """
    outputs = [output] if isinstance(output, str | Path) else output
    return process_clip(Path(clip), [str(path) for path in outputs], MatteSettings.of(settings), trimaps=trimaps)


def process_clip(
    clip: Path,
    outputs: Sequence[str],
    settings: MatteSettings,
    *,
    trimaps: TrimapStage | None = None,
    behind: Behind | None = None,
    soundtrack: Soundtrack | None = None,
    also: Mapping[str, object] | None = None,
    clock: Clock | None = None,
    job_frames: int | None = None,
    progress: bool = False,
) -> RunReport:
    """Run the line on one clip; see :func:`matte` for arguments and errors.

    Args:
        behind: puts a background behind the mattes. Outputs that do not say what they hold then hold the composite.
        soundtrack: sound to carry into movies instead of the clip's own.
        also: what else the frames depend on, for the report and to know the job again.
        clock: is told how long the stages take, and when each frame is written.
        job_frames: how many frames the job has that this run is a sample of, to be run as that would be.
        progress: show a bar with frames per second and time left on standard error.
    """
    content = "composite" if behind else settings.content
    files = [Output.parse(text, content=content, format=settings.format) for text in outputs]
    for file in files:
        if file.content == "composite" and not behind:
            raise UsageError(f"{file.path}: a composite needs a background: videomatte greenscreen puts one in")
    started = time.perf_counter()
    clock = clock or Clock()
    frames_out = 0
    device = resolve_device(settings.device)
    resolved = {"clip": str(clip), "outputs": [*outputs], **(also or {}), **dataclasses.asdict(settings)}
    depends_on = {**(also or {}), **dataclasses.asdict(settings), **named_files(settings.trimap)}
    with naming(clip), ExitStack() as stack:
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
        frames_expected = expected_frames(source.info, settings.start, settings.end)
        line = stack.enter_context(Line(settings, device, clock, source.info, trimaps, job_frames or frames_expected))
        replace = stack.enter_context(behind(source.info, device)) if behind else None
        sheet = settings.sheet and stack.enter_context(SheetSink(settings.sheet, source.info, settings.overwrite))
        stack.enter_context(clock.span("encode"))  # this thread's own work, the waits below taken off
        sink = open_tee(
            files,
            source.info,
            premultiplied=settings.premultiplied,
            audio=settings.audio,
            soundtrack=soundtrack,
            overwrite=settings.overwrite,
            verify=settings.verify,
            # What a stage of the user's own does, nobody can compare: such a run always starts at its start.
            job=None if trimaps else describe_job(clip, depends_on),
            batch=settings.batch,
            threads=settings.encoder_threads,
            clock=clock,
        )
        stack.push(sink)  # before it is entered: wherever on the way in Ctrl-C strikes, nothing is left
        sink.__enter__()
        done = sink.resume_at
        threads = stack.enter_context(Threads())

        frames = threads.boundary(clock.stage("decode", () if done is None else source))
        # A background plays from the clip's first frame on, and shadows are learned: the sink passes over what it has.
        mattes = line(clock.stage(None, frames), threads, skip_before=0 if behind else done or 0)
        if replace:
            mattes = clock.stage("composite", replace(mattes))
        mattes = threads.boundary(mattes, depth=AHEAD)
        bar = tqdm(
            total=frames_expected,
            initial=0 if behind else sink.finished,
            unit="frame",
            disable=not progress,
            dynamic_ncols=True,
        )
        for item in clock.stage(None, mattes):
            sink.write(item)
            if sheet:
                sheet.write(item)
            clock.mark()
            frames_out += 1
            bar.update()
        bar.close()
    return run_report(
        clock,
        started,
        resolved,
        frames_out=frames_out,
        fallbacks=(*line.fallbacks, *sink.notes, *(sheet.notes if sheet else ())),
        paint_next=line.suggestions,
        apart_bytes=line.apart_bytes,
    )
