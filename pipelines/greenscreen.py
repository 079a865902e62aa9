"""A clip in, its subject before another background out: the job of `process_clip`, with one stage more at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipelines.process_clip import process_clip
from videomatte.config import GreenscreenSettings
from videomatte.errors import UsageError
from videomatte.io import Output, open_source, probe
from videomatte.io.audio import Soundtrack
from videomatte.io.background import check_background, open_background
from videomatte.replace import ReplaceBackground
from videomatte.types import ClipInfo, RefineStage, RunReport

__all__ = ["greenscreen", "replace_background"]


def replace_background(
    clip: str | Path, background: str | Path, output: str | Path | Sequence[str | Path], **settings: Any
) -> RunReport:
    """Put another background behind the subject of a clip.

    Args:
        clip: a movie, an image, a folder of images or a pattern such as ``shot.%04d.exr``.
        background: an image, a clip, a colour as ``#RRGGBB`` or by name, or ``transparent``. Of a clip, the frame is
            shown that would be seen at the time of the clip's own, both begun together.
        output: where the composite goes; its extension chooses the format. Words in front have it hold something else
            (``"both:matte.mov"``, see :class:`videomatte.io.Output`). Several are written in one pass.
        settings: fields of :class:`videomatte.GreenscreenSettings`, such as ``fit="contain"``.

    Returns:
        What the run did.

    Raises:
        UsageError: settings contradict each other, or the output cannot be what it is asked to be.
        InputError: the clip, the background or the trimaps cannot be read.
        ModelError: the model cannot be loaded.
        OutputError: the output cannot be written. Nothing is left under its name after any error.
    """
    outputs = [output] if isinstance(output, str | Path) else output
    chosen = GreenscreenSettings.of(settings)
    return greenscreen(Path(clip), str(background), [str(path) for path in outputs], chosen)


def greenscreen(
    clip: Path, background: str, outputs: Sequence[str], settings: GreenscreenSettings, *, progress: bool = False
) -> RunReport:
    """Run the job; see :func:`replace_background` for arguments and errors.

    Args:
        progress: show a bar with frames per second and time left on standard error.
    """
    _check(background, outputs, settings)

    @contextmanager
    def behind(info: ClipInfo, device: torch.device) -> Iterator[RefineStage]:
        with open_background(
            background,
            info,
            fit=settings.fit,
            start=settings.background_start,
            end=settings.background_end,
            device=device,
        ) as picture:
            yield ReplaceBackground(
                picture,
                info.colour.transfer,
                linear=settings.linear,
                light_wrap=settings.light_wrap,
                shadows=settings.shadows,
            )

    return process_clip(
        clip,
        outputs,
        settings,
        behind=None if background == "transparent" else behind,
        soundtrack=_soundtrack(background, settings) if settings.sound == "background" else None,
        also={"background": background},
        progress=progress,
    )


def _soundtrack(background: str, settings: GreenscreenSettings) -> Soundtrack:
    """The background's sound, from its first frame that is shown on."""
    path = Path(background)
    if not path.exists() or not probe(path).audio:
        raise UsageError(f"--sound background: {background} has no sound")
    with open_source(path, start=settings.background_start) as source:
        frame = next(iter(source))
    return Soundtrack(path, frame.pts * frame.time_base, is_cut=frame.index > 0)


def _check(background: str, outputs: Sequence[str], settings: GreenscreenSettings) -> None:
    """Refuse what contradicts itself before anything is opened."""
    if background == "transparent":
        for flag, is_set in (
            ("--background-start", settings.background_start is not None),
            ("--light-wrap", settings.light_wrap > 0),
            ("--shadows", settings.shadows),
        ):
            if is_set:
                raise UsageError(f"{flag} needs a background, and --background transparent is none")
        return
    check_background(background, settings.background_start)
    if settings.content != "both" or settings.premultiplied:
        flag = "--premultiplied" if settings.premultiplied else f"--content {settings.content}"
        raise UsageError(
            f"{flag}: a composite over a background is opaque colour: leave the flag away, say of one output alone "
            f"what it holds (-o {'both' if settings.premultiplied else settings.content}:FILE), or give "
            "--background transparent"
        )
    files = [Output.parse(text, content="composite") for text in outputs]
    if all(file.content != "composite" for file in files):
        raise UsageError(f"--background {background} is seen in no output: give one that holds the composite")
    for file in files:
        if Path(background).exists() and Path(file.path).exists() and Path(background).samefile(file.path):
            raise UsageError(f"{file.path}: is the background itself: write to another name")
