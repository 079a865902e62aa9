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

__all__ = ["ColourStatistics", "colour_bins"]

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
        # Memory of this size is dear to take anew each time; the blur goes to and fro between the other two.
        self._counts, *self._spare = torch.zeros(3, 2, down, across, BINS, BINS, BINS, device=device)
        self._seen = 0.0
        self._word = torch.full((self._counts[0].numel(),), 0.5, device=device)

    def learn(self, bins: Tensor, foreground: Tensor, background: Tensor) -> None:
        """Count what is known of a frame; what was known before fades.

        Args:
            bins: ``[H, W]`` int64, the picture's :func:`colour_bins`.
            foreground: ``[1, 1, H, W]`` bool or weights in 0..1, the surely opaque.
            background: ``[1, 1, H, W]`` likewise, the surely transparent.
        """
        place = self._place(bins).flatten()
        self._counts.mul_(KEPT)
        for counts, weights in zip(self._counts, (foreground, background), strict=True):
            counts.view(-1).index_add_(0, place, weights.flatten().float(), alpha=1 - self._seen)
        if not self._seen and bool(self._counts.any()):
            self._seen = KEPT
        self._word = self._judgement().flatten()

    def _judgement(self) -> Tensor:
        """What a pixel in each bin of each part is likely to be."""
        blurred, spare = self._counts, self._spare
        for axis in range(1, 6):
            blurred = _blur(blurred, axis, spare[axis % 2])
        foreground, background = blurred.mul_(0.5**5).flatten(3)
        total = background.add_(foreground)
        foreground_all, total_all = foreground.sum((0, 1)), total.sum((0, 1))
        anywhere = (foreground_all + GLOBAL_DOUBT / 2) / (total_all + GLOBAL_DOUBT)
        judgement: Tensor = (foreground + LOCAL_DOUBT * anywhere).div_(total.add_(LOCAL_DOUBT))
        return judgement

    def judge(self, bins: Tensor) -> Tensor:
        """How likely each pixel's colour makes it the subject's.

        Args:
            bins: ``[H, W]`` int64, the picture's :func:`colour_bins`.

        Returns:
            ``[1, 1, H, W]`` float32 in [0, 1]; one half where the colour has not been seen, or seen as often on
            either side.

        Raises:
            ShapeError: the picture has another size than those counted.
        """
        place = self._place(bins)
        return self._word.index_select(0, place.flatten()).view(1, 1, *self._size)

    def _place(self, bins: Tensor) -> Tensor:
        if bins.shape != self._size:
            raise ShapeError(f"ColourStatistics: pictures must be {list(self._size)}, got {list(bins.shape)}")
        return self._part + bins


def colour_bins(rgb: Tensor) -> Tensor:
    """Number of the bin that each pixel's colour falls into.

    Args:
        rgb: ``[1, 3, H, W]`` float, 0..1.

    Returns:
        ``[H, W]`` int64, below ``BINS``³.
    """
    red, green, blue = rgb[0]
    # Opponent axes: brightness, and two of colour, which natural pictures use near grey for the most part.
    brightness, warmth, greenness = axes = torch.empty_like(rgb[0])
    torch.add(red, blue, out=brightness)
    torch.sub(red, blue, out=warmth).mul_(3)
    torch.sub(green, brightness, alpha=0.5, out=greenness).mul_(4)
    brightness.add_(green).mul_(BINS / 3)
    axes[1:].tanh_().add_(1).mul_(BINS / 2)
    axes.nan_to_num_().floor_().clamp_(0, BINS - 1)
    number: Tensor = brightness.mul_(BINS).add_(warmth).mul_(BINS).add_(greenness)
    return number.long()


def _blur(counts: Tensor, axis: int, out: Tensor) -> Tensor:
    """(1, 2, 1) / 2 along one axis, nothing coming in from outside."""
    length = counts.shape[axis]
    first, rest = counts.narrow(axis, 0, 1), counts.narrow(axis, 1, length - 1)
    out.narrow(axis, 0, 1).copy_(first)
    torch.add(rest, counts.narrow(axis, 0, length - 1), alpha=0.5, out=out.narrow(axis, 1, length - 1))
    out.narrow(axis, 0, length - 1).add_(rest, alpha=0.5)
    return out
