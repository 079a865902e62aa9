"""Compositing: a foreground laid over a background by its alpha, and the two ways to store a foreground.

Straight (unassociated) colour is the subject's own, whatever its alpha; premultiplied (associated) colour is already
scaled by alpha. videomatte passes straight colour everywhere; premultiplied is made only at the door, for files whose
readers want it. Porter & Duff, "Compositing Digital Images", SIGGRAPH 1984.

All but `over_light` and `wrap_light` do sums on the numbers they are given. Handed gamma-encoded colour they mix in
that encoding, as players and browsers do; handed linear light they mix as light does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.light import from_light, to_light

__all__ = ["checkerboard", "over", "over_light", "premultiply", "unpremultiply", "wrap_light"]

DARK_SQUARE, LIGHT_SQUARE = 0.4, 0.6
"""Greys of the checkerboard: mid-tones, so that neither dark nor light fringes hide in it."""


def over(foreground: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """A straight foreground over an opaque background: ``alpha * foreground + (1 - alpha) * background``.

    Args:
        foreground: ``[..., 3, H, W]`` floating point, straight, any encoding.
        alpha: ``[..., 1, H, W]`` floating point in [0, 1].
        background: ``[..., 3, H, W]`` floating point, opaque, in the foreground's encoding; or ``[3, 1, 1]``, one
            colour.

    Returns:
        ``[..., 3, H, W]``, opaque, in the same encoding. Where alpha is 0 it is the background, where alpha is 1 the
        foreground, both to the bit.

    Raises:
        ShapeError: the sizes differ, or alpha has not one channel.

    Convention:
        Channels first, row 0 at the top. Every pixel by itself: nothing moves. Alpha is coverage, 1 hides the
        background.
    """
    _check_layers("over", foreground, alpha, background)
    # Not background + alpha * (foreground - background): that form misses the foreground by a rounding at alpha 1.
    return alpha * foreground + (1 - alpha) * background


def over_light(foreground: Tensor, alpha: Tensor, background: Tensor, transfer: int | None) -> Tensor:
    """A straight foreground over an opaque background, mixed in linear light: what `over` makes of their light.

    Args:
        foreground: ``[3, H, W]`` floating point, straight, encoded.
        alpha: ``[1, H, W]`` floating point in [0, 1].
        background: ``[3, H, W]`` floating point, opaque, encoded alike; or ``[3, 1, 1]``, one colour.
        transfer: how both encode light, by ITU-T H.273.

    Returns:
        ``[3, H, W]``, opaque, encoded alike. Where alpha is 0 it is the background, where alpha is 1 the foreground,
        both to the bit.

    Raises:
        ShapeError: the sizes differ, or alpha has not one channel.
        UsageError: the transfer is not known.

    Convention:
        As `over`.
    """
    _check_layers("over_light", foreground, alpha, background)
    background = background.expand_as(foreground)
    result = torch.where(alpha > 0, foreground, background)
    # Few pixels are mixed, and powers are dear.
    mixed = (alpha > 0) & (alpha < 1)
    part = alpha[mixed]
    where = mixed.expand_as(foreground)
    front, back = (to_light(layer[where].view(3, -1), transfer) for layer in (foreground, background))
    result[where] = from_light(over(front[..., None], part[None, :, None], back[..., None]), transfer).flatten()
    return result


def wrap_light(foreground: Tensor, alpha: Tensor, background: Tensor, transfer: int | None, strength: float) -> Tensor:
    """A foreground whose edge is lit by what is behind it, as a lens spreads light around things.

    Light of the background's surroundings is added where it is brighter than the subject, the more of it the more of
    the surroundings is uncovered. Ron Brinkmann, "The Art and Science of Digital Compositing", 2nd edition, 2008.

    Args:
        foreground: ``[3, H, W]`` floating point, straight, encoded.
        alpha: ``[1, H, W]`` floating point in [0, 1].
        background: ``[3, H, W]`` floating point, opaque, encoded alike; or ``[3, 1, 1]``, one colour.
        transfer: how both encode light, by ITU-T H.273.
        strength: from 0, nothing, to 1: right at a straight edge about half the background's light is taken on.

    Returns:
        ``[3, H, W]``: the foreground, to the bit, where nothing within a hundredth of the longer side is uncovered.

    Raises:
        ShapeError: the sizes differ, or alpha has not one channel.
        UsageError: the transfer is not known.

    Convention:
        Channels first, row 0 at the top. Surroundings are squares about pixel centres; beyond the picture's border they
        are taken to go on as within.
    """
    _check_layers("wrap_light", foreground, alpha, background)
    reach = max(1, round(max(alpha.shape[1:]) / 100))
    bare = _surroundings(1 - alpha, reach)
    near = (alpha > 0) & (bare > 0)
    where = near.expand_as(foreground)
    front = to_light(foreground[where].view(3, -1), transfer)
    around = to_light(_surroundings(background.expand_as(foreground), reach)[where].view(3, -1), transfer)
    lit = front + strength * bare[near] * (around - front).clamp(min=0)
    result = foreground.clone()
    result[where] = from_light(lit, transfer).flatten()
    return result


def premultiply(foreground: Tensor, alpha: Tensor) -> Tensor:
    """Straight colour to premultiplied colour: ``alpha * foreground``.

    Args:
        foreground: ``[..., 3, H, W]`` floating point, straight.
        alpha: ``[..., 1, H, W]`` floating point in [0, 1].

    Raises:
        ShapeError: the sizes differ, or alpha has not one channel.

    Convention:
        Channels first; every pixel by itself, in the encoding given. Readers that expect premultiplied *linear* light
        (OpenEXR) must be handed linear colour.
    """
    _check_alpha("premultiply", foreground, alpha)
    return alpha * foreground


def unpremultiply(premultiplied: Tensor, alpha: Tensor) -> Tensor:
    """Premultiplied colour back to straight colour: ``premultiplied / alpha``, and 0 where alpha is 0.

    Args:
        premultiplied: ``[..., 3, H, W]`` floating point.
        alpha: ``[..., 1, H, W]`` floating point in [0, 1].

    Returns:
        ``[..., 3, H, W]``. Nothing is known of a colour that covers nothing: black stands for it.

    Raises:
        ShapeError: the sizes differ, or alpha has not one channel.

    Convention:
        Channels first; every pixel by itself, in the encoding given.
    """
    _check_alpha("unpremultiply", premultiplied, alpha)
    covered = alpha > 0
    return torch.where(covered, premultiplied / torch.where(covered, alpha, 1), 0)


def checkerboard(height: int, width: int, square: int = 16) -> Tensor:
    """Grey squares to look at transparency over.

    Args:
        height: rows, in pixels.
        width: columns, in pixels.
        square: side of a square, in pixels.

    Returns:
        ``[3, height, width]`` float32, neutral grey at 0.4 and 0.6.

    Convention:
        The top left square starts at the corner and is the light one.
    """
    row = torch.arange(height).div(square, rounding_mode="floor")
    column = torch.arange(width).div(square, rounding_mode="floor")
    light = (row[:, None] + column[None, :]) % 2 == 0
    return torch.where(light, LIGHT_SQUARE, DARK_SQUARE).expand(3, -1, -1).clone()


def _surroundings(picture: Tensor, reach: int) -> Tensor:
    """Means over squares, twice over half the reach: a pyramid that falls to nothing at ``reach`` pixels."""
    side = reach // 2 or 1
    for _ in range(2):
        padded = F.pad(picture[None], [side] * 4, mode="replicate")
        picture = F.avg_pool2d(F.avg_pool2d(padded, (1, 2 * side + 1), 1), (2 * side + 1, 1), 1)[0]
    return picture


def _check_layers(name: str, foreground: Tensor, alpha: Tensor, background: Tensor) -> None:
    _check_alpha(name, foreground, alpha)
    if background.shape[-2:] not in (foreground.shape[-2:], (1, 1)):
        raise ShapeError(
            f"{name}: foreground and background must have the same size, "
            f"got {list(foreground.shape)} and {list(background.shape)}"
        )


def _check_alpha(name: str, colour: Tensor, alpha: Tensor) -> None:
    if colour.ndim < 3 or alpha.ndim < 3 or alpha.shape[-3] != 1 or alpha.shape[-2:] != colour.shape[-2:]:
        raise ShapeError(
            f"{name}: colour must be [..., 3, H, W] and alpha [..., 1, H, W] of the same size, "
            f"got {list(colour.shape)} and {list(alpha.shape)}"
        )
