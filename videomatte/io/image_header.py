"""What an image file says before it is decoded: how large its picture is, and which parts of a PNG nobody needs.

Of the formats only as much is read as that takes: PNG (W3C, third edition, 5.3 and 11.2), JPEG (ITU-T T.81, B.1 and
B.2), TIFF 6.0, section 2, and OpenEXR ("OpenEXR File Layout").
"""

from __future__ import annotations

import struct

from videomatte.io.exr import largest_window
from videomatte.io.orientation import tiff_tag

__all__ = ["declared_size", "without_png_texts"]

_PNG = b"\x89PNG\r\n\x1a\n"

_PNG_TEXTS = (b"zTXt", b"iTXt", b"tEXt", b"iCCP")
"""Chunks that are inflated without limit, a thousandfold at most, and not used here: colour is told by other ones."""

_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The markers that begin a frame header."""

_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of an image file; ``None`` where it is of another kind, or damaged."""
    try:
        if data.startswith(_PNG):
            return struct.unpack_from(">II", data, 16)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith((b"II*\0", b"MM\0*")):
            width, height = tiff_tag(data, _TIFF_WIDTH), tiff_tag(data, _TIFF_HEIGHT)
            return None if width is None or height is None else (width, height)
        return largest_window(data)
    except struct.error:
        return None


def without_png_texts(data: bytes) -> bytes:
    """A PNG without its texts and colour profile; anything else, and a PNG without any, as it is."""
    if not data.startswith(_PNG):
        return data
    kept, at, begin = [], len(_PNG), 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length  # with its checksum
        if kind in _PNG_TEXTS:
            kept.append(data[begin:at])
            begin = end
        at = end
    return b"".join([*kept, data[begin:]]) if kept else data


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while True:
        mark, kind, length = struct.unpack_from(">BBH", data, at)
        if mark != 0xFF:
            return None
        if kind in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 1 if kind == 0xFF else 2 + length  # bytes of 255 may fill the space before a marker
