"""Pictures moved along a flow. The one caller of kornia's remap, which reads any picture anywhere; :class:`Readable` is
for small ones that are read again and again.

Note [flow]: a flow is ``[B, 2, H, W]`` float, channel 0 dx to the right and channel 1 dy downwards, in pixels of its
own size. The flow from ``first`` to ``second`` lives on the pixels of ``first`` and says where each has gone:
``first(x) ≈ second(x + flow(x))``. Pixel centres lie at whole coordinates, (0, 0) being the top left one.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from kornia.geometry.transform import remap
from torch import Tensor

from videomatte.errors import ShapeError

__all__ = ["Readable", "check_flow", "dot", "lands_inside", "read_at", "resize_flow", "step", "warp"]


def warp(image: Tensor, flow: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """Fetch every pixel of the result from where the flow says it has gone: ``image(x + flow(x))``.

    With the flow from ``first`` to ``second`` and ``second`` for image, this rebuilds ``first``; to bring a trimap of
    ``first`` onto ``second`` it takes the flow from ``second`` to ``first``.

    Args:
        image: ``[B, C, H, W]`` floating point, any range.
        flow: ``[B, 2, H, W]`` floating point, see Note [flow].
        mode: how to read between pixels; ``nearest`` for labels.

    Returns:
        ``[B, C, H, W]``, dtype of ``image``. What lies outside the picture is taken to be as the nearest border pixel;
        :func:`lands_inside` tells where that happened.

    Raises:
        ShapeError: the shapes do not fit, or the image is not floating point.

    Convention:
        As Note [flow]: x right, y down, pixels, centres at whole coordinates (``align_corners=True``; remap's default
        reads half a pixel off at the borders). Where the flow is whole the pixel is copied, to the bit: a flow of zero
        returns the image. Between pixels, normalising and rounding in float32 cost at most 1e-3 px at 8K.
    """
    check_flow("warp: flow", flow)
    if image.ndim != 4 or not image.is_floating_point() or image.shape[::2] != flow.shape[::2]:
        raise ShapeError(
            f"warp: image must be [B, C, H, W] float with the flow's B, H and W, got {list(image.shape)} "
            f"{image.dtype} for flow {list(flow.shape)}"
        )
    if image.shape[3] != flow.shape[3]:
        raise ShapeError(f"warp: image and flow must be equally wide, got {list(image.shape)} and {list(flow.shape)}")
    x, y = _targets(flow)
    x_there, y_there = _normalised(x, image.shape[3]), _normalised(y, image.shape[2])
    read = remap(image, x_there, y_there, mode, "border", align_corners=True, normalized_coordinates=True)
    return read if mode == "nearest" else _whole_copied(read, image, x, y)


def read_at(image: Tensor, x: Tensor, y: Tensor, mode: Literal["bilinear", "bicubic"] = "bilinear") -> Tensor:
    """An image read at some places, in a time that goes with their number.

    Args:
        image: ``[C, H, W]`` floating point, any range.
        x: ``[N]`` floating point, columns, in pixels.
        y: ``[N]``, rows.
        mode: how it is read between pixels; ``bicubic`` blurs less, and goes beyond the values that are there.

    Returns:
        ``[C, N]``, dtype of ``image``.

    Raises:
        ShapeError: the shapes do not fit, or the image is not floating point.

    Convention:
        As :func:`warp`, which reads at ``x + flow(x)``.
    """
    if image.ndim != 3 or not image.is_floating_point() or x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(
            f"read_at: image must be [C, H, W] float, x and y [N], got {list(image.shape)} {image.dtype}, "
            f"{list(x.shape)} and {list(y.shape)}"
        )
    # As Readable, with a planar grid: remap lays x and y side by side first.
    grid = torch.stack([_normalised(x, image.shape[2]), _normalised(y, image.shape[1])])
    read = F.grid_sample(image[None], grid.T[None, None], mode, "border", align_corners=True)
    return _whole_copied(read, image[None], x[None, None], y[None, None])[0, :, 0]


class Readable:
    """Pictures prepared to be read between their pixels again and again: half of the time of :func:`warp`, or less.

    Args:
        images: ``[B, C, H, W]`` float32 or float64, finite: next to an infinite pixel a whole flow gives NaN.

    Convention:
        As :func:`warp`, whole flows to the bit as well: grid_sample's way from [-1, 1] back to pixels rounds nothing
        where a side is a power of two and one, so pictures are padded to that, with their border's pixels.
    """

    def __init__(self, images: Tensor) -> None:
        height, width = images.shape[2:]
        sides = [1 + (1 << max(0, side - 2).bit_length()) for side in (height, width)]
        self._padded = F.pad(images, (0, sides[1] - width, 0, sides[0] - height), mode="replicate")
        down, across = (2 / (side - 1) for side in sides)
        self._scale = images.new_tensor([across, down]).view(2, 1, 1, 1)
        self._start = images.new_empty(2, 1, height, width)
        self._start[0] = torch.arange(width, device=images.device) * across - 1
        self._start[1] = torch.arange(height, device=images.device)[:, None] * down - 1
        self._last = self._start[..., -1:, -1:]

    def read(self, flows: Tensor) -> tuple[Tensor, Tensor]:
        """Read along one flow or several.

        Args:
            flows: ``[B, 2, H, W]``, or K at once, ``[B, 2, K, H, W]``.

        Returns:
            ``images(x + flow(x))``, ``[B, C, H, W]`` or ``[B, C, K, H, W]``; and 1 where that lies outside the
            pictures, else 0, floats, for these are ten times as fast to go on with, ``[B, 1, H, W]`` or
            ``[B, 1, K, H, W]``.
        """
        several = flows.unsqueeze(2) if flows.ndim == 4 else flows
        places = torch.addcmul(self._start, several, self._scale)
        beyond = torch.minimum(places, self._last).clamp_(min=-1).sub_(places).abs_()
        outside = step(beyond[:, :1] + beyond[:, 1:])
        # The grid stays planar: grid_sample reads it so without having x and y laid side by side first.
        grid = places.flatten(2, 3).permute(0, 2, 3, 1)
        read = F.grid_sample(self._padded, grid, padding_mode="border", align_corners=True)
        return read.view(*read.shape[:2], *flows.shape[2:]), outside.view(-1, 1, *flows.shape[2:])


def step(values: Tensor) -> Tensor:
    """1 above 0, else 0, in place. Comparing floats and choosing by what comes of it, bools, take five to ten times as
    long as arithmetic on a CPU."""
    return values.mul_(1e30).clamp_(0, 1)


def dot(one: Tensor, other: Tensor) -> Tensor:
    """Scalar product over channels, ``[B, C, ...]`` to ``[B, 1, ...]``: for few of them a fraction of the time that
    ``Tensor.sum`` takes."""
    total = one[:, :1] * other[:, :1]
    for channel in range(1, one.shape[1]):
        total.addcmul_(one[:, channel : channel + 1], other[:, channel : channel + 1])
    return total


def _whole_copied(fetched: Tensor, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """What was fetched, ``[B, C, h, w]``, with pixels copied where x and y are whole: coordinates come back from
    [-1, 1] some 1e-5 px off, so that weights are never exactly 0 and 1."""
    whole = x.frac().abs_().add_(y.frac().abs_()) == 0
    if whole.any():
        frame, row, column = whole.nonzero(as_tuple=True)
        at = (y[whole].clamp(0, image.shape[2] - 1).long(), x[whole].clamp(0, image.shape[3] - 1).long())
        fetched[frame, :, row, column] = image[frame, :, *at]
    return fetched


def _normalised(places: Tensor, length: int) -> Tensor:
    """Places along an axis from 0 to ``length - 1`` as -1 to 1. As remap itself does, but x and y apart: both as the
    short last axis of one tensor take several times as long."""
    return places if length == 1 else places * (2 / (length - 1)) - 1


def lands_inside(flow: Tensor) -> Tensor:
    """Where a flow leads to a place within the picture, border pixels' centres included.

    Args:
        flow: ``[B, 2, H, W]``, see Note [flow].

    Returns:
        ``[B, 1, H, W]`` bool.
    """
    check_flow("lands_inside: flow", flow)
    height, width = flow.shape[2:]
    x, y = _targets(flow)
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]


def resize_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """The same motion on a picture of another size: resampled bilinearly, and rescaled to the new pixels.

    Args:
        flow: ``[B, 2, h, w]``, see Note [flow].
        height: rows wanted.
        width: columns wanted.

    Returns:
        ``[B, 2, height, width]``.

    Convention:
        The pictures' outer edges coincide (``align_corners=False``), as where a picture is resized; so dx scales with
        the widths and dy with the heights.
    """
    check_flow("resize_flow: flow", flow)
    if flow.shape[2:] == (height, width):
        return flow
    resized = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
    resized[:, 0] *= width / flow.shape[3]
    resized[:, 1] *= height / flow.shape[2]
    return resized


def check_flow(name: str, flow: Tensor) -> None:
    """Raise ShapeError unless ``flow`` is ``[B, 2, H, W]`` floating point."""
    if flow.ndim != 4 or flow.shape[1] != 2 or not flow.is_floating_point():
        raise ShapeError(f"{name} must be [B, 2, H, W] float, got {list(flow.shape)} {flow.dtype}")


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel is sent: x and y, each ``[B, H, W]``."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    return flow[:, 0] + x, flow[:, 1] + y
