"""The table of outputs: what each format holds, how exactly, who opens it, and which encoder options make it.

Colour is straight in every one. Alpha is written plane by plane in the depth the table says, 0 transparent and
``2**alpha_bits - 1`` opaque, and never passes through a colour converter.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from videomatte.errors import UsageError

__all__ = ["FORMATS", "Format", "ImageFormat", "VideoFormat", "choose_format", "names_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What every output has: one row of the table."""

    name: str
    """What ``--format`` calls it."""
    title: str
    """What people call it."""
    suffix: str
    """Extension of the file, lower case with its dot."""
    codec: str
    """FFmpeg's name of the encoder."""
    pixel_format: str
    """FFmpeg's name of the planes handed to the encoder."""
    alpha_bits: int
    """Depth of the alpha handed to the encoder; 0 where the format is opaque."""
    alpha_error: float
    """Largest error of an alpha read back, in 1/255. For a lossy alpha the worst measured, on hair over noise."""
    opens_in: str
    """Programs that open it, alpha included."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The encoder's options."""

    @property
    def has_alpha(self) -> bool:
        """Whether it holds an alpha."""
        return self.alpha_bits > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFormat(Format):
    """A movie: one file with time, colour tags and, where asked, sound."""

    container: str
    """FFmpeg's name of the muxer."""
    odd_size_pixel_format: str | None = None
    """Planes for pictures with an odd width or height, where ``pixel_format`` cannot hold them."""
    keeps_full_range: bool
    """Whether the codec's own header says full range; without it every reader takes the picture as limited."""
    keeps_sample_aspect: bool = True
    """Whether pixels that are not square can be written."""
    sound_codec: str
    """FFmpeg's name of the encoder for sound."""
    sound_rate: int | None = None
    """The one sample rate the sound encoder is used at, or ``None`` where it takes the source's."""

    def pixel_format_for(self, width: int, height: int) -> str:
        """The planes that hold a picture of this size."""
        odd = width % 2 or height % 2
        return self.odd_size_pixel_format if odd and self.odd_size_pixel_format else self.pixel_format


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFormat(Format):
    """One file per frame: a folder of them, or a single image for a still. Holds no time."""


FORMATS: tuple[VideoFormat | ImageFormat, ...] = (
    VideoFormat(
        name="prores4444",
        title="ProRes 4444",
        suffix=".mov",
        container="mov",
        codec="prores_ks",
        pixel_format="yuva444p10le",
        alpha_bits=10,
        alpha_error=0.2,
        keeps_full_range=False,
        sound_codec="aac",
        opens_in="Final Cut Pro, Premiere Pro, After Effects, DaVinci Resolve, Nuke, QuickTime, mpv, VLC",
        # The alpha is coded without loss in 16 bits (the encoder takes 10). The vendor makes Apple's readers take
        # the file as their own.
        options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
    ),
    VideoFormat(
        name="vp9",
        title="VP9 with alpha",
        suffix=".webm",
        container="webm",
        codec="libvpx-vp9",
        pixel_format="yuva420p",
        alpha_bits=8,
        alpha_error=64,
        keeps_full_range=True,
        keeps_sample_aspect=False,  # the container can, PyAV does not hand it over
        sound_codec="libopus",
        sound_rate=48000,
        opens_in="Chrome, Firefox, Edge, OBS, Unity; opaque in Safari and VLC",
        # Measured on 720p hair: an alpha off by more than 14 levels in one pixel of a thousand at crf 24, 9 at 16.
        options={"crf": "16", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    ),
    VideoFormat(
        name="h264",
        title="H.264, opaque",
        suffix=".mp4",
        container="mp4",
        codec="libx264",
        pixel_format="yuv420p",
        # H.264 crops 4:2:0 in steps of two, so only 4:4:4 keeps an odd size. Browsers do not play that profile.
        odd_size_pixel_format="yuv444p",
        alpha_bits=0,
        alpha_error=0,
        keeps_full_range=True,
        sound_codec="aac",
        opens_in="everything",
        # Without B-frames decoding order is showing order, and the last frame of a variable rate keeps its duration.
        options={"crf": "16", "preset": "medium", "bf": "0"},
    ),
    ImageFormat(
        name="png",
        title="PNG, 16 bits",
        suffix=".png",
        codec="png",
        pixel_format="rgba64be",
        alpha_bits=16,
        alpha_error=0.002,
        opens_in="everything",
        # 16 bits whatever the source has: a computed alpha is worth them, and 8-bit colour fits exactly.
        # Measured on a 720p frame: the fastest settings, within 10 % of the smallest file.
        options={"pred": "up", "compression_level": "1"},
    ),
)
"""Every output videomatte writes. The first with a suffix is that suffix's default."""


def choose_format(path: str | Path, name: str | None = None) -> VideoFormat | ImageFormat:
    """The format of an output.

    Args:
        path: where the output goes. A name without extension, with a trailing slash, or of a folder that is there, is
            a folder of images.
        name: a format's name; without it the path's extension chooses.

    Raises:
        UsageError: no format has that name or extension, or the two contradict each other; the message names the
            nearest that works.
    """
    suffix = _suffix(path)
    by_suffix = {f.suffix: f for f in reversed(FORMATS)}
    if name is None:
        if not suffix:
            return by_suffix[".png"]
        if suffix not in by_suffix:
            known = ", ".join(f"{f.suffix} ({f.title})" for f in FORMATS)
            raise UsageError(
                f"{path}: no output is called {suffix}: write one of {known}, "
                f"or end the name with / for a folder of PNG images"
            )
        return by_suffix[suffix]
    by_name = {f.name: f for f in FORMATS}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
        raise UsageError(
            f"no format is called {name!r}: " + (f"did you mean {close[0]!r}?" if close else f"known are {[*by_name]}")
        )
    chosen = by_name[name]
    fits = suffix == chosen.suffix or (isinstance(chosen, ImageFormat) and suffix not in by_suffix)
    if not fits:
        there = f", or --format {by_suffix[suffix].name} for {suffix}" if suffix in by_suffix else ""
        raise UsageError(
            f"{path}: {chosen.title} is written to {chosen.suffix}, not to {suffix or 'a folder'}: "
            f"write {Path(path).with_suffix(chosen.suffix)}{there}"
        )
    return chosen


def names_folder(path: str | Path, fmt: Format) -> bool:
    """Whether an output of this format and name is a folder of images, and not one file."""
    return isinstance(fmt, ImageFormat) and _suffix(path) != fmt.suffix


def _suffix(path: str | Path) -> str:
    """The extension in lower case, or nothing for a folder."""
    is_folder = str(path).endswith(("/", os.sep)) or Path(path).is_dir()
    return "" if is_folder else Path(path).suffix.lower()
