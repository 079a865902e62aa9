"""The folder ``.NAME.videomatte`` beside an output under construction: lock, manifest, finished segments.

It is there while a run is at work, and after one that was killed or failed with something finished. The same command
then goes on from there; a run with other settings or a changed clip clears it first.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from videomatte.engine.undisturbed import undisturbed
from videomatte.errors import OutputError
from videomatte.io.atomic import flush_to_disk, writing
from videomatte.io.lock import Lock
from videomatte.io.manifest import Manifest, Segment, checksum, differences

__all__ = ["WHOLE", "Work", "is_published"]

WHOLE = "whole"
"""Name in the folder of the output put together, or of the folder of images: what is renamed in the end."""

_LOG = logging.getLogger(__name__)


class Work:
    """The work folder of one output. Nothing is made or locked before `open`, and `close` may follow whatever became of
    that: who sees to it that `close` will be called, and opens then, leaves nothing behind, wherever Ctrl-C strikes.

    Args:
        path: the output's final name.
        job: everything that its frames depend on, JSON values by name. ``None`` for what cannot be gone on with.
    """

    def __init__(self, path: Path, job: Mapping[str, object] | None) -> None:
        self.notes: list[str] = []
        """What became of an earlier run's work, one sentence."""
        self._path = path
        self.folder = _folder_of(path)
        """Where everything lies."""
        # As it will be read again: tuples are lists there, and paths are text.
        self._manifest = Manifest(None if job is None else json.loads(json.dumps(job, default=str)))
        self._lock: Lock | None = None
        self._spares_all = True

    def open(self) -> None:
        """Make the folder if it is not there, lock it, and take over what an earlier run of the same job has finished.

        Raises:
            OutputError: another run is at work on the same output, or the folder cannot be made.
        """
        with writing(self._path), undisturbed():
            if self.folder.is_symlink() or self.folder.is_file():
                self.folder.unlink()
            self.folder.mkdir(exist_ok=True)
            try:
                self._lock = Lock(self.folder / "lock", self._path)
            except OutputError:
                with contextlib.suppress(OSError):  # there is somebody else's lock in it
                    self.folder.rmdir()
                raise
            self._spares_all = (self.folder / "manifest.json").exists()
        self._take_over()
        with writing(self._path):
            self._clear(keep=self._names())
        self._spares_all = False

    @property
    def segments(self) -> list[Segment]:
        """Those finished, in order."""
        return self._manifest.segments

    @property
    def ended(self) -> bool:
        """Whether the last segment is the clip's last."""
        return self._manifest.state != "open"

    @property
    def published(self) -> bool:
        """Whether the output has its name already: the earlier run was killed in its very last act."""
        return self._manifest.state == "joined"

    def add(self, segment: Segment) -> None:
        """Take note of a segment; on return it will outlast whatever comes.

        Raises:
            OutputError: the disk does not take it.
        """
        with writing(self._path):
            for folder in {(self.folder / name).parent for name in segment.files}:
                flush_to_disk(folder)
            self.segments.append(segment)
            self._save()

    def mark(self, state: Literal["ended", "joined"]) -> None:
        """Take note that the clip has ``ended``, or that the output is ``joined`` and lacks but its name.

        Raises:
            OutputError: the disk does not take it.
        """
        with writing(self._path):
            self._manifest.state = state
            self._save()

    def close(self, *, keep: bool) -> None:
        """Let go of the folder, and remove it unless ``keep`` says that a later run is to go on from it. May be called
        twice. What an earlier run has left stays where `open` did not come to its end.
        """
        with undisturbed():
            lock, self._lock = self._lock, None
            if lock is None:
                return
            with contextlib.suppress(OSError):
                if self._spares_all:
                    pass
                elif keep and self._manifest.job is not None and self.segments:
                    self._clear(keep=self._names())
                else:
                    self._clear(keep=set())
                    (self.folder / "lock").unlink(missing_ok=True)
                    lock.release()  # where an open file cannot be removed, it goes with the next run
                    self.folder.rmdir()
            lock.release()

    def _names(self) -> set[str]:
        return {name for segment in self.segments for name in segment.files}

    def _take_over(self) -> None:
        """Take what an earlier run of the same job has finished."""
        before = Manifest.load(self.folder / "manifest.json")
        if before is None or not before.segments or before.job is None:
            return
        if changed := differences(before.job, self._manifest.job or {}):
            what = "the clip has changed" if "clip" in changed else f"{', '.join(changed)} changed"
            self._say(f"{self._path}: {what} since a run that left {_frames(before.segments)}: starting over")
            return
        if before.state == "joined" and is_published(self._path, before.job):
            self._manifest = before
            return
        whole = []
        for segment in before.segments:
            try:
                if checksum(self.folder / name for name in segment.files) != segment.sha256:
                    break
            except OSError:
                break
            whole.append(segment)
        lost = len(whole) < len(before.segments)
        self._manifest.segments = whole
        if not lost and before.state != "open":
            self._manifest.state = "ended"
        if whole:
            damage = f" (those after frame {whole[-1].end} are damaged)" if lost else ""
            self._say(f"{self._path}: going on from frame {whole[-1].end}, {_frames(whole)} are there{damage}")

    def _say(self, note: str) -> None:
        _LOG.warning(note)
        self.notes.append(note)

    def _save(self) -> None:
        self._manifest.save(self.folder / "manifest.json")
        flush_to_disk(self.folder)

    def _clear(self, keep: set[str]) -> None:
        """Remove everything but the lock, the manifest of what is kept, and what is kept; the manifest as the last."""
        if keep:
            self._save()
        manifest = self.folder / "manifest.json"
        for entry in self.folder.iterdir():
            if entry.name in (manifest.name, "lock", *keep):
                continue
            if entry.is_symlink() or not entry.is_dir():
                entry.unlink()
            elif any(name.startswith(f"{entry.name}/") for name in keep):
                for inner in entry.iterdir():
                    if f"{entry.name}/{inner.name}" not in keep:
                        inner.unlink()
            else:
                shutil.rmtree(entry)
        if not keep:
            manifest.unlink(missing_ok=True)


def _folder_of(path: Path) -> Path:
    """The work folder of an output."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link to its target
    return path.with_name(f".{path.name}.videomatte")


def is_published(path: Path, job: Mapping[str, object] | None) -> bool:
    """Whether an output under its final name is a killed run's of this very job, whole, its work folder left behind."""
    manifest = Manifest.load(_folder_of(path) / "manifest.json")
    if job is None or manifest is None or manifest.state != "joined" or manifest.job is None:
        return False
    same = not differences(manifest.job, json.loads(json.dumps(job, default=str)))
    return same and path.exists() and not (_folder_of(path) / WHOLE).exists()


def _frames(segments: list[Segment]) -> str:
    count = segments[-1].end - segments[0].first
    return f"{count} finished frame{'s' * (count != 1)}"
