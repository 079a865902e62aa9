"""Masks from other programs (SAM 2, MatAnyone, Resolve and the like) made into trimaps.

    with open_source("clip.mp4") as clip, open_source("masks/") as masks:
        for item in Masks(masks)(clip):
            ...

A mask tells where the subject is, but not how its edge runs: between the two a band is left for the matting. Where the
mask is soft it owns up to not knowing, and all that is soft belongs to the band besides.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from videomatte.components import by_label, held_by_label, label_components
from videomatte.errors import InputError, ShapeError, UsageError
from videomatte.trimaps.companions import Companions
from videomatte.trimaps.morphology import erode, trimap_of
from videomatte.types import Frame, Source, TrimapFrame, finite_unit_range

__all__ = ["BAND", "Masks", "mask_from_picture", "read_mask", "trimap_from_soft_mask"]

BAND = 0.02
"""Default width of the unknown band across a mask's edge, as a fraction of the picture's longer side."""
_SURE = 0.9
"""From here on a mask says yes, from 1 less it down no. Between lies what is soft, and not yet what codecs and sigmoids
leave of black and white, nor studio-swing levels taken for full range (16 and 235 of 255)."""
_COLOURED_SPREAD, _COLOURED_SHARE = 0.25, 0.01
_MOST_LABELS = 32


def mask_from_picture(rgb: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Read a picture as a mask.

    Args:
        rgb: ``[3, H, W]`` uint8, uint16 or float32.
        alpha: ``[1, H, W]`` of the same type, or ``None``.

    Returns:
        ``[1, H, W]`` float32 in [0, 1], 1 on the subject: alpha, where any of it is not opaque (a cut-out, a layer
        painted on nothing); else the mean of the three channels of a grey picture; else, of a picture in a few flat
        colours, as SAM and its like paint objects, whatever is not black.

    Raises:
        ShapeError: the picture is not ``[3, H, W]``.
        InputError: the picture is opaque and in colour, but not flat, so no mask.

    Convention:
        Every pixel by itself: nothing moves.
    """
    if rgb.ndim != 3 or rgb.shape[0] != 3:
        raise ShapeError(f"mask_from_picture: rgb must be [3, H, W], got {list(rgb.shape)}")
    if alpha is not None and (opacity := _clean(alpha)).min() < _SURE:
        return opacity
    channels = _clean(rgb)
    coloured = (channels.amax(0) - channels.amin(0) > _COLOURED_SPREAD).float().mean()
    # A few pixels are a small object where all is flat; elsewhere they are a codec's chroma noise.
    if coloured > 0 and _is_flat(channels):
        return (channels.amax(0, keepdim=True) > 0).float()
    if coloured > _COLOURED_SHARE:
        raise InputError(
            f"is in colour ({coloured:.0%} of its pixels), and a mask is grey, or flat colours on black, or an alpha "
            f"channel"
        )
    return channels.mean(0, keepdim=True)


def trimap_from_soft_mask(mask: Tensor, width: float) -> Tensor:
    """A trimap from a hard or soft mask: unknown are a band along its edge and all that is soft, with the band around.

    A limb or a strand too thin to be sure after half the band is taken off keeps its middle as sure foreground, so that
    no part of the subject is left to guesswork.

    Args:
        mask: ``[1, H, W]`` float32 in [0, 1].
        width: of the band across a hard edge, in pixels, half of it on either side.

    Returns:
        ``[1, H, W]`` uint8 in {0, 128, 255}.

    Convention:
        As :func:`videomatte.trimaps.morphology.dilate`.
    """
    yes, no = mask[0] >= _SURE, mask[0] <= 1 - _SURE
    radius = width / 2
    foreground = erode(yes, radius)
    labels, areas = label_components(yes)
    while radius >= 1:
        radius /= 2
        lost = held_by_label(foreground, labels, areas) == 0
        lost[0] = False
        if not lost.any():
            break
        foreground |= erode(yes, radius) & by_label(lost, labels)
    return trimap_of(foreground, erode(no, width / 2))[None]


class Masks:
    """The trimap stage of masks from files: a still for every frame, or the n-th of a folder or movie for frame n.

    A frame whose mask is empty is all background; a clip of nothing else is an error.

    Args:
        masks: an open source, read as :func:`mask_from_picture` says. Where its size differs from the clip's, at the
            same shape, it is resized.
        band: width of the unknown band across a hard edge, as a fraction of the picture's longer side.
        clip_ends_early: the clip is not taken to its end, so that masks may be left over.

    Raises:
        UsageError: from the constructor, where the band is not between 0 and 1.
        InputError: while running: a mask is missing, left over, of another shape or no mask; or all were empty.
    """

    def __init__(self, masks: Source, *, band: float = BAND, clip_ends_early: bool = False) -> None:
        if not 0 <= band < 1:
            raise UsageError(f"--band {band}: a fraction of the picture's longer side, from 0 to 1, is needed")
        self._masks = Companions(masks, "mask", ends_early=clip_ends_early)
        self._band = band

    def __call__(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """Give every frame its trimap; none is held back."""
        highest: float | None = None
        for frame, picture in self._masks(frames):
            mask = read_mask(self._masks, picture, frame)
            highest = max(highest or 0.0, float(mask.max()))
            width = self._band * max(frame.height, frame.width)
            yield TrimapFrame(frame, trimap_from_soft_mask(mask, width), "key")
        if highest is not None and highest <= 0.5:
            raise InputError(
                f"{self._masks.path}: every mask is empty: none rises above {highest:.3f} of white. Masks of 0 and 1 "
                f"are to be written as 0 and 255"
            )


def read_mask(masks: Companions, picture: Frame, frame: Frame) -> Tensor:
    """A picture of a source of masks, read by :func:`mask_from_picture`, at the size and on the device of its frame.

    Raises:
        InputError: the picture is no mask or of another shape than the frame. The message names the file.
    """
    try:
        mask = mask_from_picture(picture.rgb, picture.alpha)
    except InputError as error:
        raise InputError(f"{masks.name(picture)} {error}") from error
    return masks.fitted(mask, picture, frame).to(frame.rgb.device)


def _clean(pixels: Tensor) -> Tensor:
    return finite_unit_range(pixels).clamp_(0, 1)


def _is_flat(rgb: Tensor) -> bool:
    """Whether a picture has as few colours as a map of labels, and black among them, for what is no object."""
    levels = (rgb * 255).round().long()
    colours = torch.unique(levels[0] * 65536 + levels[1] * 256 + levels[2])
    return len(colours) <= _MOST_LABELS and int(colours[0]) == 0
