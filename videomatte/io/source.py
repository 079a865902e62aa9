"""One door to every clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch

from videomatte.errors import UsageError
from videomatte.io.av_source import AvSource
from videomatte.io.image_source import DEFAULT_RATE, ImageSource, probe_images
from videomatte.io.probe import probe_movie
from videomatte.io.span import parse_point
from videomatte.types import ClipInfo, Source

__all__ = ["open_source", "probe"]


def open_source(
    path: str | Path,
    *,
    decoder: Literal["auto", "av", "decord"] = "auto",
    start: str | None = None,
    end: str | None = None,
    rate: Fraction = DEFAULT_RATE,
    device: torch.device | str = "cpu",
) -> Source:
    """A source of frames; a context manager, iterated once.

    Args:
        path: a movie, an image, a folder of images or a pattern such as ``shot.%04d.exr``.
        decoder: the library that decodes movies; auto is PyAV.
        start: first frame to give, as `span.parse_point` reads it; from the beginning where left out.
        end: first frame not to give; to the end where left out.
        rate: frames per second of images; movies have their own.
        device: where planes are sent and made RGB.

    Raises:
        InputError: the clip cannot be read.
        UsageError: start or end is no point in a clip, or leaves nothing between them.
    """
    path = Path(path)
    first, last = (None if text is None else parse_point(text) for text in (start, end))
    if first is not None and last is not None and type(first) is type(last) and first >= last:
        raise UsageError(f"--start {start} --end {end}: nothing lies between them")
    if _is_sequence(path):
        return ImageSource(path, first, last, rate, device)
    if decoder == "decord":
        from videomatte.io.decord_source import DecordSource

        return DecordSource(path, first, last, device)
    return AvSource(path, first, last, device)


def probe(path: str | Path) -> ClipInfo:
    """What is known about a clip before it is worked on.

    Raises:
        InputError: the clip cannot be read.
    """
    path = Path(path)
    return probe_images(path) if _is_sequence(path) else probe_movie(path)


def _is_sequence(path: Path) -> bool:
    return path.is_dir() or ("%" in path.name and not path.exists())
