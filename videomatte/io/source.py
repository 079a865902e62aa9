"""One door to every clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch

from videomatte.io.av_source import AvSource
from videomatte.io.image_source import DEFAULT_RATE, IMAGE_SUFFIXES, ImageSource, probe_images
from videomatte.io.probe import probe_movie
from videomatte.io.span import Span
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
    threads: int = 0,
) -> Source:
    """A source of frames; a context manager, iterated once.

    Args:
        path: a movie, an image, a folder of images or a pattern such as ``shot.%04d.exr``.
        decoder: the library that decodes movies; auto is PyAV.
        start: first frame to give, a number (120) or a time after the first frame (5.0, 5s, 0:01:02.5).
        end: first frame not to give; to the end where left out.
        rate: frames per second of images; movies have their own.
        device: where planes are sent and made RGB.
        threads: how many decode a movie; 0 leaves it to the decoder.

    Raises:
        InputError: the clip cannot be read.
        UsageError: start or end is no point in a clip, or leaves nothing between them.
    """
    path = Path(path)
    span = Span.parse(start, end)
    if _is_images(path):
        return ImageSource(path, span, rate, device)
    if decoder == "decord":
        from videomatte.io.decord_source import DecordSource

        return DecordSource(path, span, device, threads)
    return AvSource(path, span, device, threads)


def probe(path: str | Path) -> ClipInfo:
    """What is known about a clip before it is worked on.

    Raises:
        InputError: the clip cannot be read.
    """
    path = Path(path)
    return probe_images(path) if _is_images(path) else probe_movie(path)


def _is_images(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        return path.is_dir()
    except OSError:  # a name that is too long: told when it is opened
        return False
