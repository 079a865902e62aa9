"""How large an input may be, and how long it may keep its reader waiting.

A few bytes of a header can promise pictures of gigabytes. What is beyond these limits is refused by one clear line
before its memory is taken. docs/limits.md tells them.
"""

from __future__ import annotations

from pathlib import Path

from videomatte.errors import InputError

__all__ = ["MAX_IMAGE_BYTES", "MAX_PIXELS", "MAX_SIDE", "PATIENCE_SECONDS", "check_file", "check_size"]

MAX_SIDE = 16384
"""Largest width or height, in pixels: what the encoders of movies take."""

MAX_PIXELS = 2**26
"""Most pixels of a picture: twice those of 8K. One of 16 bits with alpha takes about 2 GB while it is read."""

MAX_IMAGE_BYTES = 2**31
"""Largest file of a still image, which is read as a whole: twice ``MAX_PIXELS`` of four floats."""

PATIENCE_SECONDS = 45.0
"""How long a decoder may work on one frame."""


def check_size(path: Path, width: int, height: int) -> None:
    """Hold a picture to the limits.

    Raises:
        InputError: it is larger.
    """
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: pictures of {width} x {height} are too large: "
            f"{MAX_SIDE} pixels a side and {MAX_PIXELS // 10**6} million in all are the most"
        )


def check_file(path: Path) -> None:
    """Hold a path to being a file with something in it: opening a pipe or a device may wait for ever.

    Raises:
        InputError: it is not.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if path.is_dir():
            raise InputError(f"{path}: is a folder, not a movie")
        if not path.is_file():
            raise InputError(f"{path}: is not a regular file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise InputError(f"{path}: not readable: {error.strerror}") from error
