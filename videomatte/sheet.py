"""A contact sheet: one picture that shows at a glance what a run made of a few frames.

One row a frame; from left to right the source, its trimap, the alpha, the composite (over a checkerboard where the run
makes none), and the softest eighth of that by width, enlarged.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.composite import checkerboard, over
from videomatte.errors import UsageError
from videomatte.types import MatteFrame, unit_range

__all__ = ["ContactSheet"]

_ZOOM, _WINDOW = 4, 8
_GAP, _GAP_GREY = 8, 0.15
_SQUARE = 12


class ContactSheet:
    """A sheet of frames spread evenly over a clip of any length, in bounded memory.

    Rows are kept of every frame, then, as they become too many, of every second, fourth and so on.

    Args:
        rows: frames to show at most, at least 2; their rows are made of at most about twice as many at a time.
        tile_width: width of each of the five pictures of a row, in pixels; their height follows.

    Convention:
        Tiles are the whole frame, averaged down or repeated up to ``tile_width`` about pixel centres; so is the
        zoomed one, but it repeats each pixel at most four by four. A dark grey gap surrounds each.
    """

    def __init__(self, rows: int = 8, tile_width: int = 384) -> None:
        self._rows, self._tile_width = max(2, rows), tile_width
        self._kept: list[Tensor] = []
        self._seen, self._stride = 0, 1

    def add(self, matte: MatteFrame) -> None:
        """Look at the next frame."""
        if self._seen % self._stride == 0:
            if len(self._kept) == 2 * self._rows:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(_row(matte, self._tile_width))
        self._seen += 1

    def picture(self) -> Tensor:
        """The sheet of what was seen so far.

        Returns:
            ``[3, H, W]`` uint8 on the CPU, in the encoding of the frames.

        Raises:
            UsageError: nothing was.
        """
        if not self._kept:
            raise UsageError("a contact sheet needs at least one frame to show")
        count = min(self._rows, len(self._kept))
        last = len(self._kept) - 1
        chosen = [self._kept[round(n * last / max(1, count - 1))] for n in range(count)]
        grey = round(255 * _GAP_GREY)
        return F.pad(torch.cat(chosen, dim=1), (0, _GAP, 0, _GAP), value=grey)


def _row(matte: MatteFrame, tile_width: int) -> Tensor:
    """``[3, h, w]`` uint8: the tiles of a frame, a gap above and left of each."""
    rgb = unit_range(matte.frame.rgb).cpu()
    alpha, trimap = matte.alpha.cpu(), unit_range(matte.source.trimap).cpu()
    height, width = alpha.shape[1:]
    tile_height = max(1, round(tile_width * height / width))
    if matte.composite is not None:
        composite = close = matte.composite.cpu()
    else:
        foreground = rgb if matte.foreground is None else matte.foreground.cpu()
        square = max(1, round(_SQUARE * width / tile_width))
        composite = over(foreground, alpha, checkerboard(height, width, square))
        square = max(1, round(_SQUARE * _window(tile_width, width) / tile_width))
        close = over(foreground, alpha, checkerboard(height, width, square))
    tiles = [_fit(picture, tile_height, tile_width) for picture in (rgb, trimap, alpha, composite)]
    tiles.append(_zoom(close, alpha, tile_height, tile_width))
    row = torch.cat([F.pad(tile, (_GAP, 0, _GAP, 0), value=_GAP_GREY) for tile in tiles], dim=2)
    return row.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)


def _fit(picture: Tensor, height: int, width: int) -> Tensor:
    picture = picture.expand(3, -1, -1)
    if width < picture.shape[2]:
        return F.adaptive_avg_pool2d(picture, (height, width))
    return F.interpolate(picture[None], (height, width), mode="nearest-exact")[0]


def _window(tile: int, full: int) -> int:
    """Pixels of the frame that the zoomed tile shows, along one side."""
    return max(1, min(max(tile // _ZOOM, full // _WINDOW), full))


def _zoom(picture: Tensor, alpha: Tensor, height: int, width: int) -> Tensor:
    """The window of the picture that holds the most softness, enlarged to fill the tile."""
    window = [_window(tile, full) for tile, full in zip((height, width), alpha.shape[1:], strict=True)]
    # Large pictures are searched reduced, and by rows, then columns: windows of thousands of pixels take their time.
    reduced = max(1, alpha.shape[2] // width)
    softness = F.avg_pool2d((alpha * (1 - alpha))[None], min(reduced, alpha.shape[1]))
    for side in ((max(1, window[0] // reduced), 1), (1, max(1, window[1] // reduced))):
        softness = F.avg_pool2d(softness, side, stride=1)
    # Where nothing is soft the middle is as good as any.
    middle = softness.numel() // 2 + softness.shape[3] // 2
    best = int(softness.argmax()) if softness.max() > 0 else min(middle, softness.numel() - 1)
    top, left = (place * reduced for place in divmod(best, softness.shape[3]))
    crop = picture[:, top : top + window[0], left : left + window[1]]
    return _fit(crop, height, width)
