"""A clip matted by others, each in the loop its users write or its authors ship, beside ours from end to end.

All read the same clip and trimaps and write alpha: the loops as PNG or H.264, ours as the same. `ALPHA_ALONE` is what
ours then leaves out; `whole line` is a run at its defaults, with foreground, calm over time and ProRes 4444.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import videomatte
from benchmarks import harness
from benchmarks.clips import Clip, true_mattes
from benchmarks.harness import DEVICE
from videomatte.io import open_source
from videomatte.matting.closed_form import load_pymatting
from videomatte.types import UNKNOWN, unit_range

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

ALPHA_ALONE = {"foreground": "source", "temporal": 0.0}
FEW, SOME, MANY = 1, 2, 6
"""Frames at a turn of what takes seconds, a second or two, and less than that for each."""
COMPARED = 2
"""Frames whose alphas are compared."""

AlphaOf = Callable[[Any, Any], np.ndarray]
"""Alpha ``[H, W]`` in 0..1 of a PIL image and its trimap."""


def plain_loop(clip: Clip, folder: Path, frames: int, alpha_of: AlphaOf) -> None:
    """Frame by frame: OpenCV reads and writes, PIL holds the pictures between. Needs opencv-python-headless."""
    import cv2
    from PIL import Image

    folder.mkdir(exist_ok=True)
    video, trimaps = cv2.VideoCapture(str(clip.path)), cv2.VideoCapture(str(clip.trimaps))
    for index in range(frames):
        (_, bgr), (_, trimap) = video.read(), trimaps.read()
        image = Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        alpha = alpha_of(image, Image.fromarray(cv2.cvtColor(trimap, cv2.COLOR_BGR2GRAY)))
        cv2.imwrite(str(folder / f"{index:06}.png"), (255 * alpha).round().astype(np.uint8))


def run(clip: Clip, output: str, frames: int, **settings: Any) -> None:
    """Ours, from call to return, on the clip's first frames."""
    videomatte.matte(clip.path, output, trimap=clip.trimaps, end=str(frames), overwrite=True, **settings)


def vitmatte(clip: Clip, rounds: int, folder: Path) -> dict[str, object]:
    """ViTMatte-S of transformers in the plain loop, ours with its weights: time a frame, and alpha's difference."""
    import vitmatte_reference as reference
    from transformers import VitMatteImageProcessor

    model = reference.reference(reference.SMALL).to(DEVICE)
    model.save_pretrained(folder / "vitmatte-s")
    processor = VitMatteImageProcessor()

    def alpha_of(image: Any, trimap: Any) -> np.ndarray:
        inputs = processor(images=image, trimaps=trimap, return_tensors="pt").to(DEVICE)
        with torch.no_grad():
            alphas = model(**inputs).alphas
        alpha: np.ndarray = alphas[0, 0, : image.height, : image.width].cpu().numpy()
        return alpha

    many, some, few = (min(count, clip.frames) for count in (MANY, SOME, FEW))
    ours = partial(run, clip, model=str(folder / "vitmatte-s"))
    frames = {"transformers": few, "full": some, "auto": some, "shared": many, "shared, whole line": many}
    runs: dict[str, Callable[[], object]] = {
        "transformers": lambda: plain_loop(clip, folder / "transformers", few, alpha_of),
        "full": lambda: ours(f"alpha:{folder}/full/", some, regions="full", **ALPHA_ALONE),
        "auto": lambda: ours(f"alpha:{folder}/auto/", some, regions="auto", **ALPHA_ALONE),
        "shared": lambda: ours(f"alpha:{folder}/shared/", many, regions="shared", **ALPHA_ALONE),
        "shared, whole line": lambda: ours(f"{folder}/shared.mov", many, regions="shared"),
    }
    results = _times(runs, frames, rounds, "transformers")

    def expected(rgb: torch.Tensor, trimap: torch.Tensor) -> torch.Tensor:
        return reference.reference_alpha(model, rgb.to(DEVICE), trimap.to(DEVICE)).cpu()

    written = {name: folder / name for name in ("full", "auto", "shared")}
    return {"clip": clip.facts(), **results, "difference": _differences(clip, expected, written)}


def _differences(
    clip: Clip, expected: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], written: dict[str, Path]
) -> dict[str, dict[str, float]]:
    """Mean and 99.9th percentile of alpha's difference in the unknown band, in levels of 255, over some frames.

    Against float32 over the whole frame by transformers, on the frames as we decode them: OpenCV's differ by rounding.
    """
    items = [matte.source for matte in islice(true_mattes(clip), COMPARED)]
    truths = [expected(unit_range(x.frame.rgb)[None], unit_range(x.trimap)[None])[0] for x in items]
    bands = [item.trimap == UNKNOWN for item in items]
    deviation = torch.cat([truth[band] for truth, band in zip(truths, bands, strict=True)]).std()
    if deviation <= 0.1:
        raise RuntimeError(f"alpha varies by {deviation:.3f} alone: equal alphas would prove nothing")
    results = {}
    for name, folder in written.items():
        with open_source(folder) as source:
            alphas = [unit_range(frame.rgb[:1]) for frame in islice(source, COMPARED)]
        levels = torch.cat([255 * (a - t).abs()[b] for a, t, b in zip(alphas, truths, bands, strict=False)])
        results[name] = {
            "mean": float(levels.mean()),
            "percentile": float(np.percentile(levels.numpy(), 99.9)),
            "std_alpha": float(deviation),
        }
    return results


def robust_video_matting(clip: Clip, rounds: int, folder: Path, checkout: Path, python: Path) -> dict[str, object]:
    """RobustVideoMatting's MobileNetV3 in its inference loop, and ours with the embedded model: time a frame."""
    many = clip.frames
    script = Path(__file__).with_name("rvm_loop.py")
    arguments = [str(checkout), str(clip.path), str(folder / "rvm.mp4"), str(many)]
    with harness.worker([str(python), "-W", "ignore", str(script), *arguments]) as theirs:
        runs: dict[str, Callable[[], object]] = {
            "RobustVideoMatting": theirs,
            "embedded": lambda: run(clip, f"alpha:{folder}/embedded.mp4", many, **ALPHA_ALONE),
            "embedded, whole line": lambda: run(clip, f"{folder}/embedded.mov", many),
        }
        results = _times(runs, dict.fromkeys(runs, many), rounds, "RobustVideoMatting")
    return {"clip": clip.facts(), **results}


def pymatting(clip: Clip, rounds: int, folder: Path) -> dict[str, object]:
    """PyMatting's closed-form matting in the plain loop, and ours with the embedded model: time a frame."""
    estimate_alpha_cf = load_pymatting().estimate_alpha_cf

    def alpha_of(image: Any, trimap: Any) -> np.ndarray:
        alpha: np.ndarray = estimate_alpha_cf(np.asarray(image) / 255.0, np.asarray(trimap) / 255.0)
        return alpha

    frames = {"PyMatting": FEW, "embedded": min(MANY, clip.frames)}
    runs: dict[str, Callable[[], object]] = {
        "PyMatting": lambda: plain_loop(clip, folder / "pymatting", FEW, alpha_of),
        "embedded": lambda: run(clip, f"alpha:{folder}/embedded/", frames["embedded"], **ALPHA_ALONE),
    }
    return {"clip": clip.facts(), **_times(runs, frames, rounds, "PyMatting")}


def _times(
    runs: dict[str, Callable[[], object]], frames: dict[str, int], rounds: int, theirs: str
) -> dict[str, object]:
    seconds = harness.a_frame(harness.interleave(runs, rounds), frames)
    return {
        "frames": frames,
        "seconds": {name: harness.spread(values) for name, values in seconds.items()},
        "times_faster": {name: harness.ratios(seconds, theirs, name) for name in runs if name != theirs},
    }
