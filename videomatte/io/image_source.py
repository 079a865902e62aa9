"""Folders of images as clips."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from videomatte.errors import InputError
from videomatte.io.av_source import AvSource, _reached
from videomatte.io.probe import probe_movie
from videomatte.types import ClipInfo, Frame

__all__ = ["IMAGE_SUFFIXES", "ImageSource", "list_images", "probe_images"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr")

DEFAULT_RATE = Fraction(24)
"""Frames per second of images, which have no clock of their own."""


def list_images(path: Path) -> list[Path]:
    """The images of a folder or of a pattern such as ``shot.%04d.exr``, in order of the numbers in their names.

    Raises:
        InputError: there is none, or there are several kinds.
    """
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        kinds = sorted({p.suffix.lower() for p in found})
        if len(kinds) > 1:
            raise InputError(f"{path}: holds several kinds of images ({', '.join(kinds)}): give each its own folder")
    else:
        pattern = re.compile(re.sub(r"%0?\d*d", r"\d+", re.escape(path.name).replace("\\%", "%")))
        found = [p for p in path.parent.iterdir() if pattern.fullmatch(p.name)] if path.parent.is_dir() else []
    if not found:
        raise InputError(f"{path}: no images there ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(found, key=lambda p: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", p.name)])


def probe_images(path: Path, rate: Fraction = DEFAULT_RATE) -> ClipInfo:
    """What is known about a sequence of images, from its first."""
    images = list_images(path)
    return dataclasses.replace(
        probe_movie(images[0]),
        path=path,
        container="images",
        time_base=1 / rate,
        average_rate=rate,
        frame_count=len(images),
        duration_seconds=len(images) / rate,
    )


class ImageSource:
    """Images one after the other, pts counting them from 0.

    Args:
        path: a folder, or a pattern such as ``shot.%04d.exr``.
        start: first frame to give, as a number or in seconds.
        end: first frame not to give.
        rate: frames per second.
        device: where planes are sent and made RGB.

    Raises:
        InputError: from the constructor, where there are no images; from the iteration, where one cannot be read or
            has another size.
    """

    def __init__(
        self,
        path: Path,
        start: int | Fraction | None = None,
        end: int | Fraction | None = None,
        rate: Fraction = DEFAULT_RATE,
        device: torch.device | str = "cpu",
    ) -> None:
        self.info = probe_images(path, rate)
        self._images, self._start, self._end, self._device = list_images(path), start, end, device

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open between images."""

    def __iter__(self) -> Iterator[Frame]:
        """Decode, one file at a time."""
        for index, path in enumerate(self._images):
            seconds = index * self.info.time_base
            if _reached(self._end, index, seconds):
                return
            if not _reached(self._start, index, seconds, unset=True):
                continue
            with AvSource(path, device=self._device) as image:
                frame = next(iter(image))
            if (frame.height, frame.width) != (self.info.height, self.info.width):
                raise InputError(
                    f"{path}: {frame.width} x {frame.height}, but the first image is "
                    f"{self.info.width} x {self.info.height}: images of one clip have one size"
                )
            yield dataclasses.replace(frame, index=index, pts=index, time_base=self.info.time_base, duration=1)
