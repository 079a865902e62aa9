"""What a clip is, before it is worked on: containers opened with errors for people, and the first frame looked at."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer

from videomatte.errors import InputError
from videomatte.io.image_header import without_png_texts
from videomatte.io.limits import MAX_PIXELS, PATIENCE_SECONDS, check_file, check_size
from videomatte.io.orientation import frame_orientation
from videomatte.io.planes import frame_layout
from videomatte.types import AudioInfo, ClipInfo, Colour

__all__ = [
    "decodable",
    "frame_colour",
    "has_hidden_alpha",
    "open_container",
    "open_movie",
    "probe_movie",
    "reason",
]

_LISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")
"""What playlists begin with: they name other files, and waiting for one that is not there takes minutes."""

_TEXTS = ("tty", "concat", "hls", "dash", "imf", "sdp")
"""Demuxers that render text, or open what a text names."""

_UNSPECIFIED = 2


def open_container(path: Path, data: bytes | None = None) -> InputContainer:
    """A file opened, or its content where that has been read already; the caller closes it.

    Raises:
        InputError: the file is missing, empty, no regular file or no media.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: not readable: {reason(error)}") from error
    if head.lstrip().startswith(_LISTS):
        raise InputError(f"{path}: not readable as a movie or image: it is a text")
    # max_pixels stops a decoder before it asks for memory; the whitelist stops a file from pulling in others.
    options = {"max_pixels": str(MAX_PIXELS), "protocol_whitelist": "file"}
    # "file:" keeps a colon in a name from being read as a protocol.
    name = io.BytesIO(data) if data is not None else f"file:{path.absolute()}"
    try:
        # The time limits stop a demuxer that reads on and on, but not one read that does not come back.
        container = av.open(name, metadata_errors="replace", options=options, timeout=PATIENCE_SECONDS)
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not readable as a movie or image: {reason(error)}") from error
    if container.format.name in _TEXTS:
        container.close()
        raise InputError(f"{path}: not readable as a movie or image: it is a text")
    return cast("InputContainer", container)


def open_movie(path: Path, data: bytes | None = None) -> tuple[InputContainer, av.VideoStream]:
    """A container and its picture stream; the caller closes the container.

    Raises:
        InputError: as for `open_container`, or there is no picture, or one beyond the limits.
    """
    container = open_container(path, data)
    try:
        # Cover art is a picture in a sound file, not its picture stream.
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise InputError(f"{path}: no video stream in it")
        best = container.streams.best("video")
        stream = best if isinstance(best, av.VideoStream) and best in streams else streams[0]
        context = stream.codec_context
        if context is None:
            raise InputError(f"{path}: no decoder for its video stream")
        check_size(path, context.width, context.height)
        context.options = {"max_pixels": str(MAX_PIXELS)}
    except BaseException:
        container.close()
        raise
    return container, stream


def decodable(packets: Iterator[av.Packet[Any]], stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
    """The packets of a stream from its first key frame on; what a recording has before that, nobody can decode."""
    started = False
    is_png = stream.codec_context.name == "png"
    for packet in packets:
        if packet.stream_index == stream.index:
            started = started or packet.is_keyframe
            if started:
                yield _without_texts(packet) if is_png and packet.size else packet


def _without_texts(packet: av.Packet[av.VideoStream]) -> av.Packet[av.VideoStream]:
    data = bytes(packet)
    pixels = without_png_texts(data)
    if pixels is data:
        return packet
    lean = cast("av.Packet[av.VideoStream]", av.Packet(pixels))
    lean.stream, lean.time_base = packet.stream, packet.time_base
    lean.pts, lean.dts, lean.duration = packet.pts, packet.dts, packet.duration
    lean.is_keyframe = packet.is_keyframe
    return lean


def probe_movie(path: Path) -> ClipInfo:
    """What is known about a movie. Decodes its first frame, which knows more than the container.

    Raises:
        InputError: as for `open_movie`, or no frame can be decoded.
    """
    container, stream = open_movie(path)
    with container:
        try:
            frame = next((f for packet in decodable(container.demux(stream), stream) for f in packet.decode()), None)
        except av.error.EOFError:
            frame = None
        except av.error.FFmpegError as error:
            raise InputError(f"{path}: damaged or cut short: frame 0 cannot be decoded ({reason(error)})") from error
        if not isinstance(frame, av.VideoFrame):
            raise InputError(f"{path}: no frame in its video stream")
        return describe_stream(path, container, stream, frame)


def describe_stream(path: Path, container: InputContainer, stream: av.VideoStream, frame: av.VideoFrame) -> ClipInfo:
    """What a stream and its first frame say.

    Raises:
        InputError: the pixel format cannot be read.
    """
    mirrored, degrees = frame_orientation(frame)
    turned = degrees in (90, 270)
    height, width = (frame.width, frame.height) if turned else (frame.height, frame.width)
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    try:
        layout = frame_layout(frame)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return ClipInfo(
        path=path,
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=width,
        height=height,
        time_base=Fraction(stream.time_base or Fraction(1, 90000)),
        average_rate=Fraction(stream.average_rate) if stream.average_rate else None,
        frame_count=_promised_frames(container, stream),
        duration_seconds=_duration(container, stream),
        pixel_format=frame.format.name,
        bit_depth=layout.depth,
        colour=frame_colour(frame, stream),
        rotation_degrees=degrees,
        sample_aspect=1 / aspect if turned else aspect,
        has_alpha=layout.has_alpha or has_hidden_alpha(stream),
        audio=tuple(_audio(s) for s in container.streams.audio),
        mirrored=mirrored,
    )


def has_hidden_alpha(stream: av.VideoStream) -> bool:
    """Whether a VP8 or VP9 stream carries an alpha, which only its container's metadata tells (WebM's AlphaMode)."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return stream.codec_context.name in ("vp8", "vp9") and tags.get("alpha_mode") == "1"


def frame_colour(frame: av.VideoFrame, stream: av.VideoStream) -> Colour:
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


def reason(error: Exception) -> str:
    """FFmpeg's words for what went wrong, without its error numbers."""
    if isinstance(error, av.error.ExitError):  # what its time limits end with
        return f"nothing has come for {PATIENCE_SECONDS:.0f} s"
    if isinstance(error, av.error.ArgumentError):  # what max_pixels ends with
        return f"its pictures are larger than {MAX_PIXELS // 10**6} million pixels, or its header is damaged"
    return str(getattr(error, "strerror", None) or error)


def _promised_frames(container: InputContainer, stream: av.VideoStream) -> int | None:
    """What the header says, less what its index marks as not shown (edit lists) or empty (dropped frames of AVI)."""
    entries = stream.index_entries
    if len(entries) > stream.frames:
        return None  # fragmented: the header counts the first fragment at most
    if len(entries) < stream.frames:
        return stream.frames
    avi = container.format.name == "avi"
    return sum(1 for entry in entries if not entry.is_discard and (entry.size or not avi)) or None


def _duration(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base:
        return stream.duration * Fraction(stream.time_base)
    return Fraction(container.duration, av.time_base) if container.duration else None


def _audio(stream: av.AudioStream) -> AudioInfo:
    start = stream.start_time
    codec: av.AudioCodecContext | None = stream.codec_context  # None where FFmpeg knows no decoder
    return AudioInfo(
        codec=codec.name if codec else None,
        sample_rate=codec.sample_rate if codec else None,
        channels=codec.channels if codec else None,
        start_seconds=None if start is None or not stream.time_base else float(start * stream.time_base),
        language=stream.language if stream.language not in (None, "und") else None,
    )
