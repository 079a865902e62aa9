"""The settings: each has its one and only definition here.

The command line's flags, the keys of preset files, ``--help`` and the arguments of the Python functions are all made
from these dataclasses. A value comes from, in rising order: the default below, the preset, the flag.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from videomatte.errors import InputError, UsageError

__all__ = [
    "GreenscreenSettings",
    "MatteSettings",
    "TrimapSettings",
    "fingerprint",
    "parse_bytes",
    "preset_values",
    "presets",
]


@dataclass(frozen=True, kw_only=True)
class TrimapSettings:
    """Where the subject is in a clip."""

    key: str | None = None
    """Colour of the screen behind the subject: auto, green, blue or #RRGGBB. Taken as auto where nothing else tells
    where the subject is (--plate, --mask, --trimap)."""
    plate: Path | None = None
    """Clean plate instead of a key, the same place without the subject: an image, for any camera that stands, shakes a
    little or pans a little; or a movie, frame for frame, whose last picture stays where it is shorter than the clip."""
    mask: Path | None = None
    """Masks of the subject from another program instead of a key: an image for every frame, or a folder or a movie with
    one per frame; hard or soft, grey, flat colours on black, or an alpha channel."""
    band: float = 0.02
    """Width of the unknown band across a mask's edge, as a fraction of the picture's longer side. What is soft in a
    mask is unknown besides."""
    trimap: tuple[str, ...] = ()
    """Trimaps instead of a key. White is subject, black is background, grey is to be found out; without grey it is a
    mask. FRAME=PATH is a keyframe, carried to the frames around it, and may be given again for others; an image alone
    is that of frame 0; a folder or a movie has one per frame, and a folder with fewer is of keyframes, each numbered by
    its name. From Python also one path, or a dictionary of paths by frame."""
    keep: Path | None = None
    """Holdout matte: what is white in it is subject, whatever the key or any other source says; an image for every
    frame, or a folder or a movie with one per frame, read as masks are. Where it is grey nothing is sure background."""
    drop: Path | None = None
    """Garbage matte: what is white in it is background; else as --keep, which wins where both are white."""
    model: str = "embedded"
    """What turns trimaps into mattes: a name that 'videomatte models' lists, or the path of a checkpoint."""
    batch: int = 1
    """Frames that a network computes together, at most: more keeps a GPU busier and takes as much more memory."""
    memory: str | None = None
    """Most memory to take, such as 8GB or 512MB: a batch is made as much smaller as it has to be. On CUDA it is the
    device's. Left out, most of what is free."""
    regions: Literal["auto", "shared", "full"] = "auto"
    """Where a network computes: auto leaves out what no unknown pixel depends on, with the same result as full, which
    leaves out nothing; shared also takes what is far from all unknown pixels together, an approximation of ViTMatte
    that is several times faster."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """What a network computes in; auto is the device's fastest type that is safe."""
    compile: bool = False
    """Have torch compile the network: a minute or more for every size of picture, then faster on CUDA."""
    format: str | None = None
    """Output format by name, such as prores4444, where the extension of the output does not say enough."""
    device: str = "auto"
    """Where tensors live: auto (CUDA where there is one), cpu, cuda, cuda:1."""
    decoder: Literal["auto", "av", "decord"] = "auto"
    """Library that decodes the clip; auto is av (PyAV)."""
    decoder_threads: int = 0
    """Threads that decode; 0 leaves it to the decoder, which takes all cores."""
    encoder_threads: int = 0
    """Threads that each output's encoder has; 0 leaves it to the encoder."""
    start: str | None = None
    """First frame to take: a frame number (120) or a time (5.0, 5s, 0:01:02.5)."""
    end: str | None = None
    """First frame not to take, written as for start."""
    overwrite: bool = False
    """Replace an existing output."""

    def __post_init__(self) -> None:
        if len(given := self.trimap_sources()) > 1:
            raise UsageError(f"{' and '.join(given)} are {len(given)} answers to one question: give one of them")
        if not 0 <= self.band < 1:
            raise UsageError(
                f"--band {self.band}: a fraction of the picture's longer side is needed, from 0 to below 1"
            )
        if self.mask is None and self.band != type(self).band:
            raise UsageError(f"--band {self.band} is the width of a mask's unknown band: give the mask with --mask")
        if self.batch < 1:
            raise UsageError(f"--batch {self.batch}: at least one frame at a time")
        for flag, threads in (("decoder", self.decoder_threads), ("encoder", self.encoder_threads)):
            if threads < 0:
                raise UsageError(f"--{flag}-threads {threads}: a number of threads, or 0 to have it chosen")
        if self.memory is not None:
            try:
                parse_bytes(self.memory)
            except UsageError as error:
                raise UsageError(f"--memory {error}") from None

    def trimap_sources(self) -> list[str]:
        """The flags, of those that say where trimaps come from, that were given."""
        return [f"--{name}" for name in ("key", "plate", "mask", "trimap") if getattr(self, name) not in (None, ())]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Settings from keyword arguments.

        Raises:
            UsageError: a name is no setting; the message names the nearest one.
        """
        _refuse_unknown(settings, cls, "")
        if "trimap" in settings:
            trimap = settings["trimap"] or ()
            if isinstance(trimap, Mapping):
                trimap = [f"{frame}={path}" for frame, path in trimap.items()]
            settings = {**settings, "trimap": (str(trimap),) if isinstance(trimap, str | Path) else tuple(trimap)}
        return cls(**settings)


@dataclass(frozen=True, kw_only=True)
class MatteSettings(TrimapSettings):
    """How a clip becomes a matte."""

    foreground: Literal["estimate", "source"] = "estimate"
    """Colour of the subject where the background shines through: estimate its own, without the background and a
    screen's spill, or leave the source's pixels."""
    temporal: float = 1.0
    """How far flicker is averaged away along the motion, from 0, each frame as it is by itself, to 1."""
    content: Literal["both", "foreground", "alpha"] = "both"
    """What is written: the foreground with its alpha, the foreground alone, or the alpha alone as full-range grey. An
    output can say it for itself: -o alpha:matte.mp4."""
    premultiplied: bool = False
    """Write colour times alpha instead of straight colour, and say so in the file."""
    audio: bool = True
    """Carry the clip's sound into a movie, bit for bit where the container takes it."""
    sheet: Path | None = None
    """Write a contact sheet, too, a PNG: frames spread over the clip, their trimaps, alphas, composites and edges."""
    verify: bool = True
    """Read back what is written, a segment at a time, and compare times and alpha before success is reported."""


@dataclass(frozen=True, kw_only=True)
class GreenscreenSettings(MatteSettings):
    """How a clip's subject comes before another background."""

    fit: Literal["cover", "contain", "stretch"] = "cover"
    """How a background of another shape fills the frame: cover it and lose what stands over, be contained between black
    bars, or be stretched."""
    background_start: str | None = None
    """What the background begins with: a frame number (120) or a time (5.0, 5s, 0:01:02.5)."""
    background_end: Literal["loop", "hold", "once"] = "loop"
    """What follows a background's last frame: its first again, that last one for good, or black."""
    sound: Literal["clip", "background"] = "clip"
    """Whose sound a movie carries; a background's is heard once, however often it is looped."""
    linear: bool = False
    """Mix edges in linear light, as a lens does, not in the encoding that mattes are solved in."""
    light_wrap: float = 0.0
    """How much of the background's light falls on the subject's edge, from 0 to 1."""
    shadows: bool = False
    """Keep the shadows that the subject throws on its screen, as on a floor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sound == "background" and not self.audio:
            raise UsageError("--sound background and --no-audio contradict each other: give one of them")
        if not 0 <= self.light_wrap <= 1:
            raise UsageError(f"--light-wrap {self.light_wrap}: from 0, none, to 1")
        if self.shadows and (others := [flag for flag in self.trimap_sources() if flag != "--key"]):
            raise UsageError(f"--shadows are those on a screen (--key), and {others[0]} tells of none")


def fingerprint(settings: Mapping[str, object]) -> str:
    """SHA-256 of resolved settings, hexadecimal: equal where and only where all values are."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def parse_bytes(text: str) -> int:
    """The bytes that people write as ``8GB``, ``512MB`` or ``2.5 GiB``: units of 1000, with an i of 1024.

    Raises:
        UsageError: the text is no size, or none above zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    value = round(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " ")) if match else 0
    if value <= 0:
        raise UsageError(f"{text!r} is no amount of memory: write it as 8GB or 512MB")
    return value


def presets(command: str) -> dict[str, Path]:
    """The shipped presets of a command, by name."""
    package = Path(__file__).parent
    # An installed wheel carries configs/ inside the package; a checkout has it beside the package.
    folders = (package / "configs", package.parent / "configs")
    return {path.stem: path for folder in folders for path in sorted((folder / command).glob("*.yaml"))}


def preset_values(command: str, preset: str, settings: type) -> dict[str, object]:
    """The settings that a preset changes, their names checked, their values as they stand in the file.

    Args:
        command: the command the preset is for, such as ``matte``.
        preset: name of a shipped preset, or path of a YAML file with one setting a line.
        settings: the dataclass of settings the command takes.

    Raises:
        UsageError: there is no such preset, or no such setting; the message names the nearest.
        InputError: the file is not a mapping from settings to values.
    """
    shipped = presets(command)
    path = shipped.get(preset, Path(preset))
    if not path.is_file():
        raise UsageError(f"no preset {preset!r} for {command}{_nearest(preset, shipped)}, and no file of that name")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a preset is a list of lines 'setting: value', this is a {type(values).__name__}")
    _refuse_unknown(values, settings, f"{path}: ")
    return values


def _refuse_unknown(names: Iterable[str], settings: type, where: str) -> None:
    known = [field.name for field in dataclasses.fields(settings)]
    for name in names:
        if name not in known:
            raise UsageError(f"{where}unknown setting {name!r}{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), known := sorted(known), n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
