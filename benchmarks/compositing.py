"""Composites beside true ones: mixed in light or in the encoding, and by each preset of ``videomatte greenscreen``.

    python -m benchmarks.compositing [light] [presets]

Truth is rendered: a subject before a screen, and the same subject, free of the screen's light, before another
background. ``light`` supposes a world in which edges are mixed in light, and one in which they are mixed in the
encoding as benchmarks' composites are, and takes the mattes from the picture of that world. ``presets`` runs the
command. Errors are mean absolute differences of code values, × 1e3, over where alpha is soft and three pixels around.
Some 5 minutes on one core.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

import videomatte
from benchmarks import harness
from videomatte.composite import over, over_light
from videomatte.config import GreenscreenSettings, preset_values, presets
from videomatte.io import open_source
from videomatte.io.picture import write_picture
from videomatte.matting import open_matting
from videomatte.refine import Foreground
from videomatte.scenes import SceneSettings, render
from videomatte.scenes.write import write_clip
from videomatte.types import Frame, TrimapFrame, from_unit_range, unit_range

BT709 = 1
SHOT = SceneSettings(width=480, height=270, frames=1, backdrop="green", grain=0.006)
SCREENS = [
    replace(SHOT, seed=3, subject="hair"),
    replace(SHOT, seed=4, subject="hair", backdrop="blue"),
    replace(SHOT, seed=7, subject="fur"),
    replace(SHOT, seed=8, subject="fur", backdrop="blue"),
    replace(SHOT, seed=11, subject="veil"),
    replace(SHOT, seed=12, subject="veil", backdrop="blue"),
]
CLIPS = [
    replace(SCREENS[0], width=640, height=360, frames=8),
    replace(SCREENS[3], width=640, height=360, frames=8),
    replace(SCREENS[0], width=640, height=360, frames=8, seed=5, light=0.5, uneven=0.6, spill=0.6, grain=0.02),
]


def light() -> list[dict[str, object]]:
    """Which way of mixing comes nearer to the truth, with mattes that were solved as all are, in the encoding."""
    matting, foreground = open_matting("laplacian", torch.device("cpu")), Foreground()
    errors: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for settings in SCREENS:
        scene = next(render(replace(settings, spill=0.0, shadow=0.0)))
        place = next(render(replace(settings, backdrop="place", seed=settings.seed + 100))).background
        soft = (scene.trimap == 128).expand(3, -1, -1)
        backgrounds = {"place": place, "white": torch.full((3, 1, 1), 0.95), "black": torch.full((3, 1, 1), 0.03)}
        for world, mix in (("light", _in_light), ("encoding", over)):
            seen = mix(scene.foreground, scene.alpha, scene.background)
            frame = Frame(0, 0, Fraction(1, 25), from_unit_range(seen, torch.uint8))
            plate = from_unit_range(scene.background, torch.uint8)
            source = TrimapFrame(frame, scene.trimap, "key", background=plate)
            matte = next(foreground(matting(iter([source]))))
            assert matte.foreground is not None
            estimated = matte.foreground, matte.alpha
            for mattes, layers in (("true", (scene.foreground, scene.alpha)), ("estimated", estimated)):
                for name, background in backgrounds.items():
                    truth = mix(scene.foreground, scene.alpha, background)
                    pair = [float((way(*layers, background) - truth)[soft].abs().mean()) for way in (_in_light, over)]
                    errors.setdefault((world, mattes, name), []).append((pair[0], pair[1]))
    return [
        {
            "world": world,
            "mattes": mattes,
            "background": name,
            "in_light": round(1e3 * statistics.mean(a for a, _ in pairs), 1),
            "in_encoding": round(1e3 * statistics.mean(b for _, b in pairs), 1),
        }
        for (world, mattes, name), pairs in errors.items()
    ]


def _in_light(foreground: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    return over_light(foreground, alpha, background, BT709)


def preset_costs() -> list[dict[str, object]]:
    """What each preset takes, and how near it comes to the true composite; each clip's first frame warms up."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clips = [(settings, write_clip(settings, Path(folder) / str(n))) for n, settings in enumerate(CLIPS)]
        place = next(render(replace(CLIPS[0], backdrop="place", seed=100, frames=1))).background
        background = Path(folder) / "place.png"
        write_picture(background, from_unit_range(place, torch.uint8))
        place = from_unit_range(place, torch.uint8) / 255
        for name in presets("greenscreen"):
            settings = preset_values("greenscreen", name, GreenscreenSettings)
            errors, seconds, flicker = [], [], []
            for scene, clip in clips:
                outputs = [f"composite:{folder}/over/", f"alpha:{folder}/alpha/"]
                started = time.process_time()
                videomatte.replace_background(clip, background, outputs, overwrite=True, **settings)
                seconds.append((time.process_time() - started) / scene.frames)
                error, change = _errors(scene, Path(folder), place)
                errors.append(error)
                flicker.append(change)
            rows.append(
                {
                    "preset": name,
                    "settings": settings,
                    "composite_error": round(1e3 * statistics.mean(e for e, _ in errors), 1),
                    "alpha_error": round(1e3 * statistics.mean(e for _, e in errors), 1),
                    "alpha_flicker": round(1e3 * statistics.mean(flicker), 2),
                    "cpu_seconds_a_frame": round(statistics.mean(seconds), 2),
                }
            )
    return rows


def _errors(scene: SceneSettings, folder: Path, place: Tensor) -> tuple[tuple[float, float], float]:
    """Of composite and alpha where it is soft, and how much alpha's error changes from frame to frame."""
    composite, alphas, before, changes = [], [], None, []
    with open_source(folder / "over") as over_frames, open_source(folder / "alpha") as alpha_frames:
        for truth, made, matte in zip(render(scene), over_frames, alpha_frames, strict=True):
            soft = truth.trimap == 128
            wanted = over(truth.despilled, truth.alpha, place)
            composite.append(float((unit_range(made.rgb) - wanted)[soft.expand(3, -1, -1)].abs().mean()))
            error = unit_range(matte.rgb[:1]) - truth.alpha
            alphas.append(float(error[soft].abs().mean()))
            if before is not None:
                changes.append(float((error - before)[soft].abs().mean()))
            before = error
    return (statistics.mean(composite), statistics.mean(alphas)), statistics.mean(changes)


PARTS: dict[str, Callable[[], object]] = {"light": light, "presets": preset_costs}


def main(words: list[str]) -> None:
    """Run the parts that are named, or all."""
    torch.set_num_threads(1)
    for name in words or PARTS:
        result = PARTS[name]()
        print(harness.write("compositing", {name: result}))
        for row in result:  # type: ignore[attr-defined]
            print(row)


if __name__ == "__main__":
    main(sys.argv[1:])
