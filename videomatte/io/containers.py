"""The containers of movies: which sound each takes as it is, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MKV", "MOV", "MP4", "WEBM", "Container"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a movie's file takes besides its pictures."""

    muxer: str
    """FFmpeg's name of the muxer."""
    suffix: str
    """Extension of the file, lower case with its dot."""
    sound_copied: frozenset[str]
    """Codecs of sound, by FFmpeg's names, whose packets are copied bit for bit."""
    sound_codec: str
    """FFmpeg's name of the encoder for every other sound."""
    sound_rate: int | None = None
    """The one sample rate that encoder is used at, or ``None`` where it takes the source's."""
    keeps_ticks: bool
    """Whether pts are kept to the tick; else they are rounded to milliseconds."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """Names of languages that must be written otherwise to be kept."""


_PCM = frozenset(f"pcm_{kind}" for kind in ("s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be"))

# Not all that the muxers would write: PCM and Vorbis in MP4 are found by few readers, and MOV has no place for FLAC,
# Opus and Vorbis, nor do all of Matroska's readers know PCM with the high byte first.
MOV = Container(
    muxer="mov",
    suffix=".mov",
    sound_copied=_PCM | {"aac", "alac", "mp3", "ac3", "eac3"},
    sound_codec="pcm_s24le",  # what editors read best, and nothing is lost that the source had
    keeps_ticks=True,
    # QuickTime numbers its languages; FFmpeg finds the number by one of the two names that ISO 639-2 has for these.
    languages={
        "cze": "ces",
        "cym": "wel",
        "deu": "ger",
        "ell": "gre",
        "eus": "baq",
        "fas": "per",
        "fre": "fra",
        "gle": "iri",
        "hye": "arm",
        "isl": "ice",
        "kat": "geo",
        "mkd": "mac",
        "msa": "may",
        "mya": "bur",
        "nld": "dut",
        "nob": "nor",
        "rum": "ron",
        "slo": "slk",
        "sqi": "alb",
        "swe": "sve",
        "bod": "tib",
        "zho": "chi",
    },
)
MP4 = Container(
    muxer="mp4",
    suffix=".mp4",
    sound_copied=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
    sound_codec="aac",
    keeps_ticks=True,
)
WEBM = Container(
    muxer="webm",
    suffix=".webm",
    sound_copied=frozenset({"opus", "vorbis"}),  # the only two of the WebM standard
    sound_codec="libopus",
    sound_rate=48000,
    keeps_ticks=False,
)
MKV = Container(
    muxer="matroska",
    suffix=".mkv",
    sound_copied=_PCM - {"pcm_f32be"}
    | {"aac", "alac", "mp2", "mp3", "ac3", "eac3", "dts", "truehd", "flac", "opus", "vorbis"},
    sound_codec="flac",
    keeps_ticks=False,
)
