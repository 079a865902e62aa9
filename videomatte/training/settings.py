"""The settings of training; no torch here, so that the command line answers quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videomatte.errors import UsageError

__all__ = ["TrainSettings"]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained or fine-tuned."""

    model: str = "embedded"
    """What is trained: embedded, a name that 'videomatte models' lists, or the path of a checkpoint."""
    scratch: bool = False
    """Start from random weights instead of the model's own."""
    data: Path | None = None
    """Folder of pictures with image/ and alpha/, or fg/, alpha/ and bg/, files matched by name; procedural samples
    where none is given."""
    validation: Path | None = None
    """Folder like data, measured as well as the held-out procedural samples."""
    backdrops: Path | None = None
    """Folder of photographs to use as backgrounds and textures of procedural samples, beside the made ones."""
    cache: Path | None = None
    """Where samples are kept with the solver's answer, 3 to 4 MB each; inside the output folder if not given."""
    samples: int = 2000
    """Procedural samples."""
    held_out: int = 40
    """Procedural samples that are never learned from, only measured."""
    size: int = 448
    """Side of a procedural sample, in pixels."""
    steps: int = 10000
    """Steps of the optimizer."""
    batch: int = 8
    """Crops a step."""
    crop: int = 192
    """Side of a crop, in pixels; 192 for embedded, 512 for the published models."""
    lr: float = 1e-3
    """Highest learning rate; 1e-3 from random weights, 1e-4 or less for fine-tuning."""
    warmup: int = 150
    """Steps over which the learning rate rises from 0."""
    decay: float = 0.4
    """Last part of the run over which the learning rate falls to 0, as a fraction."""
    weight_decay: float = 0.02
    """AdamW's decay of weights; norms, biases and positions have none."""
    ema: float = 0.997
    """How slowly the averaged weights follow; these are what is measured and written."""
    validate_every: int = 250
    """Steps between measurements; a checkpoint is written as often."""
    seed: int = 0
    """Of samples, order, crops and initial weights: the same seed gives the same run on the same machine."""
    workers: int = 2
    """Processes that make samples and cut crops."""
    precision: str = "auto"
    """Of the network's products: auto (bf16 where the processor has it), fp32, bf16."""
    device: str = "auto"
    """Where the model is trained: auto (CUDA where there is one), cpu, cuda."""

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise UsageError(f"--batch must be even, two crops come from each sample; got {self.batch}")
        if self.crop % 32:
            raise UsageError(f"--crop must be a multiple of 32, got {self.crop}")
        if not 0 <= self.decay <= 1:
            raise UsageError(f"--decay is a fraction from 0 to 1, got {self.decay}")
