"""Sinks: mattes to files. `open_sink` chooses and checks, the writers write, and nothing half-made is ever published.

What is written is the foreground with its alpha, the foreground or the matte alone, or the composite over a background.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from videomatte.engine.clock import Clock
from videomatte.errors import InputError, UsageError
from videomatte.io.atomic import check_target
from videomatte.io.audio import Soundtrack
from videomatte.io.choice import choose_format, names_folder
from videomatte.io.file_sink import FileSink
from videomatte.io.formats import Content, Holding, ImageFormat, VideoFormat
from videomatte.io.pixel_layout import pixel_layout
from videomatte.io.recipe import Recipe
from videomatte.io.segments import ImageSegments, MovieSegments, Segments, segment_frames
from videomatte.io.work import is_published
from videomatte.types import ClipInfo

__all__ = ["colour_bits", "open_sink"]

_HIGH_DYNAMIC_RANGE = (16, 18)
"""Transfers, by ITU-T H.273, that are banded in 8 bits: PQ and HLG."""


def open_sink(
    path: str | Path,
    info: ClipInfo,
    *,
    format: str | None = None,  # noqa: A002 - what the flag is called
    overwrite: bool = False,
    content: Holding = "both",
    premultiplied: bool = False,
    audio: bool = True,
    soundtrack: Soundtrack | None = None,
    verify: bool = True,
    job: Mapping[str, object] | None = None,
    batch: int = 1,
    threads: int = 0,
    clock: Clock | None = None,
) -> FileSink:
    """The sink that writes to ``path``. Nothing is made before it is entered.

    Its ``notes`` say, once it is left, what had to be done otherwise than asked, one sentence each.

    Args:
        path: the output: a movie or an image by its extension, a folder of images by a name without one or a trailing
            slash.
        info: the clip the mattes come from: its size, time and colour become the output's.
        format: name of a row of the table in `videomatte.io.formats`; without it the extension chooses.
        overwrite: whether an existing output may be replaced. A folder is replaced only if videomatte made it and
            nothing else has come into it.
        content: both, foreground (opaque colour), alpha (the matte as full-range grey), or composite (opaque too; the
            mattes must have one, as of `videomatte.replace.ReplaceBackground`).
        premultiplied: write colour times alpha, in the clip's own encoding, and say so in the file.
        audio: carry the clip's sound into a movie, as `videomatte.io.audio` says; images take none.
        soundtrack: sound to carry instead of the clip's own.
        verify: read every segment back and compare it, as `videomatte.io.verify` says.
        job: everything that the frames depend on, JSON values by name. With it, what a killed or failed run of the very
            same job has finished is gone on from; without it, nothing is left after an error.
        batch: frames that are matted together: what is finished, read back and put on the disk together is a multiple.
        threads: how many a movie's encoder has; 0 leaves it to the encoder.
        clock: is told what reading back (``verify``) and joining (``join``) take.

    Raises:
        UsageError: no format fits, the format cannot hold the content or the clip's depth, the output exists, or it is
            the input.
        OutputError: the output cannot be made where it is to go.
    """
    if premultiplied and content != "both":
        raise UsageError(f"{path}: only colour that is written with its alpha can be premultiplied")
    held: Content = "foreground" if content == "composite" else content
    recipe = Recipe(held, premultiplied, content == "composite")
    try:
        chosen = choose_format(
            path, format, content=recipe.content, colour_bits=colour_bits(info), premultiplied=premultiplied
        )
    except UsageError as error:
        if content == "both" and "holds no alpha" in str(error):
            raise UsageError(f"{error}, or put a background behind it (videomatte greenscreen)") from None
        raise
    is_folder = names_folder(path, chosen)
    path = Path(path)
    segment = segment_frames(chosen, batch)
    if job is not None:
        job = {**job, "format": chosen.name, "content": content, "premultiplied": premultiplied, "segment": segment}
    # Its work folder left behind, an output is a killed run's that lacks nothing: there is nothing to be replaced.
    check_target(path, info.path, folder=is_folder, overwrite=overwrite or is_published(path, job))
    notes = _notes(path, chosen, info, recipe)
    segments: Segments
    if isinstance(chosen, VideoFormat):
        segments = MovieSegments(
            path, chosen, recipe.content, info, recipe.comment, audio=audio, soundtrack=soundtrack, threads=threads
        )
    else:
        segments = ImageSegments(path, chosen, recipe.content, info, folder=is_folder)
        if audio and (info.audio or soundtrack):
            notes.append(f"{path}: images hold no sound: the clip's is left out")
    return FileSink(
        path,
        chosen,
        info,
        recipe,
        segments,
        length=segment,
        job=job,
        verify=verify,
        clock=clock or Clock(),
        notes=notes,
    )


def colour_bits(info: ClipInfo) -> int:
    """Bits of colour that a clip needs of its output: 8, or 10 for anything deeper and for PQ and HLG."""
    return 10 if info.bit_depth > 8 or info.colour.transfer in _HIGH_DYNAMIC_RANGE else 8


def _notes(path: Path, fmt: VideoFormat | ImageFormat, info: ClipInfo, recipe: Recipe) -> list[str]:
    """What is lost by the choice of the format."""
    try:
        is_float = pixel_layout(info.pixel_format).is_float
    except InputError:
        return []
    if is_float and recipe.content != "alpha" and fmt.name != "exr":
        return [f"{path}: {fmt.title} cuts off the clip's values above white: .exr keeps them"]
    return []
