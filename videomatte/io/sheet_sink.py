"""A contact sheet as one more output of a run."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from videomatte.errors import UsageError
from videomatte.io.atomic import check_target
from videomatte.io.picture import write_picture
from videomatte.sheet import ContactSheet
from videomatte.types import ClipInfo, MatteFrame

__all__ = ["SheetSink"]


class SheetSink:
    """Mattes to a contact sheet, written once the run has succeeded.

    Args:
        path: the picture, a PNG.
        info: the clip.
        overwrite: whether an existing file may be replaced.

    Raises:
        UsageError: the name is no PNG's, is taken, or is the clip's.
        OutputError: from leaving it, where the picture cannot be written.
    """

    def __init__(self, path: Path, info: ClipInfo, overwrite: bool) -> None:  # noqa: FBT001 - as the settings have it
        if path.suffix.lower() != ".png":
            raise UsageError(f"--sheet {path}: a contact sheet is a PNG: name it {path.with_suffix('.png').name}")
        check_target(path, info.path, folder=False, overwrite=overwrite)
        self.notes: list[str] = []
        """What had to be done otherwise than asked, one sentence each."""
        self._path = path
        self._sheet = ContactSheet()
        self._empty = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if self._empty:
            self.notes.append(f"{self._path}: not one frame was worked on, so there is no contact sheet")
        else:
            write_picture(self._path, self._sheet.picture())

    def write(self, matte: MatteFrame) -> None:
        """Take the next frame, in presentation order."""
        self._empty = False
        self._sheet.add(matte)
