"""How far a flow is to be trusted: there and back again must lead home."""

import torch
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow.description import WORKING_SIDE
from videomatte.flow.warp import Readable, check_flow, dot

__all__ = ["flow_confidence"]

RELATIVE, ABSOLUTE = 0.01, 0.5
"""Squared error allowed: a share of the squared motion, and squared pixels, for rounding and noise."""


def flow_confidence(flow: Tensor, back: Tensor, *, side: int | None = None) -> Tensor:
    """Whether following a flow and then the opposite one leads back to the start.

    Where it does not, the pixel is hidden in the other picture or one of the two flows is wrong. The error allowed is
    that of Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow",
    ECCV 2010,

        |f + b(x + f)|² < 0.01 (|f|² + |b(x + f)|²) + 0.5,

    made soft: confidence is ½ where both sides are equal, halves again with each further right-hand side of error, and
    is 0 where the flow leaves the picture. So ``flow_confidence(f, b) < 0.5`` is their test for occlusion.

    Args:
        flow: ``[B, 2, H, W]`` from the first picture to the second.
        back: ``[B, 2, H, W]`` from the second to the first.
        side: long side of the picture whose pixels the 0.5 px² are counted in: by default that of the flows, but at
            most ``WORKING_SIDE``, since a flow enlarged to a larger picture carries its errors with it.

    Returns:
        ``[B, 1, H, W]`` in [0, 1], on the pixels of the first picture.

    Raises:
        ShapeError: the flows differ in shape or are not as above.

    Convention:
        As Note [flow] in warp.py.
    """
    check_flow("flow_confidence: flow", flow)
    if back.shape != flow.shape:
        raise ShapeError(f"flow_confidence: flows must be equally large, got {list(flow.shape)} and {list(back.shape)}")
    returned, outside = Readable(back).read(flow)
    pixel = max(flow.shape[2:]) / (side or min(WORKING_SIDE, max(flow.shape[2:])))
    motion = dot(flow, flow).add_(dot(returned, returned))
    apart = returned.add_(flow)
    error = dot(apart, apart).div_(motion.mul_(RELATIVE).add_(ABSOLUTE * pixel**2))
    return torch.exp2(error.neg_()).mul_(1 - outside)
