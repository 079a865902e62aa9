"""From samples to batches: made or read once, kept on disk with the solver's answer, cropped anew at every step.

Batch ``k`` of a run is a function of the seed and of ``k`` alone, whatever was drawn before it and in which process:
that is what lets a run stop anywhere and go on exactly.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from videomatte.matting.colour_detail import add_colour_detail
from videomatte.scenes.noise import Rng, stream
from videomatte.training.backdrops import Backdrops
from videomatte.training.samples import Sample, draw_sample
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN

__all__ = ["Batch", "Batches", "Prepared", "Prior", "ProceduralSamples", "Samples", "Vary"]

Prior = Callable[[Tensor, Tensor], Tensor]
"""Float rgb ``[T, 3, H, W]`` and trimap ``[T, 1, H, W]`` to what the network is told besides, ``[T, C, H, W]``."""


Vary = Callable[[Rng, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""A random generator, float rgb, trimap and prior of a crop to another rgb and prior."""


class Samples(Protocol):
    """Numbered samples; each number gives the same sample every time."""

    @property
    def name(self) -> str:
        """What they are called where they are kept."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class ProceduralSamples:
    """Samples drawn from numbers.

    Attributes:
        first: the first sample's seed; the others follow.
        count: how many.
        size: side of the pictures in pixels.
        backdrops: what stands behind the subjects.
    """

    first: int
    count: int
    size: int
    backdrops: Backdrops
    name: str = "procedural"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return draw_sample(self.first + index, self.size, self.backdrops)


@dataclass(frozen=True)
class Prepared:
    """Samples with their prior, each made when it is first wanted and read from a folder after that.

    Attributes:
        samples: where they come from.
        folder: where they are kept: 3 to 4 MB each at 448×448.
        prior: what the network is told besides, or None.
    """

    samples: Samples
    folder: Path
    prior: Prior | None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Sample, Tensor | None]:
        path = self.folder / f"{self.samples.name}-{index:07d}.safetensors"
        if not path.exists():
            self._make(index, path)
        kept = load_file(path)
        return Sample(kept["rgb"], kept["trimap"], kept["alpha"]), kept.get("prior")

    def _make(self, index: int, path: Path) -> None:
        sample = self.samples[index]
        tensors = {"rgb": sample.rgb, "trimap": sample.trimap, "alpha": sample.alpha}
        if self.prior is not None:
            with torch.inference_mode():
                # As the matting stage hands pictures to the embedded model.
                rgb = add_colour_detail(sample.rgb.float() / 255, sample.trimap == UNKNOWN)
                tensors["prior"] = self.prior(rgb, trimap_unit(sample.trimap)).half()
                tensors["rgb"] = (rgb * 255).round().to(torch.uint8)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Under its own name only when whole: a worker stopped half-way leaves nothing that would be read.
        partial = path.with_suffix(f".{os.getpid()}")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        partial.replace(path)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from."""

    rgb: Tensor
    """``[B, 3, h, w]`` float32 in 0..1."""
    trimap: Tensor
    """``[B, 1, h, w]`` float32: 0, 0.5, 1."""
    alpha: Tensor
    """``[B, 1, h, w]`` float32 in 0..1."""
    prior: Tensor | None
    """``[B, C, h, w]`` float32, or None."""
    follows: Tensor
    """``[B]`` bool: true for a picture that shows the one before it a moment later."""

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        prior = None if self.prior is None else self.prior.to(device)
        rgb, trimap, alpha = self.rgb.to(device), self.trimap.to(device), self.alpha.to(device)
        return Batch(rgb, trimap, alpha, prior, self.follows.to(device))


class Batches(Dataset[Batch]):
    """The batches of a run, by step.

    Args:
        prepared: samples; each is used once before any is used again, two crops at a time.
        seed: of the order and of the crops.
        batch: crops a batch, even.
        crop: side of a crop in pixels.
        vary: changes rgb and prior of a crop, or of both of a pair; None leaves them as they are.
    """

    def __init__(self, prepared: Prepared, *, seed: int, batch: int, crop: int, vary: Vary | None = None) -> None:
        self.prepared, self.seed, self.batch, self.crop, self.vary = prepared, seed, batch, crop, vary

    def __getitem__(self, step: int) -> Batch:
        """Batch number ``step``."""
        rng = stream(self.seed, "crops", step)
        cuts = [cut for index in self._indices(step) for cut in self._crops(rng, index)]
        rgb, trimap, alpha, *rest = (torch.cat(planes) for planes in zip(*cuts, strict=True))
        follows = torch.tensor([later for cut in cuts for later in (False, True)[: len(cut[0])]])
        return Batch(rgb, trimap, alpha, rest[0] if rest else None, follows)

    def _indices(self, step: int) -> list[int]:
        """Half a batch of sample numbers: each pass through the samples is a new permutation."""
        half, count = self.batch // 2, len(self.prepared)
        places = range(step * half, (step + 1) * half)
        orders = {p // count: stream(self.seed, "order", p // count).permutation(count) for p in places}
        return [int(orders[p // count][p % count]) for p in places]

    def _crops(self, rng: Rng, index: int) -> list[list[Tensor]]:
        """Two crops of one sample: one place at both moments of a pair, or two places.

        Returns:
            For each place rgb, trimap, alpha and, where there is one, prior, each ``[T, C, crop, crop]`` float32.
        """
        sample, prior = self.prepared[index]
        planes = [sample.rgb, sample.trimap, sample.alpha, *([] if prior is None else [prior])]
        short = [max(0, self.crop - n) for n in sample.rgb.shape[2:]]
        if any(short):
            planes = [F.pad(p.float(), (0, short[1], 0, short[0]), mode="replicate").to(p.dtype) for p in planes]
        cuts = []
        for _ in range(2 // len(sample.rgb)):
            y, x = _place(rng, planes[1][0, 0].numpy(), self.crop)
            turn, mirror = int(rng.integers(4)), bool(rng.random() < 0.5)
            cut = [p[:, :, y : y + self.crop, x : x + self.crop] for p in planes]
            rgb, trimap, alpha, *rest = (torch.rot90(c.flip(3) if mirror else c, turn, (2, 3)) for c in cut)
            rgb, trimap, alpha, rest = (
                rgb.float() / 255,
                trimap_unit(trimap),
                alpha.float() / 255,
                [r.float() for r in rest],
            )
            known = rest[0] if rest else None
            if self.vary is not None:
                rgb, known = self.vary(rng, rgb, trimap, known)
            cuts.append([rgb, trimap, alpha, *([] if known is None else [known])])
        return cuts


def trimap_unit(trimap: Tensor) -> Tensor:
    """Trimap as uint8 {0, 128, 255} to float32 {0, 0.5, 1}."""
    return (trimap.float() / 127.5).round() / 2


def _place(rng: Rng, trimap: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], crop: int) -> tuple[int, int]:
    """Top left of a crop with something to learn: unknown pixels, and mostly both known sides near them."""
    y = x = 0
    demanding = rng.random() < 0.8
    for attempt in range(12):
        y, x = (int(rng.integers(n - crop + 1)) for n in trimap.shape)
        window = trimap[y : y + crop, x : x + crop]
        unknown = float((window == UNKNOWN).mean())
        sides = bool((window == FOREGROUND).any() and (window == BACKGROUND).any())
        if unknown > 0.03 and (sides or not demanding or attempt > 8):
            break
    return y, x
