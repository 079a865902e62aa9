"""Beliefs carried backwards in time, from a keyframe to the frames before it, and kept until these come by.

The clip is read again, in pieces from back to front, and only small pictures of a piece are ever held. What is found is
packed into a file of its own that stays in memory while it is small: so memory is bounded, however far apart two
keyframes stand. The motion that was found between frames is kept there, too: the way forwards needs the same.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from videomatte.errors import InputError
from videomatte.flow import is_cut
from videomatte.trimaps.belief import Belief, Motion, believed_of_trimap, carry, learn, motions, settled
from videomatte.trimaps.small import SmallPicture
from videomatte.trimaps.statistics import ColourStatistics
from videomatte.types import Frame

__all__ = ["BeliefStore", "Reopen", "carry_backwards"]

PIECE = 32
"""Frames read at once on the way back."""
IN_MEMORY = 1 << 26
"""Bytes of packed beliefs from which they go to disk."""
LEVELS = 16
"""Steps that a packed belief knows of everything but the probability: enough for what is compared with thresholds."""

Reopen = Callable[[int, int], AbstractContextManager[Iterable[Frame]]]
"""Opens the clip once more, for the frames from a number up to, not including, another."""


class BeliefStore:
    """Beliefs and motions by the number of their frame, packed. A context manager, for a file may be behind it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._places: dict[int, tuple[int, int]] = {}
        self._moved: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._shape, self._motion_shape = torch.Size(), torch.Size()
        self._device = torch.device("cpu")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, index: int, belief: Belief) -> None:
        """Keep the belief of a frame."""
        self._shape, self._device = belief.subject.shape, belief.subject.device
        fine = (belief.subject * 255).round().byte()
        coarse = (torch.cat(belief[1:]) * (LEVELS - 1)).round().byte()
        data = zlib.compress(torch.cat([fine, coarse]).cpu().numpy().tobytes(), level=1)
        self._places[index] = self._append(data)

    def take(self, index: int) -> Belief | None:
        """The belief of a frame; ``None`` where there is none. Each is taken once."""
        if index not in self._places:
            return None
        packed = np.frombuffer(bytearray(zlib.decompress(self._read(*self._places.pop(index)))), np.uint8)
        planes = torch.from_numpy(packed).view(4, *self._shape).to(self._device).float()
        return Belief(planes[0] / 255, *(planes[1:] / (LEVELS - 1)))

    def keep_motion(self, index: int, motion: Motion) -> None:
        """Keep the motion from a frame to the one before. Halves tell it to a thousandth of itself."""
        self._motion_shape = motion.flow.shape
        self._moved[index] = self._append(torch.cat(motion, dim=1).half().cpu().numpy().tobytes())

    def knows_motion(self, index: int) -> bool:
        """Whether the motion from a frame to the one before is there to be taken."""
        return index in self._moved

    def motion(self, index: int) -> Motion | None:
        """The motion from a frame to the one before; ``None`` where it is not known. Each is taken once."""
        if index not in self._moved:
            return None
        halves = np.frombuffer(bytearray(self._read(*self._moved.pop(index))), np.float16)
        planes = torch.from_numpy(halves).view(1, 3, *self._motion_shape[2:]).to(self._device).float()
        return Motion(planes[:, :2], planes[:, 2:])

    def _append(self, data: bytes) -> tuple[int, int]:
        self._file.seek(self._end)
        self._file.write(data)
        self._end += len(data)
        return self._end - len(data), len(data)

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


def carry_backwards(keyframe: Tensor, first: int, last: int, reopen: Reopen, store: BeliefStore) -> None:
    """Find out what a keyframe says of the frames before it, as far as to the next cut.

    Args:
        keyframe: ``[1, H, W]`` uint8, the trimap of frame ``last``.
        first: number of the first frame wanted.
        last: number of the keyframe.
        reopen: opens the clip once more.
        store: gets the beliefs.

    Raises:
        InputError: the clip ends before the keyframe.
    """
    belief: Belief | None = None
    later: SmallPicture | None = None
    statistics = ColourStatistics(1, 1)
    for start in range(last - (last - first) % PIECE, first - 1, -PIECE):
        with reopen(start, min(start + PIECE, last + 1)) as frames:
            # Eight bits hold a small picture well enough while it waits.
            piece = [(frame.index, (SmallPicture.of(frame.rgb).rgb * 255).round().byte()) for frame in frames]
        for index, picture in reversed(piece):
            small = SmallPicture(picture.float() / 255)
            if belief is None or later is None:
                if index != last:
                    raise InputError(f"ends after {index + 1} frames, so there is no frame {last} to have a trimap")
                belief = believed_of_trimap(keyframe.to(picture.device), *small.size)
                statistics = ColourStatistics(*small.size, picture.device)
            elif bool(is_cut(later.rgb, small.rgb)):
                return
            else:
                to_later, to_here = motions(small, later)
                store.keep_motion(index + 1, to_here)
                carried = carry(belief, to_later, small, statistics)
                store.put(index, carried)
                belief = settled(carried)
            learn(statistics, small, belief)
            later = small
