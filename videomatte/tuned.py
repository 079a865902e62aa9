"""Settings that were found to be fast on a machine, for clips of a size and a model: small preset files of its user's.

They lie in ``$XDG_CONFIG_HOME/videomatte/tuned`` (``~/.config`` where that is not set), on macOS in ``~/Library/
Application Support``, on Windows in ``%APPDATA%``. Deleting one is all it takes to be rid of it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from videomatte.errors import OutputError

__all__ = ["machine_name", "tuned_folder", "tuned_path", "write_preset"]


def machine_name(device: str) -> str:
    """What does the work, by name: the processor, its number of cores, and the GPU where one is used.

    Args:
        device: as `torch.device` writes it.
    """
    parts = [_processor(), f"{os.cpu_count() or 1}cores"]
    if device != "cpu":
        import torch

        parts.append(torch.cuda.get_device_name(device) if device.startswith("cuda") else device)
    return _slug(" ".join(parts))


def tuned_path(machine: str, width: int, height: int, model: str) -> Path:
    """Where the preset of a machine, a size of clip and a model is, if there is one."""
    name = _slug(model)
    if Path(model).exists():  # another file of the same name is another model
        name = f"{_slug(Path(model).stem)}-{hashlib.sha256(str(Path(model).resolve()).encode()).hexdigest()[:8]}"
    return tuned_folder() / f"{machine}-{width}x{height}-{name}.yaml"


def write_preset(path: Path, values: Mapping[str, object], comment: str) -> None:
    """Write settings as a preset file.

    Args:
        path: its folder is made if need be.
        values: one setting a line.
        comment: lines that stand above them.

    Raises:
        OutputError: the file cannot be written.
    """
    text = "".join(f"# {line}\n" for line in comment.splitlines())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the preset: {error.strerror}") from error


def tuned_folder() -> Path:
    """Where all of them are."""
    if given := os.environ.get("XDG_CONFIG_HOME"):
        base = Path(given)
    elif sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path.home() / ".config"
    return base / "videomatte" / "tuned"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
