"""Settings of the command line that come from files: preset files and what was tuned, put before the user's flags.

One parser then checks all of them, and what comes later wins: defaults, tuned, preset, flags.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from videomatte.config import GreenscreenSettings, MatteSettings, TrimapSettings, preset_values
from videomatte.errors import InputError
from videomatte.tuned import machine_name, tuned_folder, tuned_path

__all__ = ["tuned_preset", "with_preset", "with_tuned"]

_WITH_PRESET = {"matte": MatteSettings, "greenscreen": GreenscreenSettings}
_WITH_TUNED = {**_WITH_PRESET, "trimap": TrimapSettings}


def with_preset(words: list[str]) -> list[str]:
    """The words with the preset's settings put in front of the user's flags.

    Raises:
        UsageError: there is no such preset.
        InputError: the preset's file cannot be understood.
    """
    preset = None
    for word, following in itertools.pairwise([*words, ""]):
        if word == "--preset":
            preset = following
        elif word.startswith("--preset="):
            preset = word.partition("=")[2]
    settings = _WITH_PRESET.get(words[0] if words else "")
    if preset is None or settings is None:
        return words
    return [words[0], *_flags(preset_values(words[0], preset, settings)), *words[1:]]


def with_tuned(words: list[str], tuned: Path) -> list[str]:
    """The words, preset and all, with what was tuned put in front.

    Raises:
        UsageError: the file names what is no setting.
        InputError: it cannot be understood.
    """
    values = preset_values(words[0], str(tuned), _WITH_TUNED[words[0]])
    return [words[0], *_flags(values), *with_preset(words)[1:]]


def tuned_preset(command: str, clip: Path, settings: TrimapSettings) -> Path | None:
    """The file with what was tuned for this machine, a clip of this size and this model, where there is one."""
    if command not in _WITH_TUNED or not tuned_folder().is_dir():
        return None
    from videomatte.device import resolve_device
    from videomatte.io import probe

    try:
        info = probe(clip)
    except InputError:
        return None  # told when it is opened
    path = tuned_path(machine_name(str(resolve_device(settings.device))), info.width, info.height, settings.model)
    return path if path.is_file() else None


def _flags(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{'' if value else 'no-'}{flag}"
        else:
            yield from (f"--{flag}={one}" for one in (value if isinstance(value, list) else [value]))
