"""Closed-form matting by PyMatting: the baseline without weights, and the tests' independent reference.

    mattes = ClosedFormMatting()(trimap_frames)

Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting" (CVPR 2006): alpha is an affine function
of colour in every 3 x 3 window, and what is left over is smallest. PyMatting (Germer et al., JOSS 2020) does the work.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from videomatte.errors import ModelError
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, MatteFrame, TrimapFrame, unit_range

__all__ = ["ClosedFormMatting", "load_pymatting"]

_log = logging.getLogger(__name__)

_WINDOW_REACH = 2
"""A 3 x 3 window that holds an unknown pixel reaches no further than this from it."""

_MAX_ITERATIONS = 2000
"""PyMatting's own 10,000 are minutes at 720p; frames that converge do so in some 100."""


def load_pymatting() -> ModuleType:
    """The package, imported so that torch keeps its number of threads.

    Importing PyMatting starts numba's threads, and with these OpenMP's limit, which is torch's too, becomes the number
    of cores, whatever OMP_NUM_THREADS says: on two cores that other processes use as well a picture's exponential took
    seven times as long. And a limit that changes spoils LAPACK's pivots (:mod:`videomatte.engine.threads`).

    Raises:
        ModelError: it is not installed.
    """
    os.environ.setdefault("NUMBA_NUM_THREADS", str(torch.get_num_threads()))
    try:
        import pymatting
    except ImportError as error:
        raise ModelError(
            'closed-form matting needs PyMatting, which is not installed: pip install "videomatte[classic]"'
        ) from error
    module: ModuleType = pymatting
    return module


class ClosedFormMatting:
    """A matting stage that solves each frame by itself, on the CPU in float64, one frame at a time.

    Known pixels come out as exactly 0 and 1. A connected unknown region that touches only one kind of known pixel
    becomes that kind, which is what the equations say; a frame with nothing known says nothing, and all of it is 0.5.

    The first construction ever on a machine compiles PyMatting's kernels, for up to a minute; numba keeps them.

    Raises:
        ModelError: from the constructor, where PyMatting is not installed.
    """

    def __init__(self) -> None:
        self._pymatting = load_pymatting()
        # Its factorisation prints to stdout each time it tries again with a larger shift, in the middle of what the
        # command line writes there. Redirecting stdout would reach into other threads; this reaches into one module.
        vars(sys.modules["pymatting.preconditioner.ichol"])["print"] = lambda *_: None

    def __call__(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        """Solve frame by frame; none is held back."""
        for item in frames:
            yield MatteFrame(item, self._alpha(item))

    def _alpha(self, item: TrimapFrame) -> Tensor:
        """``[1, H, W]`` float32 on the frame's device."""
        trimap = item.trimap[0].cpu().numpy()
        alpha = (trimap == FOREGROUND).astype(np.float32)
        unknown = trimap == UNKNOWN
        if unknown.any():
            has_background, has_foreground = (trimap == BACKGROUND).any(), (trimap == FOREGROUND).any()
            if has_background and has_foreground:
                box = _around(unknown)
                # NaN and infinity, as in broken float files, would never let the solver end.
                rgb = torch.nan_to_num(unit_range(item.frame.rgb)[:, *box]).permute(1, 2, 0)
                alpha[box] = self._solve(rgb.cpu().numpy().astype(np.float64), trimap[box], item.frame.index)
            else:
                alpha[unknown] = 1.0 if has_foreground else 0.0 if has_background else 0.5
        return torch.from_numpy(alpha)[None].to(item.trimap.device)

    def _solve(
        self, rgb: npt.NDArray[np.float64], trimap: npt.NDArray[np.uint8], index: int
    ) -> npt.NDArray[np.float32]:
        """Solve ``L_U x_U = -R m`` for the unknown pixels, where the matting Laplacian is ``[[L_U, R], [R^T, L_K]]``.

        Args:
            rgb: ``[H, W, 3]``, 1.0 at white.
            trimap: ``[H, W]``.
            index: the frame's number, for the log.
        """
        height, width = trimap.shape
        # A picture less than one window high or wide has no equations at all: repeat its edge.
        margin = ((0, max(0, 3 - height)), (0, max(0, 3 - width)))
        rgb, trimap = np.pad(rgb, (*margin, (0, 0)), "edge"), np.pad(trimap, margin, "edge")
        foreground, known = (trimap == FOREGROUND).ravel(), (trimap != UNKNOWN).ravel()

        rows = self._pymatting.cf_laplacian(rgb, is_known=known)[~known]
        L_U, R = rows[:, ~known], rows[:, known]
        b = -R.dot(foreground[known].astype(np.float64))
        x_U = np.zeros_like(b)

        def keep(_A: object, x: npt.NDArray[np.float64], *_: object) -> None:
            nonlocal x_U
            x_U = x

        try:
            x_U = self._pymatting.cg(L_U, b, M=self._pymatting.ichol(L_U), maxiter=_MAX_ITERATIONS, callback=keep)
        except ValueError as error:
            _log.warning("closed-form matting of frame %d is not exact: %s", index, error)

        x: npt.NDArray[np.float32] = foreground.astype(np.float32)
        x[~known] = x_U.clip(0, 1)
        return x.reshape(trimap.shape)[:height, :width]


def _around(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and columns that hold the mask's pixels and every window these are in; the equations see no more."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return tuple(  # type: ignore[return-value]
        slice(max(0, int(lines[0]) - _WINDOW_REACH), int(lines[-1]) + 1 + _WINDOW_REACH) for lines in (rows, columns)
    )
