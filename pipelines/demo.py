"""The main job on a clip whose truth is known: render, matte, composite, measure, and leave pictures to look at.

Also the line composed by hand: one decode and one matting feed two outputs and a contact sheet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from pipelines.evaluate import evaluate
from videomatte.engine import Threads
from videomatte.errors import OutputError
from videomatte.io import open_sink, open_source
from videomatte.io.picture import write_picture
from videomatte.matting import open_matting
from videomatte.refine import Foreground, Temporal
from videomatte.replace import ReplaceBackground
from videomatte.scenes import SceneSettings, render, write_clip
from videomatte.sheet import ContactSheet
from videomatte.trimaps import ChromaKey
from videomatte.types import MatteFrame

__all__ = ["demo"]

SCENE = SceneSettings(width=640, height=360, frames=24, seed=7, backdrop="green", gesture=0.5)
NEW_BACKGROUND = SceneSettings(width=640, height=360, frames=1, seed=11, backdrop="place")


def demo(folder: Path, *, progress: bool = False) -> str:
    """Run the demo.

    Args:
        folder: where everything goes: ``scene/`` (the clip and its truth), ``matte.mov``, ``composite.mp4``,
            ``sheet.png``. What an earlier demo left there is replaced.
        progress: show bars on standard error.

    Returns:
        What was made and how far the matte is from the truth, for people.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    clip = write_clip(SCENE, folder / "scene")
    background = next(render(NEW_BACKGROUND)).background
    sheet = ContactSheet(rows=4)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(clip))
        sinks = [
            stack.enter_context(open_sink(folder / "matte.mov", source.info, overwrite=True)),
            stack.enter_context(open_sink(folder / "composite.mp4", source.info, overwrite=True, content="composite")),
        ]
        replace = ReplaceBackground(lambda _: background, source.info.colour.transfer)
        threads = stack.enter_context(Threads())
        trimaps = ChromaKey("auto")(threads.boundary(source))
        mattes = open_matting("embedded")(threads.boundary(trimaps))
        mattes = Temporal()(Foreground()(threads.boundary(mattes)))
        for matte in _bar(threads.boundary(replace(mattes)), shown=progress):
            for sink in sinks:
                sink.write(matte)
            sheet.add(matte)
    write_picture(folder / "sheet.png", sheet.picture())
    report = evaluate(folder / "matte.mov", folder / "scene" / "alpha", folder / "scene" / "trimap")
    return "\n".join(
        [
            f"{clip}: a rendered clip, its truth beside it",
            f"{folder / 'matte.mov'}: the matte, ProRes 4444",
            f"{folder / 'composite.mp4'}: the subject before a new background",
            f"{folder / 'sheet.png'}: frames, trimaps, alphas and edges to look at",
            report.table(),
        ]
    )


def _bar(mattes: Iterator[MatteFrame], *, shown: bool) -> Iterator[MatteFrame]:
    return iter(tqdm(mattes, total=SCENE.frames, unit="frame", disable=not shown, dynamic_ncols=True))
