"""How the correction before screens is learned: scenes and composites before green and blue screens, pixel by pixel.

Most trimaps are the chroma key's own, with its plate, as matting has them; the others are made from the truth, with the
true backdrop a little out of focus and exposed a little otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.errors import InputError
from videomatte.matting.colour_detail import add_colour_detail
from videomatte.models.embedded import EmbeddedMatting
from videomatte.models.screen_correction import MEASURES, ScreenCorrection, measures
from videomatte.scenes import random_scene, render
from videomatte.scenes.noise import Rng, blur, stream
from videomatte.scenes.subjects import SubjectKind
from videomatte.training.backdrops import Backdrops, screen
from videomatte.training.damage import coded, damage, spill
from videomatte.training.data import trimap_unit
from videomatte.training.samples import random_trimap
from videomatte.training.subjects import draw_subject
from videomatte.trimaps import ChromaKey
from videomatte.types import UNKNOWN, Frame, from_unit_range, unit_range

__all__ = ["Pixels", "draw_pixels", "fit_correction"]

WIDTH, HEIGHT, SIZE = 480, 270, 288
"""Size of a scene's picture, and side of a composite's."""
COMPOSED = 0.18
"""Share of composites."""
SUBJECTS: tuple[SubjectKind, ...] = ("hair", "fur", "soft", "veil")
FIRST_SEED = 8_000_000
"""Scenes from here on are for this alone."""
PIXELS = 2500
"""Most unknown pixels taken from a sample."""
BATCH = 4096
"""Pixels a step."""
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.01
"""Of AdamW; the rate falls evenly to 0."""
NOISE = 0.1
"""Standard deviation of noise added to measures of unit spread, so that no single one is leaned on too finely."""
STRENGTH = 0.5
"""Share of the learned correction that is given. On held-out samples all of it would be best; clips that differ from
them, in their clothes above all, are made worse by all and better by half."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a sample teaches."""

    values: Tensor
    """``[N, MEASURES]`` float32."""
    alpha: Tensor
    """``[N]``, the truth."""
    error: float
    """Mean absolute error of the solver over all unknown pixels of the picture."""


def draw_pixels(model: EmbeddedMatting, number: int, backdrops: Backdrops) -> Pixels | None:
    """Pixels of one sample, the same for the same arguments.

    Args:
        model: whose solver is corrected.
        number: which sample.
        backdrops: textures of composed subjects.

    Returns:
        None where the draw gives nothing to learn from: no screen is found, or next to nothing or most is unknown.
    """
    rng = stream(number, "screen correction")
    picture, background, alpha = _composed(rng, backdrops) if rng.random() < COMPOSED else _filmed(rng, number)
    if rng.random() < 0.5:
        picture = coded([picture], int(rng.integers(16, 30)))[0]
    rgb = from_unit_range(picture, torch.uint8)
    if rng.random() < 0.7:
        try:
            found = next(ChromaKey("auto")(iter([Frame(0, 0, Fraction(1, 24), rgb)])))
        except InputError:
            return None
        assert found.background is not None
        trimap, plate = found.trimap, unit_range(found.background)
    else:
        trimap = random_trimap(rng, alpha)
        plate = (blur(background, float(rng.uniform(0.5, 4))) * float(rng.normal(1, 0.01))).clamp(0, 1)
    if not 0.005 < float((trimap == UNKNOWN).float().mean()) < 0.75:
        return None
    with torch.inference_mode():
        whole, known = add_colour_detail(unit_range(rgb)[None], trimap[None] == UNKNOWN), trimap_unit(trimap[None])
        prior = model.prior(whole, known, plate=plate[None])[0]
        unknown, values = measures(whole[0], known[0], prior[:1], prior[1:4], prior[4:])
    truth = alpha[unknown]
    error = float((values[:, 0] - truth).abs().mean())
    chosen = torch.from_numpy(rng.permutation(len(truth))[:PIXELS])
    return Pixels(values[chosen].clone(), truth[chosen], error)


def _filmed(rng: Rng, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, background and alpha of a scene's frame, cellars and strong spill more often than in other training."""
    scene = replace(
        random_scene(FIRST_SEED + number, WIDTH, HEIGHT, 1),
        backdrop="green" if rng.random() < 0.6 else "blue",
        light=float(np.exp(rng.uniform(np.log(0.22), 0))),
        spill=float(rng.uniform(0.05, 1)),
        subject=SUBJECTS[int(rng.choice(len(SUBJECTS), p=[0.68, 0.16, 0.08, 0.08]))],
        grain=float(np.exp(rng.uniform(np.log(0.001), np.log(0.02)))),
    )
    shot = next(iter(render(scene)))
    return shot.rgb, shot.background, shot.alpha


def _composed(rng: Rng, backdrops: Backdrops) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, background and alpha of a drawn subject laid over a screen."""
    foreground, alpha = draw_subject(rng, SIZE, backdrops)
    background = screen(rng, SIZE)
    if rng.random() < 0.85:
        reach = float(np.exp(rng.uniform(1, 3.7)))
        foreground = spill(foreground, alpha, background.mean((1, 2), keepdim=True), float(rng.uniform(0, 1)), reach)
    return damage(rng, foreground * alpha + background * (1 - alpha)), background, alpha


def fit_correction(samples: list[Pixels], steps: int, seed: int = 0) -> ScreenCorrection:
    """A correction learned from samples; the same for the same arguments, on the same machine.

    The loss is the absolute error, each sample's weighed down by how wrong the solver is there: what nothing can be
    made of is not to drown the rest.

    Args:
        samples: from :func:`draw_pixels`, one at least.
        steps: of the optimizer.
        seed: of the initial weights and of what is drawn.
    """
    values = torch.cat([sample.values for sample in samples])
    truth = torch.cat([sample.alpha for sample in samples])
    weight = torch.cat([sample.alpha.new_full((len(sample.alpha),), _weight(sample)) for sample in samples])
    weight /= weight.mean()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        result = ScreenCorrection()
        result.centre.copy_(values.median(0).values)
        result.spread.copy_(values.std(0) + 1e-3)
        optimizer = torch.optim.AdamW(result.layers.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
            chosen = torch.randint(0, len(truth), (BATCH,))
            some = values[chosen]
            answer = some[:, 0] + result.correction(some + NOISE * result.spread * torch.randn(BATCH, MEASURES))
            loss = (weight[chosen] * F.l1_loss(answer, truth[chosen], reduction="none")).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        for parameter in result.layers[-1].parameters():
            parameter.mul_(STRENGTH)
    return result.eval()


def _weight(sample: Pixels) -> float:
    return float((0.02 + sample.error) ** -1.5) / len(sample.alpha)
