"""How fast whole runs are: beside their slowest stage, beside others, beside what is possible, and in what memory.

    python -m benchmarks.throughput end-to-end vitmatte pymatting floor memory
    python -m benchmarks.throughput rvm --rvm CHECKOUT --rvm-python PYTHON
    python -m benchmarks.throughput tables

Parts take two minutes each on two quiet cores, memory more; the clips are rendered once into --work. The tables of
docs/performance.md are printed from the results. The plain loops need opencv-python-headless and PyMatting, rvm a
checkout of github.com/PeterL1n/RobustVideoMatting and a Python with torch, torchvision, av and pillow. CUDA is used
where there is one: give its results a --name of their own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import videomatte
from benchmarks import clips, harness, peers, stages

MEMORY_CLIP = 96, 54, 24
"""Columns, rows and frames of what is repeated: overhead is most of the time of such frames."""
MEMORY_JOB: dict[str, Any] = {"key": "green", "model": "laplacian"}


def memory(work: Path, frames: int) -> dict[str, object]:
    """Peak memory of a long run and of one of a 25th of its length, each in a process of its own."""
    clip = clips.green_screen(work, *MEMORY_CLIP)
    rows = [
        harness.fresh_process("benchmarks.throughput", "one-run", "--work", str(clips.repeated(clip, length)))
        for length in (frames // 25, frames)
    ]
    short, long = (row["peak_bytes"] for row in rows)
    return {"job": MEMORY_JOB, "size": "{}×{}".format(*MEMORY_CLIP), "runs": rows, "growth": long / short - 1}


def one_run(clip: Path) -> dict[str, object]:
    """One run of `MEMORY_JOB` and the most memory it took."""
    with tempfile.TemporaryDirectory() as folder:
        report = videomatte.matte(clip, Path(folder) / "matte.mov", **MEMORY_JOB)
    return {"frames": report.frames_out, "seconds": report.seconds, "peak_bytes": report.peak_memory_bytes}


def tables(name: str) -> str:
    """The results in Markdown."""
    results = json.loads((harness.RESULTS / f"{name}.json").read_text())
    made = {
        "end_to_end": _end_to_end,
        "vitmatte": _versus,
        "rvm": _versus,
        "pymatting": _versus,
        "floor": _floor,
        "memory": _memory,
    }
    found = [table(results[part]) for part, table in made.items() if part in results]
    return "\n\n".join([_machine(results["machine"]), *found])


def _machine(facts: dict[str, Any]) -> str:
    where = facts["gpu"] or f"{facts['cores']} cores of {facts['cpu']}, {facts['instructions']}"
    return f"{where}; *auto* precision is {facts['auto_precision']}; torch {facts['torch']}."


def _end_to_end(part: dict[str, Any]) -> str:
    stages_alone = [[name, harness.ranged(fps)] for name, fps in part["fps"].items()]
    runs = [
        [title, row["slowest"], harness.ranged(row["of_slowest"]), harness.ranged(row["of_one_after_another"])]
        for title, row in part["outputs"].items()
    ]
    return (
        harness.table(["stage alone, or whole run", "frames a second"], stages_alone)
        + "\n\n"
        + harness.table(["whole run", "slowest stage", "rate against it", "against one stage after another"], runs)
    )


def _versus(part: dict[str, Any]) -> str:
    difference = part.get("difference", {})
    header = [f"band {part['clip']['unknown']:.1%}", "seconds a frame", "times as fast"]
    header += ["alpha differs: mean, 99.9 % (of 255)"] if difference else []
    rows = []
    for name, seconds in part["seconds"].items():
        row = [name, harness.ranged(seconds, ".3f")]
        row.append(harness.ranged(part["times_faster"][name]) if name in part["times_faster"] else "1")
        if difference:
            row.append("{mean:.2f}, {percentile:.1f}".format_map(difference[name]) if name in difference else "")
        rows.append(row)
    return harness.table(header, rows)


def _floor(part: dict[str, Any]) -> str:
    rates = [[name, harness.ranged(fps)] for name, fps in part["fps"].items()]
    networks = [
        [
            name,
            f"{row['gigaflop']:.0f}",
            f"{row['least_seconds']:.3f} s",
            f"{row['seconds']['median']:.3f} s",
            f"{row['least_seconds'] / row['seconds']['median']:.0%}",
        ]
        for name, row in part["networks"].items()
    ]
    flops = part["teraflops"]
    header = ["a frame", "Gflop", f"least, at {flops['auto']:.2f} Tflop/s", "taken", "share"]
    return harness.table(["alone", "frames a second"], rates) + "\n\n" + harness.table(header, networks)


def _memory(part: dict[str, Any]) -> str:
    rows = [[row["frames"], f"{row['peak_bytes'] / 2**20:.0f} MiB", f"{row['seconds']:.0f}"] for row in part["runs"]]
    return harness.table([f"frames of {part['size']}", "peak memory", "seconds"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("end-to-end", "vitmatte", "rvm", "pymatting", "floor", "memory")
    parser.add_argument(
        "parts", nargs="+", choices=[*names, "tables", "one-run"], metavar="PART", help=", ".join(names)
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "videomatte-throughput")
    parser.add_argument("--size", default="1280x720", help="of the clips")
    parser.add_argument("--frames", type=int, default=24, help="of the clips")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=5000, help="frames of memory's long run")
    parser.add_argument("--rvm", type=Path, help="checkout of RobustVideoMatting")
    parser.add_argument("--rvm-python", type=Path, help="a Python that has torchvision")
    parser.add_argument("--name", default="throughput", help="of the results in benchmarks/results")
    given = parser.parse_args()
    if given.parts == ["tables"]:
        print(tables(given.name))
        return
    if given.parts == ["one-run"]:
        print(json.dumps(one_run(given.work)))
        return
    width, height = map(int, given.size.split("x"))
    rounds, folder = given.rounds, given.work / "out"
    folder.mkdir(parents=True, exist_ok=True)

    def green() -> clips.Clip:
        return clips.green_screen(given.work, width, height, given.frames)

    def place() -> clips.Clip:
        return clips.in_a_place(given.work, width, height, given.frames)

    parts: dict[str, Callable[[], object]] = {
        "end-to-end": lambda: stages.end_to_end(green(), rounds, folder),
        "vitmatte": lambda: peers.vitmatte(place(), rounds, folder),
        "rvm": lambda: peers.robust_video_matting(place(), rounds, folder, given.rvm, given.rvm_python),
        "pymatting": lambda: peers.pymatting(place(), rounds, folder),
        "floor": lambda: stages.floor(green(), place(), rounds, folder),
        "memory": lambda: memory(given.work, given.long),
    }
    if "rvm" in given.parts and not (given.rvm and given.rvm_python):
        parser.error("rvm needs --rvm CHECKOUT and --rvm-python PYTHON")
    for name in given.parts:
        result = parts[name]()
        print(json.dumps(result, indent=1))
        print("written to", harness.write(given.name, {name.replace("-", "_"): result}))


if __name__ == "__main__":
    main()
