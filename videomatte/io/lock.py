"""One run at a time on one output: a lock that the system itself takes back when its holder dies, however it dies."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

from videomatte.errors import OutputError
from videomatte.io.atomic import writing

__all__ = ["Lock"]

_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_LOCKED_BYTE = 1 << 20
"""Behind the text: Windows lets nobody read what is locked."""


class Lock:
    """A lock file, held until `release`. What it says is for people; whether it is held, the system knows.

    Args:
        place: the lock file, made where it is not.
        output: what it guards, for the message.

    Raises:
        OutputError: another run holds it, or the file cannot be made.
    """

    def __init__(self, place: Path, output: Path) -> None:
        while True:
            with writing(output):
                handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _lock(handle)
            except OSError as error:
                holder = os.read(handle, 200).decode(errors="replace").strip()
                os.close(handle)
                if error.errno in _TAKEN:
                    who = f" ({holder})" if holder else ""
                    raise OutputError(f"{output}: another run is writing it{who}: let it end, or stop it") from error
                with writing(output):
                    raise
            if _is_still(place, handle):
                break
            os.close(handle)  # its last holder removed it between our opening and our locking
        self._handle: int | None = handle
        with writing(output):
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Let the next one in. May be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _is_still(place: Path, handle: int) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _lock(handle: int) -> None:
    """Take the lock or raise an ``OSError`` of `_TAKEN`; a file system without locks goes without."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
