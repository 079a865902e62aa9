"""Which way up a picture is: a movie's display matrix and a photograph's EXIF tag, as a mirroring and a turn.

Convention:
    Pictures are ``[C, H, W]``. The mirroring is left to right (column ``x`` goes to ``W - 1 - x``) and comes first; the
    turn is clockwise, in degrees, and comes second. Pixels move, none is resampled.
"""

from __future__ import annotations

import struct
from typing import Any

import av
import numpy as np
from torch import Tensor

__all__ = ["Orientation", "exif_orientation", "frame_orientation", "tiff_tag", "upright"]

Orientation = tuple[bool, int]
"""Mirrored, then turned clockwise by 0, 90, 180 or 270 degrees."""

UPRIGHT: Orientation = (False, 0)

_BY_EXIF: dict[int, Orientation] = {
    1: UPRIGHT, 2: (True, 0), 3: (False, 180), 4: (True, 180),
    5: (True, 270), 6: (False, 90), 7: (True, 90), 8: (False, 270),
}  # fmt: skip
"""By the value of EXIF's tag 0x0112 (CIPA DC-008, 4.6.5.1.6)."""

_BY_MATRIX: dict[tuple[int, int, int, int], Orientation] = {
    (1, 0, 0, 1): UPRIGHT, (-1, 0, 0, 1): (True, 0), (-1, 0, 0, -1): (False, 180), (1, 0, 0, -1): (True, 180),
    (0, 1, 1, 0): (True, 270), (0, 1, -1, 0): (False, 90), (0, -1, -1, 0): (True, 90), (0, -1, 1, 0): (False, 270),
}  # fmt: skip
"""By the signs of ``a b c d`` of a display matrix (ISO/IEC 14496-12, 8.2.2): column ``p`` and row ``q`` are shown at
``x = a p + c q`` and ``y = b p + d q``."""


def upright(picture: Tensor, orientation: Orientation) -> Tensor:
    """A coded picture ``[C, H, W]`` as it is to be shown, in memory of its own where anything moves."""
    mirrored, degrees = orientation
    if mirrored:
        picture = picture.flip(2)
    if degrees == 90:
        picture = picture.transpose(1, 2).flip(2)
    elif degrees == 180:
        picture = picture.flip(1, 2)
    elif degrees == 270:
        picture = picture.transpose(1, 2).flip(1)
    return picture.contiguous()


def frame_orientation(frame: av.VideoFrame) -> Orientation:
    """What a movie's frame says of itself; a turn by other than a quarter is rounded to the nearest."""
    try:
        held: Any = frame.side_data
        sides = [held[number] for number in range(len(held))]
        matrix = next((bytes(side) for side in sides if side.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # a kind of side data that the library cannot name hides the others: it still knows the turn
        matrix = None
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(matrix, "=i4")[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return _BY_MATRIX[(1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)]
        return _BY_MATRIX[(0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)]
    return False, -90 * round(frame.rotation / 90) % 360


def exif_orientation(data: bytes) -> Orientation:
    """What an image file says of itself: JPEG's and PNG's EXIF block, or TIFF's own header. Upright where it is silent.

    Args:
        data: the whole file.
    """
    start = 0
    if data.startswith(b"\xff\xd8"):
        start = data.find(b"Exif\0\0", 0, 1 << 16) + 6  # the first segments hold it; find gives -1 where there is none
        if start < 6:
            return UPRIGHT
    elif data.startswith(b"\x89PNG"):
        start = data.find(b"eXIf") + 4
        if start < 4:
            return UPRIGHT
    return _BY_EXIF.get(tiff_tag(data[start:], 0x0112) or 1, UPRIGHT)


def tiff_tag(tiff: bytes, wanted: int) -> int | None:
    """The value of a short or a long in the first directory of a TIFF structure (TIFF 6.0, section 2)."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for number in range(count):
            place = offset + 2 + 12 * number
            tag, kind = struct.unpack_from(order + "HH", tiff, place)
            if tag == wanted and kind in (3, 4):
                return int(struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, place + 8)[0])
    except struct.error:  # cut short
        pass
    return None
