"""What is computed in which precision, and the one place that makes a network ready to run.

Matrix products and convolutions run in the device's fast type; what is delicate stays in float32: the stream of tokens
that blocks add to, LayerNorm, relative positions, softmax, the residual convolutions after blocks, and the last
convolution with the sigmoid after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from videomatte.errors import UsageError

__all__ = [
    "Float32Conv2d",
    "Float32Linear",
    "Precision",
    "autocast",
    "compute_dtype",
    "fold_batchnorm",
    "full_precision",
    "prepare",
]

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_Network = TypeVar("_Network", bound=nn.Module)


def prepare(
    network: _Network,
    device: torch.device,
    precision: Precision = "auto",
    *,
    compile: bool = False,  # noqa: A002
) -> _Network:
    """Make a trained network ready to run, in place: it can no longer be trained or saved.

    BatchNorm is folded into the convolution before it, channels are filled up where kernels want it
    (``fill_channels`` of modules that have one), weights are laid out channels last and, below float32, stored
    in the type they are multiplied in, so that no call converts them again.

    Args:
        network: made of the modules of :mod:`videomatte.models`.
        device: where it runs.
        precision: see :func:`compute_dtype`.
        compile: use ``torch.compile``: each new size of picture costs a minute or more before it runs faster.

    Returns:
        ``network``.

    Raises:
        UsageError: the device cannot compute in that precision.
    """
    dtype = compute_dtype(device, precision)
    network.eval().requires_grad_(False)  # noqa: FBT003 - torch's own call
    fold_batchnorm(network)
    for module in network.modules():
        if (fill := getattr(module, "fill_channels", None)) is not None:
            fill()
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, (nn.Linear, _ConvNd)) and not isinstance(module, (Float32Conv2d, Float32Linear)):
            module.to(dtype)
    if compile:
        # Part by part: between them stands what depends on where the unknown is, another graph for every frame, and
        # some parts (``sizes_vary``) are nothing else.
        for part in network.children():
            if next(part.parameters(), None) is not None and not getattr(part, "sizes_vary", False):
                part.compile()
    return network


def compute_dtype(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """The type that matrix products and convolutions run in.

    ``auto`` is the fastest type that is safe: on CUDA bfloat16, or float16 where bfloat16 is emulated (before Ampere);
    bfloat16 on CPUs with instructions for it; float32 elsewhere.

    Raises:
        UsageError: the device cannot compute in that precision.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
        return torch.bfloat16 if device.type == "cpu" and _cpu_has_bfloat16() else torch.float32
    if precision not in _DTYPES:
        raise UsageError(f"precision {precision!r}: known are auto, {', '.join(_DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("precision fp16 needs a GPU: choose auto, bf16 or fp32 on a CPU")
    return _DTYPES[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """The context a network runs in, given the type its weights are stored in; float32 leaves the caller's as it is."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which operations run in the types of their inputs, whatever is around it."""
    return torch.autocast(device.type, enabled=False)


class Float32Conv2d(nn.Conv2d):
    """A convolution that stays in float32."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """Convolve ``[B, C, H, W]`` of any floating dtype."""
        with full_precision(input.device):
            return super().forward(input.float())


class Float32Linear(nn.Linear):
    """A linear layer that stays in float32."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """Of ``[..., C]`` of any floating dtype."""
        with full_precision(input.device):
            return super().forward(input.float())


def fold_batchnorm(network: nn.Module) -> None:
    """Fold each BatchNorm into the convolution registered just before it; outputs stay the same.

    Args:
        network: in evaluation mode; a module that holds both calls them one after the other.
    """
    for parent in network.modules():
        for (name, conv), (bn_name, bn) in pairwise(list(parent.named_children())):
            if isinstance(conv, _ConvNd) and isinstance(bn, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, bn, transpose=isinstance(conv, nn.ConvTranspose2d)))
                setattr(parent, bn_name, nn.Identity())


def _cpu_has_bfloat16() -> bool:
    # torch.cpu tells this publicly from 2.12 on only, and calls it differently on x86 and ARM.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return bool(torch.cpu._is_avx512_bf16_supported())
