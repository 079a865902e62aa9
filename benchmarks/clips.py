"""The clips of the throughput benchmark, rendered once into a folder: the same on every machine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from videomatte.io import open_sink, open_source
from videomatte.scenes import SceneSettings, write_clip
from videomatte.trimaps.morphology import trimap_from_alpha
from videomatte.types import UNKNOWN, Frame, MatteFrame, TrimapFrame, unit_range

BAND = 0.10
"""Share of the frame that the trimap's unknown band is to have."""
MOST_MARGIN = 64
"""Widest margin around what is soft that is tried for it, in pixels."""


@dataclass(frozen=True)
class Clip:
    """A rendered clip, H.264 with sound, and where its trimaps are."""

    path: Path
    trimaps: Path
    """FFV1, 8 bits, a trimap a frame."""
    frames: int
    margin: int
    """Pixels the trimap goes beyond what is soft."""
    unknown: float
    """Share of the trimaps that is unknown, mean over the clip."""

    def facts(self) -> dict[str, object]:
        """What results say of it."""
        return {name: value for name, value in asdict(self).items() if not isinstance(value, Path)}


def green_screen(folder: Path, width: int, height: int, frames: int) -> Clip:
    """A person with loose hair before a green screen."""
    return _clip(folder, SceneSettings(width=width, height=height, frames=frames, seed=7, backdrop="green"))


def in_a_place(folder: Path, width: int, height: int, frames: int) -> Clip:
    """A person with loose hair where no screen is, for trimaps."""
    return _clip(folder, SceneSettings(width=width, height=height, frames=frames, seed=5))


def _clip(folder: Path, scene: SceneSettings) -> Clip:
    folder = folder / f"{scene.backdrop}-{scene.width}x{scene.height}-{scene.frames}"
    path, trimaps, facts = folder / "clip.mp4", folder / "trimap.mkv", folder / "clip.json"
    if not facts.exists():
        write_clip(scene, folder)
        margin = _margin(folder)
        unknown = _write_trimaps(path, trimaps, folder, margin)
        facts.write_text(json.dumps({"frames": scene.frames, "margin": margin, "unknown": unknown}))
    return Clip(path, trimaps, **json.loads(facts.read_text()))


def true_mattes(clip: Clip) -> Iterator[MatteFrame]:
    """The clip's frames with its trimaps and its true alphas."""
    with open_source(clip.path) as frames, open_source(clip.trimaps) as trimaps:
        for frame, trimap, alpha in zip(frames, trimaps, _alphas(clip.path.parent), strict=True):
            yield MatteFrame(TrimapFrame(frame, trimap.rgb[:1], "generated"), alpha)


def _alphas(folder: Path) -> Iterator[Tensor]:
    with open_source(folder / "alpha") as source:
        for frame in source:
            yield unit_range(frame.rgb[:1])


def _margin(folder: Path) -> int:
    """The margin whose band comes nearest to `BAND`, on every eighth frame."""
    alphas = list(_alphas(folder))[::8]

    def miss(margin: int) -> float:
        return statistics.mean(_unknown(trimap_from_alpha(alpha, margin)) for alpha in alphas) - BAND

    low, high = 0, MOST_MARGIN
    while high - low > 1:  # the band only grows with the margin
        middle = (low + high) // 2
        low, high = (middle, high) if miss(middle) < 0 else (low, middle)
    return min((low, high), key=lambda margin: abs(miss(margin)))


def _write_trimaps(clip: Path, path: Path, folder: Path, margin: int) -> float:
    shares = []
    with (
        open_source(clip) as source,
        open_sink(path, source.info, format="ffv1-8", content="alpha", audio=False, overwrite=True) as sink,
    ):
        for frame, alpha in zip(source, _alphas(folder), strict=True):
            trimap = trimap_from_alpha(alpha, margin)
            shares.append(_unknown(trimap))
            sink.write(MatteFrame(TrimapFrame(frame, trimap, "generated"), unit_range(trimap)))
    return statistics.mean(shares)


def _unknown(trimap: Tensor) -> float:
    return float((trimap == UNKNOWN).float().mean())


def repeated(clip: Clip, frames: int) -> Path:
    """A longer movie of the clip's frames, forwards and backwards again and again, so that nothing cuts."""
    path = clip.path.with_name(f"repeated-{frames}.mp4")
    if path.exists():
        return path
    with open_source(clip.path) as source:
        shown = list(source)
        shown += shown[-2:0:-1]
        step = shown[1].pts - shown[0].pts
        with open_sink(path, source.info, content="foreground", audio=False, verify=False) as sink:
            for index in range(frames):
                sink.write(_bare(replace(shown[index % len(shown)], index=index, pts=index * step)))
    return path


def _bare(frame: Frame) -> MatteFrame:
    blank = frame.rgb[:1].new_full((1, frame.height, frame.width), UNKNOWN)
    return MatteFrame(TrimapFrame(frame, blank, "generated"), unit_range(blank))
