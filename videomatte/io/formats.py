"""The table of outputs: what each format holds, how exactly, who opens it, and which encoder options make it.

Alpha is written plane by plane in the depth the table says, 0 transparent and ``2**bits - 1`` opaque (floats: 1.0), and
never passes through a colour converter. Colour is straight unless premultiplied is asked for, in the clip's own
transfer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from videomatte.io.containers import MKV, MOV, MP4, WEBM, Container

__all__ = ["FORMATS", "Content", "Format", "Holding", "ImageFormat", "VideoFormat"]

Content = Literal["both", "foreground", "alpha"]
"""What an output holds: colour with its alpha, opaque colour alone, or the matte alone as full-range grey."""
Holding = Literal[Content, "composite"]
"""The same as people say it: a composite over a background is opaque colour, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What every output has: one row of the table."""

    name: str
    """What ``--format`` calls it."""
    title: str
    """What people call it."""
    codec: str
    """FFmpeg's name of the encoder."""
    planes: Mapping[Content, str]
    """FFmpeg's name of the planes handed to the encoder, for each content it can hold."""
    colour_bits: int
    """Bits of colour that come out again; 0 where it holds none."""
    colour_exact: bool
    """Whether every code of colour that it is handed comes out again."""
    alpha_bits: int
    """Bits of the alpha or matte handed to the encoder; 0 where it holds none, 16 for half floats."""
    alpha_error: float
    """Largest error of an alpha or matte read back, in 1/255. For lossy ones the worst measured, on hair over noise."""
    premultiplied: bool = False
    """Whether colour may be premultiplied: not where a standard says straight (PNG, WebM) or the file does (TIFF)."""
    opens_in: str
    """Programs that open it, alpha included."""
    key_frames_only: bool = False
    """Whether no frame leans on another, so that an encoder may start anew anywhere and costs nothing by it."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The encoder's options."""

    @property
    def suffix(self) -> str:
        """Extension of the file, lower case with its dot."""
        raise NotImplementedError

    @property
    def has_alpha(self) -> bool:
        """Whether it holds colour and alpha together."""
        return "both" in self.planes


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFormat(Format):
    """A movie: one file with time, colour tags and sound."""

    container: Container
    """The kind of file, which also says what becomes of sound."""
    odd_size_planes: str | None = None
    """Planes of the foreground for pictures with an odd width or height, where the usual ones cannot hold them."""
    keeps_full_range: bool = True
    """Whether the codec's own header says full range; without it every reader takes the picture as limited."""
    keeps_sample_aspect: bool = True
    """Whether pixels that are not square can be written."""

    @property
    def suffix(self) -> str:
        """The container's."""
        return self.container.suffix

    def planes_for(self, content: Content, width: int, height: int) -> str:
        """The planes that hold this content in a picture of this size."""
        odd = content == "foreground" and (width % 2 or height % 2)
        return self.odd_size_planes if odd and self.odd_size_planes else self.planes[content]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFormat(Format):
    """One file per frame: a folder of them, or a single image for a still. Holds no time and no sound."""

    extension: str
    """Extension of the files."""
    key_frames_only: bool = True

    @property
    def suffix(self) -> str:
        """The images' extension."""
        return self.extension


_PRORES_READERS = "Final Cut Pro, Premiere Pro, After Effects, DaVinci Resolve, Nuke, QuickTime, mpv, VLC"
_PRORES_PLANES: dict[Content, str] = {"both": "yuva444p10le", "foreground": "yuv444p10le"}
_VP9_READERS = "Chrome, Firefox, Edge, OBS, Unity; opaque in Safari and VLC"
_VP9_PLANES: dict[Content, str] = {"both": "yuva420p", "foreground": "yuv420p"}


def _prores_quantiser(step: int) -> dict[str, str]:
    """Options that fix ProRes's quantiser instead of searching one for every slice.

    The search costs four fifths of the time and ends at 1 anyway, as long as the profile's data rate allows: the files
    of 720p hair, of camera footage and of noise came out the same to the byte.
    """
    return {"flags": "+qscale", "global_quality": str(118 * step)}  # FFmpeg's FF_QP2LAMBDA


FORMATS: tuple[VideoFormat | ImageFormat, ...] = (
    VideoFormat(
        name="prores4444",
        title="ProRes 4444",
        container=MOV,
        codec="prores_ks",
        planes=_PRORES_PLANES,
        colour_bits=10,
        colour_exact=False,
        alpha_bits=10,
        alpha_error=0.2,
        premultiplied=True,
        keeps_full_range=False,
        opens_in=_PRORES_READERS,
        key_frames_only=True,
        # The alpha is coded without loss in 16 bits (the encoder takes 10). The vendor makes Apple's readers take
        # the file as their own.
        options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0", **_prores_quantiser(1)},
    ),
    VideoFormat(
        name="prores4444-fast",
        title="ProRes 4444, smaller",
        container=MOV,
        codec="prores_ks",
        planes=_PRORES_PLANES,
        colour_bits=10,
        colour_exact=False,
        alpha_bits=10,
        alpha_error=0.2,
        premultiplied=True,
        keeps_full_range=False,
        opens_in=_PRORES_READERS,
        key_frames_only=True,
        # Measured on 720p: two thirds of the bytes, 58 dB instead of 64. (FFmpeg's other encoder, prores_aw, takes
        # longer than either and widens alpha by zeros: full opacity would become 4092 of 4095.)
        options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0", **_prores_quantiser(4)},
    ),
    VideoFormat(
        name="vp9",
        title="VP9 with alpha",
        container=WEBM,
        codec="libvpx-vp9",
        planes=_VP9_PLANES,
        colour_bits=8,
        colour_exact=False,
        alpha_bits=8,
        alpha_error=64,
        keeps_sample_aspect=False,  # the container can, PyAV does not hand it over
        opens_in=_VP9_READERS,
        # Measured on 720p hair: an alpha off by more than 14 levels in one pixel of a thousand at crf 24, 9 at 16.
        options={"crf": "16", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    ),
    VideoFormat(
        name="vp9-fast",
        title="VP9 with alpha, fast",
        container=WEBM,
        codec="libvpx-vp9",
        planes=_VP9_PLANES,
        colour_bits=8,
        colour_exact=False,
        alpha_bits=8,
        alpha_error=64,
        keeps_sample_aspect=False,
        opens_in=_VP9_READERS,
        options={"crf": "16", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1"},
    ),
    VideoFormat(
        name="vp9-lossless",
        title="VP9 with alpha, lossless in its 8-bit 4:2:0",
        container=WEBM,
        codec="libvpx-vp9",
        planes=_VP9_PLANES,
        colour_bits=8,
        colour_exact=True,
        alpha_bits=8,
        alpha_error=0.51,
        keeps_sample_aspect=False,
        opens_in=_VP9_READERS,
        options={"lossless": "1", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    ),
    VideoFormat(
        name="ffv1",
        title="FFV1, 16 bits",
        container=MKV,
        codec="ffv1",
        planes={"both": "gbrap16le", "foreground": "gbrp16le", "alpha": "gray16le"},
        colour_bits=16,
        colour_exact=True,
        alpha_bits=16,
        alpha_error=0.002,
        premultiplied=True,
        keeps_sample_aspect=False,
        opens_in="mpv, VLC, FFmpeg, Blender, Kdenlive",
        key_frames_only=True,
        # Every frame a key frame with checksums: an archive that can be cut anywhere and tells where it is damaged.
        options={"level": "3", "g": "1", "slicecrc": "1", "slices": "4"},
    ),
    VideoFormat(
        name="ffv1-8",
        title="FFV1, 8 bits",
        container=MKV,
        codec="ffv1",
        planes={"both": "bgra", "foreground": "bgr0", "alpha": "gray"},
        colour_bits=8,
        colour_exact=True,
        alpha_bits=8,
        alpha_error=0.51,
        premultiplied=True,
        keeps_sample_aspect=False,
        opens_in="mpv, VLC, FFmpeg, Blender, Kdenlive",
        key_frames_only=True,
        options={"level": "3", "g": "1", "slicecrc": "1", "slices": "4"},
    ),
    VideoFormat(
        name="png-mov",
        title="PNG movie",
        container=MOV,
        codec="png",
        planes={"both": "rgba", "foreground": "rgb24", "alpha": "gray"},
        colour_bits=8,
        colour_exact=True,
        alpha_bits=8,
        alpha_error=0.51,
        opens_in="After Effects, Premiere Pro, DaVinci Resolve, mpv, VLC",
        key_frames_only=True,
        options={"pred": "up", "compression_level": "1"},
    ),
    VideoFormat(
        name="qtrle",
        title="QuickTime Animation",
        container=MOV,
        codec="qtrle",
        planes={"both": "argb", "foreground": "rgb24"},
        colour_bits=8,
        colour_exact=True,
        alpha_bits=8,
        alpha_error=0.51,
        premultiplied=True,
        opens_in="After Effects, Premiere Pro, DaVinci Resolve, QuickTime 7, mpv, VLC",
    ),
    VideoFormat(
        name="h264",
        title="H.264, opaque",
        container=MP4,
        codec="libx264",
        planes={"foreground": "yuv420p"},
        # H.264 crops 4:2:0 in steps of two, so only 4:4:4 keeps an odd size. Browsers do not play that profile.
        odd_size_planes="yuv444p",
        colour_bits=8,
        colour_exact=False,
        alpha_bits=0,
        alpha_error=0,
        opens_in="everything",
        # Without B-frames decoding order is showing order, and the last frame of a variable rate keeps its duration.
        options={"crf": "16", "preset": "medium", "bf": "0"},
    ),
    VideoFormat(
        name="hevc",
        title="HEVC, 10 bits, opaque",
        container=MP4,
        codec="libx265",
        planes={"foreground": "yuv420p10le"},
        odd_size_planes="yuv444p10le",
        colour_bits=10,
        colour_exact=False,
        alpha_bits=0,
        alpha_error=0,
        opens_in="players and editors of the last years, HDR screens; Chrome and Firefox where the system can",
        options={"crf": "16", "preset": "medium", "x265-params": "bframes=0:log-level=error"},
    ),
    VideoFormat(
        name="h264-matte",
        title="H.264 matte, 10 bits",
        container=MP4,
        codec="libx264",
        planes={"alpha": "gray10le"},
        colour_bits=0,
        colour_exact=False,
        alpha_bits=10,
        alpha_error=0.13,  # coded without loss: half a step of 10 bits
        opens_in="FFmpeg, mpv, VLC, Nuke, DaVinci Resolve; not browsers",
        options={"qp": "0", "preset": "medium", "bf": "0"},
    ),
    ImageFormat(
        name="png",
        title="PNG, 16 bits",
        extension=".png",
        codec="png",
        planes={"both": "rgba64be", "foreground": "rgb48be", "alpha": "gray16be"},
        colour_bits=16,
        colour_exact=True,
        alpha_bits=16,
        alpha_error=0.002,
        opens_in="everything",
        # 16 bits whatever the source has: a computed alpha is worth them, and 8-bit colour fits exactly.
        # Measured on a 720p frame: the fastest settings, within 10 % of the smallest file.
        options={"pred": "up", "compression_level": "1"},
    ),
    ImageFormat(
        name="tiff",
        title="TIFF, 16 bits",
        extension=".tif",
        codec="tiff",
        planes={"both": "rgba64le", "foreground": "rgb48le", "alpha": "gray16le"},
        colour_bits=16,
        colour_exact=True,
        alpha_bits=16,
        alpha_error=0.002,
        opens_in="everything but browsers",
        options={"compression_algo": "deflate"},
    ),
    ImageFormat(
        name="exr",
        title="OpenEXR, half float",
        extension=".exr",
        codec="exr",
        planes={"both": "gbrapf32le", "foreground": "gbrpf32le", "alpha": "grayf32le"},
        colour_bits=11,  # significant bits; values above white are kept
        colour_exact=False,
        alpha_bits=16,
        alpha_error=0.13,
        premultiplied=True,
        opens_in="Nuke, DaVinci Resolve, Fusion, After Effects, Blender",
        options={"compression": "zip16", "format": "half"},
    ),
)
"""Every output videomatte writes. The first with a suffix that can hold what is asked is that suffix's default."""
