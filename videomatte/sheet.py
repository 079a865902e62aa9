"""A contact sheet: one picture that shows at a glance what a run made of a few frames.

One row a frame; from left to right the source, its trimap, the alpha, the subject over a checkerboard, and the softest
part of that at four times its size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.composite import checkerboard, over
from videomatte.errors import UsageError
from videomatte.types import MatteFrame, unit_range

__all__ = ["contact_sheet"]

_ZOOM = 4
_GAP, _GAP_GREY = 8, 0.15
_SQUARE = 12


def contact_sheet(mattes: Sequence[MatteFrame], tile_width: int = 384) -> Tensor:
    """Lay frames and what became of them side by side.

    Args:
        mattes: the frames to show, at least one, from top to bottom.
        tile_width: width of each of the five pictures of a row, in pixels; their height follows.

    Returns:
        ``[3, H, W]`` uint8 on the CPU, in the encoding of the frames.

    Raises:
        UsageError: there are no mattes.

    Convention:
        Tiles are the whole frame, averaged down or repeated up to ``tile_width`` about pixel centres; the zoomed one
        repeats each pixel four by four. A mid-grey gap surrounds each.
    """
    if not mattes:
        raise UsageError("a contact sheet needs at least one frame to show")
    rows = []
    for matte in mattes:
        rgb = unit_range(matte.frame.rgb).cpu()
        alpha, trimap = matte.alpha.cpu(), unit_range(matte.source.trimap).cpu()
        foreground = rgb if matte.foreground is None else matte.foreground.cpu()
        height, width = alpha.shape[1:]
        tile_height = max(1, round(tile_width * height / width))
        square = max(1, round(_SQUARE * width / tile_width))
        composite = over(foreground, alpha, checkerboard(height, width, square))
        tiles = [_fit(picture, tile_height, tile_width) for picture in (rgb, trimap, alpha, composite)]
        close = over(foreground, alpha, checkerboard(height, width, max(1, _SQUARE // _ZOOM)))
        tiles.append(_zoom(close, alpha, tile_height, tile_width))
        rows.append(torch.cat([F.pad(tile, (_GAP, 0, _GAP, 0), value=_GAP_GREY) for tile in tiles], dim=2))
    sheet = F.pad(torch.cat(rows, dim=1), (0, _GAP, 0, _GAP), value=_GAP_GREY)
    return sheet.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)


def _fit(picture: Tensor, height: int, width: int) -> Tensor:
    picture = picture.expand(3, -1, -1)
    if width < picture.shape[2]:
        return F.adaptive_avg_pool2d(picture, (height, width))
    return F.interpolate(picture[None], (height, width), mode="nearest-exact")[0]


def _zoom(picture: Tensor, alpha: Tensor, height: int, width: int) -> Tensor:
    """The window of the picture that holds the most softness, enlarged to fill the tile."""
    window = [max(1, min(tile // _ZOOM, full)) for tile, full in zip((height, width), alpha.shape[1:], strict=True)]
    softness = F.avg_pool2d((alpha * (1 - alpha))[None], window, stride=1)[0, 0]
    # Where nothing is soft the middle is as good as any.
    best = int(softness.argmax()) if softness.max() > 0 else softness.numel() // 2 + softness.shape[1] // 2
    top, left = divmod(min(best, softness.numel() - 1), softness.shape[1])
    crop = picture[:, top : top + window[0], left : left + window[1]]
    return F.interpolate(crop[None], (height, width), mode="nearest-exact")[0]
