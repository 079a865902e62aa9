"""The types that travel along the line, and the protocols of what makes and takes them. Read this file first.

    source ──Frame──▶ trimaps ──TrimapFrame──▶ matting ──MatteFrame──▶ refine ──MatteFrame──▶ sink

Each item carries the one it came from, so nothing is ever joined again by index.

Conventions, everywhere in videomatte:

* images are channels first, ``[C, H, W]``, row 0 at the top, column 0 at the left, upright as they are to be shown;
* RGB is full range in the source's own transfer (what the file's tags say, never linearised on the way in);
* integer pixels are normalised by the largest value of their type: 255 for uint8, 65535 for uint16;
* alpha and trimaps have one channel, ``[1, H, W]``; a foreground is **straight** (never multiplied by alpha);
* time is an integer pts in units of a rational time base; seconds are only ever derived.

The checks in ``__post_init__`` take constant time: they look at shape and dtype, never at values, and never wait for a
device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from videomatte.errors import ShapeError

__all__ = [
    "AudioInfo",
    "ClipInfo",
    "Colour",
    "Frame",
    "MatteFrame",
    "MattingStage",
    "RefineStage",
    "RunReport",
    "Sink",
    "Source",
    "StageReport",
    "Suggestion",
    "TrimapFrame",
    "TrimapOrigin",
    "TrimapStage",
    "finite_unit_range",
    "from_unit_range",
    "unit_range",
]

TrimapOrigin = Literal["key", "propagated", "generated"]
"""Where a trimap came from: given by the user for this frame, carried from another frame, or made from the picture."""

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255
"""The three values of a trimap."""

_PIXEL_DTYPES = (torch.uint8, torch.uint16, torch.float32)


def unit_range(pixels: Tensor) -> Tensor:
    """Pixels of any supported dtype as float32 with 1.0 at white.

    Args:
        pixels: any shape; uint8 (255 is 1.0), uint16 (65535 is 1.0) or floating point (returned as float32, values
            untouched: scene-linear sources may exceed 1).
    """
    if pixels.dtype == torch.uint8:
        return pixels.float().div_(255)  # of bytes themselves torch makes two pictures of floats
    if pixels.dtype == torch.uint16:
        return pixels.float().div_(65535)
    return pixels.float()


def finite_unit_range(pixels: Tensor) -> Tensor:
    """As :func:`unit_range`, NaN as 0, +inf as 1, -inf as 0: those of broken files would spread through every mean."""
    return unit_range(pixels).nan_to_num(posinf=1.0, neginf=0.0) if pixels.is_floating_point() else unit_range(pixels)


def from_unit_range(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of :func:`unit_range`: integers are rounded and held to their range, floats left as they are.

    Args:
        values: any shape, floating point with 1.0 at white.
        dtype: uint8, uint16 or float32.
    """
    if dtype == torch.uint8:
        return values.mul(255).round_().clamp_(0, 255).to(dtype)
    if dtype == torch.uint16:
        return values.mul(65535).round_().clamp_(0, 65535).to(dtype)
    return values.to(dtype)


@dataclass(frozen=True, slots=True)
class Colour:
    """How a clip's code values mean light: code points of ITU-T H.273, ``None`` where the file does not say."""

    matrix: int | None = None
    """Matrix coefficients: 0 RGB, 1 BT.709, 5 and 6 BT.601, 7 SMPTE 240M, 9 BT.2020 non-constant luminance."""
    full_range: bool | None = None
    """True where code values span the whole integer range, False for studio swing (16-235 at 8 bits)."""
    primaries: int | None = None
    """Colour primaries: 1 BT.709, 5 BT.470 BG, 6 SMPTE 170M, 9 BT.2020, 12 P3 D65."""
    transfer: int | None = None
    """Transfer characteristics: 1 BT.709, 8 linear, 13 sRGB, 14 and 15 BT.2020, 16 PQ, 18 HLG."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """One audio stream of a clip."""

    codec: str | None
    """The codec's short name, such as ``aac``; ``None`` where no decoder is known for it."""
    sample_rate: int | None
    """Samples a second."""
    channels: int | None
    """Number of channels."""
    start_seconds: float | None
    """When the stream starts on the clip's clock, or ``None`` where the container does not say."""
    language: str | None
    """ISO 639 code from the stream's metadata, or ``None``."""


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What is known about a clip before a frame is decoded. Unknown is ``None``, never 0."""

    path: Path
    """The file or folder it was read from."""
    container: str
    """The demuxer's name, such as ``mov,mp4,m4a,3gp,3g2,mj2``, or ``images``."""
    codec: str
    """The video codec's short name, such as ``h264``."""
    width: int
    """Width of the upright picture, in pixels."""
    height: int
    """Height of the upright picture, in pixels."""
    time_base: Fraction
    """Seconds per unit of pts."""
    average_rate: Fraction | None
    """Average frames per second."""
    frame_count: int | None
    """Frames the container promises; a promise, not a count."""
    duration_seconds: Fraction | None
    """Length of the video stream."""
    pixel_format: str
    """FFmpeg's name of the decoded planes' layout, such as ``yuv420p10le``."""
    bit_depth: int
    """Bits per component of the decoded planes; 16 or 32 for float planes."""
    colour: Colour
    """The tags of the file, as found."""
    rotation_degrees: int
    """Clockwise turn, 0, 90, 180 or 270, that makes the coded picture upright. Already applied to width and height."""
    sample_aspect: Fraction
    """Width of a pixel over its height in the upright picture; 1 where unknown."""
    has_alpha: bool
    """Whether frames carry an alpha channel of their own."""
    audio: tuple[AudioInfo, ...] = ()
    """The audio streams, in file order."""
    mirrored: bool = False
    """Whether the coded picture is to be mirrored left to right, before the turn, to be upright."""
    start_number: int | None = None
    """Number in the name of the first file of an image sequence, or ``None`` where names are not numbered."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame. Made by a source, taken by trimap stages."""

    index: int
    """Number of the frame in the clip's presentation order, from 0."""
    pts: int
    """Presentation time in units of ``time_base``, as in the file."""
    time_base: Fraction
    """Seconds per unit of pts."""
    rgb: Tensor
    """``[3, H, W]`` uint8, uint16 for sources deeper than 8 bits, or float32 for float sources."""
    alpha: Tensor | None = None
    """``[1, H, W]``, dtype of ``rgb``: the source's own alpha, or ``None`` where it has none."""
    duration: int | None = None
    """How long the frame is shown, in units of ``time_base``, or ``None`` where the file does not say."""

    def __post_init__(self) -> None:
        _check("Frame.rgb", self.rgb, 3, _PIXEL_DTYPES)
        if self.alpha is not None:
            _check("Frame.alpha", self.alpha, 1, (self.rgb.dtype,))
            _check_same_size("Frame.alpha", self.alpha, "Frame.rgb", self.rgb)

    @property
    def seconds(self) -> float:
        """Presentation time in seconds, derived from pts."""
        return float(self.pts * self.time_base)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.rgb.shape[1]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.rgb.shape[2]


@dataclass(frozen=True, slots=True)
class TrimapFrame:
    """A frame and its trimap. Made by a trimap stage, taken by a matting stage."""

    frame: Frame
    """The frame the trimap belongs to."""
    trimap: Tensor
    """``[1, H, W]`` uint8: 0 sure background, 128 unknown, 255 sure foreground."""
    origin: TrimapOrigin
    """Where the trimap came from."""
    confidence: Tensor | None = None
    """``[1, H, W]`` float32 in [0, 1], how far the trimap is to be trusted; ``None`` where the maker does not say."""
    background: Tensor | None = None
    """``[3, H, W]``, dtype of ``frame.rgb``: what the frame would show with the subject gone, as the plate of a keyed
    screen; ``None`` where the maker does not know."""

    def __post_init__(self) -> None:
        _check("TrimapFrame.trimap", self.trimap, 1, (torch.uint8,))
        if self.background is not None:
            _check("TrimapFrame.background", self.background, 3, (self.frame.rgb.dtype,))
            _check_same_size("TrimapFrame.background", self.background, "Frame.rgb", self.frame.rgb)
        _check_same_size("TrimapFrame.trimap", self.trimap, "Frame.rgb", self.frame.rgb)
        if self.confidence is not None:
            _check("TrimapFrame.confidence", self.confidence, 1, (torch.float32,))
            _check_same_size("TrimapFrame.confidence", self.confidence, "Frame.rgb", self.frame.rgb)


@dataclass(frozen=True, slots=True)
class MatteFrame:
    """A frame, its trimap and its matte. Made by a matting stage, changed by refine stages, taken by a sink."""

    source: TrimapFrame
    """The frame and trimap the matte was made from."""
    alpha: Tensor
    """``[1, H, W]`` float32 in [0, 1]."""
    foreground: Tensor | None = None
    """``[3, H, W]`` float32 with 1.0 at white, straight; ``None`` means the source's own pixels."""
    composite: Tensor | None = None
    """``[3, H, W]`` float32 with 1.0 at white: the subject before its new background, opaque, in the source's encoding;
    ``None`` where none was asked for."""

    def __post_init__(self) -> None:
        _check("MatteFrame.alpha", self.alpha, 1, (torch.float32,))
        _check_same_size("MatteFrame.alpha", self.alpha, "Frame.rgb", self.frame.rgb)
        if self.foreground is not None:
            _check("MatteFrame.foreground", self.foreground, 3, (torch.float32,))
            _check_same_size("MatteFrame.foreground", self.foreground, "Frame.rgb", self.frame.rgb)
        if self.composite is not None:
            _check("MatteFrame.composite", self.composite, 3, (torch.float32,))
            _check_same_size("MatteFrame.composite", self.composite, "Frame.rgb", self.frame.rgb)

    @property
    def frame(self) -> Frame:
        """The frame the matte belongs to."""
        return self.source.frame


@dataclass(frozen=True, slots=True)
class StageReport:
    """Time one stage of a run took by itself."""

    name: str
    """The stage's name, such as ``decode``."""
    seconds: float
    """Wall-clock seconds spent inside the stage, waits for its neighbours not counted."""
    share: float
    """``seconds`` as a fraction of all stages' seconds together, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A frame worth painting a trimap for next."""

    frame: int
    """Its number."""
    reason: str
    """Why, in a few words."""
    score: float
    """How much it is worth, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did: printed by the command line, written by ``--report``."""

    frames_in: int
    """Frames decoded."""
    frames_out: int
    """Frames written."""
    seconds: float
    """Wall-clock seconds of the whole run."""
    stages: tuple[StageReport, ...]
    """Each stage's own time, in the order of the line."""
    peak_memory_bytes: int | None
    """Largest resident set so far, those of the matting's own processes added, or ``None`` where nothing is told."""
    settings: dict[str, object]
    """The resolved settings."""
    settings_fingerprint: str
    """SHA-256 of the resolved settings, hexadecimal."""
    fallbacks: tuple[str, ...] = field(default=())
    """What had to be done otherwise than asked, one sentence each."""
    paint_next: tuple[Suggestion, ...] = field(default=())
    """Where trimaps were carried from keyframes: the frames most worth painting next, best first."""
    tuned: Path | None = None
    """The preset with what was tuned for this machine, where one was used."""

    @property
    def fps(self) -> float:
        """Frames written per wall-clock second."""
        return self.frames_out / self.seconds if self.seconds else 0.0


@runtime_checkable
class Source(Protocol):
    """Gives the frames of a clip, in presentation order, once each; holds files open until closed."""

    @property
    def info(self) -> ClipInfo:
        """What is known about the clip."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Let go of files and decoders. May be called twice."""
        ...


@runtime_checkable
class TrimapStage(Protocol):
    """Gives every frame a trimap: one out per one in, in order. May hold frames back and flushes them at the end."""

    def __call__(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """Run the stage."""
        ...


@runtime_checkable
class MattingStage(Protocol):
    """Gives every frame an alpha: one out per one in, in order. May hold frames back and flushes them at the end."""

    def __call__(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        """Run the stage."""
        ...


@runtime_checkable
class RefineStage(Protocol):
    """Makes every matte better, or adds to it: one out per one in, in order. May hold frames back and flushes them."""

    def __call__(self, mattes: Iterator[MatteFrame]) -> Iterator[MatteFrame]:
        """Run the stage."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Writes mattes. A context manager: leaving it cleanly publishes the output under its final name, leaving it by an
    exception publishes nothing and removes what was written, or keeps beside it what a later run can go on from."""

    @property
    def notes(self) -> list[str]:
        """What had to be done otherwise than asked, one sentence each; complete once the sink is left."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, matte: MatteFrame) -> None:
        """Take the next frame, in presentation order."""
        ...


def _check(name: str, tensor: Tensor, channels: int, dtypes: tuple[torch.dtype, ...]) -> None:
    if tensor.ndim != 3 or tensor.shape[0] != channels:
        raise ShapeError(f"{name} must be [{channels}, H, W], got {list(tensor.shape)}")
    if tensor.dtype not in dtypes:
        raise ShapeError(f"{name} must be {' or '.join(str(d) for d in dtypes)}, got {tensor.dtype}")


def _check_same_size(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape[1:] != other.shape[1:]:
        raise ShapeError(
            f"{name} and {other_name} must have the same size, got {list(tensor.shape)} and {list(other.shape)}"
        )
