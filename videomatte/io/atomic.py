"""Outputs that appear whole or not at all.

An output is made under a temporary name in the folder it will live in, ``.NAME.part-PID``, flushed to the disk, and
renamed to its own name as the last act. Renaming within a folder is atomic (POSIX ``rename``), so that no reader and
no crash ever meets half an output.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from videomatte.errors import OutputError, UsageError, VideomatteError

__all__ = ["FOLDER_MARK", "Staged", "check_target", "flush_to_disk", "publish", "write_durably", "writing"]

FOLDER_MARK = ".videomatte"
"""Empty file in every folder of images that videomatte made: what makes it one that may be replaced."""

_IMAGE_NAME = re.compile(r"\d{6,}\.\w+")


class Staged:
    """An output under construction. `publish` or `discard` ends it.

    Args:
        path: the final name.
        folder: make a folder instead of a file.
        called: what messages call it, if not by that name.

    Raises:
        OutputError: nothing can be made there.
    """

    def __init__(self, path: Path, *, folder: bool = False, called: Path | None = None) -> None:
        self._called = called or path
        self.path = path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link to its target
        self.temporary = path.with_name(f".{path.name}.part-{os.getpid()}")
        """Where to write: an empty file, or an empty folder."""
        self._folder = folder
        with writing(self._called):
            _remove(self.temporary)  # of a killed run whose process had the same number
            if folder:
                self.temporary.mkdir()
                (self.temporary / FOLDER_MARK).touch()
            else:
                self.temporary.open("xb").close()

    def publish(self) -> None:
        """Flush to the disk and rename; what had the name before is replaced.

        Raises:
            OutputError: the disk does not take it. Nothing has changed under the final name.
        """
        with writing(self._called):
            flush_to_disk(self.temporary)
            publish(self.temporary, self.path)

    def discard(self) -> None:
        """Remove what was written. May be called twice, and after `publish`."""
        with contextlib.suppress(OSError):
            _remove(self.temporary)


def publish(temporary: Path, path: Path) -> None:
    """Give a finished output, a file or a folder that is on the disk, its name; what had it before is replaced.

    Raises:
        OSError: nothing has changed under the final name.
    """
    if temporary.is_dir() and path.is_dir():
        _replace_folder(temporary, path)
    else:
        temporary.replace(path)
    with contextlib.suppress(OSError):  # makes the new name last, where a file system can flush its folders
        flush_to_disk(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Make or replace a small file; on return it is on the disk.

    Raises:
        OSError: the disk does not take it.
    """
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def check_target(path: Path, source: Path, *, folder: bool, overwrite: bool) -> None:
    """Refuse, before any work, an output that could not be published.

    Args:
        path: the output's final name.
        source: the clip that will be read.
        folder: whether the output is a folder.
        overwrite: whether an existing output may be replaced.

    Raises:
        UsageError: it is the input, or it exists and may not be replaced.
        OutputError: its folder is missing or closed to writing, or what has the name is not an output of videomatte's
            kind and will not be replaced.
    """
    parent = path.absolute().parent
    with writing(path):
        if not parent.is_dir():
            raise OutputError(f"{path}: the folder {parent} does not exist: make it first")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: the folder {parent} may not be written to")
        if not os.path.lexists(path):
            return
        place, read = path.resolve(), source.resolve()
        if place == read or (source.exists() and path.exists() and path.samefile(source)):
            raise UsageError(f"{path}: the output is the input itself: choose another name")
        if folder and place in read.parents:
            raise UsageError(f"{path}: the output folder holds the input: choose another folder")
        if folder:
            _check_folder(path, overwrite=overwrite)
        elif not path.is_symlink() and not path.is_file():
            raise OutputError(f"{path}: there is something that is not a file: choose another name")
        elif not overwrite:
            raise UsageError(f"{path} exists: choose another name, or give --overwrite to replace it")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system or the encoder says about a write into one line about ``path``.

    Raises:
        OutputError: in the place of any ``OSError`` or FFmpeg error.
    """
    try:
        yield
    except VideomatteError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: cannot be written: {reason[:1].lower()}{reason[1:]}") from error


def _check_folder(path: Path, *, overwrite: bool) -> None:
    if path.is_symlink() or not path.is_dir():
        raise OutputError(f"{path}: there is something that is not a folder: choose another name")
    names = [entry.name for entry in path.iterdir()]
    if not names:
        return
    strangers = [name for name in names if name != FOLDER_MARK and not _IMAGE_NAME.fullmatch(name)]
    if FOLDER_MARK not in names or strangers:
        what = f"such as {strangers[0]}" if strangers else "not written by videomatte"
        raise OutputError(f"{path}: the folder holds other files, {what}: choose another folder, or empty it")
    if not overwrite:
        raise UsageError(f"{path} exists: choose another name, or give --overwrite to replace it")


def _replace_folder(new: Path, path: Path) -> None:
    """A folder cannot be renamed over a full one: the old one steps aside first, and back if that is of no use."""
    aside = path.with_name(f".{path.name}.old-{os.getpid()}")
    path.rename(aside)
    try:
        new.rename(path)
    except OSError:
        aside.rename(path)
        raise
    # Only what is ours goes; a file that somebody has put there since the check moves to the new folder.
    for entry in aside.iterdir():
        if entry.name == FOLDER_MARK or _IMAGE_NAME.fullmatch(entry.name):
            entry.unlink()
        else:
            entry.rename(path / entry.name)
    aside.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk.

    Raises:
        OSError: the disk does not take it.
    """
    if os.name != "posix" and path.is_dir():
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
