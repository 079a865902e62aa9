"""Flow beside OpenCV's DIS: endpoint error on pairs with known motion, drift of warped masks, and time.

    python benchmarks/flow.py DATA [--output results.json]

DATA holds ``08_flow`` (Middlebury pairs) and ``07_vos`` (clips with a mask per frame); a third set, layers of texture
in known motion, is made here. OpenCV is optional: without it its columns are left out. Times are of the process's CPU
on one thread, medians after a warm-up.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from videomatte.flow import estimate_flow, warp

Estimator = Callable[[Tensor, Tensor], Tensor]


def picture(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)[None] / 255


def load(path: Path) -> Tensor:
    return picture(np.asarray(Image.open(path).convert("RGB")))


def middlebury(folder: Path) -> Iterator[tuple[str, Tensor, Tensor, Tensor, Tensor]]:
    """Name, first, second, flow and where it is known."""
    raw = (folder / "dimetrodon/flow10.flo").read_bytes()
    width, height = np.frombuffer(raw, np.int32, 2, 4)
    flow = torch.from_numpy(np.frombuffer(raw, np.float32, -1, 12).reshape(1, height, width, 2).copy())
    flow = flow.permute(0, 3, 1, 2)
    frames = (load(folder / "dimetrodon" / name) for name in ("frame10.png", "frame11.png"))
    yield "dimetrodon", *frames, flow, (flow.abs() < 1e9).all(dim=1)
    with np.load(folder / "motorcycle_stereo/disp.npz") as archive:
        disparity = torch.from_numpy(archive[archive.files[0]].astype(np.float32))[None]
    flow = torch.stack([-disparity.nan_to_num(posinf=0), torch.zeros_like(disparity)], dim=1)
    frames = (load(folder / "motorcycle_stereo" / name) for name in ("left.png", "right.png"))
    yield "motorcycle", *frames, flow, disparity.isfinite()


LAYERED = {  # background and its shift; object, its radius and its shift; gain of the second picture's light
    "slow": ("coffee", (-1.5, 0.8), "chelsea", 90, (3.3, -2.1), 1.0),
    "dimming": ("astronaut", (4.0, 2.0), "gravel", 80, (14.4, 5.2), 0.7),
    "pan": ("rocket", (31.0, -3.0), "astronaut", 70, (-20.5, 8.0), 1.0),
    "thin": ("chelsea", (-3.0, 1.0), "coffee", 14, (18.0, -9.0), 1.0),
    "large": ("gravel", (-12.0, 4.0), "coffee", 100, (45.0, -12.0), 1.2),
    "faster than itself": ("coffee", (5.0, 0.0), "chelsea", 40, (60.0, 15.0), 1.0),
}


def layered(height: int = 300, width: int = 420) -> Iterator[tuple[str, Tensor, Tensor, Tensor, Tensor]]:
    """A textured disc over a textured ground, each shifted; where it is known excludes what gets hidden."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def texture(name: str) -> Tensor:
        image = getattr(skimage.data, name)()
        image = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
        return picture(np.pad(image, ((80, 80), (80, 80), (0, 0)), mode="reflect"))

    def cut(image: Tensor, shift: tuple[float, float]) -> Tensor:
        moved = warp(image, -torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, *image.shape[2:]))
        return moved[..., 80 : 80 + height, 80 : 80 + width]

    def disc(radius: int, shift: tuple[float, float]) -> Tensor:
        distance = torch.hypot(columns - width / 2 - shift[0], rows - height / 2 - shift[1])
        return (radius + 0.5 - distance).clamp(0, 1)

    for name, (ground, ground_shift, thing, radius, shift, gain) in LAYERED.items():
        here, there = disc(radius, (0.0, 0.0)), disc(radius, shift)
        first = torch.lerp(cut(texture(ground), (0.0, 0.0)), cut(texture(thing), (0.0, 0.0)), here)
        second = torch.lerp(cut(texture(ground), ground_shift), cut(texture(thing), shift), there)
        flow = torch.where(here >= 0.5, torch.tensor(shift).view(2, 1, 1), torch.tensor(ground_shift).view(2, 1, 1))
        x, y = columns + flow[0], rows + flow[1]
        seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        hidden = (here < 0.5) & (torch.hypot(x - width / 2 - shift[0], y - height / 2 - shift[1]) <= radius)
        yield name, first, (second * gain).clamp(0, 1), flow[None], (seen & ~hidden)[None]


def mask_overlap(folder: Path, estimate: Estimator) -> float:
    """Mean IoU of each frame's true mask, brought one frame on, with the next frame's true mask."""
    scores = []
    files = sorted((folder / "rgb").iterdir())
    for before, after in zip(files[::2], files[1::2], strict=False):
        was, now = ((load(folder / "mask" / f"{file.stem}.png") > 0.5)[:, :1] for file in (before, after))
        brought = warp(was.float(), estimate(load(after), load(before))) > 0.5
        scores.append(((brought & now).sum() / (brought | now).sum()).item())
    return statistics.mean(scores)


def milliseconds(estimate: Estimator, first: Tensor, second: Tensor, rounds: int = 9) -> float:
    times = []
    for _ in range(rounds + 2):
        start = time.process_time()
        estimate(first, second)
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times[2:])


def estimators() -> dict[str, Estimator]:
    found: dict[str, Estimator] = {"videomatte": estimate_flow}
    try:
        import cv2
    except ImportError:
        return found

    def dis(preset: int) -> Estimator:
        def run(first: Tensor, second: Tensor) -> Tensor:
            grey = [
                cv2.cvtColor((p[0] * 255).byte().permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for p in (first, second)
            ]
            return torch.from_numpy(cv2.DISOpticalFlow_create(preset).calc(*grey, None)).permute(2, 0, 1)[None]

        return run

    cv2.setNumThreads(1)
    return found | {
        "DIS fast": dis(cv2.DISOPTICAL_FLOW_PRESET_FAST),
        "DIS medium": dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    contestants = estimators()
    results: dict[str, dict[str, float]] = {}
    for name, first, second, truth, known in [*middlebury(arguments.data / "08_flow"), *layered()]:
        results[f"EPE {name} (px)"] = {
            who: (estimate(first, second) - truth).square().sum(dim=1).sqrt()[known].mean().item()
            for who, estimate in contestants.items()
        }
    for clip in sorted((arguments.data / "07_vos").iterdir()):
        results[f"IoU {clip.name}, one frame on"] = {who: mask_overlap(clip, run) for who, run in contestants.items()}
    still = picture(skimage.data.coffee())
    for height, width in ((720, 1280), (1080, 1920), (2160, 3840)):
        first = torch.nn.functional.interpolate(still, size=(height, width), mode="bilinear")
        second = first.roll((5, 11), dims=(2, 3))
        results[f"CPU ms a pair, {width}x{height}"] = {
            who: milliseconds(run, first, second) for who, run in contestants.items()
        }

    print("| | " + " | ".join(contestants) + " |\n|---|" + "---:|" * len(contestants))
    for row, values in results.items():
        print(
            f"| {row} | "
            + " | ".join(f"{value:.3f}" if value < 10 else f"{value:.0f}" for value in values.values())
            + " |"
        )
    if arguments.output:
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
        arguments.output.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
