"""One sound track from a clip into a movie: its packets copied, or its samples encoded anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, cast

import av
from av.container import OutputContainer

from videomatte.io.containers import Container

__all__ = ["CopiedTrack", "EncodedTrack", "Span", "Track"]

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""The arrangement of each number of channels that AAC, Opus and FLAC are defined for."""
_BITS_PER_SECOND_AND_CHANNEL = 96_000
_SAMPLE_RATES = range(1_000, 1_000_001)
"""What sound can have; at one sample a second a packet of a damaged file would last for hours."""
_LONGEST_SILENCE = Fraction(300)
"""Seconds of a gap that are filled, which takes 0.4 MB each: a longer one is a damaged time stamp."""
_LONGEST_LEAD_IN = Fraction(1, 5)
"""Seconds of hidden packets before the first that is heard that may be its codec's lead-in, and no cut-off sound."""


@dataclass(slots=True)
class Span:
    """Which of the sound is wanted and where it goes; shared by the tracks of a movie."""

    start: Fraction | None = None
    """Seconds on the clip's clock before which no sound is wanted."""
    end: Fraction | None = None
    """Seconds on the clip's clock after which none is."""
    shift: Fraction = Fraction(0)
    """Seconds to add to the clip's time to get the movie's."""

    def holds(self, start: Fraction, end: Fraction) -> bool:
        """Whether sound that lasts from ``start`` to ``end`` on the clip's clock is wanted, whole or in part."""
        return (self.start is None or end > self.start) and (self.end is None or start < self.end)


class Track(Protocol):
    """Takes a clip's packets of one track, in order, and writes what is wanted of them."""

    damaged: int
    """Packets that could not be read, and are left out."""

    def take(self, packet: av.Packet[av.AudioStream]) -> None:
        """Take the next packet."""
        ...

    def finish(self) -> None:
        """Write what is still held back."""
        ...


class CopiedTrack:
    """Writes the packets as they are.

    Args:
        movie: opened for writing; its header must not have been written yet.
        source: the clip's track.
        span: what is wanted; read when packets come.
        container: what the movie is.

    Raises:
        ValueError: the container does not take the codec, or no sound has such a sample rate.
    """

    def __init__(self, movie: OutputContainer, source: av.AudioStream, span: Span, container: Container) -> None:
        _check_rate(source)
        self.damaged = 0
        self._movie = movie
        self._span = span
        self._stream = movie.add_stream_from_template(source)
        self._hidden: list[av.Packet[av.AudioStream]] = []
        self._begun = False
        self._last_pts: int | None = None
        _describe(self._stream, source, container)

    def take(self, packet: av.Packet[av.AudioStream]) -> None:
        """Take the next packet."""
        time_base = Fraction(packet.time_base)
        pts = packet.pts = packet.dts if packet.pts is None else packet.pts
        if pts is None:
            return
        # Some containers do not say how long a packet is, and others cut the last one off if nobody does.
        packet.duration = packet.duration or (0 if self._last_pts is None else pts - self._last_pts)
        self._last_pts = pts
        start = pts * time_base
        if not self._span.holds(start, start + packet.duration * time_base):
            return
        if packet.is_discard:  # an edit list hides it: the lead-in of a codec, or sound cut off
            self._hidden.append(packet)
            return
        if not self._begun:
            for hidden in self._hidden:
                if hidden.pts is not None and start - hidden.pts * time_base <= _LONGEST_LEAD_IN:
                    self._mux(hidden)
        self._hidden.clear()
        self._begun = True
        self._mux(packet)

    def finish(self) -> None:
        """Nothing is held back."""

    def _mux(self, packet: av.Packet[av.AudioStream]) -> None:
        shift = round(self._span.shift / Fraction(packet.time_base))
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = packet.pts  # sound is stored in the order it is heard
        packet.stream = self._stream
        try:
            self._movie.mux(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError):
            # Damaged: its bits are not the codec's, or its time goes back. It must not cost the pictures.
            self.damaged += 1


class EncodedTrack:
    """Decodes the packets and encodes the samples anew.

    Where time jumps, silence fills the gap and what overlaps is left out, so that every sample is heard at its time.

    Args:
        movie: opened for writing; its header must not have been written yet.
        source: the clip's track.
        span: what is wanted; read when packets come.
        container: what the movie is; it says which encoder and rate.

    Raises:
        av.error.FFmpegError: the encoder takes no such number of channels.
        ValueError: no sound has such a sample rate.
    """

    def __init__(self, movie: OutputContainer, source: av.AudioStream, span: Span, container: Container) -> None:
        self.damaged = 0
        self._movie = movie
        self._span = span
        self._decoder = source.codec_context
        own = source.codec_context
        _check_rate(source)
        layout = _LAYOUTS.get(own.layout.nb_channels, own.layout.name)
        rates = av.Codec(container.sound_codec, "w").audio_rates
        rate = container.sound_rate or (own.sample_rate if not rates or own.sample_rate in rates else max(rates))
        # Whether the encoder can is found out on the side: a stream once added cannot be taken back.
        _set_up(cast("av.AudioCodecContext", av.CodecContext.create(container.sound_codec, "w")), rate, layout).open()
        self._stream = cast("av.AudioStream", movie.add_stream(container.sound_codec, rate=rate))
        self._encoder = _set_up(self._stream.codec_context, rate, layout)
        self._encoder.open()  # only an open encoder knows how many samples it wants at a time
        self._end: Fraction | None = None
        self._graph: av.filter.Graph | None = None
        self._shape: tuple[str, str, int] | None = None
        _describe(self._stream, source, container)

    def take(self, packet: av.Packet[av.AudioStream]) -> None:
        """Take the next packet."""
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError:
            self.damaged += 1
            return
        self._encode_all(frames)

    def finish(self) -> None:
        """Write what the decoder, the resampler and the encoder still hold back."""
        try:
            frames = self._decoder.decode(None)
        except av.error.FFmpegError:
            frames = []
        self._encode_all(frames)
        self._drain()
        self._movie.mux(self._stream.encode(None))

    def _encode_all(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            if frame.pts is None or frame.time_base is None:
                continue
            start = frame.pts * Fraction(frame.time_base)
            end = start + Fraction(frame.samples, frame.sample_rate)
            # Nothing is heard before time 0.
            if not self._span.holds(start, end) or end + self._span.shift <= 0:
                continue
            if self._end is not None and start - self._end > _LONGEST_SILENCE:
                self.damaged += 1
                continue
            self._end = max(end, self._end or end)
            frame.time_base = Fraction(1, frame.sample_rate)
            frame.pts = round((start + self._span.shift) * frame.sample_rate)
            graph = self._graph_for(frame)
            graph.push(frame)
            self._encode_from(graph)

    def _graph_for(self, frame: av.AudioFrame) -> av.filter.Graph:
        """The resampler; a new one where the sound changes its kind on the way, as broadcasts do."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._graph is not None and shape == self._shape:
            return self._graph
        self._drain()
        encoder = self._encoder
        graph = av.filter.Graph()
        kept = f"sample_fmts={encoder.format.name}:channel_layouts={encoder.layout.name}"
        nodes = [
            graph.add_abuffer(
                format=frame.format.name,
                layout=frame.layout.name,
                sample_rate=frame.sample_rate,
                time_base=Fraction(1, frame.sample_rate),
            ),
            # async=1 fills gaps and drops overlaps without stretching; 2 ms is more than the rounding of a container
            # that counts in milliseconds, and less than any packet that could be missing.
            graph.add("aresample", f"{encoder.sample_rate}:async=1:min_hard_comp=0.002"),
            graph.add("aformat", f"{kept}:sample_rates={encoder.sample_rate}"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        if encoder.frame_size:
            graph.set_audio_frame_size(encoder.frame_size)
        self._graph, self._shape = graph, shape
        return graph

    def _drain(self) -> None:
        if self._graph is not None:
            self._graph.push(None)
            self._encode_from(self._graph)
            self._graph = None

    def _encode_from(self, graph: av.filter.Graph) -> None:
        for frame in _pulled(graph):
            self._movie.mux(self._stream.encode(frame))


def _pulled(graph: av.filter.Graph) -> Iterator[av.AudioFrame]:
    while True:
        try:
            yield cast("av.AudioFrame", graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _check_rate(source: av.AudioStream) -> None:
    rate = source.codec_context.sample_rate
    if rate not in _SAMPLE_RATES:
        raise ValueError(f"{rate} samples a second are no sound")


def _set_up(encoder: av.AudioCodecContext, rate: int, layout: str) -> av.AudioCodecContext:
    encoder.sample_rate = rate
    encoder.layout = layout
    formats = encoder.codec.audio_formats or ()
    # The deepest that it takes: 24-bit codecs have their samples in 32.
    encoder.format = min(formats, key=lambda f: (not f.name.startswith(("s32", "flt")), f.name))
    encoder.bit_rate = _BITS_PER_SECOND_AND_CHANNEL * encoder.layout.nb_channels
    encoder.time_base = Fraction(1, rate)
    return encoder


def _describe(stream: av.AudioStream, source: av.AudioStream, container: Container) -> None:
    """What a track says of itself: its language and title, and whether it is the one to play."""
    if language := source.metadata.get("language"):
        stream.metadata["language"] = container.languages.get(language, language)
    if title := source.metadata.get("title"):
        stream.metadata["title"] = title
    stream.disposition = source.disposition
