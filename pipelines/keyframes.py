"""The trimaps that a command was given: which are keyframes, of which frames, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from videomatte.errors import InputError, UsageError
from videomatte.io import open_source
from videomatte.io.image_source import IMAGE_SUFFIXES
from videomatte.trimaps.files import check_sure, read_trimap
from videomatte.trimaps.masks import BAND, trimap_from_soft_mask
from videomatte.types import FOREGROUND, UNKNOWN, ClipInfo

__all__ = ["Keyframes", "keyframe_paths", "named_files"]

_NUMBERED = re.compile(r"(\d+)=(.+)")


def keyframe_paths(given: Sequence[str], info: ClipInfo) -> dict[int, Path] | None:
    """The files of keyframes by the number of their frame, counted from 0.

    Args:
        given: what ``--trimap`` was given: ``FRAME=PATH``, or one path.
        info: the clip that they belong to.

    Returns:
        ``None`` where the one path is a folder or a movie with a trimap for every frame.

    Raises:
        UsageError: a path without a frame's number stands among others, or a frame has two.
        InputError: a folder is of keyframes, but a name has no number.
    """
    paths: dict[int, Path] = {}
    for text in given:
        numbered = _NUMBERED.fullmatch(text)
        # A file that has such a name is meant as a file.
        if numbered is None or Path(text).exists():
            if len(given) > 1:
                raise UsageError(f"--trimap {text}: of several, each needs its frame's number: --trimap 48={text}")
            return _of_one(Path(text), info)
        number = int(numbered[1])
        if number in paths:
            raise UsageError(f"--trimap: frame {number} has two, {paths[number]} and {numbered[2]}")
        paths[number] = Path(numbered[2])
    return paths


def named_files(given: Sequence[str]) -> dict[str, str]:
    """The paths among what ``--trimap`` was given, each under a name of its own: what a run depends on."""
    return {
        f"trimap {number}": text if Path(text).exists() else text.split("=", 1)[-1] for number, text in enumerate(given)
    }


def _of_one(path: Path, info: ClipInfo) -> dict[int, Path] | None:
    if not path.is_dir():
        return {0: path} if path.suffix.lower() in IMAGE_SUFFIXES and "%" not in path.name else None
    images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not images or info.frame_count is None or len(images) >= info.frame_count:
        return None
    numbers = [re.findall(r"\d+", image.stem) for image in images]
    if unnumbered := [image for image, found in zip(images, numbers, strict=True) if not found]:
        raise InputError(
            f"{path}: holds {len(images)} trimaps for {info.frame_count} frames, so each is to be named by its frame's "
            f"number, but {unnumbered[0].name} has none"
        )
    # The frames of an image sequence go by the numbers of their files.
    first = info.start_number or 0
    return {int(found[-1]) - first: image for image, found in zip(images, numbers, strict=True)}


class Keyframes(Mapping[int, Tensor]):
    """Trimaps ``[1, H, W]`` uint8 by the number of their frame, each read from its file when it is asked for.

    A picture without an unknown pixel is a mask: its edge gets a band.

    Args:
        paths: of the files.
        info: the clip they belong to.

    Raises:
        InputError: from the constructor, which tries them all: a file cannot be read, is in colour, has another size
            than the clip, or lacks a sure region where it is the only one.
    """

    def __init__(self, paths: Mapping[int, Path], info: ClipInfo) -> None:
        self._paths = dict(sorted(paths.items()))
        self._info = info
        for frame in self:
            self[frame]

    def __iter__(self) -> Iterator[int]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, frame: object) -> bool:
        return frame in self._paths  # the inherited one would read the file

    def __getitem__(self, frame: int) -> Tensor:
        path = self._paths[frame]
        with open_source(path) as source:
            picture = next(iter(source))
        trimap = read_trimap(picture, self._info.width, self._info.height, str(path))
        # A frame that the subject is not in is worth a keyframe where it is in another.
        check_sure(trimap, str(path), needs_both=len(self) == 1, may_be_empty=len(self) > 1)
        if not bool((trimap == UNKNOWN).any()):
            trimap = trimap_from_soft_mask((trimap == FOREGROUND).float(), BAND * max(trimap.shape))
        return trimap
