"""Trimaps carried from keyframes, beside chained DIS flow and beside true trimaps on every frame.

    python benchmarks/propagation.py DATA [--model embedded] [--cases blackswan 02] [--runs] [--output results.json]

DATA holds ``07_vos`` (clips with a mask per frame) and ``02`` to ``05`` (clips with an alpha per frame). IoU is that of
alpha >= 0.5 with the mask; cover is the share of softly covered pixels (0.02 < alpha < 0.98) that the unknown band
holds, least that of the worst frame; band is its area against that of the true trimap; MAD is of alpha, in thousandths.
``share`` is the part of the CPU time of matting and carrying together that goes into carrying. With ``--runs`` the
whole line runs as well, from decoding to encoding, foregrounds and calming included, and ``of run`` is the part of its
CPU time that carrying takes.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import videomatte
from videomatte.flow import warp
from videomatte.io import open_source
from videomatte.matting import open_matting
from videomatte.trimaps import Propagate
from videomatte.trimaps.morphology import trimap_from_alpha, trimap_from_mask
from videomatte.types import Frame, MatteFrame, MattingStage, TrimapFrame, unit_range

RADIUS, BAND = 7, 8
"""Of true trimaps around softness, and width of the band across a mask's edge, in pixels."""


@dataclass
class Clip:
    """Frames and their true alphas or masks."""

    path: Path
    frames: list[Frame]
    true: list[Tensor]
    has_softness: bool

    def trimap(self, index: int) -> Tensor:
        """What a keyframe of that frame says."""
        true = self.true[index]
        return trimap_from_alpha(true, RADIUS) if self.has_softness else trimap_from_mask(true >= 0.5, BAND)


def first(path: Path, count: int) -> list[Frame]:
    with open_source(path) as source:
        return list(itertools.islice(source, count))


def load(data: Path, name: str) -> Clip:
    if (folder := data / "07_vos" / name).is_dir():
        masks = first(folder / "mask", 25)
        return Clip(
            folder / "rgb", first(folder / "rgb", 25), [unit_range(mask.rgb[:1]) for mask in masks], has_softness=False
        )
    folder = next(path for path in next(data.glob(f"{name}*")).iterdir() if path.is_dir())
    alphas = first(folder / "alpha", 48)
    return Clip(
        folder / "input.mp4",
        first(folder / "input.mp4", 48),
        [unit_range(alpha.rgb[:1]) for alpha in alphas],
        has_softness=True,
    )


class Timed:
    """A matting stage that counts its own CPU time."""

    def __init__(self, stage: MattingStage) -> None:
        self.stage, self.seconds = stage, 0.0

    def __call__(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        """The stage's mattes."""
        items = list(frames)
        started = time.process_time()
        mattes = list(self.stage(iter(items)))
        self.seconds += time.process_time() - started
        return iter(mattes)


def carried(clip: Clip, keyframes: list[int], matting: Timed) -> list[MatteFrame]:
    stage = Propagate(
        {index: clip.trimap(index) for index in keyframes},
        matting,
        reopen=lambda start, end: contextlib.nullcontext(clip.frames[start:end]),
    )
    return list(stage(iter(clip.frames)))


def run_seconds(clip: Clip, keyframes: list[int], model: str) -> float:
    """CPU time of the whole line, at its defaults."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trimaps = [Path(folder) / f"{index}.png" for index in keyframes]
        for path, index in zip(trimaps, keyframes, strict=True):
            Image.fromarray(clip.trimap(index)[0].numpy()).save(path)
        videomatte.matte(
            clip.path,
            Path(folder) / "matte.mov",
            trimap=[f"{path.stem}={path}" for path in trimaps],
            model=model,
            end=str(len(clip.frames)),
        )
    return time.process_time() - started


def per_frame(clip: Clip, trimaps: list[Tensor], matting: Timed) -> list[MatteFrame]:
    items = [TrimapFrame(frame, trimap, "key") for frame, trimap in zip(clip.frames, trimaps, strict=True)]
    return list(matting(iter(items)))


def chained_dis(clip: Clip, keyframes: list[int]) -> list[Tensor]:
    """The last keyframe's trimap, fetched frame by frame along DIS flow, nearest pixel."""
    import cv2

    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame.rgb.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for frame in clip.frames]
    trimaps: list[Tensor] = []
    for index in range(len(clip.frames)):
        if index in keyframes:
            trimaps.append(clip.trimap(index))
            continue
        flow = torch.from_numpy(estimator.calc(grey[index], grey[index - 1], None)).permute(2, 0, 1)[None]
        trimaps.append(warp(trimaps[-1][None].float(), flow, "nearest")[0].byte())
    return trimaps


def measure(clip: Clip, mattes: list[MatteFrame]) -> dict[str, float]:
    rows: dict[str, list[float]] = {"IoU": [], "MAD": [], "cover": [], "band": []}
    for index, (matte, true) in enumerate(zip(mattes, clip.true, strict=True)):
        found, mask = matte.alpha >= 0.5, true >= 0.5
        rows["IoU"].append(float((found & mask).sum() / (found | mask).sum().clamp(min=1)))
        rows["MAD"].append(1e3 * float((matte.alpha - true).abs().mean()))
        unknown = matte.source.trimap == 128
        soft = (true > 0.02) & (true < 0.98)
        if clip.has_softness and soft.any():
            rows["cover"].append(float((unknown & soft).sum() / soft.sum()))
        rows["band"].append(float(unknown.sum() / (clip.trimap(index) == 128).sum().clamp(min=1)))
    least = {"least": min(rows["cover"])} if rows["cover"] else {}
    return {name: statistics.mean(values) for name, values in rows.items() if values} | least


CASES: dict[str, list[list[int]]] = {
    "blackswan": [[0], [0, 24]],
    "dance-twirl": [[0], [0, 24]],
    "02": [[0], [0, 47]],
    "03": [[0], [0, 47]],
    "04": [[0], [0, 47]],
    "05": [[0], [0, 24], [0, 23, 24, 47]],
}


def runs(clip: Clip, choices: dict[str, list[int]]) -> dict[str, Callable[[Timed], list[MatteFrame]]]:
    """What is compared, by its name in the table."""
    found = {title: partial(carried, clip, keys) for title, keys in choices.items()}
    with contextlib.suppress(ImportError):
        found["chained DIS [0]"] = partial(per_frame, clip, chained_dis(clip, [0]))
    true = [clip.trimap(index) for index in range(len(clip.frames))]
    return {**found, "true on every frame": partial(per_frame, clip, true)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--runs", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    results: dict[str, dict[str, dict[str, float]]] = {}
    columns = ("IoU", "MAD", "cover", "least", "band", "share", *(["of run"] if arguments.runs else []))
    print(f"| clip | trimaps | {' | '.join(columns)} |\n|---|---|{'---:|' * len(columns)}")
    for name in arguments.cases:
        clip = load(arguments.data, name)
        keyframes = {f"keyframes {keys}": keys for keys in CASES[name]}
        for title, run in runs(clip, keyframes).items():
            matting = Timed(open_matting(arguments.model, torch.device("cpu")))
            started = time.process_time()
            mattes = run(matting)
            seconds = time.process_time() - started
            carrying = seconds - matting.seconds
            row = {**measure(clip, mattes), "share": carrying / seconds}
            if arguments.runs and title in keyframes:
                row["of run"] = carrying / run_seconds(clip, keyframes[title], arguments.model)
            results.setdefault(name, {})[title] = row
            cells = (f"{row[key]:.3f}" if key in row else "" for key in columns)
            print(f"| {name} | {title} | {' | '.join(cells)} |", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({"model": arguments.model, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
