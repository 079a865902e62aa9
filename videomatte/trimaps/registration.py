"""Two pictures of one place laid over each other: where a camera has moved, and how its exposure has changed.

Geometry is a homography, found coarse to fine by inverse compositional Gauss-Newton steps (Baker & Matthews,
"Lucas-Kanade 20 years on", IJCV 2004) from a shift found by phase correlation (Kuglin & Hines, 1975). What is compared
is brightness less its local mean over its local deviation, which no change of light alters. Both fits weight pixels by
Tukey's biweight, with the scale taken from the third of them that agree best: whatever hides the rest of the place, up
to some six tenths of the picture, has no say.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow.warp import warp
from videomatte.windows import slopes

__all__ = ["homography_flow", "match_light", "register"]

_SIDES = (64, 128, 256, 512)
"""Longer sides of the levels; the first moves by a shift, the second by an affine map."""
_UNKNOWNS = (2, 6, 8, 8)
_STEPS = 12
_CONTRAST = 0.03
"""Local deviation of brightness, as a fraction of white, below which it counts as flat."""
_STILL = 0.05
"""Pixels by which nothing in the picture moves further for a camera that stood still."""


def register(picture: Tensor, plate: Tensor, initial: Tensor | None = None) -> Tensor:
    """Find where the pixels of a picture lie in a plate of the same place.

    Args:
        picture: ``[3, H, W]`` float32 in [0, 1], with something in front of the place.
        plate: ``[3, H, W]`` float32, the place without it.
        initial: ``[3, 3]``, a homography to begin from, such as that of the frame before.

    Returns:
        ``[3, 3]`` float64: the homography of normalised coordinates, see the convention. The identity where the two
        already lie on each other.

    Convention:
        Normalised coordinates (x right, y down) count from the picture's centre in units of half its longer side, pixel
        centres at half-integers: column 0 of a picture W wide and wider than high is at ``1 / W - 1``. The homography
        takes a place in the picture to the same place in the plate.
    """
    identity = torch.eye(3, dtype=torch.float64, device=picture.device)
    map_ = identity if initial is None else initial
    for side, unknowns in zip(_SIDES, _UNKNOWNS, strict=True):
        if unknowns == 2 and initial is not None:
            continue
        first, second = (_normalised(_shrink(p.mean(0, keepdim=True), side)) for p in (picture, plate))
        if unknowns == 2:
            map_ = min([identity, _shift(first, second)], key=lambda m: _misfit(first, second, m))
        map_ = _descend(first, second, map_, unknowns)
        if max(picture.shape[1:]) <= side:
            break
    flow = homography_flow(map_, picture.shape[1], picture.shape[2])
    return identity if flow.abs().max() < _STILL else map_


def homography_flow(homography: Tensor, height: int, width: int) -> Tensor:
    """The flow that a homography of :func:`register` means: ``[2, H, W]`` float32 from the picture into the plate.

    Convention:
        As Note [flow] in videomatte/flow/warp.py: dx right, dy down, in pixels. The identity gives zero exactly.
    """
    x, y = _coordinates(height, width, homography.device)
    to = torch.einsum("ij,jhw->ihw", homography, torch.stack([x, y, torch.ones_like(x)]))
    flow = to[:2] / to[2:].clamp(min=1e-6) - torch.stack([x, y])
    return (flow * (max(height, width) / 2)).float()


def match_light(picture: Tensor, plate: Tensor) -> tuple[Tensor, Tensor]:
    """The exposure and white balance of a picture: per channel a gain and an offset that take the plate to it.

    Args:
        picture: ``[3, H, W]`` float32.
        plate: ``[3, H, W]`` float32, laid over it.

    Returns:
        the plate in the picture's light ``[3, H, W]``; and how far each channel of the picture departs from it where
        the place shows, ``[3]``, as a standard deviation.

    Convention:
        Every pixel by itself: nothing moves. A plate equal to the picture comes back as it was, but for rounding.
    """
    y, x = (_shrink(p, 256).flatten(1).double() for p in (picture, plate))
    gain = (y.median(1).values / x.median(1).values.clamp(min=1e-3)).clamp(0.2, 5)
    offset = torch.zeros_like(gain)
    for _ in range(12):
        residual = (y - gain[:, None] * x - offset[:, None]).abs()
        # A pixel is either the place in all three channels or something else in all of them.
        weight = _biweight((residual / _scale(residual).clamp(min=2e-3)[:, None]).amax(0) / 1.5)
        total = weight.sum().clamp(min=1e-9)
        mean_x, mean_y = (x * weight).sum(1) / total, (y * weight).sum(1) / total
        dx, dy = x - mean_x[:, None], y - mean_y[:, None]
        # A little weight on a gain of one, for walls of one brightness.
        ridge = 1e-4 * total
        gain = (((dx * dy * weight).sum(1) + ridge) / ((dx * dx * weight).sum(1) + ridge)).clamp(0.2, 5)
        offset = mean_y - gain * mean_x
    lit = plate * gain.float().view(3, 1, 1) + offset.float().view(3, 1, 1)
    return lit, _scale((picture - lit).abs().flatten(1)).float()


def _descend(first: Tensor, second: Tensor, map_: Tensor, unknowns: int) -> Tensor:
    height, width = first.shape[-2:]
    x, y = _coordinates(height, width, first.device)
    unit = 2 / max(height, width)
    gx, gy = (slope[0] / unit for slope in slopes(first.double()))
    bend = -(x * gx + y * gy)
    columns = [gx, gy, x * gx, y * gx, x * gy, y * gy, x * bend, y * bend][:unknowns]
    jacobian = torch.stack([column.flatten() for column in columns], dim=1)
    for _ in range(_STEPS):
        flow = homography_flow(map_, height, width)
        residual = (warp(second[None], flow[None])[0] - first).flatten().double()
        weight = _biweight(residual.abs() / _scale(residual.abs()[None]).clamp(min=1e-3))
        weighted = jacobian * weight[:, None]
        normal = weighted.T @ jacobian
        damping = torch.diag(1e-3 * normal.diagonal() + 1e-9 * weight.sum() + 1e-12)
        step = torch.linalg.solve(normal + damping, weighted.T @ residual)
        p = torch.zeros(8, dtype=torch.float64, device=first.device)
        p[:unknowns] = step
        change = torch.stack([1 + p[2], p[3], p[0], p[4], 1 + p[5], p[1], p[6], p[7], torch.ones_like(p[0])])
        map_ = map_ @ torch.linalg.inv(change.view(3, 3))
        map_ = map_ / map_[2, 2]
        if step.abs().max() < 0.01 * unit:
            break
    return map_


def _shift(first: Tensor, second: Tensor) -> Tensor:
    """The shift by phase correlation, as a homography."""
    height, width = first.shape[-2:]
    window = torch.hann_window(height, device=first.device)[:, None] * torch.hann_window(width, device=first.device)
    spectra = [torch.fft.rfft2(picture[0] * window) for picture in (first, second)]
    cross = spectra[1] * spectra[0].conj()
    peak = int(torch.fft.irfft2(cross / cross.abs().clamp(min=1e-9), s=(height, width)).argmax())
    dy, dx = ((n + size // 2) % size - size // 2 for n, size in zip(divmod(peak, width), (height, width), strict=True))
    map_ = torch.eye(3, dtype=torch.float64, device=first.device)
    map_[0, 2], map_[1, 2] = 2 * dx / max(height, width), 2 * dy / max(height, width)
    return map_


def _misfit(first: Tensor, second: Tensor, map_: Tensor) -> float:
    residual = warp(second[None], homography_flow(map_, *first.shape[-2:])[None])[0] - first
    return float(residual.abs().clamp(max=1).mean())


def _normalised(brightness: Tensor) -> Tensor:
    reach = 6
    pad = F.pad(torch.cat([brightness, brightness.square()])[None], [reach] * 4, mode="replicate")
    mean, square = F.avg_pool2d(pad, 2 * reach + 1, 1)[0]
    normalised: Tensor = (brightness - mean) * ((square - mean.square()).clamp(min=0) + _CONTRAST**2).rsqrt()
    return normalised


def _coordinates(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    half = max(height, width) / 2
    y = (torch.arange(height, dtype=torch.float64, device=device) + 0.5 - height / 2) / half
    x = (torch.arange(width, dtype=torch.float64, device=device) + 0.5 - width / 2) / half
    return x.expand(height, width), y[:, None].expand(height, width)


def _scale(distance: Tensor) -> Tensor:
    """``[n, pixels]`` to ``[n]``: the standard deviation of the best third, were it part of a normal distribution."""
    third = distance.kthvalue(max(1, math.ceil(distance.shape[1] / 3)), dim=1).values
    return third / 0.4307  # the distance from the mean within which a third of a normal distribution lies


def _biweight(distance: Tensor) -> Tensor:
    return (1 - (distance / 4.685).square()).clamp(min=0).square()


def _shrink(picture: Tensor, longer: int) -> Tensor:
    factor = max(picture.shape[-2:]) / longer
    size = [max(3, round(n / factor)) for n in picture.shape[-2:]]
    return F.interpolate(picture[None], size, mode="area")[0] if factor > 1 else picture
