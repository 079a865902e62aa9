"""What a clip is, before it is worked on: containers opened with errors for people, and the first frame looked at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videomatte.errors import InputError
from videomatte.io.pixel_layout import pixel_layout
from videomatte.types import AudioInfo, ClipInfo, Colour

__all__ = ["MAX_SIDE", "frame_colour", "open_movie", "probe_movie"]

MAX_SIDE = 16384
"""Largest width or height, in pixels: more is taken for a bomb, and refused before a frame is decoded."""

_UNSPECIFIED = 2


def open_movie(path: Path) -> tuple[InputContainer, VideoStream]:
    """A container and its picture stream; the caller closes the container.

    Raises:
        InputError: the file is missing, empty, no media, has no picture, or one larger than ``MAX_SIDE``.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a movie")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not readable as a movie or image: {_reason(error)}") from error
    # Cover art is a picture in a sound file, not its picture stream.
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        container.close()
        raise InputError(f"{path}: no video stream in it")
    stream = streams[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if max(width, height) > MAX_SIDE:
        container.close()
        raise InputError(f"{path}: pictures of {width} x {height} are larger than {MAX_SIDE} pixels a side")
    return container, stream


def probe_movie(path: Path) -> ClipInfo:
    """What is known about a movie or a single image. Decodes its first frame, which knows more than the container.

    Raises:
        InputError: as for :func:`open_movie`, or no frame can be decoded.
    """
    container, stream = open_movie(path)
    with container:
        try:
            frame = next(container.decode(stream), None)
        except av.error.FFmpegError as error:
            raise InputError(f"{path}: frame 0 cannot be decoded: {_reason(error)}") from error
        if frame is None:
            raise InputError(f"{path}: no frame in its video stream")
        context = stream.codec_context
        carried = has_hidden_alpha(stream)
        quarter_turns = (frame.rotation // 90) % 4
        height, width = (frame.width, frame.height) if quarter_turns % 2 else (frame.height, frame.width)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        return ClipInfo(
            path=path,
            container=container.format.name,
            codec=context.name,
            width=width,
            height=height,
            time_base=Fraction(stream.time_base or Fraction(1, 90000)),
            average_rate=Fraction(stream.average_rate) if stream.average_rate else None,
            frame_count=stream.frames or None,
            duration_seconds=_duration(container, stream),
            pixel_format=frame.format.name,
            bit_depth=max(c.bits for c in frame.format.components),
            colour=frame_colour(frame, stream),
            rotation_degrees=-90 * quarter_turns % 360,
            sample_aspect=1 / aspect if quarter_turns % 2 else aspect,
            has_alpha=carried or _has_alpha(frame),
            audio=tuple(_audio(s) for s in container.streams.audio),
        )


def has_hidden_alpha(stream: VideoStream) -> bool:
    """Whether a VP8 or VP9 stream carries an alpha, which only its container's metadata tells (WebM's AlphaMode)."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return stream.codec_context.name in ("vp8", "vp9") and tags.get("alpha_mode") == "1"


def frame_colour(frame: VideoFrame, stream: VideoStream) -> Colour:
    """The tags of a frame, which come from the pictures themselves, and where it has none those of its stream."""
    context = stream.codec_context

    def said(own: int, container: int) -> int | None:
        return next((int(code) for code in (own, container) if code != _UNSPECIFIED), None)

    swing = frame.color_range or context.color_range
    return Colour(
        matrix=said(frame.colorspace, context.colorspace),
        full_range={1: False, 2: True}.get(int(swing)),
        primaries=said(frame.color_primaries, context.color_primaries),
        transfer=said(frame.color_trc, context.color_trc),
    )


def _has_alpha(frame: VideoFrame) -> bool:
    if frame.format.name == "pal8":
        return True
    try:
        return pixel_layout(frame.format.name).has_alpha
    except InputError:
        return False


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base:
        return stream.duration * Fraction(stream.time_base)
    return Fraction(container.duration, av.time_base) if container.duration else None


def _audio(stream: av.AudioStream) -> AudioInfo:
    start = stream.start_time
    return AudioInfo(
        codec=stream.codec_context.name,
        sample_rate=stream.codec_context.sample_rate,
        channels=stream.codec_context.channels,
        start_seconds=None if start is None or not stream.time_base else float(start * stream.time_base),
        language=stream.language if stream.language not in (None, "und") else None,
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
