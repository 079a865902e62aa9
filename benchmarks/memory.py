"""Peak memory of a batch: what `videomatte.matting.plan` predicts beside what a process of its own takes.

python -m benchmarks.memory            # every row, some minutes on two cores
python -m benchmarks.memory embedded   # those of one model
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction

import torch

from benchmarks import harness
from videomatte.engine.memory import PeakMemory
from videomatte.matting import NetworkMatting, open_matting
from videomatte.models.precision import Precision, prepare
from videomatte.models.vitmatte import BASE, SMALL, ViTMatte
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, TrimapFrame

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LIMIT = 10**15
"""Bytes that none of them reaches: with a limit, freed memory goes back to the system."""
WITHIN = 0.2
"""How far a prediction may be from what is measured, as a fraction of that."""

ROWS = [
    ("S", 480, 640, 1, "auto", 1.0),
    ("S", 480, 640, 4, "auto", 1.0),
    ("S", 720, 1280, 1, "auto", 1.0),
    ("B", 480, 640, 1, "auto", 1.0),
    ("S", 480, 640, 2, "auto", 0.5),
    ("S", 720, 1280, 1, "auto", 0.1),
    ("S", 720, 1280, 2, "auto", 0.5),
    ("S", 1080, 1920, 1, "auto", 0.2),
    ("embedded", 480, 640, 1, "auto", 0.9),
    ("embedded", 480, 640, 4, "auto", 0.5),
    ("embedded", 720, 1280, 1, "auto", 0.1),
    ("embedded", 720, 1280, 4, "auto", 0.1),
    ("embedded", 1080, 1920, 1, "auto", 0.5),
    ("laplacian", 480, 640, 1, "auto", 0.9),
    ("laplacian", 720, 1280, 4, "auto", 0.1),
]
"""Model, height, width, batch, precision, share of the picture that is unknown. ViTMatte computes the
full frame where all is unknown, else near what is."""


def frames(height: int, width: int, count: int, unknown: float) -> list[TrimapFrame]:
    """Noise with an unknown band along an ellipse, sure on both sides, of the share that is asked for."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    radius = torch.hypot(x, y)
    from_edge = (radius - 0.6).abs()
    band = from_edge <= from_edge.flatten().kthvalue(max(1, int(unknown * height * width))).values
    trimap = torch.where(band, UNKNOWN, torch.where(radius < 0.6, FOREGROUND, BACKGROUND)).to(torch.uint8)[None]
    rgb = [torch.randint(0, 256, (3, height, width), dtype=torch.uint8) for _ in range(count)]
    return [TrimapFrame(Frame(i, i, Fraction(1, 25), picture), trimap, "generated") for i, picture in enumerate(rgb)]


def row(model: str, height: str, width: str, batch: str, precision: Precision, unknown: str) -> dict[str, object]:
    """One batch in this process: predicted and measured bytes."""
    H, W, B, share = int(height), int(width), int(batch), float(unknown)
    if model in ("S", "B"):
        network = prepare(ViTMatte({"S": SMALL, "B": BASE}[model]), DEVICE, precision)
        stage = NetworkMatting(network, DEVICE, B, memory=LIMIT, regions="full" if share == 1 else "auto")
    else:
        stage = open_matting(model, DEVICE, B, precision=precision, memory=f"{LIMIT}")
    items = frames(H, W, B, share)
    with PeakMemory(DEVICE) as memory:
        mattes = list(stage(iter(items)))
    assert len(mattes) == B
    predicted = stage.peak_bytes(H, W, B, share)
    return {
        "model": model,
        "size": f"{W}×{H}",
        "batch": B,
        "precision": precision,
        "unknown": share,
        "predicted_mb": round(predicted / 1e6),
        "measured_mb": round((memory.bytes or 0) / 1e6),
        "off_by": round(predicted / memory.bytes - 1, 3) if memory.bytes else None,
    }


def main(words: list[str]) -> None:
    if words[:1] == ["row"]:
        print(json.dumps(row(*words[1:])))  # type: ignore[arg-type]
        return
    results = []
    for one in ROWS:
        if not words or one[0] in words:
            results.append(harness.fresh_process("benchmarks.memory", "row", *map(str, one)))
            print(json.dumps(results[-1]), flush=True)
    far = [r for r in results if r["off_by"] is None or abs(r["off_by"]) > WITHIN]
    print("written to", harness.write("memory", {"rows": results} if not words else {}))
    print(f"{len(far)} of {len(results)} predictions are off by more than {WITHIN:.0%}")


if __name__ == "__main__":
    main(sys.argv[1:])
