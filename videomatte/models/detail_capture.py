"""ViTMatte's light decoder: fine features of a stream of convolutions, fused step by step into the backbone's.

Source: Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers", Information Fusion
2024, section 3.4. Class and parameter names are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.precision import Float32Conv2d

__all__ = ["Basic_Conv3x3", "Basic_Conv3x3_attn", "ConvStream", "DetailCapture", "Fusion_Block", "Matting_Head"]

_JOINED_AT_ONCE = 2**23
"""Numbers that upsampled and fine features are joined in at a time: so few that they stay in a CPU's cache."""
_CHANNELS_AT_ONCE = 16
"""Channels that kernels of convolutions compute together."""


class Basic_Conv3x3(nn.Module):
    """3×3 convolution without bias, BatchNorm, ReLU."""

    def __init__(self, in_chans: int, out_chans: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_chans)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, in_chans, H, W]`` to ``[B, out_chans, H / stride, W / stride]``."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class Basic_Conv3x3_attn(nn.Module):
    """LayerNorm over the channels of a transformer's tokens, ReLU, 3×3 convolution without bias."""

    def __init__(self, in_chans: int, out_chans: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(in_chans)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(in_chans, out_chans, 3, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[B, H, W, in_chans]`` to features ``[B, out_chans, H / stride, W / stride]``."""
        x = self.ln(x).permute(0, 3, 1, 2)
        out: Tensor = self.conv(self.relu(x))
        return out


class ConvStream(nn.Module):
    """Convolutions of stride 2, one after another, that keep what is fine in the input.

    Args:
        in_chans: channels of the input.
        out_chans: channels after each convolution.
    """

    def __init__(self, in_chans: int = 4, out_chans: Sequence[int] = (48, 96, 192)) -> None:
        super().__init__()
        self.conv_chans = [in_chans, *out_chans]
        self.convs = nn.ModuleList(Basic_Conv3x3(i, o, stride=2) for i, o in pairwise(self.conv_chans))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Input ``[B, in_chans, H, W]`` to ``{"D0": input, "D1": half size, "D2": quarter size, ...}``."""
        features = {"D0": x}
        for level, conv in enumerate(self.convs, start=1):
            x = conv(x)
            features[f"D{level}"] = x
        return features


class Fusion_Block(nn.Module):
    """Doubles the size of features and fuses them with finer ones."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.conv = Basic_Conv3x3(in_chans, out_chans)

    def forward(self, x: Tensor, D: Tensor) -> Tensor:
        """Features of both sizes to fused ones.

        Large ones are fused in bands of rows, with the same result, less memory and less time. A band is computed with
        one more row of ``x`` on both sides: where it was cut, a row is wrong after upsampling, two after the
        convolution, and these two are thrown away.

        Convention: bilinear, pixel centres at half-integers (``align_corners=False``), borders repeated.

        Args:
            x: ``[B, C, H, W]``.
            D: ``[B, in_chans - C, 2H, 2W]``.

        Returns:
            ``[B, out_chans, 2H, 2W]``.
        """
        B, C, H, W = x.shape
        rows = max(1, _JOINED_AT_ONCE // (B * (C + D.shape[1]) * 4 * W))
        if self.training or rows >= H:  # BatchNorm's statistics in training are those of the whole picture
            return self._fuse(x, D)
        out = None
        for top in range(0, H, rows):
            bottom = min(H, top + rows)
            first, last = max(0, top - 1), min(H, bottom + 1)
            band = self._fuse(x[:, :, first:last], D[:, :, 2 * first : 2 * last])
            if out is None:
                out = _empty_channels_last((B, band.shape[1], 2 * H, 2 * W), like=band)
            out[:, :, 2 * top : 2 * bottom] = band[:, :, 2 * (top - first) : 2 * (bottom - first)]
        assert out is not None
        return out

    def _fuse(self, x: Tensor, D: Tensor) -> Tensor:
        upsampled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        # What torch.cat does, three times as fast where memory is channels last.
        fine = D.shape[1]
        joined = _empty_channels_last((x.shape[0], fine + x.shape[1], *D.shape[2:]), like=x)
        joined[:, :fine] = D
        joined[:, fine:] = upsampled
        out: Tensor = self.conv(joined)
        return out


def _empty_channels_last(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


class Matting_Head(nn.Module):
    """3×3 convolution, BatchNorm, ReLU, and a 1×1 convolution to one channel, which stays in float32."""

    def __init__(self, in_chans: int = 32, mid_chans: int = 16) -> None:
        super().__init__()
        self.matting_convs = nn.Sequential(
            nn.Conv2d(in_chans, mid_chans, 3, 1, 1),
            nn.BatchNorm2d(mid_chans),
            nn.ReLU(inplace=True),
            Float32Conv2d(mid_chans, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, in_chans, H, W]`` to logits of alpha ``[B, 1, H, W]`` float32."""
        out: Tensor = self.matting_convs(x)
        return out


class DetailCapture(nn.Module):
    """The decoder: one :class:`Fusion_Block` a level of :class:`ConvStream`, then :class:`Matting_Head`.

    Args:
        in_chans: channels of the backbone's features.
        img_chans: channels of the picture the convolution stream sees: 3 for RGB, 4 with the trimap.
        convstream_out: channels of the convolution stream's levels.
        fusion_out: channels of the fusion blocks, one more than ``convstream_out`` has.
        use_sigmoid: give alpha; without it, alpha's logits.
    """

    def __init__(
        self,
        in_chans: int = 384,
        img_chans: int = 4,
        convstream_out: Sequence[int] = (48, 96, 192),
        fusion_out: Sequence[int] = (256, 128, 64, 32),
        *,
        use_sigmoid: bool = True,
    ) -> None:
        super().__init__()
        if len(fusion_out) != len(convstream_out) + 1:
            raise ValueError(
                f"fusion_out needs one entry more than convstream_out, got {fusion_out} and {convstream_out}"
            )
        self.img_chans = img_chans
        self.use_sigmoid = use_sigmoid
        self.convstream = ConvStream(img_chans, convstream_out)
        details = reversed(self.convstream.conv_chans)
        self.fusion_blks = nn.ModuleList(
            Fusion_Block(coarse + detail, fused)
            for (coarse, fused), detail in zip(pairwise([in_chans, *fusion_out]), details, strict=True)
        )
        self.matting_head = Matting_Head(fusion_out[-1])

    def fill_channels(self) -> None:
        """Fill the finest features up with zeros to a multiple of 16 channels, with the same alpha: kernels compute so
        many at a time, and twelve take a CPU twice as long as sixteen. For a network that is folded and not trained."""
        last = cast("Basic_Conv3x3", self.fusion_blks[-1].conv).conv
        first = cast("nn.Conv2d", self.matting_head.matting_convs[0])
        assert last.bias is not None, "BatchNorm is not folded"
        more = -last.out_channels % _CHANNELS_AT_ONCE
        last.weight, last.bias, first.weight = (
            nn.Parameter(F.pad(tensor, padding), requires_grad=False)
            for tensor, padding in (
                (last.weight, [0, 0] * 3 + [0, more]),
                (last.bias, [0, more]),
                (first.weight, [0, 0] * 2 + [0, more]),
            )
        )
        last.out_channels = first.in_channels = last.out_channels + more

    def forward(self, features: Tensor | dict[str, Tensor], images: Tensor) -> Tensor:
        """Alpha from the backbone's features and the picture.

        Args:
            features: ``[B, in_chans, H / stride, W / stride]``; or ``{"feature": that, "trimap": [B, 1, H, W]}``,
                where the trimap becomes the picture's fourth channel if ``img_chans`` is 4. ``stride`` is 2 to the
                number of fusion blocks, 16 as published.
            images: ``[B, img_chans, H, W]``, without the trimap if that comes with the features.

        Returns:
            ``[B, 1, H, W]`` float32, alpha in 0..1 or its logits.
        """
        if isinstance(features, dict):
            if self.img_chans == 4:
                images = torch.cat([images, features["trimap"]], dim=1)
            features = features["feature"]
        finest = self.fusion_blks[-1](self.before_finest(features, images), images)
        logits: Tensor = self.matting_head(finest)
        return torch.sigmoid(logits) if self.use_sigmoid else logits

    def before_finest(self, features: Tensor, images: Tensor) -> Tensor:
        """What the last fusion block gets: the backbone's features fused with all details but the picture itself.

        Args:
            features, images: as tensors in :meth:`forward`, images with all channels.

        Returns:
            ``[B, C, H / 2, W / 2]``.
        """
        details = self.convstream(images)
        features = features.to(details[f"D{len(self.fusion_blks) - 1}"].dtype)  # before they grow in upsampling
        for level, fusion in zip(range(len(self.fusion_blks) - 1, 0, -1), self.fusion_blks, strict=False):
            features = fusion(features, details[f"D{level}"])
        return features
