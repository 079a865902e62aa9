"""A network as a matting stage: frames of one size in batches, and smaller batches where memory runs out.

mattes = NetworkMatting(load_model("embedded"))(trimap_frames)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from videomatte.errors import ModelError
from videomatte.matting.changes import changed
from videomatte.matting.colour_detail import add_colour_detail
from videomatte.matting.plan import most_frames, peak_bytes, room_bytes
from videomatte.models.heap import give_back_freed_memory
from videomatte.types import UNKNOWN, MatteFrame, TrimapFrame, finite_unit_range, unit_range

__all__ = ["NetworkMatting", "Regions"]

Regions = Literal["auto", "shared", "full"]


class NetworkMatting:
    """A matting stage that asks a network.

    Known pixels come out as exactly 0 and 1. Frames are held back until a batch is full, their size changes or the
    clip ends. A batch is no larger than is predicted to fit into memory, whatever is unknown
    (:mod:`videomatte.matting.plan`). Where CUDA's memory still does not suffice, the batch is halved for good and the
    same frames are tried again.

    Args:
        model: called as ``model(rgb, trimap) -> alpha`` with ``[B, 3, H, W]`` and ``[B, 1, H, W]`` in 0..1, gives
            ``[B, 1, H, W]``; any height and width. One with a true ``takes_plate`` is called with ``plate``, too,
            ``[B, 3, H, W]`` in 0..1, where the background is known. One with a true ``wants_colour_detail`` is given
            pictures with as much of it as brightness has around the unknown (:mod:`videomatte.matting.colour_detail`);
            others, which were trained elsewhere, pictures as they are.
        device: where the model is.
        batch: most frames computed together. More keeps a GPU busier and takes as much more memory.
        regions: ``auto`` asks a model that has one for ``near_unknown(rgb, trimap, wanted, shared=False) -> alpha``,
            which leaves out what no unknown pixel depends on, and takes frames that do not change within a batch from
            the one before; ``shared`` also has it approximate what is far from all unknown pixels, and does the same
            with parts of frames; ``full`` computes all of every picture.
        memory: bytes that the process may take, on CUDA of the device's memory; left out, most of what is free when
            the first frame comes.
    """

    def __init__(
        self,
        model: Callable[..., Tensor],
        device: torch.device | str = "cpu",
        batch: int = 1,
        *,
        regions: Regions = "auto",
        memory: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.model = model
        self.batch = batch
        self.memory = memory
        if memory is not None and self.device.type == "cpu":
            # Else up to twice what is predicted stays with the process.
            give_back_freed_memory(2**20 if hasattr(model, "near_unknown") else 2**23)
        self._regions: Regions = regions if hasattr(model, "near_unknown") else "full"
        self._fitting: dict[tuple[int, int], int] = {}
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
            if len(waiting) >= self._most(item):
                yield from self._mattes(waiting)
                waiting = []
        yield from self._mattes(waiting)

    def peak_bytes(self, height: int, width: int, batch: int, unknown: float | Tensor = 1.0) -> int | None:
        """Bytes that a batch is predicted to take; see :func:`videomatte.matting.plan.peak_bytes`."""
        near = self._regions != "full"
        return peak_bytes(self.model, height, width, batch, unknown=unknown, near=near, device=self.device)

    def _most(self, item: TrimapFrame) -> int:
        """Frames of a batch: as many as are asked for, and fit."""
        height, width = size = item.frame.height, item.frame.width
        if size not in self._fitting:
            self._fitting[size] = self._plan(item, height, width)
        return min(self.batch, self._fitting[size])

    def _plan(self, item: TrimapFrame, height: int, width: int) -> int:
        room = room_bytes(self.memory, self.device)
        if room is None:
            return self.batch
        most = most_frames(self.model, height, width, self.batch, room, self.device, near=self._regions != "full")
        if 0 < most < self.batch:
            self.fallbacks.append(
                f"{self.batch} frames of {width}x{height} at once would not fit into {room / 1e9:.1f} GB: "
                f"went on with {most}."
            )
        if most:
            return most
        unknown = float((item.trimap == UNKNOWN).float().mean())
        need = self.peak_bytes(height, width, 1, unknown) or 0
        if need > room:
            raise ModelError(
                f"a single frame of {width}x{height} takes some {need / 1e9:.1f} GB on {self.device} and there are "
                f"{room / 1e9:.1f} GB for it: give more with --memory, use a smaller model, or a smaller clip"
            )
        return 1

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
        trimap = torch.stack([item.trimap for item in items]).to(self.device)
        unknown, levels = trimap == UNKNOWN, unit_range(trimap)
        with torch.inference_mode():
            rgb = self._pictures([item.frame.rgb for item in items])
            if getattr(self.model, "wants_colour_detail", False):
                rgb = add_colour_detail(rgb, unknown)
            given = {}
            if items[0].background is not None and getattr(self.model, "takes_plate", False):
                given["plate"] = self._pictures([item.background for item in items if item.background is not None])
            alpha = self.model(rgb, levels, **given) if self._regions == "full" else self._near(rgb, levels)
        # Outside of inference mode, so that later stages may change the result in place.
        alpha = torch.where(unknown, alpha, levels)
        return [one.to(item.trimap.device) for one, item in zip(alpha, items, strict=True)]

    def _pictures(self, frames: list[Tensor]) -> Tensor:
        """``[B, 3, H, W]`` float32 in 0..1."""
        pictures = finite_unit_range(torch.stack(frames).to(self.device))
        # Sources of floats may hold scene-linear highlights, which networks have not learned.
        return pictures.clamp_(0, 1) if frames[0].is_floating_point() else pictures

    def _near(self, rgb: Tensor, trimap: Tensor) -> Tensor:
        new, shared = changed(rgb, trimap), self._regions == "shared"
        if not shared:  # all of a picture is context for the rest
            new = new.flatten(1).any(1)[:, None, None, None].expand_as(new)
        alpha: Tensor = self.model.near_unknown(rgb, trimap, new, shared=shared)  # type: ignore[attr-defined]
        for here, before, is_new in zip(alpha[1:], alpha[:-1], new[1:], strict=True):
            here.copy_(torch.where(is_new, here, before))
        return alpha

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
