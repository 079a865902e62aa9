"""The plain alternative to DetailCapture: transposed convolutions that see the backbone's features alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.detail_capture import Matting_Head

__all__ = ["MaskDecoder"]


class MaskDecoder(nn.Module):
    """Features to alpha, 16 times their size, by transposed convolutions between two bilinear upsamplings.

    Args:
        in_chans: channels of the backbone's features, a multiple of 8.
    """

    def __init__(self, in_chans: int = 384) -> None:
        super().__init__()
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(in_chans, in_chans // 4, kernel_size=2, stride=2),
            nn.BatchNorm2d(in_chans // 4),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(in_chans // 4, in_chans // 8, kernel_size=2, stride=2),
            nn.BatchNorm2d(in_chans // 8),
            nn.ReLU(inplace=True),
        )
        self.matting_head = Matting_Head(in_chans // 8)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002 - called as DetailCapture is
        """Alpha from the backbone's features.

        Convention: bilinear, pixel centres at half-integers (``align_corners=False``), borders repeated.

        Args:
            features: ``[B, in_chans, H / 16, W / 16]``.
            images: not looked at.

        Returns:
            ``[B, 1, H, W]`` float32 in 0..1.
        """
        x = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        alpha = torch.sigmoid(self.matting_head(self.output_upscaling(x)))
        return F.interpolate(alpha, scale_factor=2, mode="bilinear", align_corners=False)
