"""The loop: batches in, better weights out; stops anywhere, goes on exactly where it stopped."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from videomatte.models.precision import Precision, autocast, compute_dtype
from videomatte.training.data import Batch
from videomatte.training.losses import matting_loss
from videomatte.training.settings import TrainSettings

__all__ = ["Trainer", "learning_rate"]

Predict = Callable[[nn.Module, Batch], Tensor]
"""A model's alpha ``[B, 1, h, w]`` of a batch of crops."""


class Trainer:
    """A model in training: its weights, their running average, the optimizer and the step.

    Args:
        model: trained in place.
        predict: how the model answers a batch.
        settings: of the run.
        device: where it runs; the model is moved there.
    """

    def __init__(self, model: nn.Module, predict: Predict, settings: TrainSettings, device: torch.device) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.predict, self.settings, self.device = predict, settings, device
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)  # noqa: FBT003 - torch's own call
        self.optimizer = torch.optim.AdamW(_groups(self.model, settings.weight_decay), lr=0.0, betas=(0.9, 0.98))
        self.step = 0
        precision: Precision = settings.precision  # type: ignore[assignment]
        self.dtype = compute_dtype(device, precision)

    def run(self, batches: Iterable[Batch]) -> Iterator[dict[str, float]]:
        """One step a batch; after each, the step's number, learning rate and losses."""
        for batch in batches:
            yield self._learn(batch.to(self.device))

    def _learn(self, batch: Batch) -> dict[str, float]:
        self.model.train()
        rate = learning_rate(self.step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with autocast(self.device, self.dtype):
            alpha = self.predict(self.model, batch).float()
        parts = matting_loss(alpha, batch.alpha, batch.trimap == 0.5, batch.follows)
        loss = torch.stack(list(parts.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        # A batch whose loss is not a number teaches nothing and must not reach the weights.
        if torch.isfinite(norm):
            self.optimizer.step()
        self._follow()
        self.step += 1
        return {
            "step": self.step,
            "lr": rate,
            "norm": norm.item(),
            **{name: part.item() for name, part in parts.items()},
        }

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights toward the weights; faster at first, when these are still far from anything."""
        keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        for mean, value in zip(_tensors(self.average), _tensors(self.model), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def save(self, path: Path) -> None:
        """Write everything a run needs to go on, under its name only when whole."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Linear warm-up, constant, linear decay to 0 over the last part of the run.

    Args:
        step: the step about to be taken, from 0.
        settings: ``lr``, ``warmup``, ``steps`` and ``decay`` of the run.
    """
    rise = min(1.0, (step + 1) / max(1, settings.warmup))
    left = (settings.steps - step) / max(1.0, settings.decay * settings.steps)
    return settings.lr * rise * min(1.0, max(0.0, left))


def append(log: Path, entry: Mapping[str, object]) -> None:
    """Add a line of JSON to a log, with the time."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": round(time.time(), 1), **entry}) + "\n")


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights that decay, and norms, biases and positions, which do not."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    free = {n for n, p in named if p.ndim < 2 or "pos" in n}
    return [
        {"params": [p for n, p in named if n not in free], "weight_decay": weight_decay},
        {"params": [p for n, p in named if n in free], "weight_decay": 0.0},
    ]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
