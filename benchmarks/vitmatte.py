"""ViTMatte here and in transformers, with the same drawn weights: equality, time and memory.

    python -m benchmarks.vitmatte parity time memory
    python -m benchmarks.vitmatte tables

Parity takes some 10 minutes on two cores, time another 5, memory 15 and all there is. The tables of docs/performance.md
are printed from the results.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.harness import DEVICE
from videomatte.engine.memory import peak_memory_bytes
from videomatte.models.precision import prepare
from videomatte.models.vitmatte import BASE, SMALL, ViTMatte

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import vitmatte_reference as reference

NETWORKS = {"S": (reference.SMALL, SMALL), "B": (reference.BASE, BASE)}


def parity() -> list[dict[str, object]]:
    """Largest difference of alpha in float32, and mean and largest under autocast in grey levels of 255."""
    rows: list[dict[str, object]] = []
    for name, (backbone, _) in NETWORKS.items():
        theirs = reference.reference(backbone)
        exact, fast = (prepare(reference.ours(theirs), DEVICE, precision) for precision in ("fp32", "auto"))
        for height, width in ((512, 512), (448, 640), (736, 1280)):
            rgb, trimap = reference.picture(3, height, width)
            # One by one: a batch of three needs three times the N×N scores in transformers.
            expected = torch.cat(
                [reference.reference_alpha(theirs, rgb[i : i + 1], trimap[i : i + 1]) for i in range(3)]
            )
            for batch in (1, 3):
                difference = _difference(exact, rgb, trimap, expected, batch)
                levels = 255 * _difference(fast, rgb, trimap, expected, batch)
                row = {
                    "network": name,
                    "size": f"{width}×{height}",
                    "batch": batch,
                    "std_alpha": round(float(expected[:batch].std()), 3),
                    "fp32_max": float(difference.max()),
                    "autocast_mean_levels": round(float(levels.mean()), 3),
                    "autocast_max_levels": round(float(levels.max()), 2),
                }
                print(json.dumps(row), flush=True)
                rows.append(row)
    return rows


def _difference(network: nn.Module, rgb: Tensor, trimap: Tensor, expected: Tensor, batch: int) -> Tensor:
    with torch.inference_mode():
        alpha = network(rgb[:batch].to(DEVICE), trimap[:batch].to(DEVICE)).cpu()
    return (alpha - expected[:batch]).abs()


def timing(rounds: int = 3) -> dict[str, object]:
    """Seconds a frame of 1280×720, interleaved, and what share of ours the backbone and the decoder have."""
    results: dict[str, object] = {}
    rgb, trimap = (x.to(DEVICE) for x in reference.picture(1, 720, 1280))
    for name, (backbone, _) in NETWORKS.items():
        theirs = reference.reference(backbone).to(DEVICE)
        exact, fast = (prepare(reference.ours(theirs), DEVICE, precision) for precision in ("fp32", "auto"))
        shares = {precision: _shares(network) for precision, network in (("fp32", exact), ("auto", fast))}
        runs: dict[str, Callable[[], object]] = {
            "transformers": lambda theirs=theirs: reference.reference_alpha(theirs, rgb, trimap),
            "fp32": lambda exact=exact: _run(exact, rgb, trimap),
            "auto": lambda fast=fast: _run(fast, rgb, trimap),
        }
        seconds = harness.interleave(runs, rounds)
        results[name] = {
            "seconds": {run: harness.spread(values) for run, values in seconds.items()},
            "times_faster": {run: harness.ratios(seconds, "transformers", run) for run in ("fp32", "auto")},
            "share": {
                precision: {part: value / sum(parts.values()) for part, value in parts.items()}
                for precision, parts in shares.items()
            },
        }
        print(name, json.dumps(results[name], indent=1), flush=True)
    return results


def _run(network: nn.Module, rgb: Tensor, trimap: Tensor) -> Tensor:
    with torch.inference_mode():
        alpha: Tensor = network(rgb, trimap)
    return alpha


def _shares(network: ViTMatte) -> dict[str, float]:
    """Seconds in backbone and decoder, filled in as the network runs."""
    parts = {"backbone": 0.0, "decoder": 0.0}
    for part in parts:
        module, started = getattr(network, part), [0.0]

        def begin(*_: object, started: list[float] = started) -> None:
            harness.finish()
            started[0] = time.perf_counter()

        def end(*_: object, part: str = part, started: list[float] = started) -> None:
            harness.finish()
            parts[part] += time.perf_counter() - started[0]

        module.register_forward_pre_hook(begin)
        module.register_forward_hook(end)
    return parts


def memory() -> list[dict[str, object]]:
    """Peak resident memory of one frame in a process of its own."""
    rows: list[dict[str, object]] = []
    for whose, name, height, width in (
        ("transformers", "S", 1440, 2560),
        ("transformers", "B", 1440, 2560),
        ("ours", "S", 1440, 2560),
        ("ours", "B", 1440, 2560),
        ("ours", "S", 2160, 3840),
        ("ours", "B", 2160, 3840),
    ):
        for precision in ("fp32", "auto") if whose == "ours" else ("fp32",):
            row = harness.fresh_process("benchmarks.vitmatte", "frame", whose, name, str(height), str(width), precision)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def frame(whose: str, name: str, height: str, width: str, precision: str) -> dict[str, object]:
    """One frame by one network; the memory and the time it took, or why it failed."""
    _refuse_more_memory_than_there_is()
    rgb, trimap = (x.to(DEVICE) for x in reference.picture(1, int(height), int(width)))
    if whose == "ours":
        network = prepare(ViTMatte(NETWORKS[name][1]), DEVICE, precision)  # type: ignore[arg-type]
        run: Callable[[], Tensor] = lambda: _run(network, rgb, trimap)  # noqa: E731
    else:
        theirs = reference.reference(NETWORKS[name][0]).to(DEVICE)
        run = lambda: reference.reference_alpha(theirs, rgb, trimap)  # noqa: E731
    before, started = peak_memory_bytes() or 0, time.perf_counter()
    failure = None
    try:
        run()
        harness.finish()
    except (RuntimeError, MemoryError) as error:
        failure = str(error).splitlines()[0]
    peak = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else peak_memory_bytes() or 0
    return {
        "whose": whose,
        "network": name,
        "size": f"{width}×{height}",
        "precision": precision,
        "peak_gb": round(peak / 1e9, 2),
        "before_gb": round(before / 1e9, 2),
        "seconds": round(time.perf_counter() - started, 1),
        "failure": failure,
    }


def _refuse_more_memory_than_there_is() -> None:
    """Let an allocation that cannot succeed fail by itself, where the system would kill any process it likes."""
    if DEVICE.type == "cpu" and sys.platform == "linux":
        import resource

        most = int(0.9 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def tables() -> str:
    """The results in Markdown."""
    results = json.loads((harness.RESULTS / "vitmatte.json").read_text())
    times = []
    for name, row in results.get("time", {}).items():
        seconds = [f"{row['seconds'][run]['median']:.2f} s" for run in ("transformers", "fp32", "auto")]
        faster = [harness.ranged(row["times_faster"][run]) for run in ("fp32", "auto")]
        times.append([name, *seconds, *faster, f"{row['share']['auto']['backbone']:.0%}"])
    memory = [
        [row["whose"], row["network"], row["size"], row["precision"]]
        + (["fails: memory", ""] if row["failure"] else [f"{row['peak_gb']} GB", row["seconds"]])
        for row in results.get("memory", [])
    ]
    parity = []
    for row in results.get("parity", []):
        levels = [f"{row['autocast_mean_levels']:.2f}", f"{row['autocast_max_levels']:.1f}"]
        parity.append([row["network"], row["size"], row["batch"], f"{row['fp32_max']:.1e}", *levels])
    return "\n\n".join(
        harness.table(header.split(" | "), rows)
        for header, rows in (
            ("network | transformers | fp32 | auto | times faster, fp32 | auto | backbone of auto", times),
            ("whose | network | frame | precision | peak memory | seconds", memory),
            ("network | frame | batch | fp32, largest | auto, mean of 255 | auto, largest of 255", parity),
        )
    )


def main(words: list[str]) -> None:
    if words == ["tables"]:
        print(tables())
        return
    if words[:1] == ["frame"]:
        print(json.dumps(frame(*words[1:])))
        return
    parts = {"parity": parity, "time": timing, "memory": memory}
    for word in words or parts:
        print("written to", harness.write("vitmatte", {word: parts[word]()}))


if __name__ == "__main__":
    main(sys.argv[1:])
