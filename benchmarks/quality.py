"""Mattes beside the truth: the solver, closed-form and KNN matting, and the trimap taken for alpha.

    python benchmarks/quality.py DATA [--sets stills clips ...] [--methods laplacian ...] [--output results.json]

DATA holds ``01_stills/alphamatting`` and the composited clips ``02`` to ``04``; the procedural sets are drawn here. On
clips every frame has a trimap made from its true alpha. Errors are over the unknown region, as in
:mod:`videomatte.metrics`: MAD and MSE × 1e3, Grad in thousands, dtSSD × 1e2. Times are of the process's CPU on one
thread, seconds a frame, the median of the clips after one frame to warm up. All methods get the same pictures: those
that videomatte decodes, and, in the sets named after it, those that FFmpeg's converter makes, which is what closed-form
matting is mostly fed with.
"""

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import av
import torch
from torch import Tensor

from videomatte.errors import ModelError
from videomatte.io import open_source
from videomatte.matting import ClosedFormMatting, open_matting
from videomatte.matting.closed_form import load_pymatting
from videomatte.metrics import ClipErrors
from videomatte.refine import Temporal
from videomatte.scenes import random_scene, render
from videomatte.trimaps.files import trimap_from_picture
from videomatte.trimaps.morphology import trimap_from_alpha
from videomatte.types import UNKNOWN, Frame, MatteFrame, MattingStage, TrimapFrame, unit_range

Sample = tuple[Tensor, Tensor, Tensor]
"""RGB ``[3, H, W]`` uint8, trimap ``[1, H, W]`` uint8, true alpha ``[1, H, W]`` float32."""

BAND = 8
"""Radius by which trimaps of clips go beyond what is soft."""
HELD_OUT = 1_000_000
"""First seed of the procedural scenes: training draws lower ones."""


def read(path: Path) -> Iterator[Frame]:
    with open_source(path) as source:
        yield from source


def still(folder: Path, name: str, trimaps: str) -> Iterator[Sample]:
    rgb, trimap, alpha = (next(read(folder / part / name)).rgb for part in ("input", trimaps, "gt"))
    yield rgb, trimap_from_picture(trimap), unit_range(alpha[:1])


def rgb24(path: Path) -> Iterator[Tensor]:
    """As programs get their pictures that ask FFmpeg for RGB: with the chroma of each 2 × 2 pixels repeated."""
    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).contiguous()


def clip(folder: Path, count: int, pictures: Iterable[Tensor]) -> Iterator[Sample]:
    for rgb, truth in zip(pictures, itertools.islice(read(folder / "alpha"), count), strict=False):
        alpha = unit_range(truth.rgb[:1])
        yield rgb, trimap_from_alpha(alpha, BAND), alpha


def scene(seed: int, backdrop: str, count: int) -> Iterator[Sample]:
    settings = replace(random_scene(seed, 640, 360, count), backdrop=backdrop)
    for frame in render(settings):
        yield frame.rgb, trimap_from_alpha(frame.alpha, BAND), frame.alpha


def cases(data: Path, count: int) -> dict[str, dict[str, Callable[[], Iterator[Sample]]]]:
    """The sets, and the clips (a still is one of one frame) in each."""
    stills = data / "01_stills/alphamatting"
    names = sorted(path.name for path in (stills / "input").iterdir())
    clips = {
        folder.name[:2]: next(path for path in folder.iterdir() if path.is_dir()) for folder in data.glob("0[234]*")
    }
    seeds = range(HELD_OUT, HELD_OUT + 6)

    def decoded(name: str) -> Iterator[Sample]:
        return clip(clips[name], count, (frame.rgb for frame in read(clips[name] / "input.mp4")))

    def as_rgb24(name: str) -> Iterator[Sample]:
        return clip(clips[name], count, rgb24(clips[name] / "input.mp4"))

    return {
        "stills, small trimaps": {name: lambda name=name: still(stills, name, "trimap1") for name in names},
        "stills, large trimaps": {name: lambda name=name: still(stills, name, "trimap2") for name in names},
        "clips over moving backgrounds": {n: lambda n=n: decoded(n) for n in ("02", "03")},
        "clip over a green screen": {"04": lambda: decoded("04")},
        "FFmpeg's RGB, moving backgrounds": {n: lambda n=n: as_rgb24(n) for n in ("02", "03")},
        "FFmpeg's RGB, green screen": {"04": lambda: as_rgb24("04")},
        "procedural, screens": {
            str(seed): lambda seed=seed: scene(seed, "green" if seed % 2 else "blue", 3) for seed in seeds
        },
        "procedural, places": {str(seed): lambda seed=seed: scene(seed, "place", 3) for seed in seeds},
    }


def methods() -> dict[str, Callable[[], MattingStage]]:
    def each(alpha_of: Callable[[TrimapFrame], Tensor]) -> MattingStage:
        return lambda items: (MatteFrame(item, alpha_of(item)) for item in items)

    def levels(item: TrimapFrame) -> Tensor:
        return torch.where(item.trimap == UNKNOWN, 0.5, item.trimap / 255)

    def knn(item: TrimapFrame) -> Tensor:
        image = unit_range(item.frame.rgb).permute(1, 2, 0).double().numpy()
        alpha = load_pymatting().estimate_alpha_knn(image, levels(item)[0].double().numpy())
        return torch.from_numpy(alpha)[None].float()

    def own(model: str) -> MattingStage:
        return open_matting(model, torch.device("cpu"))

    def calmed() -> MattingStage:
        stage, temporal = own("embedded"), Temporal()
        return lambda items: temporal(stage(items))

    return {
        "embedded": lambda: own("embedded"),
        "embedded, calmed": calmed,
        "laplacian": lambda: own("laplacian"),
        "closed-form": ClosedFormMatting,
        "knn": lambda: each(knn),
        "trimap": lambda: each(levels),
    }


def measure(stage: MattingStage, clips: Iterable[Callable[[], Iterator[Sample]]]) -> dict[str, object]:
    """Each error's mean over the clips, each clip's own, and the time."""
    means, seconds = [], []
    for samples in clips:
        pictures = list(samples())
        items = [
            TrimapFrame(Frame(index, index, Fraction(1, 25), rgb), trimap, "generated")
            for index, (rgb, trimap, _) in enumerate(pictures)
        ]
        if not seconds:
            list(stage(iter(items[:1])))
        start = time.process_time()
        mattes = list(stage(iter(items)))
        seconds.append((time.process_time() - start) / len(items))
        errors = ClipErrors()
        for matte, (_, trimap, true) in zip(mattes, pictures, strict=True):
            errors.update(matte.alpha, true, trimap)
        means.append(asdict(errors.mean()))
    mean = {
        name: statistics.mean(values) if all(value is not None for value in values) else None
        for name, values in ((name, [one[name] for one in means]) for name in means[0])
    }
    return {"mean": mean, "seconds": statistics.median(seconds), "clips": means}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="*", default=[""], help="beginnings of the sets' names")
    parser.add_argument("--methods", nargs="*", choices=methods(), default=list(methods()))
    parser.add_argument("--frames", type=int, default=8, help="frames of each clip of DATA")
    parser.add_argument("--output", type=Path, help="JSON; what it holds of other sets and methods stays")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    results: dict[str, dict[str, object]] = {}
    print("| set | method | MAD | MSE | Grad | dtSSD | s a frame |\n|---|---|---|---|---|---|---|")
    for title, clips in cases(arguments.data, arguments.frames).items():
        if not title.startswith(tuple(arguments.sets)):
            continue
        for name in arguments.methods:
            try:
                stage = methods()[name]()
            except ModelError as error:
                print(f"| {title} | {name} | {error} |")
                continue
            result = measure(stage, clips.values())
            results.setdefault(title, {})[name] = result
            mean = result["mean"]
            step = f"{mean['dtssd'] * 1e2:.2f}" if mean["dtssd"] is not None else ""
            print(
                f"| {title} | {name} | {mean['mad'] * 1e3:.1f} | {mean['mse'] * 1e3:.2f} | {mean['grad']:.2f} | {step} "
                f"| {result['seconds']:.2f} |",
                flush=True,
            )
    if arguments.output:
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
        before = json.loads(arguments.output.read_text())["sets"] if arguments.output.exists() else {}
        sets = {title: {**before.get(title, {}), **results.get(title, {})} for title in {**before, **results}}
        arguments.output.write_text(json.dumps({"machine": machine, "sets": sets}, indent=2) + "\n")


if __name__ == "__main__":
    main()
