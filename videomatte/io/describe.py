"""A clip's properties in words, for ``videomatte info``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from fractions import Fraction

from videomatte.types import ClipInfo, Colour

__all__ = ["describe"]

# H.273 code points by the names their standards go by.
_MATRICES = {0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.601 (625)", 6: "BT.601 (525)", 7: "SMPTE 240M", 9: "BT.2020"}
_PRIMARIES = {
    1: "BT.709",
    4: "BT.470 M",
    5: "BT.601 (625)",
    6: "BT.601 (525)",
    9: "BT.2020",
    11: "P3 DCI",
    12: "P3 D65",
}
_TRANSFERS = {
    1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "BT.601", 8: "linear", 13: "sRGB", 14: "BT.2020", 15: "BT.2020",
    16: "PQ", 18: "HLG",
}  # fmt: skip


def describe(info: ClipInfo, *, as_json: bool = False) -> str:
    """The properties as a table or as JSON. What the file does not say is ``unknown``, ``null`` in JSON."""
    if as_json:
        return json.dumps(dataclasses.asdict(info), indent=2, default=str)
    alpha = ", with alpha" if info.has_alpha else ""
    rows = {
        "file": info.path,
        "container": info.container,
        "codec": f"{info.codec}, {info.pixel_format}, {info.bit_depth} bits{alpha}",
        "size": f"{info.width} x {info.height}"
        + (f", pixel aspect {info.sample_aspect}" if info.sample_aspect != 1 else "")
        + (f", turned by {info.rotation_degrees} degrees" if info.rotation_degrees else ""),
        "rate": _known(info.average_rate, lambda rate: f"{float(rate):.6g} fps ({rate})"),
        "frames": _known(info.frame_count, str),
        "duration": _known(info.duration_seconds, lambda seconds: f"{float(seconds):.3f} s"),
        "time base": info.time_base,
        "colour": _colour(info.colour),
    }
    for number, audio in enumerate(info.audio):
        start = "" if audio.start_seconds is None else f", starts at {audio.start_seconds:.3f} s"
        rows[f"audio {number}"] = f"{audio.codec}, {audio.sample_rate} Hz, {audio.channels} channels{start}" + (
            f", {audio.language}" if audio.language else ""
        )
    return "\n".join(f"{name:<10} {value}" for name, value in rows.items())


def _known(value: Fraction | int | str | None, words: Callable[..., str]) -> str:
    return "unknown" if value is None else words(value)


def _colour(colour: Colour) -> str:
    def name(code: int | None, names: dict[int, str]) -> str:
        return "unknown" if code is None else names.get(code, f"H.273 code {code}")

    swing = {None: "unknown", True: "full", False: "limited"}[colour.full_range]
    return (
        f"matrix {name(colour.matrix, _MATRICES)}, range {swing}, "
        f"primaries {name(colour.primaries, _PRIMARIES)}, transfer {name(colour.transfer, _TRANSFERS)}"
    )
