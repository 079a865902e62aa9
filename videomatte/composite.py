"""Compositing: a foreground laid over a background by its alpha, and the two ways to store a foreground.

Straight (unassociated) colour is the subject's own, whatever its alpha; premultiplied (associated) colour is already
scaled by alpha. videomatte passes straight colour everywhere; premultiplied is made only at the door, for files whose
readers want it. Porter & Duff, "Compositing Digital Images", SIGGRAPH 1984.

The functions do sums on the numbers they are given. Handed gamma-encoded colour they mix in that encoding, as players
and browsers do; handed linear light they mix as light does.
"""

import torch
from torch import Tensor

from videomatte.errors import ShapeError

__all__ = ["checkerboard", "over", "premultiply", "unpremultiply"]

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
    _check_alpha("over", foreground, alpha)
    if background.shape[-2:] not in (foreground.shape[-2:], (1, 1)):
        raise ShapeError(
            f"over: foreground and background must have the same size, "
            f"got {list(foreground.shape)} and {list(background.shape)}"
        )
    # Not background + alpha * (foreground - background): that form misses the foreground by a rounding at alpha 1.
    return alpha * foreground + (1 - alpha) * background


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


def _check_alpha(name: str, colour: Tensor, alpha: Tensor) -> None:
    if colour.ndim < 3 or alpha.ndim < 3 or alpha.shape[-3] != 1 or alpha.shape[-2:] != colour.shape[-2:]:
        raise ShapeError(
            f"{name}: colour must be [..., 3, H, W] and alpha [..., 1, H, W] of the same size, "
            f"got {list(colour.shape)} and {list(alpha.shape)}"
        )
