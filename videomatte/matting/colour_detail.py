"""The detail of colour that subsampled chroma has lost, told from brightness.

Video stores colour at half the size (4:2:0, 4:2:2), and a codec spends little on it. What a strand of hair covers shows
in its brightness, while its colour runs into its neighbours', and a matte that asks for both is blurred. Within a few
pixels colour is mostly a linear function of brightness; that function is found at half the size, where both are known,
and gives the colour that belongs to the brightness at full size. Only what is missing is added: how much of the
predicted detail a picture has already is measured, and a picture with full colour stays as it is. It is added where
alpha is unknown and a little around it; elsewhere nobody asks for it.

FFmpeg's converter, and so most programs that make pictures of video, gives all pixels of a square the square's one
colour. That is not detail, but steps along every edge of colours. Such pictures are recognised, and their colour is
interpolated before the detail is added, as from a movie that videomatte decodes.

Sources: Trudeau, Egge, Barr, "Predicting Chroma from Luma in AV1", DCC 2018 (the function); He, Sun, Tang, "Guided
Image Filtering", ECCV 2010 (fitted in every window); Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image
Matting", 2006 (colours of a small window lie on a line).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.io.chroma import interpolate
from videomatte.trimaps.morphology import boxes_around
from videomatte.windows import square_sums

__all__ = ["add_colour_detail"]

LUMA = 0.2126, 0.7152, 0.0722
"""BT.709's weights. With another matrix's the brightness is a slightly different one, and its detail as good."""
WINDOW = 3
"""Side of the windows in which colour is fitted, in pixels of half the size."""
NOISE, COLOUR_NOISE = 1e-4, 1e-5
"""Variances of brightness and of colour that count as none: 2.5 and 0.8 steps of 8 bits, squared."""
AROUND, CONTEXT = 16, 6
"""Pixels around what is asked for that get their detail, too, and those around these that they depend on; even."""
STEP, SAME = 8 / 255, 2.5 / 255
"""Difference between the colours of two squares that tells, and the most that rounding to 8 bits makes within one."""
EVERY, TELLING, NEARLY_ALL = 8, 16, 0.9
"""Of so many rows of squares one is looked at, for at least so many squares that tell. All of them are of one colour
in FFmpeg's pictures of any clip looked at, 2 to 16 % of them in photographs and in interpolated pictures."""


def add_colour_detail(rgb: Tensor, asked: Tensor) -> Tensor:
    """Pictures whose colour is as detailed as their brightness where it is asked for.

    Args:
        rgb: ``[B, 3, H, W]`` float32 in 0..1, finite.
        asked: ``[B, 1, H, W]`` bool, such as what a trimap leaves unknown.

    Returns:
        The same, new; of the same brightness but for what was cut off at 0 and 1. Some way off what is asked for
        pictures are as they were.

    Convention:
        Nothing moves: detail is what a pixel differs by from Keys' interpolation of means over 2 x 2 pixels, which
        begin at the picture's corner. A grey picture, and one whose colour has the detail already, stay the same to
        rounding. Where colour was repeated, a sample lies in the middle of its square, wherever the file had it.
    """
    height, width = rgb.shape[2:]
    odd = width % 2, height % 2
    # An odd last row or column is worth as much as two.
    whole = F.pad(rgb, (0, odd[0], 0, odd[1]), mode="replicate") if any(odd) else rgb.clone()
    for picture, near, repeated in zip(whole, asked, _repeats(whole).tolist(), strict=True):
        _add(picture, near[0], repeated=repeated)
    return whole[:, :, :height, :width]


def _add(picture: Tensor, asked: Tensor, *, repeated: bool) -> None:
    """As :func:`add_colour_detail`, to one picture, ``[3, H, W]``, both sides even."""
    parts = list[tuple[list[slice], Tensor]]()
    found, expected = picture.new_zeros(2)
    for box in boxes_around(asked, AROUND):
        inner = [slice(part.start // 2 * 2, (part.stop + 1) // 2 * 2) for part in box]
        outer = [
            slice(max(0, part.start - CONTEXT), min(part.stop + CONTEXT, length))
            for part, length in zip(inner, picture.shape[1:], strict=True)
        ]
        within = [slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)]
        predicted, present = (detail[:, *within] for detail in _details(picture[:, *outer]))
        parts.append((inner, predicted - present if repeated else predicted))
        found += (predicted * present).sum()
        expected += predicted.square().sum()
    share = 1.0 if repeated else (1 - found / expected.clamp(min=1e-9)).clamp(0, 1)
    for inner, lacking in parts:
        red, blue = lacking * share
        green = (LUMA[0] * red + LUMA[2] * blue) / -LUMA[1]
        picture[:, *inner] += torch.stack([red, green, blue])
        picture[:, *inner].clamp_(0, 1)


def _repeats(picture: Tensor) -> Tensor:
    """Which of ``[B, 3, H, W]`` have one colour in each square of 2 x 2 pixels: bool ``[B]``."""
    corners = torch.stack([picture[:, :, row :: 2 * EVERY, column::2] for row in (0, 1) for column in (0, 1)])
    # What is added to a colour to brighten it leaves these differences as they are, whatever the file's matrix; where
    # it was cut off at either end it does not.
    colour = corners[:, :, ::2] - corners[:, :, 1:2]
    spread = (colour.amax(0) - colour.amin(0)).amax(1)
    cut = ((corners <= 0) | (corners >= 1)).any(0).any(1)
    steps = colour.mean(0).diff(dim=3).abs().amax(1) > STEP
    tells = (F.pad(steps, (1, 0)) | F.pad(steps, (0, 1))) & ~cut
    alike = (tells & (spread <= SAME)).sum((1, 2))
    return alike > NEARLY_ALL * tells.sum((1, 2)).clamp(min=TELLING)


def _details(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``[3, h, w]``, both sides even, red's and blue's difference from brightness: ``[2, h, w]``, its detail as
    brightness has it, and as it is."""
    planes = torch.empty_like(rgb)
    luma, colour = planes[:1], planes[1:]
    torch.mul(rgb[:1], LUMA[0], out=luma).add_(rgb[1:2], alpha=LUMA[1]).add_(rgb[2:], alpha=LUMA[2])
    torch.sub(rgb[::2], luma, out=colour)
    rows = planes[:, ::2] + planes[:, 1::2]
    small = (rows[..., ::2] + rows[..., 1::2]) / 4
    details = planes - interpolate(interpolate(small, 2, 2, co_sited=False), 2, 1, co_sited=False)
    slope = _slope(small[None, :1], small[None, 1:])
    slope = F.interpolate(slope, scale_factor=2, mode="bilinear", align_corners=False)[0]
    return slope.mul_(details[:1]), details[1:]


def _slope(luma: Tensor, colour: Tensor) -> Tensor:
    """Change of colour with brightness around each pixel; less the less of colour's variance it explains."""
    sums = F.pad(torch.cat([luma, colour, luma.square(), luma * colour, colour.square()], dim=1), (1,) * 4, "replicate")
    means = square_sums(sums, WINDOW) / WINDOW**2
    luma, colour, luma_square, product, colour_square = torch.split(means, [1, 2, 1, 2, 2], dim=1)
    luma_variance = (luma_square - luma.square()).clamp_(min=0) + NOISE
    colour_variance = (colour_square - colour.square()).clamp_(min=0) + COLOUR_NOISE
    slope = (product - luma * colour) / luma_variance
    return slope * (slope.square() * luma_variance / colour_variance).clamp_(max=1)
