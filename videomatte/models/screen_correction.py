"""Alpha before a coloured screen, where the background is all but known: the solver's, corrected pixel by pixel.

The solver takes each window's colours for a line, and hair before a screen breaks that: the screen's light lies on it,
stronger the further out, and strands differ in brightness. A small perceptron sees, at each unknown pixel, what the
pixel's colour says by the known colours of both sides, by chroma alone too, and what alpha is around it, and answers
with a correction. It is told nothing but ratios and alphas, so that dim screens are no other than bright ones.

Source: Smith and Blinn, "Blue Screen Matting", 1996 (what a known background leaves open).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.precision import Float32Linear
from videomatte.pixels import pixels_at, places_of, put_at
from videomatte.trimaps.morphology import boxes_around
from videomatte.windows import square_sums

__all__ = ["MEASURES", "NEAR", "ScreenCorrection", "measures"]

NEAR = (1, 3, 10, 28)
"""Pixels to each side over which alphas are averaged."""
MEASURES = 24
"""Numbers that a pixel is described by."""
HIDDEN = 64
"""Width of the two hidden layers."""
PIXELS_AT_ONCE = 1 << 14
"""Pixels the perceptron works on together: bounds the memory of its layers."""
LEAST = 0.003
"""Least square that is divided by, of colours in lengths of the screen's: closer ones are told apart by noise alone."""
DARKEST = 0.05
"""Least length of a screen's colour: black is no measure."""


class ScreenCorrection(nn.Module):
    """Corrects alpha of pictures before a screen.

    Untrained it corrects nothing.
    """

    sizes_vary = True
    """Its tensors are as long as there are unknown pixels: nothing to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("centre", torch.zeros(MEASURES))
        self.register_buffer("spread", torch.ones(MEASURES))
        first, second, last = (
            Float32Linear(MEASURES, HIDDEN),
            Float32Linear(HIDDEN, HIDDEN),
            Float32Linear(HIDDEN, 1),
        )
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(first, nn.GELU(), second, nn.GELU(), last)

    def forward(self, rgb: Tensor, trimap: Tensor, solved: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
        """Alpha of one picture.

        Args:
            rgb, trimap, solved, foreground, background: as for :func:`measures`.

        Returns:
            ``[1, H, W]`` float32 in 0..1; 0 and 1 where the trimap is.

        Convention:
            A pixel is answered from the squares around it: nothing moves.
        """
        unknown, values = measures(rgb, trimap, solved, foreground, background)
        alpha = trimap.round()
        corrections = [self.correction(part) for part in torch.split(values, PIXELS_AT_ONCE)]
        # The first measure is the solver's alpha.
        alpha[unknown] = (values[:, 0] + torch.cat(corrections)).clamp_(0, 1)
        return alpha

    def correction(self, values: Tensor) -> Tensor:
        """``[N]``, what is to be added to the solver's alpha, of ``[N, MEASURES]``."""
        # What lies far from all that was learned is taken for the nearest that was.
        normal = ((values - self.centre) / self.spread).clamp(-4, 4)
        result: Tensor = self.layers(normal)[:, 0]
        return result


def measures(
    rgb: Tensor, trimap: Tensor, solved: Tensor, foreground: Tensor, background: Tensor
) -> tuple[Tensor, Tensor]:
    """What the perceptron is told of the unknown pixels of a picture.

    Args:
        rgb: ``[3, H, W]`` float32 in 0..1.
        trimap: ``[1, H, W]``, 0, 0.5 unknown, 1.
        solved: ``[1, H, W]``, the solver's alpha.
        foreground, background: ``[3, H, W]``, the colours of the sure regions, spread over the others.

    Returns:
        ``[1, H, W]`` bool, the unknown pixels, N of them; ``[N, MEASURES]`` float32, without unit, in the order in
        which they are made below.

    Convention:
        Squares are centred on their pixel; beyond the border the picture goes on as it ends.
    """
    unknown = (trimap > 0.25) & (trimap < 0.75)
    places = places_of(unknown)  # looked up once: masks are searched through at each use
    colour, front, back = (pixels_at(planes, places) for planes in (rgb, foreground, background))
    alpha = solved.flatten().index_select(0, places)
    length = _length(back).clamp(min=DARKEST)
    colour, front, back = colour / length, front / length, back / length

    # Shares of the two known colours in the pixel's, each free: they add up to 1 in a plain mixture.
    ff, bb, fb = (front * front).sum(0), (back * back).sum(0), (front * back).sum(0)
    cf, cb = (colour * front).sum(0), (colour * back).sum(0)
    determinant = (ff * bb - fb * fb).clamp(min=10 * LEAST)
    of_front = ((cf * bb - cb * fb) / determinant).clamp(-0.5, 2)
    of_back = ((cb * ff - cf * fb) / determinant).clamp(-0.5, 2)

    # By chroma alone, which neither light nor shade on the subject changes: along the screen's, and across it.
    luma_c, luma_f, luma_b = (planes.mean(0) for planes in (colour, front, back))
    chroma_c, chroma_f, chroma_b = colour - luma_c, front - luma_f, back - luma_b
    square = (chroma_b * chroma_b).sum(0).clamp(min=LEAST)
    strength = square.sqrt()
    along_c = ((chroma_c * chroma_b).sum(0) / square).clamp(-1, 2)
    along_f = ((chroma_f * chroma_b).sum(0) / square).clamp(-1, 2)
    across_c = _length(chroma_c - along_c * chroma_b) / strength
    across_f = _length(chroma_f - along_f * chroma_b) / strength
    keyed = ((1 - along_c) / (1 - along_f).clamp(min=0.3)).clamp(0, 1.2)

    line = front - back
    between = (((colour - back) * line).sum(0) / (line * line).sum(0).clamp(min=LEAST)).clamp(-0.3, 1.3)
    excess = (luma_c - torch.lerp(luma_b, luma_f, alpha)) / strength

    here = [alpha, of_front, 1 - of_back, keyed, between, across_c, along_f, across_f, excess]
    here.append((luma_f - luma_b) / strength)
    # Each measure's numbers one after the other in memory.
    values = alpha.new_empty(MEASURES, len(alpha))
    torch.stack(here, out=values[: len(here)])
    alphas = torch.stack([alpha, keyed, between]).clamp_(0, 1)
    planes = put_at(trimap.expand(len(alphas), -1, -1), places, alphas)
    _look_around(planes, unknown, values[len(here) :])
    return unknown, values.T


def _length(colours: Tensor) -> Tensor:
    """Of ``[3, N]``; several times faster than torch's norm over so short an axis."""
    return colours.square().sum(0).sqrt()


def _look_around(planes: Tensor, unknown: Tensor, out: Tensor) -> None:
    """Means of each kind of alpha over squares, and deviations over those of middle size, at the unknown pixels.

    Args:
        planes: ``[3, H, W]`` in 0..1, alpha of each kind.
        unknown: ``[1, H, W]`` bool.
        out: ``[14, N]``, is written over.
    """
    reach = max(NEAR)
    planes = F.pad(planes, [reach] * 4, mode="replicate")
    first = 0
    for rows, columns in boxes_around(unknown[0]):
        places = places_of(unknown[:, rows, columns])
        within = planes[:, rows.start : rows.stop + 2 * reach, columns.start : columns.stop + 2 * reach]
        out[:, first : first + len(places)] = _around(within, places)
        first += len(places)


def _around(planes: Tensor, places: Tensor) -> Tensor:
    """The same in a box, given its planes and what lies around it, ``[3, H + 56, W + 56]``."""

    def mean(plane: Tensor, reach: int) -> Tensor:
        skip, side = max(NEAR) - reach, 2 * reach + 1
        rows, columns = (slice(skip, length - skip) for length in plane.shape)
        return square_sums(plane[rows, columns], side).flatten().index_select(0, places) / side**2

    found = []
    squares = planes[:2].square()
    for reach in NEAR:
        means = [mean(plane, reach) for plane in planes[:2]]
        found += means
        if reach in NEAR[1:3]:
            of_squares = [mean(plane, reach) for plane in squares]
            found.append(mean(planes[2], reach))
            found += [(s - m.square()).clamp(min=0).sqrt() for s, m in zip(of_squares, means, strict=True)]
    return torch.stack(found)
