"""The shadows a subject throws on its screen, to be thrown on another background.

Shadows lie near the subject, and a screen's light falls off slowly, a shadow quickly. Far from the subject the screen
is therefore lit as it is seen; what its light would be near the subject is bridged from there, by a paraboloid over the
picture, laid against the screen from above, and by what the screen far off departs from that. Where the screen is
darker than the bridge by more than its creases and its grain, it lies in shadow. (The plate of a key is of no use here:
it must follow shadows, so that they do not become subject.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.light import from_light, to_light
from videomatte.trimaps.morphology import dilate_square
from videomatte.trimaps.spread import spread

__all__ = ["Shadow", "darken"]

_SIDE = 256
"""Longer side of the reduced picture on which shadows are found: grain is gone there, and shadows are soft."""
_ROUNDS = 12
"""Of laying the paraboloid: each time, what lies below it counts less."""
_FALL = 0.04
"""How far below the paraboloid, in logarithms of light, a place stops counting as lit."""
_REACH = 0.15
"""How far from the subject its shadow may fall, as a fraction of the picture's longer side."""
_LEAST_SLACK = 0.02
"""How much darker than lit, in logarithms of light, a place may always be."""
_PACE = 0.2
"""How much of each frame's change the paraboloid follows: less, and it lags behind exposure; more, and it flickers."""


class Shadow:
    """Finds the shadow in each frame of a clip; remembers how the screen was lit in those before.

    Args:
        transfer: how the clip encodes light, by ITU-T H.273.
    """

    def __init__(self, transfer: int | None) -> None:
        self._transfer = transfer
        self._lit: Tensor | None = None

    def __call__(self, rgb: Tensor, alpha: Tensor) -> Tensor:
        """How much of the light is left.

        Args:
            rgb: ``[3, H, W]`` float32, the frame.
            alpha: ``[1, H, W]`` float32: the screen is where it is 0.

        Returns:
            ``[1, H, W]`` float32 in [0, 1]: factors of light, 1 outside shadows. Under the subject they go on smoothly
            from around it.

        Convention:
            Pixel on pixel with the frame; found on blocks of it, bilinear between their centres.
        """
        height, width = alpha.shape[1:]
        factor = max(1.0, max(height, width) / _SIDE)
        size = max(1, round(height / factor)), max(1, round(width / factor))
        # A pixel further out, for the screen right beside the subject is mixed with it by scaling and codecs.
        screen = (F.max_pool2d(alpha[None], 3, 1, 1)[0] == 0).float()
        brightness = rgb.mean(0, keepdim=True).clamp(min=0) * screen
        sums = F.adaptive_avg_pool2d(torch.cat([brightness, screen]), size)
        known = (sums[1:] > 0.5) & (sums[:1] > 0.02 * sums[1:])
        if known.sum() < 16:
            return torch.ones_like(alpha)
        level = to_light(sums[:1] / sums[1:].clamp(min=1e-6), self._transfer).clamp(min=1e-5).log()
        terms = _terms(*size, alpha.device)
        lit = _lay_over(terms[:, known[0]], level[known], self._lit)
        self._lit = lit if self._lit is None else self._lit + _PACE * (lit - self._lit)
        below = level - (self._lit @ terms.flatten(1)).view_as(level)
        far = (known & ~dilate_square(sums[1:] < 0.5, round(_REACH * max(size)))).float()
        below = below - spread(below, far, max(size) / 40)  # no bridge where nothing is far
        below = _without_grain(below, known, far)
        # Creases and grain alone: no shadow lies above, nor is the bridge at fault where it stands.
        above = below[(far > 0) & (below > 0)]
        slack = max(_LEAST_SLACK, 2.5 * float(above.median())) if above.numel() else _LEAST_SLACK
        shade = below * (-below / slack - 1).clamp(0, 1)
        return F.interpolate(shade.exp()[None], (height, width), mode="bilinear", align_corners=False)[0]


def darken(rgb: Tensor, factor: Tensor, transfer: int | None) -> Tensor:
    """A picture with a part of its light.

    Args:
        rgb: ``[3, H, W]`` floating point, encoded; or ``[3, 1, 1]``, one colour.
        factor: ``[1, H, W]`` in [0, 1].
        transfer: how the picture encodes light.

    Returns:
        ``[3, H, W]``, encoded alike; the picture, to the bit, where the factor is 1.

    Convention:
        Every pixel by itself: nothing moves.
    """
    rgb = rgb.expand(-1, *factor.shape[1:])
    return torch.where(factor < 1, from_light(to_light(rgb, transfer) * factor, transfer), rgb)


def _without_grain(below: Tensor, known: Tensor, far: Tensor) -> Tensor:
    """Means over blocks, and over smaller ones where those differ by more than grain lets them in what is far: a narrow
    shadow, and where the subject covers the deepest part, would be blurred away (wavelet shrinkage, Donoho and
    Johnstone, "Ideal Spatial Adaptation by Wavelet Shrinkage", Biometrika 81, 1994)."""
    coarse, fine = (spread(below, known.float(), block) for block in (4.0, 2.0))
    detail = fine - coarse
    noise = 4 * (detail.square() * far).sum().div(far.sum().clamp(min=1)).sqrt().clamp(min=1e-4)
    return coarse + detail * (detail.abs() / noise - 1).clamp(0, 1)


def _terms(height: int, width: int, device: torch.device) -> Tensor:
    """``[6, H, W]``: 1, x, y, x², xy, y² of pixel centres, from -1 to 1 over the picture."""
    y, x = ((torch.arange(n, device=device) + 0.5) * 2 / n - 1 for n in (height, width))
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y])


def _lay_over(terms: Tensor, level: Tensor, guess: Tensor | None) -> Tensor:
    """Coefficients ``[6]`` of a paraboloid over points, by least squares reweighted: what lies below hardly counts."""
    weight = torch.ones_like(level)
    if guess is not None:
        weight = _trust(level - guess @ terms)
    for _ in range(_ROUNDS):
        weighted = terms * weight
        # A little of the unit matrix: a screen seen through a slit tells nothing of the rest of the picture.
        system = weighted @ terms.T + 1e-4 * level.numel() * torch.diag(terms.new_tensor([0, 1, 1, 1, 1, 1]))
        coefficients: Tensor = torch.linalg.solve(system, weighted @ level)
        weight = _trust(level - coefficients @ terms)
    return coefficients


def _trust(above: Tensor) -> Tensor:
    return torch.where(above >= 0, 1.0, (-(above / _FALL).square()).exp().clamp(min=1e-3))
