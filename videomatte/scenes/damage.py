"""What sensor and codec do to a picture: grain that follows the light, and the losses of block compression."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.scenes.noise import Rng, luma, resize

__all__ = ["add_grain", "compress"]

# Annex K of ITU-T T.81 (JPEG), tables K.1 and K.2.
_LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)  # fmt: skip


def add_grain(rgb: Tensor, strength: float, rng: Rng) -> Tensor:
    """Sensor noise: about even in the encoded picture, least near white and greatest below mid-grey.

    Shot noise of light L is ``sqrt(L)``; behind an encoding exponent of 1/2.2 it shows as ``L ** (1 / 2.2 - 1 / 2)``,
    nearly even, to which the sensor's own floor adds in the shadows and the curve's shoulder takes away in the lights.
    Blue is noisier than green, as behind a mosaic filter, and grains are a little larger than a pixel.

    Args:
        rgb: ``[3, H, W]`` display-encoded.
        strength: standard deviation of luma at mid-grey; 0.004 is clean, 0.03 a dark interior.
        rng: where the numbers come from.

    Returns:
        ``[3, H, W]`` in [0, 1].
    """
    noise = torch.from_numpy(rng.standard_normal(rgb.shape, dtype=np.float32))
    # Half of each pixel's noise is shared with its left and upper neighbours.
    noise[:, :, 1:] = 0.8 * noise[:, :, 1:] + 0.6 * noise[:, :, :-1]
    noise[:, 1:] = 0.8 * noise[:, 1:] + 0.6 * noise[:, :-1]
    noise = 0.7 * noise + luma(noise)
    level = luma(rgb).clamp(0, 1)
    amount = strength * (0.55 + 0.9 * level.sqrt() * (1 - level) + 0.35 * (1 - level))
    # The weights make luma's deviation at mid-grey 1.25 times too large; the noise is white but for its neighbours.
    tint = torch.tensor([1.1, 0.85, 1.4])[:, None, None] / 1.25
    return (rgb + noise * amount * tint).clamp(0, 1)


def compress(rgb: Tensor, quality: int) -> Tensor:
    """Intra-frame coding: BT.709 Y'CbCr, chroma at half size, 8 x 8 cosine transform, rounded by JPEG's tables.

    Args:
        rgb: ``[3, H, W]`` display-encoded in [0, 1].
        quality: 1 to 100 on the Independent JPEG Group's scale.

    Returns:
        ``[3, H, W]`` in [0, 1], of the same size.

    Convention:
        Chroma samples lie in the middle of four pixels (MPEG-1 siting), and are enlarged bilinearly.
    """
    height, width = rgb.shape[1:]
    padded = F.pad(rgb[None], (0, -width % 16, 0, -height % 16), mode="replicate")[0]
    y = luma(padded)
    chroma = torch.cat([(padded[2:3] - y) / 1.8556, (padded[0:1] - y) / 1.5748])
    chroma = F.avg_pool2d(chroma[None], 2)[0]
    y = _round_blocks(y, _steps(_LUMA_STEPS, quality))
    chroma = _round_blocks(chroma, _steps(_CHROMA_STEPS, quality))
    cb, cr = resize(chroma, padded.shape[1], padded.shape[2])
    red, blue = y[0] + 1.5748 * cr, y[0] + 1.8556 * cb
    green = (y[0] - 0.2126 * red - 0.0722 * blue) / 0.7152
    return torch.stack([red, green, blue])[:, :height, :width].clamp(0, 1)


def _steps(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    factor = 5000 / quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * factor + 50) / 100).floor().clamp(1, 255)


def _round_blocks(planes: Tensor, steps: Tensor) -> Tensor:
    k = torch.arange(8, dtype=torch.float32)
    basis = torch.cos((2 * k[None] + 1) * k[:, None] * torch.pi / 16) * torch.where(k[:, None] == 0, 0.125**0.5, 0.5)
    count, height, width = planes.shape
    blocks = (planes * 255 - 128).reshape(count, height // 8, 8, width // 8, 8).permute(0, 1, 3, 2, 4)
    coefficients = basis @ blocks @ basis.T
    blocks = basis.T @ ((coefficients / steps).round() * steps) @ basis
    return (blocks.permute(0, 1, 3, 2, 4).reshape(count, height, width) + 128) / 255
