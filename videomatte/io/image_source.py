"""Still images and sequences of them as clips."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import torch
from torch import Tensor

from videomatte.errors import InputError
from videomatte.io.exr import missing_rows
from videomatte.io.image_header import declared_size, without_png_texts
from videomatte.io.limits import MAX_IMAGE_BYTES, check_file, check_size
from videomatte.io.orientation import Orientation, exif_orientation, upright
from videomatte.io.planes import chroma_siting, frame_tensors
from videomatte.io.probe import describe_stream, frame_colour, open_movie, reason
from videomatte.io.span import Span
from videomatte.io.watchdog import Watchdog
from videomatte.types import ClipInfo, Colour, Frame

__all__ = ["DEFAULT_RATE", "IMAGE_SUFFIXES", "ImageSource", "list_images", "probe_images"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr")

DEFAULT_RATE = Fraction(24)
"""Frames per second of images, which have no clock of their own."""

_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.ASCII | re.DOTALL)
"""Prefix, last number and rest of a file's name."""


def list_images(path: Path) -> list[Path]:
    """The images of a clip, in order: one file, a folder's, or those of a pattern such as ``shot.%04d.exr``.

    Of a folder, hidden files and what is no image are passed over. Names are put in natural order (2 before 10).

    Raises:
        InputError: there is none; there are several kinds or several sequences; or numbers are missing, which in a
            sequence that was rendered or shot means lost frames.
    """
    try:
        return _list_images(path)
    except OSError as error:
        raise InputError(f"{path}: not readable: {reason(error)}") from error


def _list_images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        kinds = sorted({p.suffix.lower() for p in found})
        if len(kinds) > 1:
            raise InputError(f"{path}: holds several kinds of images ({', '.join(kinds)}): give each its own folder")
    else:
        # No name has more than 255 digits; a longer number would be refused by the expression, not by the folder.
        digits = re.sub(r"%(?:0?(\d{1,3}))?d", lambda m: rf"\d{{{m[1] or 1},}}", re.escape(path.name))
        pattern = re.compile(digits, re.ASCII)
        found = [p for p in path.parent.iterdir() if pattern.fullmatch(p.name)] if path.parent.is_dir() else []
    if not found:
        raise InputError(f"{path}: no images there ({', '.join(IMAGE_SUFFIXES)})")
    _check_sequence(path, found)
    return sorted(
        found, key=lambda p: [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", p.name, flags=re.ASCII)]
    )


def _check_sequence(path: Path, images: list[Path]) -> None:
    sequences: dict[tuple[str, str], list[int]] = {}
    for image in images:
        if match := _NUMBER.fullmatch(image.stem):
            sequences.setdefault((match[1], match[3]), []).append(int(match[2]))
    whole = {names: sorted(numbers) for names, numbers in sequences.items() if len(numbers) > 1}
    if len(whole) > 1:
        names = ", ".join(f"{prefix}#{rest}" for prefix, rest in sorted(whole))
        raise InputError(f"{path}: holds several sequences ({names}): give one as a pattern, such as name.%04d.png")
    for numbers in whole.values():
        for before, after in pairwise(numbers):
            if after != before + 1:
                raise InputError(
                    f"{path}: after number {before} comes {after}: a sequence has every number once; "
                    "add what is missing, or give each part its own folder"
                )


def probe_images(path: Path, rate: Fraction = DEFAULT_RATE) -> ClipInfo:
    """What is known about an image or a sequence, from its first.

    Raises:
        InputError: as for `list_images`, or the first cannot be read.
    """
    watchdog = Watchdog(path)
    try:
        return watchdog.call(_probe, path, list_images(path), rate)
    finally:
        watchdog.close()


def _probe(path: Path, images: list[Path], rate: Fraction) -> ClipInfo:
    info, _, _ = _read(images[0], torch.device("cpu"))
    number = _NUMBER.fullmatch(images[0].stem) if len(images) > 1 else None
    return dataclasses.replace(
        info,
        path=path,
        container="images",
        time_base=1 / rate,
        average_rate=rate,
        frame_count=len(images),
        duration_seconds=len(images) / rate,
        start_number=int(number[2]) if number else None,
    )


class ImageSource:
    """Images one after the other. ``index`` and ``pts`` count them from 0; `ClipInfo.start_number` has the first's own.

    EXR is scene-linear float, its values as stored: colour that was multiplied by alpha stays so.

    Args:
        path: an image, a folder, or a pattern such as ``shot.%04d.exr``.
        span: the frames to give.
        rate: frames per second.
        device: where planes are sent and made RGB.

    Raises:
        InputError: from the constructor, where there are no images or they are no sequence; from the iteration, where
            one cannot be read or differs from the first in size, type or alpha.
    """

    def __init__(
        self,
        path: Path,
        span: Span | None = None,
        rate: Fraction = DEFAULT_RATE,
        device: torch.device | str = "cpu",
    ) -> None:
        self._images = list_images(path)
        self._span, self._device = span or Span(), torch.device(device)
        self._watchdog = Watchdog(path)
        try:
            self.info = self._watchdog.call(_probe, path, self._images, rate)
        except BaseException:
            self._watchdog.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """No file stays open between frames."""
        self._watchdog.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode, one file at a time."""
        tick = self.info.time_base
        wanted = [
            (index, path)
            for index, path in enumerate(self._images)
            if self._span.begun(index, index * tick, tick) and not self._span.ended(index, index * tick, tick)
        ]
        if not wanted:
            raise InputError(f"{self.info.path}: no frame between --start and --end")
        for index, path in wanted:
            info, rgb, alpha = self._watchdog.call(_read, path, self._device)
            for what in ("width", "height", "bit_depth", "has_alpha"):
                mine, first = getattr(info, what), getattr(self.info, what)
                if mine != first:
                    raise InputError(
                        f"{path}: {what.replace('_', ' ')} is {mine}, but {first} in the first image: "
                        "the images of a clip are alike"
                    )
            yield Frame(index=index, pts=index, time_base=tick, rgb=rgb, alpha=alpha, duration=1)


def _read(path: Path, device: torch.device) -> tuple[ClipInfo, Tensor, Tensor | None]:
    """One image: what is known about it, its RGB and its alpha, upright."""
    check_file(path)
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise InputError(f"{path}: the file is too large for an image: {MAX_IMAGE_BYTES // 2**30} GiB are the most")
        data = without_png_texts(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: not readable: {reason(error)}") from error
    if (size := declared_size(data)) is not None:
        check_size(path, *size)
    container, stream = open_movie(path, data)
    with container:
        try:
            frame = next(container.decode(stream), None)
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(f"{path}: cannot be decoded: {reason(error)}") from error
        if frame is None:
            raise InputError(f"{path}: no picture in it")
        info = describe_stream(path, container, stream, frame)
        # A JPEG's scans end in a marker; the decoder paints what is missing grey, without a word.
        if info.codec == "mjpeg" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            raise InputError(f"{path}: damaged or cut short: the image has no end")
        if info.codec == "exr" and (rows := missing_rows(data)):
            raise InputError(f"{path}: damaged or cut short: {rows} of its rows are missing")
        if info.codec == "mjpeg" and info.has_alpha:
            raise InputError(f"{path}: is a CMYK image, made for print: convert it to RGB first")
        colour = frame_colour(frame, stream)
        if info.codec == "exr" and colour.transfer is None:
            colour = dataclasses.replace(colour, transfer=_LINEAR)
        rgb, alpha = frame_tensors(frame, colour, chroma_siting(info.codec), device)
    orientation = exif_orientation(data)
    return (
        _turned(info, orientation, colour),
        upright(rgb, orientation),
        None if alpha is None else upright(alpha, orientation),
    )


_LINEAR = 8


def _turned(info: ClipInfo, orientation: Orientation, colour: Colour) -> ClipInfo:
    """The image's facts with EXIF's orientation, whatever the decoder's library made of it."""
    mirrored, degrees = orientation
    swap = (degrees in (90, 270)) != (info.rotation_degrees in (90, 270))
    return dataclasses.replace(
        info,
        width=info.height if swap else info.width,
        height=info.width if swap else info.height,
        sample_aspect=1 / info.sample_aspect if swap else info.sample_aspect,
        rotation_degrees=degrees,
        mirrored=mirrored,
        colour=colour,
    )
