"""DetailCapture near unknown pixels: each convolution on small blocks, where something that is wanted sees them.

From the finest level to the coarsest it is found out which pixels of each level's features the wanted alpha depends on;
then, level by level, the blocks that hold them are cut out with the border that a convolution reads, computed together
over all pictures of the batch, and put in place. What is wanted comes out as from the whole decoder.

Source: Ren et al., "SBNet: Sparse Blocks Network for Fast Inference", CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.detail_capture import Basic_Conv3x3, DetailCapture, Fusion_Block
from videomatte.trimaps.morphology import dilate_square

__all__ = ["alpha_near", "alpha_of_tiles", "features_wanted"]

_SIDE = 16
"""Side of a block, in pixels of its level, at most."""
_PICTURE_SIDE = 32
"""Side of a block in pixels of the picture, at most: coarse levels have smaller blocks, or they would cover it all."""
_PIXELS_AT_ONCE = 2**15
"""Pixels of blocks that are computed at a time: so few that what a convolution reads stays in a CPU's cache."""


def features_wanted(unknown: Tensor, levels: int) -> list[Tensor]:
    """Which pixels of each level's features the alpha of unknown pixels depends on.

    Args:
        unknown: ``[B, 1, H, W]`` bool; H and W are multiples of 2 to the number of levels.
        levels: how many fusion blocks the decoder has.

    Returns:
        ``levels + 1`` of ``[B, 1, H / 2ⁿ, W / 2ⁿ]`` bool: what is wanted of the fusion blocks' outputs, the finest
        first (n is 0), and last of the backbone.
    """
    wanted = [dilate_square(unknown, 1)]  # by the head's convolution
    for _ in range(levels):
        # A fusion block's convolution reads a pixel around, and enlargement a coarser one around these.
        wanted.append(dilate_square(_any_in_blocks(dilate_square(wanted[-1], 1), 2), 1))
    return wanted


def alpha_near(decoder: DetailCapture, features: Tensor, images: Tensor, unknown: Tensor) -> Tensor:
    """Alpha as from ``decoder(features, images)`` where it is unknown; anything elsewhere.

    Convention: as the decoder's; blocks start at row 0, column 0.

    Args:
        decoder: in evaluation mode.
        features: ``[B, in_chans, H / stride, W / stride]``; H and W are multiples of 32.
        images: ``[B, img_chans, H, W]``.
        unknown: ``[B, 1, H, W]`` bool, some of it true.

    Returns:
        ``[B, 1, H, W]`` float32.
    """
    wanted = features_wanted(unknown, len(decoder.fusion_blks))
    details = _details(decoder, images, wanted)
    fused = _Map.holding(features.to(details[-1].pixels.dtype))
    for level, fusion in zip(range(len(details) - 1, -1, -1), decoder.fusion_blks, strict=True):
        fused.repeat_edge()
        conv = cast("Basic_Conv3x3", fusion.conv)
        fused = _filled(wanted[level], level, partial(_fuse, conv, fused, details[level]))
    return _filled(unknown, 0, partial(_alpha, decoder, fused)).inside()


def alpha_of_tiles(decoder: DetailCapture, features: Tensor, images: Tensor, unknown: Tensor) -> Tensor:
    """As :func:`alpha_near` for small pictures full of what is unknown: blocks at the finest level alone, where most of
    the work is; coarser levels are wanted nearly everywhere."""
    coarse = _Map.holding(decoder.before_finest(features, images))
    coarse.repeat_edge()
    conv = cast("Fusion_Block", decoder.fusion_blks[-1]).conv
    fused = _filled(dilate_square(unknown, 1), 0, partial(_fuse, conv, coarse, _Map.holding(images)))
    return _filled(unknown, 0, partial(_alpha, decoder, fused)).inside()


def _details(decoder: DetailCapture, images: Tensor, wanted: list[Tensor]) -> list[_Map]:
    """The convolution stream's features, where fusion blocks read them or coarser ones are made of them."""
    convs = decoder.convstream.convs
    needed = [dilate_square(level, 1) for level in wanted[:-1]]
    for level in range(len(convs), 1, -1):
        needed[level - 1] |= dilate_square(needed[level].repeat_interleave(2, 2).repeat_interleave(2, 3), 1)
    details = [_Map.holding(images)]
    for level, conv in enumerate(convs, start=1):
        details.append(_filled(needed[level], level, partial(_halve, cast("Basic_Conv3x3", conv), details[-1])))
    return details


def _halve(conv: Basic_Conv3x3, finer: _Map, places: Tensor, side: int) -> Tensor:
    """Blocks of a level of the convolution stream."""
    return _convolved(conv, finer.cut(places, 2 * side), stride=2)


def _fuse(conv: Basic_Conv3x3, coarse: _Map, fine: _Map, places: Tensor, side: int) -> Tensor:
    """Blocks of a fusion block's output."""
    enlarged = F.interpolate(coarse.cut(places, side // 2), scale_factor=2, mode="bilinear", align_corners=False)
    enlarged = enlarged[:, :, 1:-1, 1:-1]
    # The convolution sees zeros beyond the picture, not what was enlarged there.
    enlarged[places[:, 1] == 0, :, 0] = 0
    enlarged[places[:, 2] == 0, :, :, 0] = 0
    enlarged[(places[:, 1] + 1) * side == fine.height, :, -1] = 0
    enlarged[(places[:, 2] + 1) * side == fine.width, :, :, -1] = 0
    return _convolved(conv, torch.cat([fine.cut(places, side), enlarged], dim=1))


def _alpha(decoder: DetailCapture, fused: _Map, places: Tensor, side: int) -> Tensor:
    """Blocks of alpha, or of its logits."""
    conv, bn, relu, last = decoder.matting_head.matting_convs
    assert isinstance(conv, nn.Conv2d)
    logits: Tensor = last(relu(bn(F.conv2d(fused.cut(places, side), conv.weight, conv.bias))))
    return torch.sigmoid(logits) if decoder.use_sigmoid else logits


def _convolved(conv: Basic_Conv3x3, x: Tensor, stride: int = 1) -> Tensor:
    """A 3×3 convolution that reads its border from ``x`` instead of filling up with zeros."""
    out: Tensor = conv.relu(conv.bn(F.conv2d(x, conv.conv.weight, conv.conv.bias, stride)))
    return out


def _any_in_blocks(mask: Tensor, side: int) -> Tensor:
    """``[B, 1, H / side, W / side]`` bool: which squares of ``[B, 1, H, W]`` hold something true; side a power of 2."""
    while side > 1:
        mask = mask[:, :, ::2] | mask[:, :, 1::2]
        mask = mask[..., ::2] | mask[..., 1::2]
        side //= 2
    return mask


def _filled(wanted: Tensor, level: int, compute: Callable[[Tensor, int], Tensor]) -> _Map:
    """A map of which the blocks that hold something wanted are computed.

    Args:
        wanted: ``[B, 1, H, W]`` bool, some of it true.
        level: halvings from the picture's size.
        compute: called with places ``[k, 3]`` and the blocks' side, gives ``[k, C, side, side]``.
    """
    side = min(_SIDE, _PICTURE_SIDE >> level)
    places = _any_in_blocks(wanted, side).nonzero()[:, [0, 2, 3]]
    filled = None
    for some in torch.split(places, max(1, _PIXELS_AT_ONCE // side**2)):
        blocks = compute(some, side)
        if filled is None:
            filled = _Map.empty((len(wanted), *wanted.shape[2:], blocks.shape[1]), blocks)
        filled.put(some, blocks)
    assert filled is not None, "nothing is wanted"
    return filled


class _Map:
    """Features of a level with a border of one pixel, of which only some blocks are filled in.

    Args:
        pixels: ``[B, H + 2, W + 2, C]``, the border 0.
    """

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    @classmethod
    def empty(cls, shape: tuple[int, ...], like: Tensor) -> _Map:
        """Of ``(B, H, W, C)``, of which nothing but the border is filled in."""
        B, H, W, C = shape
        pixels = torch.empty(B, H + 2, W + 2, C, dtype=like.dtype, device=like.device)
        for edge in (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]):
            edge.zero_()
        return cls(pixels)

    @classmethod
    def holding(cls, x: Tensor) -> _Map:
        """Of ``[B, C, H, W]``, all of it."""
        filled = cls.empty(x.permute(0, 2, 3, 1).shape, x)
        filled.pixels[:, 1:-1, 1:-1] = x.permute(0, 2, 3, 1)
        return filled

    @property
    def height(self) -> int:
        """Rows, the border not counted."""
        return self.pixels.shape[1] - 2

    @property
    def width(self) -> int:
        """Columns, the border not counted."""
        return self.pixels.shape[2] - 2

    def repeat_edge(self) -> None:
        """Have the border repeat what is inside."""
        pixels = self.pixels
        pixels[:, 0], pixels[:, -1] = pixels[:, 1], pixels[:, -2]
        pixels[:, :, 0], pixels[:, :, -1] = pixels[:, :, 1], pixels[:, :, -2]

    def inside(self) -> Tensor:
        """``[B, C, H, W]``."""
        return self.pixels[:, 1:-1, 1:-1].permute(0, 3, 1, 2)

    def cut(self, places: Tensor, side: int) -> Tensor:
        """``[k, C, side + 2, side + 2]``, channels last: blocks ``[k, 3]`` by picture, row and column, with border."""
        blocks = self.pixels.unfold(1, side + 2, side).unfold(2, side + 2, side).permute(0, 1, 2, 4, 5, 3)
        return blocks[places[:, 0], places[:, 1], places[:, 2]].permute(0, 3, 1, 2)

    def put(self, places: Tensor, blocks: Tensor) -> None:
        """Fill in blocks ``[k, C, side, side]``."""
        side = blocks.shape[2]
        inside = self.pixels[:, 1:-1, 1:-1].unfold(1, side, side).unfold(2, side, side).permute(0, 1, 2, 4, 5, 3)
        inside[places[:, 0], places[:, 1], places[:, 2]] = blocks.permute(0, 2, 3, 1)
