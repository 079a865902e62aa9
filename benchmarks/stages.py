"""A run beside its stages by themselves, and beside what no run can be faster than."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import videomatte
from benchmarks import harness
from benchmarks.clips import Clip, true_mattes
from benchmarks.harness import DEVICE
from pipelines.line import AHEAD
from videomatte.config import MatteSettings
from videomatte.engine import Threads
from videomatte.io import Output, open_source, open_tee
from videomatte.matting import NetworkMatting, open_matting
from videomatte.matting.apart import MattingApart, workers_worth
from videomatte.models.load import load_model
from videomatte.models.precision import compute_dtype, prepare
from videomatte.models.vitmatte import SMALL, ViTMatte
from videomatte.refine import Foreground, Temporal
from videomatte.trimaps import ChromaKey
from videomatte.types import UNKNOWN, ClipInfo, Frame, MatteFrame, TrimapFrame

OUTPUTS = {"ProRes 4444": "matte.mov", "H.264 matte": "alpha:matte.mp4"}
SETTINGS = MatteSettings(key="green")


def end_to_end(clip: Clip, rounds: int, folder: Path) -> dict[str, object]:
    """Frames a second of whole runs, and of each stage alone over what the stages before it made earlier.

    Every stage is opened as a run opens it, and so has the threads that it has there; the network once in this process
    and, where a run has some, once in as many of its own as there. A whole run is `videomatte.matte` from call to
    return: opening, starting processes, loading the model, filling and emptying the queues are in its time.
    """
    with ExitStack() as stack:
        matting = open_matting(
            SETTINGS.model, DEVICE, SETTINGS.batch, regions=SETTINGS.regions, precision=SETTINGS.precision
        )
        # A key learns from every frame: each run has one of its own. Loading a model is no stage's work.
        stages: dict[str, Callable[[], Callable[[Iterator[Any]], Iterator[Any]]]] = {
            "key": lambda: ChromaKey(SETTINGS.key or "auto"),
            "network": lambda: matting,
            "foreground": Foreground,
            "temporal": lambda: Temporal(SETTINGS.temporal),
        }
        runs: dict[str, Callable[[], object]] = {"decode": lambda: _drain(_decode(clip.path))}
        items: list[Any] = list(_decode(clip.path))
        for name, opened in stages.items():
            runs[name] = partial(_run_stage, opened, items)
            if name == "network" and DEVICE.type == "cpu":
                runs |= _network_apart(items, stack)
            items = list(opened()(iter(items)))
        unknown = sum(float((matte.source.trimap == UNKNOWN).float().mean()) for matte in items) / len(items)
        info = _info(clip.path)
        for title, output in OUTPUTS.items():
            runs[f"encode, {title}"] = partial(_encode, items, info, _into(folder, output))
            runs[f"whole, {title}"] = partial(
                videomatte.matte, clip.path, _into(folder, output), key=SETTINGS.key, overwrite=True
            )
        seconds = harness.a_frame(harness.interleave(runs, rounds), dict.fromkeys(runs, clip.frames))
    return {
        "clip": {**clip.facts(), "unknown": unknown},
        "fps": _rates(seconds),
        "outputs": {title: _against_slowest(seconds, title) for title in OUTPUTS},
    }


APART = "network, its processes"


def _network_apart(items: list[TrimapFrame], stack: ExitStack) -> dict[str, Callable[[], object]]:
    """The network in as many processes as a run has here, which end with the stack; none where a run has none."""
    frame = items[0].frame
    workers = workers_worth(frame.height, frame.width, SETTINGS.batch)
    if not workers:
        return {}
    apart = stack.enter_context(MattingApart(SETTINGS.model, SETTINGS.batch, workers=workers))
    _drain(apart(iter(items[: 2 * workers])))  # ready from now on
    return {APART: lambda: _drain(apart(iter(items)))}


def _against_slowest(seconds: dict[str, list[float]], title: str) -> dict[str, object]:
    """The whole run's rate as a part of its slowest stage's, round by round."""
    others = [f"{kind}, {other}" for kind in ("encode", "whole") for other in OUTPUTS if other != title]
    alone = {name: values for name, values in seconds.items() if name not in (*others, f"whole, {title}", APART)}
    whole = seconds[f"whole, {title}"]
    slowest = max(alone, key=lambda name: harness.spread(alone[name])["median"])
    return {
        "slowest": slowest,
        "of_slowest": harness.ratios({"slowest": alone[slowest], "whole": whole}, "slowest", "whole"),
        "of_one_after_another": harness.spread(
            [sum(times) / run for *times, run in zip(*alone.values(), whole, strict=True)]
        ),
    }


def floor(green: Clip, place: Clip, rounds: int, folder: Path) -> dict[str, object]:
    """Decoding and encoding with nothing between, and the networks' operations at the rate of matrix products."""
    mattes, info = list(true_mattes(green)), _info(green.path)
    runs: dict[str, Callable[[], object]] = {"decode": lambda: _drain(_decode(green.path))}
    for title, output in OUTPUTS.items():
        runs[f"encode, {title}"] = partial(_encode, mattes, info, _into(folder, output))
        runs[f"decode and encode, {title}"] = partial(_pass_on, green.path, mattes, info, _into(folder, output))
    seconds = harness.a_frame(harness.interleave(runs, rounds), dict.fromkeys(runs, green.frames))
    return {
        "clip": green.facts(),
        "fps": _rates(seconds),
        "teraflops": {precision: matrix_rate(precision) / 1e12 for precision in ("fp32", "auto")},
        "networks": _networks(place, rounds),
    }


def matrix_rate(precision: str, side: int = 2048, repeats: int = 5) -> float:
    """Operations a second of the device's best of several large matrix products, in the type a precision stands for."""
    dtype = compute_dtype(DEVICE, precision)  # type: ignore[arg-type]
    side *= 4 if DEVICE.type == "cuda" else 1
    a, b = (torch.randn(side, side).to(DEVICE, dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        harness.finish()
        started = time.perf_counter()
        a @ b
        harness.finish()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _networks(clip: Clip, rounds: int) -> dict[str, object]:
    """For a frame: operations of convolutions and matrix products, the time they take at least, and that taken.

    The embedded model's solver has none of these operations; its time is in what is taken.
    """
    item = next(true_mattes(clip)).source
    item = replace(item, frame=replace(item.frame, rgb=item.frame.rgb.to(DEVICE)), trimap=item.trimap.to(DEVICE))
    vitmatte = prepare(ViTMatte(SMALL), DEVICE)
    networks = {
        "embedded": NetworkMatting(load_model("embedded", DEVICE), DEVICE),
        "ViTMatte-S, full": NetworkMatting(vitmatte, DEVICE, regions="full"),
        "ViTMatte-S, auto": NetworkMatting(vitmatte, DEVICE, regions="auto"),
    }
    seconds = harness.interleave({name: partial(_infer, stage, item) for name, stage in networks.items()}, rounds)
    rate = matrix_rate("auto")
    results: dict[str, object] = {}
    for name, stage in networks.items():
        with FlopCounterMode(display=False) as counter:
            _infer(stage, item)
        operations = counter.get_total_flops()
        results[name] = {
            "gigaflop": operations / 1e9,
            "least_seconds": operations / rate,
            "seconds": harness.spread(seconds[name]),
        }
    return results


def _infer(stage: NetworkMatting, item: TrimapFrame) -> None:
    _drain(stage(iter([item])))


def _decode(clip: Path) -> Iterator[Frame]:
    with open_source(clip, device=DEVICE) as source:
        yield from source


def _info(clip: Path) -> ClipInfo:
    with open_source(clip) as source:
        return source.info


def _into(folder: Path, output: str) -> str:
    words, _, name = output.rpartition(":")
    return f"{words}:{folder / name}" if words else str(folder / name)


def _run_stage(opened: Callable[[], Callable[[Iterator[Any]], Iterator[Any]]], items: list[Any]) -> None:
    with Threads() as threads:
        _drain(threads.boundary(opened()(iter(items)), depth=AHEAD))


def _encode(mattes: Iterable[MatteFrame], info: ClipInfo, output: str) -> None:
    with open_tee([Output.parse(output)], info, overwrite=True) as sink:
        for matte in mattes:
            sink.write(matte)


def _pass_on(clip: Path, mattes: list[MatteFrame], info: ClipInfo, output: str) -> None:
    """Decode and encode at once, as a run does, every frame's matte lying ready."""
    with Threads() as threads:
        frames = threads.boundary(_decode(clip))
        _encode((matte for _, matte in zip(frames, mattes, strict=True)), info, output)


def _drain(items: Iterable[object]) -> None:
    for _ in items:
        pass


def _rates(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {name: harness.spread([1 / value for value in values]) for name, values in seconds.items()}
