"""What every benchmark shares: interleaved timing, processes of their own, machine facts, JSON, Markdown."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from videomatte.models.precision import compute_dtype

RESULTS = Path(__file__).parent / "results"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def interleave(runs: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds each run took, round by round.

    All take a turn in every round, so that what else the machine does falls on all alike, and each round's ratios are
    of the same minute. The device has finished when the clock is read.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + rounds):
        for name, run in runs.items():
            finish()
            started = time.perf_counter()
            run()
            finish()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def a_frame(seconds: Mapping[str, list[float]], frames: Mapping[str, int]) -> dict[str, list[float]]:
    """Seconds a frame, of runs that do so many frames at a turn."""
    return {name: [value / frames[name] for value in values] for name, values in seconds.items()}


def spread(values: list[float]) -> dict[str, float]:
    """Median and the range around it."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(seconds: dict[str, list[float]], slow: str, fast: str) -> dict[str, float]:
    """How many times as long ``slow`` took as ``fast``, round against round."""
    return spread([a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)])


def fresh_process(module: str, *arguments: str) -> dict[str, Any]:
    """What a module prints as JSON on its last line when it is run by itself, as peak memory has to be measured."""
    command = [sys.executable, "-m", module, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


@contextmanager
def worker(command: Sequence[str]) -> Iterator[Callable[[], object]]:
    """A program that works each time it is called, as another interpreter's share of `interleave` has to.

    Args:
        command: starts the program. It prints a line when it is ready, then for every line it reads it works once and
            prints a line when it is done.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def answer() -> None:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"{' '.join(command)}: ended with {process.wait()}")

        def run() -> None:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            answer()

        answer()
        try:
            yield run
        finally:
            process.kill()


def machine() -> dict[str, object]:
    """What the figures belong to."""
    cuda = torch.cuda.is_available()
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "auto_precision": str(compute_dtype(DEVICE)).removeprefix("torch."),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write(name: str, results: dict[str, object]) -> Path:
    """Write results with the machine's facts; parts that were not measured this time stay as they were."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **results, "machine": machine()}, indent=1) + "\n")
    return path


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    first, *others = (f"| {' | '.join(map(str, row))} |" for row in (header, *rows))
    return "\n".join([first, "|---" * len(header) + "|", *others])


def ranged(values: Mapping[str, float], form: str = ".2f") -> str:
    """Median and range of `spread`, for people."""
    median, low, high = (format(values[name], form) for name in ("median", "min", "max"))
    return f"{median} ({low} to {high})"


def finish() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _cpu_name() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
