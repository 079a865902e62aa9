"""Segments of a movie into one, packet by packet: nothing is decoded, and nothing encoded anew but foreign sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av

from videomatte.errors import OutputError
from videomatte.io.atomic import flush_to_disk
from videomatte.io.audio import Audio
from videomatte.io.containers import Container
from videomatte.io.video_writer import create_movie

__all__ = ["join"]


def join(
    segments: Sequence[Path],
    place: Path,
    container: Container,
    *,
    time_base: Fraction,
    rate: Fraction | None,
    comment: str | None,
    start: Fraction | None,
    shift: Fraction,
    last: Fraction,
    end: Fraction,
    audio: Audio | None,
) -> None:
    """Write one movie of the packets of several; on return it is on the disk.

    Args:
        segments: movies of one format, each beginning with a key frame, with pts on the whole movie's clock.
        place: the file to make.
        container: what kind of file the segments are, and the whole will be.
        time_base: seconds per unit of the pictures' pts.
        rate: frames per second for readers that ask, or ``None``.
        comment: what the file says of itself, or ``None``.
        start: seconds on the sound's clock of the first picture, where sound before it is left out, as for
            `Audio.begin`.
        shift: seconds to add to the sound's time to get the movie's.
        last: seconds on the movie's clock of the last picture.
        end: when it goes.
        audio: sound to carry along, or ``None``.

    Raises:
        OutputError: the segments are not of one format.
        OSError: the disk does not take it, or a segment cannot be read.
    """
    with create_movie(place, container, time_base, comment) as movie:
        with av.open(f"file:{segments[0]}") as first:
            template = first.streams.video[0]
            stream = movie.add_stream_from_template(template)
            # What the template does not hand on, and readers go by: ProRes 4444 would be taken for 422 HQ without its
            # tag, and WebM for opaque without its mark.
            context = stream.codec_context
            context.codec_tag = template.codec_context.codec_tag
            context.sample_aspect_ratio = template.sample_aspect_ratio or Fraction(1)
            context.framerate = rate.limit_denominator(1_000_000) if rate else Fraction(0)
            stream.time_base = template.time_base
            stream.metadata.update(template.metadata)
            header = template.codec_context.extradata
        if audio is not None:
            audio.attach(movie, container)
            audio.begin(start, shift)
        held: av.Packet[av.VideoStream] | None = None
        for packet in _packets(segments, header):
            if held is not None:
                # The last of a segment did not know when the next would come.
                held.duration = cast("int", packet.pts) - cast("int", held.pts)
                held.stream = stream
                movie.mux(held)
            if audio is not None:
                audio.advance(cast("int", packet.dts) * Fraction(packet.time_base))
            held = packet
        if held is not None:
            held.duration = round((end - last) / Fraction(held.time_base))
            held.stream = stream
            movie.mux(held)
        if audio is not None:
            audio.finish(last, end)
    flush_to_disk(place)


def _packets(segments: Sequence[Path], header: bytes | None) -> Iterator[av.Packet[av.VideoStream]]:
    for path in segments:
        with av.open(f"file:{path}") as segment:
            stream = segment.streams.video[0]
            if stream.codec_context.extradata != header:
                raise OutputError(f"{path}: was encoded otherwise than the segments before it: delete its folder")
            for packet in segment.demux(stream):
                if packet.size:
                    yield packet
