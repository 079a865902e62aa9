"""What the subject and its background look like, place by place: joint histograms of place and colour.

Motion alone drifts: whatever error a step makes, the next one follows. Colours do not drift, and two of them that are
told apart in one frame are told apart in the next. Counting them separately in every part of the picture (the localised
colour models of Bai et al., "Video SnapCut", SIGGRAPH 2009) keeps a black swan apart from the dark water that is
elsewhere; where a part has seen too little of a colour, the whole picture is asked. Histograms over place and colour,
blurred along all five axes, are the bilateral grid of Chen, Paris and Durand (SIGGRAPH 2007), here with counts in it.
"""

import torch
from torch import Tensor

from videomatte.errors import ShapeError

__all__ = ["ColourStatistics"]

CELLS = 16
"""Parts the longer side of the picture is divided into."""
BINS = 12
"""Steps of each of the three colour axes."""
KEPT = 0.95
"""Share of what was known that stays with each frame that is learned from."""
LOCAL_DOUBT, GLOBAL_DOUBT = 0.3, 2.0
"""Pixels of a colour that a part, or the whole picture, must have seen for its word to count as much as the next
coarser one's; the coarsest says one half."""


class ColourStatistics:
    """Counts of colours of the subject and of the background.

    Args:
        height: rows of the pictures learned from.
        width: columns of the pictures.
        device: where to count.
    """

    def __init__(self, height: int, width: int, device: torch.device | str = "cpu") -> None:
        self._size = (height, width)
        cell = max(height, width) / CELLS
        rows = (torch.arange(height, device=device) / cell).long()[:, None]
        columns = (torch.arange(width, device=device) / cell).long()
        down, across = int(rows[-1]) + 1, int(columns[-1]) + 1
        self._part = (rows * across + columns) * BINS**3
        self._counts = torch.zeros(2, down, across, BINS, BINS, BINS, device=device)
        self._local = self._global = self._counts

    def learn(self, rgb: Tensor, foreground: Tensor, background: Tensor) -> None:
        """Count what is known of a frame; what was known before fades.

        Args:
            rgb: ``[1, 3, H, W]`` float, 0..1.
            foreground: ``[1, 1, H, W]`` bool or weights in 0..1, the surely opaque.
            background: ``[1, 1, H, W]`` likewise, the surely transparent.
        """
        place = self._place(rgb).flatten()
        new = torch.zeros(2, self._counts[0].numel(), device=rgb.device)
        new[0].index_add_(0, place, foreground.flatten().float())
        new[1].index_add_(0, place, background.flatten().float())
        seen = bool(self._counts.any())
        self._counts = torch.lerp(new.view_as(self._counts), self._counts, KEPT if seen else 0.0)
        blurred = self._counts
        for axis in range(1, 6):
            blurred = _blur(blurred, axis)
        self._local, self._global = blurred, blurred.sum((1, 2))

    def judge(self, rgb: Tensor) -> Tensor:
        """How likely each pixel's colour makes it the subject's.

        Args:
            rgb: ``[1, 3, H, W]`` float, 0..1.

        Returns:
            ``[1, 1, H, W]`` float32 in [0, 1]; one half where the colour has not been seen, or seen as often on
            either side.

        Raises:
            ShapeError: the picture has another size than those counted.
        """
        place = self._place(rgb)
        foreground, background = self._local.flatten(1)[:, place]
        foreground_all, background_all = self._global.flatten(1)[:, place % BINS**3]
        anywhere = (foreground_all + GLOBAL_DOUBT / 2) / (foreground_all + background_all + GLOBAL_DOUBT)
        posterior: Tensor = (foreground + LOCAL_DOUBT * anywhere) / (foreground + background + LOCAL_DOUBT)
        return posterior[None, None]

    def _place(self, rgb: Tensor) -> Tensor:
        """Number of the bin each pixel falls into, ``[H, W]``."""
        if rgb.shape != (1, 3, *self._size):
            raise ShapeError(f"ColourStatistics: pictures must be {[1, 3, *self._size]}, got {list(rgb.shape)}")
        red, green, blue = rgb[0]
        # Opponent axes: brightness, and two of colour, which natural pictures use near grey for the most part.
        axes = torch.stack(
            [
                (red + green + blue) / 3,
                torch.tanh(3 * (red - blue)) / 2 + 0.5,
                torch.tanh(4 * (green - (red + blue) / 2)) / 2 + 0.5,
            ]
        )
        bins = (axes.nan_to_num() * BINS).long().clamp_(0, BINS - 1)
        return self._part + (bins[0] * BINS + bins[1]) * BINS + bins[2]


def _blur(counts: Tensor, axis: int) -> Tensor:
    """(1, 2, 1) / 4 along one axis, nothing coming in from outside."""
    length = counts.shape[axis]
    blurred = counts / 2
    if length > 1:
        blurred.narrow(axis, 1, length - 1).add_(counts.narrow(axis, 0, length - 1), alpha=0.25)
        blurred.narrow(axis, 0, length - 1).add_(counts.narrow(axis, 1, length - 1), alpha=0.25)
    return blurred
