"""What tells a run from another: everything that its frames depend on, as JSON values by name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe_job", "identity"]

_WITHOUT_EFFECT = ("overwrite", "sheet", "verify", "decoder_threads")
"""Settings that no frame depends on."""
_PROGRAMS = ("videomatte", "av", "torch")
_SAMPLE_BYTES = 1 << 16


def describe_job(clip: Path, settings: Mapping[str, object]) -> dict[str, object]:
    """A run's clip and settings, and the programs that do the work. Of files named, what is in them counts.

    Raises:
        OSError: the clip cannot be read.
    """
    job: dict[str, object] = {name: version(name) for name in _PROGRAMS}
    job |= {name: _value(value) for name, value in settings.items() if name not in _WITHOUT_EFFECT}
    return {"clip": identity(clip), **job}


def _value(value: object) -> object:
    """A setting, and what is in the file that it names: ``PATH``, ``FRAME=PATH``, or several of them."""
    if isinstance(value, tuple | list):
        return [_value(part) for part in value]
    if isinstance(value, str | Path):
        for path in (str(value), str(value).partition("=")[2]):
            if path and os.path.exists(path):  # noqa: PTH110 - it may be any text
                return [str(value), identity(Path(path))]
    return value


def identity(path: Path) -> dict[str, object]:
    """What tells whether a file, or a sequence of files, is still the one that it was: cheap, and not proof.

    Size, time of the last change, and SHA-256 of the first and the last 64 KiB; of a folder, or of all files like a
    pattern such as ``shot.%04d.exr``, their names, sizes and times.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir() or "%" in path.name:
        folder, suffix = (path, None) if path.is_dir() else (path.parent, path.suffix)
        names = hashlib.sha256()
        for entry in sorted(folder.iterdir()):
            if entry.is_file() and suffix in (None, entry.suffix):
                status = entry.stat()
                names.update(os.fsencode(f"{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\0"))
        return {"files": names.hexdigest()}
    status = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as f:
        digest.update(f.read(_SAMPLE_BYTES))
        f.seek(max(0, status.st_size - _SAMPLE_BYTES))
        digest.update(f.read(_SAMPLE_BYTES))
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": digest.hexdigest()}
