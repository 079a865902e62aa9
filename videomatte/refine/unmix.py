"""The subject's own colour before a background that is known: the key's plate, or a clean one.

The plate P is never quite right: the subject throws a shadow on the screen, and light changes from frame to frame. But
what it is wrong by, δ = B - P, changes slowly and shows wherever nothing is in front. So

    I = αF + (1 - α)(P + δ)    is solved as    I - (1 - α)P = αF + (1 - α)δ,

which is the problem of multi-level foreground estimation (see :mod:`videomatte.refine.foreground`) with the plate's
fault for background, and that one stiff. Where alpha is large the result is the plain unmixing (I - (1 - α)B) / α;
towards alpha 0, where that would be noise divided by nothing, colours nearby take over.
"""

from __future__ import annotations

from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.refine.foreground import Layers, as_batch, check_layers

__all__ = ["unmix"]

STIFFNESS = 0.1
"""Weight of the smoothness of the plate's fault. More trusts the plate in fine detail, less lets the fault explain more
of what is seen."""


def unmix(image: Tensor, alpha: Tensor, plate: Tensor) -> Tensor:
    """Straight foreground of pictures whose alpha is known, and whose background nearly is.

    Args:
        image: ``[B, 3, H, W]`` floating point, 1.0 at white; more is allowed.
        alpha: ``[B, 1, H, W]`` floating point in [0, 1].
        plate: ``[B, 3, H, W]``, the picture with the subject gone, up to slow changes of its light.

    Returns:
        ``[B, 3, H, W]`` float32, as the foreground of :func:`videomatte.refine.foreground.estimate_foreground`.

    Raises:
        ShapeError: the shapes are not as above.

    Convention:
        Channels first, row 0 at the top; everything lies pixel on pixel.
    """
    check_layers("unmix", image, alpha)
    if plate.shape != image.shape:
        raise ShapeError(
            f"unmix: picture and plate must be equally large, got {list(image.shape)} and {list(plate.shape)}"
        )
    foregrounds = [
        Layers.solve(picture, cover, known, STIFFNESS).foreground(picture, cover)
        for picture, cover, known in zip(image.float(), alpha.float(), plate.float(), strict=True)
    ]
    return as_batch(foregrounds)
