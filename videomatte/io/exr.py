"""Whether an OpenEXR file is all there: a render that was cut off has holes, which the decoder paints black.

Of the format (openexr.com, "OpenEXR File Layout"): a magic number, a version, attributes (name, type, size, value) up
to an empty name, a table with the place of every chunk of rows, and the chunks, each with its first row and its size.
"""

from __future__ import annotations

import struct

__all__ = ["largest_window", "missing_rows"]

_MAGIC = b"\x76\x2f\x31\x01"

_ROWS_PER_CHUNK = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
"""By compression: none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB."""

_LONGEST_HEADER = 2**24

_TILED_DEEP_OR_MANY = 0x200 | 0x800 | 0x1000
"""Bits of the version of files that are laid out otherwise, and not looked into."""


def largest_window(data: bytes) -> tuple[int, int] | None:
    """Width and height that hold both the picture of an EXR image and what is stored of it, by its first header;
    ``None`` where there is none."""
    try:
        if not data.startswith(_MAGIC):
            return None
        attributes, _ = _attributes(data)
        windows = [struct.unpack("<4i", attributes[name]) for name in ("dataWindow", "displayWindow")]
    except (struct.error, KeyError, IndexError, ValueError):
        return None
    return tuple(max(window[2 + axis] - window[axis] + 1 for window in windows) for axis in (0, 1))


def missing_rows(data: bytes) -> int:
    """How many rows of an EXR image's data window are not in the file: 0 where it is whole or not made of rows.

    Args:
        data: the whole file.
    """
    try:
        magic, version = struct.unpack_from("<4sI", data)
        if magic != _MAGIC or version & _TILED_DEEP_OR_MANY:
            return 0
        attributes, table = _attributes(data)
        _, top, _, bottom = struct.unpack("<4i", attributes["dataWindow"])
        rows = _ROWS_PER_CHUNK[attributes["compression"][0]]
    except (struct.error, KeyError, IndexError, ValueError):
        return 0  # a header that the decoder refuses by itself
    missing = 0
    for number, first in enumerate(range(top, bottom + 1, rows)):
        if not _holds(data, table + 8 * number):
            missing += min(rows, bottom + 1 - first)
    return missing


def _attributes(data: bytes) -> tuple[dict[str, bytes], int]:
    """The header's values by name, and where it ends."""
    attributes, at = {}, 8
    while data[at]:
        if at > _LONGEST_HEADER:
            raise ValueError("no end of the header")
        name = data[at : data.index(0, at)].decode("latin-1")
        kind_at = at + len(name) + 1
        size_at = data.index(0, kind_at) + 1
        (size,) = struct.unpack_from("<i", data, size_at)
        attributes[name] = data[size_at + 4 : size_at + 4 + size]
        at = size_at + 4 + max(size, 0)
    return attributes, at + 1


def _holds(data: bytes, entry: int) -> bool:
    """Whether the chunk that a place of the table points at lies in the file."""
    if entry + 8 > len(data):
        return False
    (chunk,) = struct.unpack_from("<Q", data, entry)
    if not chunk or chunk + 8 > len(data):  # 0 until the chunk is written
        return False
    (size,) = struct.unpack_from("<i", data, chunk + 4)
    return bool(0 < size <= len(data) - chunk - 8)
