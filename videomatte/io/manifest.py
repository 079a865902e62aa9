"""What is finished of an output that is being made, kept beside it so that a killed run can go on.

The manifest is one JSON file, replaced as a whole each time a segment is finished and on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from videomatte.io.atomic import write_durably

__all__ = ["Manifest", "Segment", "checksum", "differences"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of frames that is finished, read back and on the disk."""

    first: int
    """Number in the clip of its first frame."""
    end: int
    """Number of the frame after its last."""
    first_pts: int
    """Of its first frame, in ticks of the clip."""
    last_pts: int
    """Of its last frame."""
    last_duration: int
    """How long its last frame is shown if no other follows, in ticks."""
    files: tuple[str, ...]
    """Their names within the work folder: a movie, or an image per frame."""
    sha256: str
    """Of the bytes of all its files, one after the other."""


@dataclass(slots=True)
class Manifest:
    """The state of an output under construction."""

    job: dict[str, Any] | None
    """Everything that the frames depend on, as JSON values; ``None`` for what cannot be gone on with."""
    segments: list[Segment] = field(default_factory=list)
    """Those finished, in order."""
    state: Literal["open", "ended", "joined"] = "open"
    """Whether more segments may come, the clip has ended, or the output is whole and lacks but its name."""

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The manifest in a file, or ``None`` where there is none that can be understood."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("version") != _VERSION:
                return None
            values["segments"] = [Segment(**{**s, "files": tuple(s["files"])}) for s in values["segments"]]
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def save(self, path: Path) -> None:
        """Replace the file as a whole; on return it is on the disk.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        draft = path.with_suffix(".new")
        write_durably(draft, json.dumps({"version": _VERSION, **asdict(self)}, indent=1).encode())
        draft.replace(path)


def checksum(files: Iterable[Path]) -> str:
    """SHA-256 of the bytes of all files, one after the other, hexadecimal.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    for path in files:
        with path.open("rb", buffering=0) as f:
            while count := f.readinto(buffer):
                digest.update(view[:count])
    return digest.hexdigest()


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Names of what differs between two jobs."""
    return sorted(name for name in {*before, *now} if before.get(name, os) != now.get(name, os))
