"""How good a model is on pictures it has not learned from."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor

from videomatte import metrics
from videomatte.training.data import Prepared, trimap_unit

__all__ = ["Answer", "measure"]

Answer = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""rgb ``[1, 3, H, W]``, trimap ``[1, 1, H, W]`` and prior or None to alpha ``[1, 1, H, W]``."""


def measure(answer: Answer, prepared: Prepared, device: torch.device) -> dict[str, float]:
    """Mean errors over the unknown regions of samples, first moments only.

    Args:
        answer: the model, whole pictures.
        prepared: held-out samples.
        device: where the model is.

    Returns:
        ``mad``, ``mse`` and ``grad`` as in :mod:`videomatte.metrics`, each the mean over pictures.
    """
    errors: dict[str, list[float]] = {"mad": [], "mse": [], "grad": []}
    for index in range(len(prepared)):
        sample, prior = prepared[index]
        trimap = sample.trimap[:1]
        rgb, unit = (sample.rgb[:1].float() / 255).to(device), trimap_unit(trimap).to(device)
        with torch.inference_mode():
            alpha = answer(rgb, unit, None if prior is None else prior[:1].float().to(device)).cpu()
        true = sample.alpha[:1].float() / 255
        for name, values in errors.items():
            values.append(float(getattr(metrics, name)(alpha, true, trimap)))
    return {name: fmean(values) for name, values in errors.items()}
