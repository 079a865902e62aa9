"""Pictures from files that go with a clip's frames: masks, mattes, clean plates.

A still goes with every frame; of a folder or a movie, picture n goes with frame n, both counted from 0.
"""

from collections.abc import Iterator
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import InputError
from videomatte.types import Frame, Source, TrimapFrame

__all__ = ["Companions"]

Item = TypeVar("Item", Frame, TrimapFrame)

_SHAPE_SLACK = 0.02
"""How far aspect ratios may differ, by rounding, for one picture to be another's in a different size."""


class Companions:
    """Walks through a source in step with a clip.

    Args:
        source: an open source, upright. Whoever opened it closes it.
        what: what its pictures are called in errors, such as ``mask``.
        ends_early: the clip is not taken to its end, so that pictures may be left over.
        last_stays: where the clip outlasts the source, the last picture goes with the rest of the frames.
    """

    def __init__(self, source: Source, what: str, *, ends_early: bool = False, last_stays: bool = False) -> None:
        self._source = source
        self._what = what
        self._ends_early = ends_early
        self._last_stays = last_stays or source.info.frame_count == 1

    @property
    def path(self) -> str:
        """The file or folder, for messages."""
        return str(self._source.info.path)

    def __call__(self, items: Iterator[Item]) -> Iterator[tuple[Item, Frame]]:
        """Each item with the picture of its frame; none is held back.

        Raises:
            InputError: a picture is missing or left over. The message names the file and the frame.
        """
        pictures = iter(self._source)
        last: Frame | None = None
        for item in items:
            frame = item if isinstance(item, Frame) else item.frame
            # A clip that starts late passes over the pictures of the frames before.
            while (last is None or last.index < frame.index) and (picture := next(pictures, None)) is not None:
                last = picture
            if last is None or (last.index < frame.index and not self._last_stays):
                held = 0 if last is None else last.index + 1
                raise InputError(
                    f"{self.path}: holds {held} {self._what}{'s' * (held != 1)}, but the clip goes on with frame "
                    f"{frame.index} (counted from 0): give a folder or a movie with one {self._what} per frame"
                )
            yield item, last
        if self._ends_early or self._last_stays:
            return
        if (left_over := next(pictures, None)) is not None:
            raise InputError(
                f"{self.path}: holds more than {left_over.index} {self._what}s, but the clip ends after "
                f"{left_over.index} frames: give exactly one {self._what} per frame"
            )

    def name(self, picture: Frame) -> str:
        """A picture's name in errors: the file alone where it is a still."""
        return self.path if self._source.info.frame_count == 1 else f"{self.path}: {self._what} {picture.index}"

    def fitted(self, plane: Tensor, picture: Frame, frame: Frame) -> Tensor:
        """What was made of a picture, at the size of its frame.

        Args:
            plane: ``[C, H, W]`` float32, of the picture's size.
            picture: whose size is named in the error.
            frame: whose size is wanted.

        Raises:
            InputError: the picture is of another shape than the frame.

        Convention:
            Where sizes differ the pictures' outer edges coincide (pixel centres at half-integers), reading between
            pixels is linear, and reducing averages over what a pixel covers. At equal size pixels come as they are.
        """
        if (picture.width, picture.height) == (frame.width, frame.height):
            return plane
        stretch = picture.width * frame.height / (picture.height * frame.width)
        if abs(stretch - 1) > _SHAPE_SLACK:
            raise InputError(
                f"{self.name(picture)} is {picture.width}x{picture.height}, but its frame is "
                f"{frame.width}x{frame.height}, of another shape: make it at the size of the clip"
            )
        size = (frame.height, frame.width)
        return F.interpolate(plane[None], size, mode="bilinear", align_corners=False, antialias=True)[0].clamp(0, 1)
