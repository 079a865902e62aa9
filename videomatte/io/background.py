"""What is put behind a subject: a colour, an image, or a clip that plays along with the subject's own.

A clip is played by time: at any time its last frame that has begun is shown, whatever the two rates are. It is decoded
once through and no more than two of its frames are held; to loop it is opened again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from videomatte.errors import InputError, UsageError
from videomatte.fit import Fit, fit
from videomatte.io.source import open_source
from videomatte.light import convert
from videomatte.types import ClipInfo, Colour, Frame, Source, unit_range

__all__ = ["COLOURS", "Background", "End", "check_background", "open_background"]

End = Literal["loop", "hold", "once"]
"""What follows a background's last frame: its first, that same frame for good, or black."""

COLOURS = {
    "black": "#000000",
    "silver": "#C0C0C0",
    "gray": "#808080",
    "grey": "#808080",
    "white": "#FFFFFF",
    "maroon": "#800000",
    "red": "#FF0000",
    "purple": "#800080",
    "fuchsia": "#FF00FF",
    "green": "#008000",
    "lime": "#00FF00",
    "olive": "#808000",
    "yellow": "#FFFF00",
    "navy": "#000080",
    "blue": "#0000FF",
    "teal": "#008080",
    "aqua": "#00FFFF",
}
"""The colours of CSS, level 1, by their names there."""

_SRGB = Colour(primaries=1, transfer=13)
_BRIGHTEST = 65504.0
"""What infinity is taken for: the largest half float, so that scaling stays finite."""
_ROUNDING = Fraction(1, 1000)
"""Seconds: Matroska and WebM write whole milliseconds, so that a frame may seem to begin that much after its time."""


class Background(Protocol):
    """A context manager that knows what lies behind the subject."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, seconds: Fraction) -> Tensor:
        """What is shown so long after the first frame, asked for in rising order.

        Returns:
            ``[3, H, W]`` float32 of the clip's size or ``[3, 1, 1]``, one colour; opaque, in the clip's encoding.
        """
        ...


def check_background(what: str, start: str | None = None) -> None:
    """Refuse, before any work, what cannot be a background; arguments and errors as of `open_background`."""
    code = COLOURS.get(what.lower(), what)
    if code.startswith("#"):
        if not re.fullmatch("#[0-9a-fA-F]{6}", code):
            raise UsageError(f"--background {what} is no colour: write #RRGGBB, such as #00A0FF, or a name")
        if start is not None:
            raise UsageError(f"--background-start {start}: a colour has no beginning")
    elif not Path(what).exists() and "%" not in what:
        raise InputError(
            f"{what}: no background: there is no such file, and it is no colour: give an image, a clip, a colour as "
            f"#RRGGBB or by name ({', '.join(COLOURS)}), or transparent"
        )


def open_background(
    what: str,
    info: ClipInfo,
    *,
    fit: Fit = "cover",
    start: str | None = None,
    end: End = "loop",
    device: torch.device | str = "cpu",
) -> Background:
    """A background for a clip. Its colour is brought into the clip's encoding by `videomatte.light.convert`.

    Args:
        what: a colour, by name or as #RRGGBB (of sRGB), or the path of an image or a clip. What is transparent in it
            lies over black.
        info: the clip it goes behind.
        fit: how a picture of another shape fills the frame.
        start: what the background begins with: a frame number (120) or a time (5.0, 5s, 0:01:02.5).
        end: what follows its last frame.
        device: where pictures are made.

    Raises:
        InputError: it is no colour, and no image or clip that can be read.
        UsageError: a colour is given a start, or the start is no point in a clip or behind its end.
    """
    check_background(what, start)
    if (code := COLOURS.get(what.lower(), what)).startswith("#"):
        return _OneColour(code, info, device)
    return _Player(Path(what), info, fit, start, end, device)


class _OneColour:
    """The same everywhere, always."""

    def __init__(self, code: str, info: ClipInfo, device: torch.device | str) -> None:
        rgb = torch.tensor([int(code[at : at + 2], 16) for at in (1, 3, 5)], device=device) / 255
        self._rgb = convert(rgb, _SRGB, info.colour).view(3, 1, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, seconds: Fraction) -> Tensor:  # noqa: ARG002 - it is the same at any time
        return self._rgb


class _Player:
    """An image or a clip, frame by frame."""

    def __init__(
        self, path: Path, info: ClipInfo, how: Fit, start: str | None, end: End, device: torch.device | str
    ) -> None:
        self._path, self._clip, self._how, self._end, self._device = path, info, how, end, device
        self._start = start
        self._source = self._open()  # here, so that what cannot be read is told before anything is made

    def __enter__(self) -> Self:
        self._frames = self._play()
        self._shown: Tensor | None = None
        try:
            self._now = next(self._frames)
        except InputError as error:
            self._source.close()
            if "no frame between" not in str(error):
                raise
            raise UsageError(f"--background-start {self._start}: {self._path} ends before") from error
        self._next = next(self._frames, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def __call__(self, seconds: Fraction) -> Tensor:
        while self._next is not None and self._next[0] <= seconds + _ROUNDING:
            self._now, self._next = self._next, next(self._frames, None)
            self._shown = None
        if self._shown is None:
            self._shown = self._picture(self._now[1])
        return self._shown

    def _play(self) -> Iterator[tuple[Fraction, Frame | None]]:
        """Frames and when each begins, in seconds from the first; ``None`` is black."""
        origin = Fraction(0)
        while True:
            first, last, length = None, None, Fraction(0)
            for frame in self._source:
                begins = frame.pts * frame.time_base
                first = begins if first is None else first
                # A last frame that does not say how long it is shown is shown as long as the one before.
                length = (frame.duration or 0) * frame.time_base or (begins - last if last is not None else length)
                last = begins
                yield origin + begins - first, frame
            self._source.close()
            if first is None or last is None:
                return
            origin += last - first + length
            if self._end == "once":
                yield origin, None
            if self._end != "loop" or last == first:  # a still goes on by itself
                return
            self._source = self._open()

    def _open(self) -> Source:
        return open_source(self._path, start=self._start, device=self._device)

    def _picture(self, frame: Frame | None) -> Tensor:
        if frame is None:
            return torch.zeros((3, 1, 1), device=self._device)
        rgb, theirs = torch.nan_to_num(unit_range(frame.rgb), posinf=_BRIGHTEST, neginf=0.0), self._source.info
        if frame.alpha is not None and theirs.codec != "exr":  # OpenEXR's colour lies over black already
            rgb = rgb * unit_range(frame.alpha)
        aspect = theirs.sample_aspect / self._clip.sample_aspect
        rgb = fit(rgb, self._clip.height, self._clip.width, self._how, aspect)
        return convert(rgb, theirs.colour, self._clip.colour)
