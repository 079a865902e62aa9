"""Sound from samples: one encoded stream of a movie being written."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

from videomatte.errors import ShapeError
from videomatte.io.containers import Container

__all__ = ["SoundTrack"]

_LAYOUTS = {1: "mono", 2: "stereo"}
_BITS_PER_SECOND_AND_CHANNEL = 96_000


class SoundTrack:
    """Encodes samples in the order they come, from time 0, and muxes them.

    Args:
        container: the movie; its header must not have been written yet.
        kind: which encoder the movie's sound takes, and at which rate if it prescribes one.
        rate: samples a second in the file, where it does not.
        channels: 1 or 2.

    Raises:
        ShapeError: neither one nor two channels.
    """

    def __init__(self, container: OutputContainer, kind: Container, rate: int, channels: int) -> None:
        if channels not in _LAYOUTS:
            raise ShapeError(f"sound must have 1 or 2 channels, got {channels}")
        rate = kind.sound_rate or rate
        self._container = container
        self._channels = channels
        self._stream = cast("av.AudioStream", container.add_stream(kind.sound_codec, rate=rate))
        self._stream.codec_context.layout = _LAYOUTS[channels]
        self._stream.codec_context.bit_rate = _BITS_PER_SECOND_AND_CHANNEL * channels
        self._stream.codec_context.time_base = Fraction(1, rate)
        self._resampler: av.AudioResampler | None = None
        self._samples = 0

    def write(self, samples: NDArray[np.float32], rate: int) -> None:
        """Take the next samples.

        Args:
            samples: ``[channels, n]`` in [-1, 1].
            rate: samples a second of ``samples``, the same in every call; another than the file's is resampled.
        """
        if samples.ndim != 2 or samples.shape[0] != self._channels:
            raise ShapeError(f"samples must be [{self._channels}, n], got {list(samples.shape)}")
        context = self._stream.codec_context
        if self._resampler is None:
            context.open()  # only an open encoder knows its frame size
            self._resampler = av.AudioResampler(
                format=context.format, layout=context.layout, rate=context.sample_rate, frame_size=context.frame_size
            )
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, dtype=np.float32), format="fltp", layout=context.layout.name
        )
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = self._samples
        self._samples += samples.shape[1]
        self._encode(self._resampler.resample(frame))

    def finish(self) -> None:
        """Write what is still held back."""
        if self._resampler is not None:
            self._encode([*self._resampler.resample(None), None])

    def _encode(self, frames: list[av.AudioFrame] | list[av.AudioFrame | None]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))
