"""A network as a matting stage: frames of one size in batches, and smaller batches where memory runs out.

mattes = NetworkMatting(load_model("embedded"))(trimap_frames)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from videomatte.errors import ModelError
from videomatte.types import BACKGROUND, FOREGROUND, MatteFrame, TrimapFrame, unit_range

__all__ = ["NetworkMatting"]


class NetworkMatting:
    """A matting stage that asks a network.

    Known pixels come out as exactly 0 and 1. Frames are held back until a batch is full, their size changes or the
    clip ends. Where CUDA's memory does not suffice for a batch, the batch is halved for good and the same frames are
    tried again.

    Args:
        model: called as ``model(rgb, trimap) -> alpha`` with ``[B, 3, H, W]`` and ``[B, 1, H, W]`` in 0..1, gives
            ``[B, 1, H, W]``; any height and width. One with a true ``takes_plate`` is called with ``plate``, too,
            ``[B, 3, H, W]`` in 0..1, where the background is known.
        device: where the model is.
        batch: most frames computed together. More keeps a GPU busier and takes as much more memory.
    """

    def __init__(self, model: Callable[..., Tensor], device: torch.device | str = "cpu", batch: int = 1) -> None:
        self.model = model
        self.device = torch.device(device)
        self.batch = batch
        self.fallbacks: list[str] = []
        """What had to be done otherwise than asked, one sentence each."""

    def __call__(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        """Matte batch by batch.

        Raises:
            ModelError: memory does not suffice for a single frame.
        """
        waiting: list[TrimapFrame] = []
        for item in frames:
            if waiting and _kind(item) != _kind(waiting[0]):
                yield from self._mattes(waiting)
                waiting = []
            waiting.append(item)
            if len(waiting) >= self.batch:
                yield from self._mattes(waiting)
                waiting = []
        yield from self._mattes(waiting)

    def _mattes(self, items: list[TrimapFrame]) -> Iterator[MatteFrame]:
        while items:
            now = items[: self.batch]
            try:
                alphas = self._alphas(now)
            except torch.OutOfMemoryError:
                alphas = None
            if alphas is None:  # outside of the handler, which holds on to the failed attempt's tensors
                self._halve(now)
                continue
            yield from map(MatteFrame, now, alphas)
            items = items[len(now) :]

    def _alphas(self, items: list[TrimapFrame]) -> list[Tensor]:
        """``[1, H, W]`` float32 each, on the frame's device."""
        with torch.inference_mode():
            rgb = unit_range(torch.stack([item.frame.rgb for item in items]).to(self.device))
            trimap = torch.stack([item.trimap for item in items]).to(self.device)
            # Sources of floats may hold NaN, infinity and scene-linear highlights; networks have learned 0..1.
            given = {}
            if items[0].background is not None and getattr(self.model, "takes_plate", False):
                plate = torch.stack([item.background for item in items if item.background is not None])
                given["plate"] = torch.nan_to_num(unit_range(plate.to(self.device))).clamp(0, 1)
            alpha = self.model(torch.nan_to_num(rgb).clamp(0, 1), unit_range(trimap), **given)
        # Outside of inference mode, so that later stages may change the result in place.
        alpha = torch.where(trimap == FOREGROUND, 1.0, alpha).masked_fill(trimap == BACKGROUND, 0.0)
        return [one.to(item.trimap.device) for one, item in zip(alpha, items, strict=True)]

    def _halve(self, items: list[TrimapFrame]) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        size = f"{items[0].frame.width}x{items[0].frame.height}"
        if len(items) == 1:
            raise ModelError(
                f"not enough memory on {self.device} for a single frame of {size}: use a smaller model, or --device cpu"
            )
        self.batch = len(items) // 2
        self.fallbacks.append(
            f"Not enough memory on {self.device} for {len(items)} frames of {size} at once: went on with {self.batch}."
        )


def _kind(item: TrimapFrame) -> tuple[torch.Size, torch.dtype, bool]:
    return item.frame.rgb.shape, item.frame.rgb.dtype, item.background is None
