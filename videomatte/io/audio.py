"""The sound of a clip, carried into a movie while its pictures are written.

Packets are copied bit for bit where the container takes the codec, and decoded and encoded anew where it does not
(`videomatte.io.containers`). Either way each keeps its time on the clip's own clock: late starts, gaps and the lead-in
that an edit list hides stay what they are. Sound is read as the pictures are written and never far ahead of them.

A part of a clip takes the packets that overlap it: its sound starts and ends within a packet of its pictures
(AAC: 21 ms at 48 kHz), in sync with them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer, OutputContainer

from videomatte.io.audio_tracks import CopiedTrack, EncodedTrack, Span, Track
from videomatte.io.containers import Container
from videomatte.io.probe import open_movie

__all__ = ["Audio", "Soundtrack"]

_SEEKS_EXACTLY = ("mov,mp4", "matroska")
_SEEK_MARGIN = Fraction(1)
"""Seconds: how far a file may store its sound from the pictures of the same time."""


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """Sound of another clip, to run along with the pictures in place of their own."""

    path: Path
    """The clip that has it."""
    first: Fraction
    """Seconds on that clip's clock that go with the first picture."""
    is_cut: bool
    """Whether what sounds before is left out: not where that is the clip's own beginning."""


class Audio:
    """All sound tracks of a clip, on their way into one movie.

    Call `attach` before the movie's first packet, `begin` before its first picture, `advance` along with the pictures
    and `finish` after them; `close` in any case.

    Args:
        source: the clip.

    Raises:
        InputError: the clip cannot be opened.
    """

    def __init__(self, source: Path) -> None:
        self.notes: list[str] = []
        """What had to be done otherwise than asked, one sentence each."""
        self._path = source
        self._container: InputContainer = open_movie(source)[0]
        self._tracks: dict[int, Track] = {}
        self._packets: Iterator[av.Packet[Any]] = iter(())
        self._next: av.Packet[Any] | None = None
        self._span = Span()

    def attach(self, movie: OutputContainer, container: Container) -> None:
        """Give the movie a track for each of the clip's. One that can be neither copied nor decoded is left out.

        Args:
            movie: opened for writing; its header must not have been written yet.
            container: what it takes.
        """
        for stream in self._container.streams:
            if stream.type != "audio":
                stream.discard = av.stream.Discard.all
        for number, stream in enumerate(self._container.streams.audio):
            context = cast("av.AudioCodecContext | None", stream.codec_context)
            codec = context.codec.canonical_name if context else "of an unknown kind"
            try:
                if context is None:
                    raise ValueError("no decoder is known for it")
                if codec in container.sound_copied:
                    self._tracks[stream.index] = CopiedTrack(movie, stream, self._span, container)
                    continue
                self._tracks[stream.index] = EncodedTrack(movie, stream, self._span, container)
                to = container.sound_codec.removeprefix("lib")
                self.notes.append(
                    f"sound track {number} is {codec}, which {container.suffix} does not take: encoded as {to}"
                )
            except (av.error.FFmpegError, ValueError) as error:
                self.notes.append(f"sound track {number} of {self._path} is {codec} and is left out: {error}")

    def begin(self, start: Fraction | None, shift: Fraction) -> None:
        """Say when the pictures start.

        Args:
            start: seconds on the clip's clock of the first picture, where it is not the clip's first; sound before it
                is left out. ``None`` takes all there is from the beginning.
            shift: seconds to add to the clip's time to get the movie's.
        """
        self._span.start, self._span.shift = start, shift
        if start is not None and self._container.format.name.startswith(_SEEKS_EXACTLY):
            with contextlib.suppress(av.error.FFmpegError):
                self._container.seek(int(max(Fraction(0), start - _SEEK_MARGIN) * av.time_base))
        if self._tracks:
            self._packets = self._container.demux([self._container.streams[index] for index in self._tracks])
        self._next = self._read()

    def advance(self, until: Fraction) -> None:
        """Write all sound that starts before ``until`` seconds on the movie's clock."""
        while self._next is not None and _seconds(self._next) + self._span.shift < until:
            self._tracks[self._next.stream.index].take(self._next)
            self._next = self._read()

    def finish(self, last: Fraction, end: Fraction) -> None:
        """Write the rest: to the end where the clip's last picture was written, else until ``end``.

        Args:
            last: seconds on the movie's clock of the last picture written.
            end: when it goes.
        """
        if self._tracks:
            if _has_picture_after(self._path, last - self._span.shift):
                self._span.end = end - self._span.shift
                self.advance(end + _SEEK_MARGIN)
            else:
                while self._next is not None:
                    self.advance(_seconds(self._next) + self._span.shift + 1)
        for number, track in enumerate(self._tracks.values()):
            track.finish()
            if track.damaged:
                self.notes.append(
                    f"sound track {number} of {self._path} is damaged: {track.damaged} of its packets are silent"
                )

    def close(self) -> None:
        """Close the clip. May be called twice."""
        self._container.close()

    def _read(self) -> av.Packet[Any] | None:
        """The next packet that has a time, or ``None`` at the end."""
        try:
            return next((p for p in self._packets if p.size and (p.pts, p.dts) != (None, None)), None)
        except av.error.FFmpegError as error:
            self.notes.append(f"the sound of {self._path} ends early: the file is damaged ({error.strerror})")
            return None


def _seconds(packet: av.Packet[Any]) -> Fraction:
    time = packet.dts if packet.pts is None else packet.pts
    return Fraction(time or 0) * Fraction(packet.time_base)


def _has_picture_after(path: Path, seconds: Fraction) -> bool:
    """Whether a clip shows another picture after this time."""
    container, stream = open_movie(path)
    with container, contextlib.suppress(av.error.FFmpegError):
        container.seek(int(seconds / Fraction(stream.time_base or 1)), stream=stream)
        return any(p.size and not p.is_discard and _seconds(p) > seconds for p in container.demux(stream))
    return False
