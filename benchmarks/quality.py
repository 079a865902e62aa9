"""Mattes beside the truth: the solver, closed-form and KNN matting, and the trimap taken for alpha.

    python benchmarks/quality.py DATA [--sets stills clips ...] [--methods laplacian ...] [--output results.json]

DATA holds ``01_stills/alphamatting`` and the composited clips ``02`` to ``04``; the procedural sets are drawn here. On
clips every frame has a trimap made from its true alpha. Errors are over the unknown region, as in
:mod:`videomatte.metrics`: MAD and MSE × 1e3, Grad in thousands, dtSSD × 1e2. Times are of the process's CPU on one
thread, seconds a frame, the median after one frame to warm up.
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

import pymatting
import torch
from torch import Tensor

from videomatte.errors import ModelError
from videomatte.io import open_source
from videomatte.matting import ClosedFormMatting, open_matting
from videomatte.metrics import ClipErrors
from videomatte.scenes import random_scene, render
from videomatte.trimaps.files import trimap_from_picture
from videomatte.trimaps.morphology import trimap_from_alpha
from videomatte.types import Frame, MattingStage, TrimapFrame, unit_range

Sample = tuple[Tensor, Tensor, Tensor]
"""RGB ``[3, H, W]`` uint8, trimap ``[1, H, W]`` uint8, true alpha ``[1, H, W]`` float32."""
Method = Callable[[Tensor, Tensor], Tensor]
"""Alpha ``[1, H, W]`` from RGB and trimap."""

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


def clip(folder: Path, count: int) -> Iterator[Sample]:
    for frame, truth in zip(read(folder / "input.mp4"), itertools.islice(read(folder / "alpha"), count), strict=False):
        alpha = unit_range(truth.rgb[:1])
        yield frame.rgb, trimap_from_alpha(alpha, BAND), alpha


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
    return {
        "stills, small trimaps": {name: lambda name=name: still(stills, name, "trimap1") for name in names},
        "stills, large trimaps": {name: lambda name=name: still(stills, name, "trimap2") for name in names},
        "clips over moving backgrounds": {n: lambda n=n: clip(clips[n], count) for n in ("02", "03")},
        "clip over a green screen": {"04": lambda: clip(clips["04"], count)},
        "procedural, screens": {
            str(seed): lambda seed=seed: scene(seed, "green" if seed % 2 else "blue", 3) for seed in seeds
        },
        "procedural, places": {str(seed): lambda seed=seed: scene(seed, "place", 3) for seed in seeds},
    }


def methods() -> dict[str, Callable[[], Method]]:
    def of_stage(stage: MattingStage) -> Method:
        def run(rgb: Tensor, trimap: Tensor) -> Tensor:
            (matte,) = stage(iter([TrimapFrame(Frame(0, 0, Fraction(1, 25), rgb), trimap, "generated")]))
            return matte.alpha

        return run

    def levels(trimap: Tensor) -> Tensor:
        return torch.where(trimap == 128, 0.5, trimap / 255)

    def knn(rgb: Tensor, trimap: Tensor) -> Tensor:
        image = unit_range(rgb).permute(1, 2, 0).double().numpy()
        return torch.from_numpy(pymatting.estimate_alpha_knn(image, levels(trimap)[0].double().numpy()))[None].float()

    return {
        "embedded": lambda: of_stage(open_matting("embedded", torch.device("cpu"))),
        "laplacian": lambda: of_stage(open_matting("laplacian", torch.device("cpu"))),
        "closed-form": lambda: of_stage(ClosedFormMatting()),
        "knn": lambda: knn,
        "trimap": lambda: lambda _, trimap: levels(trimap),
    }


def measure(method: Method, clips: Iterable[Callable[[], Iterator[Sample]]]) -> dict[str, object]:
    """Each error's mean over the clips, each clip's own, and the time."""
    means, seconds, warm = [], [], False
    for samples in clips:
        errors = ClipErrors()
        for rgb, trimap, true in samples():
            if not warm:
                method(rgb, trimap)
                warm = True
            start = time.process_time()
            alpha = method(rgb, trimap)
            seconds.append(time.process_time() - start)
            errors.update(alpha, true, trimap)
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
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    results: dict[str, dict[str, object]] = {}
    print("| set | method | MAD | MSE | Grad | dtSSD | s a frame |\n|---|---|---|---|---|---|---|")
    for title, clips in cases(arguments.data, arguments.frames).items():
        if not title.startswith(tuple(arguments.sets)):
            continue
        for name in arguments.methods:
            try:
                method = methods()[name]()
            except ModelError as error:
                print(f"| {title} | {name} | {error} |")
                continue
            result = measure(method, clips.values())
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
        arguments.output.write_text(json.dumps({"machine": machine, "sets": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
