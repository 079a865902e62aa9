"""Train a model, or fine-tune one: samples made or read, steps, measurements, a checkpoint that goes on exactly."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from videomatte.device import resolve_device
from videomatte.training.backdrops import Backdrops
from videomatte.training.curves import draw_curves
from videomatte.training.data import Batches, Prepared, ProceduralSamples, Samples
from videomatte.training.folders import FolderSamples, read_pictures
from videomatte.training.loop import Trainer, append
from videomatte.training.settings import TrainSettings
from videomatte.training.trainable import Trainable, open_trainable
from videomatte.training.validate import measure

__all__ = ["TrainReport", "train"]

HELD_OUT = 1_000_000
"""Seed of the first held-out procedural sample; those learned from start at 0."""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run has come to."""

    steps: int
    """Steps taken in all, those of earlier runs included."""
    errors: dict[str, dict[str, float]]
    """The last measurement: errors by validation set."""
    weights: Path
    """The best averaged weights so far."""


def train(settings: TrainSettings, output: Path, *, progress: bool = False) -> TrainReport:
    """Train until ``settings.steps``; where the folder holds a checkpoint, go on from it.

    The folder gets ``weights.safetensors`` (the best averaged weights so far, in half precision, which ``--model``
    takes), ``checkpoint.pt``, ``log.jsonl``, ``curves.png`` and ``settings.json``.

    Args:
        settings: of the run.
        output: folder, made if need be.
        progress: show a bar on standard error.

    Raises:
        UsageError: settings contradict each other, or a package is missing.
        InputError: pictures cannot be read.
        ModelError: the model cannot be loaded, or the checkpoint is another model's.
    """
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    subject = open_trainable(settings.model, scratch=settings.scratch)
    output.mkdir(parents=True, exist_ok=True)
    (output / "settings.json").write_text(json.dumps(dataclasses.asdict(settings), indent=1, default=str))
    log, checkpoint, weights = output / "log.jsonl", output / "checkpoint.pt", output / "weights.safetensors"

    cache = settings.cache or output / "cache"
    learned = Prepared(_samples(settings), cache / "train", subject.prior)
    held_out = _held_out(settings, subject, cache / "validation")
    batches = Batches(learned, seed=settings.seed, batch=settings.batch, crop=settings.crop, vary=subject.vary)

    trainer = Trainer(subject.model, subject.predict, settings, device)
    if checkpoint.exists():
        trainer.load(checkpoint)
    errors: dict[str, dict[str, float]] = {}
    bar = tqdm(total=settings.steps, initial=trainer.step, unit="step", disable=not progress, dynamic_ncols=True)
    while trainer.step < settings.steps:
        until = min(settings.steps, (trainer.step // settings.validate_every + 1) * settings.validate_every)
        started, rows = time.perf_counter(), []
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=range(trainer.step, until),
            num_workers=settings.workers,
        )
        for row in trainer.run(loader):
            rows.append(row)
            bar.update()
        entry = {name: fmean(row[name] for row in rows) for name in rows[0]} | {"step": trainer.step}
        seconds = (time.perf_counter() - started) / len(rows)

        def answer(rgb: Tensor, trimap: Tensor, prior: Tensor | None) -> Tensor:
            return subject.answer(trainer.average, rgb, trimap, prior)

        errors = {name: measure(answer, prepared, device) for name, prepared in held_out.items()}
        append(log, {**entry, "seconds_a_step": seconds, "validation": errors})
        if fmean(e["mad"] for e in errors.values()) <= _best(log):
            subject.write(trainer.average, weights)
        trainer.save(checkpoint)
        draw_curves(log, output / "curves.png")
    bar.close()
    return TrainReport(trainer.step, errors, weights)


def _samples(settings: TrainSettings) -> Samples:
    if settings.data is not None:
        return FolderSamples(settings.data, count=settings.samples, size=settings.size, seed=settings.seed)
    return ProceduralSamples(0, settings.samples, settings.size, _backdrops(settings))


def _held_out(settings: TrainSettings, subject: Trainable, cache: Path) -> dict[str, Prepared]:
    """The validation sets, by name."""
    sets: list[Samples] = [ProceduralSamples(HELD_OUT, settings.held_out, settings.size, _backdrops(settings))]
    if settings.validation is not None:
        count = settings.held_out
        sets.append(
            FolderSamples(settings.validation, count=count, size=settings.size, seed=HELD_OUT, name="validation")
        )
    return {samples.name: Prepared(samples, cache, subject.prior) for samples in sets}


def _backdrops(settings: TrainSettings) -> Backdrops:
    return Backdrops(() if settings.backdrops is None else read_pictures(settings.backdrops))


def _best(log: Path) -> float:
    """The lowest mean MAD in the log."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return min(fmean(e["mad"] for e in entry["validation"].values()) for entry in entries)
