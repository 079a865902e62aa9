"""How an output's name, and what it is to hold, choose a row of the table of formats."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from videomatte.errors import UsageError
from videomatte.io.formats import FORMATS, Content, Format, ImageFormat, VideoFormat

__all__ = ["choose_format", "names_folder"]

_CONTENTS: dict[Content, str] = {"both": "colour with alpha", "foreground": "opaque colour", "alpha": "a matte alone"}


def choose_format(
    path: str | Path,
    name: str | None = None,
    *,
    content: Content = "both",
    colour_bits: int = 8,
    premultiplied: bool = False,
) -> VideoFormat | ImageFormat:
    """The format of an output.

    Args:
        path: where the output goes. A name without extension, with a trailing slash, or of a folder that is there, is
            a folder of images.
        name: a format's name; without it the path's extension chooses, the first row that can hold what is asked.
        content: what it is to hold.
        colour_bits: bits of colour that must come out again; of no matter for a matte alone.
        premultiplied: whether its colour is to be premultiplied.

    Raises:
        UsageError: no format has that name or extension, the two contradict each other, or it cannot hold what is
            asked; the message names the nearest that works.
    """
    named = _by_name(path, name) if name else None
    suffix = named.suffix if named else _suffix(path) or ".png"
    candidates = [named] if named else [f for f in FORMATS if f.suffix == suffix]
    if not candidates:
        known = ", ".join(f"{f.suffix} ({f.title})" for f in _first_of_each_suffix(list(FORMATS)))
        raise UsageError(
            f"{path}: no output is called {suffix}: write one of {known}, "
            "or end the name with / for a folder of PNG images"
        )
    able = [f for f in FORMATS if content in f.planes]
    if not (rest := [f for f in candidates if f in able]):
        lacks = "holds no alpha" if content == "both" else f"does not hold {_CONTENTS[content]}"
        raise _refusal(path, candidates[0], lacks, able, suffix)
    candidates = rest
    if content != "alpha":
        able = [f for f in able if f.colour_bits >= colour_bits]
        if not (rest := [f for f in candidates if f in able]):
            lacks = f"holds {candidates[0].colour_bits} bits of colour and the clip has {colour_bits}"
            raise _refusal(path, candidates[0], lacks, able, suffix)
        candidates = rest
    if premultiplied and content == "both":
        able = [f for f in able if f.premultiplied]
        if not (rest := [f for f in candidates if f in able]):
            raise _refusal(path, candidates[0], "is straight by its standard, not premultiplied", able, suffix)
        candidates = rest
    return candidates[0]


def names_folder(path: str | Path, fmt: Format) -> bool:
    """Whether an output of this format and name is a folder of images, and not one file."""
    return isinstance(fmt, ImageFormat) and _suffix(path) != fmt.suffix


def _by_name(path: str | Path, name: str) -> VideoFormat | ImageFormat:
    """The row of that name, if it fits the path."""
    by_name = {f.name: f for f in FORMATS}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
        raise UsageError(
            f"no format is called {name!r}: " + (f"did you mean {close[0]!r}?" if close else f"known are {[*by_name]}")
        )
    chosen, suffix = by_name[name], _suffix(path)
    others = [f.name for f in FORMATS if f.suffix == suffix]
    if suffix == chosen.suffix or (isinstance(chosen, ImageFormat) and not others):
        return chosen
    there = f", or --format {others[0]} for {suffix}" if others else ""
    raise UsageError(
        f"{path}: {chosen.title} is written to {chosen.suffix}, not to {suffix or 'a folder'}: "
        f"write {Path(path).with_suffix(chosen.suffix)}{there}"
    )


def _refusal(
    path: str | Path, fmt: Format, lacks: str, able: list[VideoFormat | ImageFormat], suffix: str
) -> UsageError:
    """Says what works instead: formats of the same extension by their names, else other extensions."""
    same = [f for f in able if f.suffix == suffix]
    if same:
        instead = "--format " + " or ".join(f.name for f in same)
    else:
        instead = ", ".join(f"{f.suffix} ({f.title})" for f in _first_of_each_suffix(able))
    return UsageError(f"{path}: {fmt.title} {lacks}: write {instead}")


def _first_of_each_suffix(formats: list[VideoFormat | ImageFormat]) -> list[VideoFormat | ImageFormat]:
    return [f for n, f in enumerate(formats) if f.suffix not in {g.suffix for g in formats[:n]}]


def _suffix(path: str | Path) -> str:
    """The extension in lower case, or nothing for a folder."""
    is_folder = str(path).endswith(("/", os.sep)) or Path(path).is_dir()
    suffix = "" if is_folder else Path(path).suffix.lower()
    return ".tif" if suffix == ".tiff" else suffix
