"""The errors videomatte raises on purpose. Each message says what is wrong, with which file, and what to do.

The command line prints the message alone and ends with the class's exit code; anything else that is raised is a fault
of videomatte's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "InputError",
    "ModelError",
    "OutputError",
    "ShapeError",
    "UsageError",
    "VideomatteError",
    "naming",
]


class VideomatteError(Exception):
    """Base of all errors meant for people."""

    exit_code = 1


class UsageError(VideomatteError):
    """The request contradicts itself or names something that does not exist: change the command."""

    exit_code = 2


class InputError(VideomatteError):
    """A file to be read is missing, damaged, or not what it should be."""


class OutputError(VideomatteError):
    """The result cannot be written."""


class ModelError(VideomatteError):
    """A model cannot be found, loaded or run."""


class ShapeError(VideomatteError, ValueError):
    """A tensor's shape or dtype does not fit its place."""


@contextmanager
def naming(clip: Path) -> Iterator[None]:
    """Stages know frames, not files: what they find wrong with a frame is said of its file here.

    Raises:
        InputError: as raised inside, with the clip's name in front where it lacks it.
    """
    try:
        yield
    except InputError as error:
        if str(clip) in str(error):
            raise
        named = InputError(f"{clip}: {error}")
        for note in getattr(error, "__notes__", ()):
            named.add_note(note)
        raise named from error
