"""Green-screen replacement beside ffmpeg's chromakey at its best, and beside closed-form matting on true trimaps.

    python benchmarks/greenscreen.py DATA [--cases doll ...] [--model embedded] [--pictures FOLDER] [--output FILE]

DATA holds ``04_synth_green_doll`` and ``06_greenscreen_real``; the procedural screens, green and blue, bright and dark,
are drawn here and their true foreground is known. videomatte is told nothing (``--key auto``, no tuning); chromakey and
despill get the screen's true colour and the settings that a sweep against the truth finds best, by alpha and by the
composite's colours.

MAD over the frame and within 15 px of soft alpha (× 1e3), dtSSD over the frame (× 1e2). Spill: how far the composite
over mid-grey goes towards the screen's hue beyond that of the true subject without the screen's light, mean over the
edge (where the true alpha is soft) and over the 15 px band (× 1e3); "colour" is the composite's mean absolute error in
the band. Flicker: mean change of alpha along the motion where the true alpha stays as it is, of pixels
that move less than half a pixel and of all, raw and calmed (× 1e3).

``--pictures`` composites real footage over a place and over a moving one, for looking at: the whole frame, and the
softest windows three times as large, source above composite.
"""

import argparse
import itertools
import json
import math
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from harness import machine
from torch import Tensor

from videomatte.composite import over
from videomatte.flow import estimate_flow, lands_inside, warp
from videomatte.io import open_source
from videomatte.matting import ClosedFormMatting, open_matting
from videomatte.metrics import dtssd, mad
from videomatte.refine import Foreground, Temporal
from videomatte.replace import ReplaceBackground
from videomatte.scenes import SceneSettings, random_scene, render
from videomatte.trimaps import ChromaKey
from videomatte.trimaps.hue import chroma, screen_hue
from videomatte.trimaps.morphology import trimap_from_alpha
from videomatte.types import UNKNOWN, Frame, MatteFrame, TrimapFrame, unit_range

GREY = torch.full((3, 1, 1), 0.5)
SRGB = 13


@dataclass(frozen=True)
class Case:
    """A clip of which the truth is known; all ``[T, C, H, W]``."""

    rgb: Tensor
    alpha: Tensor
    screen: Tensor
    """``[3, 1, 1]``, the screen's median colour."""
    foreground: Tensor | None = None
    """Without the screen's light on it."""
    flow: Tensor | None = None

    @property
    def band(self) -> Tensor:
        """Within 15 px of soft alpha."""
        return trimap_from_alpha(self.alpha, 15) == UNKNOWN


@dataclass(frozen=True)
class Result:
    """What a method made of it."""

    alpha: Tensor
    foreground: Tensor


def median_colour(rgb: Tensor, alpha: Tensor) -> Tensor:
    return unit_range(rgb).movedim(1, 0)[:, alpha[:, 0] == 0].median(dim=1).values.view(3, 1, 1)


def doll(data: Path, count: int) -> Case:
    folder = data / "04_synth_green_doll"
    folder = next(path for path in folder.iterdir() if path.is_dir())
    with open_source(folder / "input.mp4", end=str(count)) as clip, open_source(folder / "alpha") as truth:
        rgb = torch.stack([frame.rgb for frame in clip])
        alpha = torch.stack([unit_range(frame.rgb[:1]) for frame in itertools.islice(truth, count)])
    return Case(rgb, alpha, median_colour(rgb, alpha))


def procedural(seed: int, backdrop: str, light: float, count: int) -> Case:
    settings = replace(
        random_scene(seed, 640, 360, count), backdrop=backdrop, light=light, subject="hair", camera=0.0, shake=0.0
    )
    frames = list(render(settings))
    rgb = torch.stack([(frame.rgb * 255).round().to(torch.uint8) for frame in frames])
    alpha = torch.stack([frame.alpha for frame in frames])
    return Case(
        rgb,
        alpha,
        median_colour(rgb, alpha),
        torch.stack([frame.despilled for frame in frames]),
        torch.stack([frame.flow for frame in frames]),
    )


def cases(data: Path, count: int) -> dict[str, Callable[[], Case]]:
    return {
        "doll": lambda: doll(data, count),
        "green, bright": lambda: procedural(1_000_101, "green", 1.0, count),
        "green, dark": lambda: procedural(1_000_102, "green", 0.35, count),
        "blue, bright": lambda: procedural(1_000_103, "blue", 1.0, count),
        "blue, dark": lambda: procedural(1_000_104, "blue", 0.35, count),
    }


def as_frames(rgb: Tensor) -> Iterator[Frame]:
    return (Frame(index, index, Fraction(1, 24), picture) for index, picture in enumerate(rgb))


def collect(mattes: Iterator[MatteFrame]) -> Result:
    items = list(mattes)
    colours = [unit_range(m.frame.rgb) if m.foreground is None else m.foreground for m in items]
    return Result(torch.stack([m.alpha for m in items]), torch.stack(colours))


def videomatte(case: Case, model: str) -> tuple[Result, Result]:
    """Raw, and calmed."""
    stage = open_matting(model, torch.device("cpu"))
    mattes = list(Foreground()(stage(ChromaKey("auto")(as_frames(case.rgb)))))
    return collect(iter(mattes)), collect(Temporal()(iter(mattes)))


def closed_form(case: Case) -> Result:
    frames = zip(as_frames(case.rgb), case.alpha, strict=True)
    trimaps = (TrimapFrame(frame, trimap_from_alpha(alpha, 8), "generated") for frame, alpha in frames)
    return collect(Foreground()(ClosedFormMatting()(trimaps)))


def ffmpeg(rgb: Tensor, filters: str) -> Result:
    """Frames through ffmpeg's filters."""
    count, _, height, width = rgb.shape
    command = f"ffmpeg -v error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -i - -vf {filters} "
    output = subprocess.run(
        [*command.split(), "-f", "rawvideo", "-pix_fmt", "rgba", "-"],
        input=rgb.permute(0, 2, 3, 1).contiguous().numpy().tobytes(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    pixels = torch.frombuffer(bytearray(output), dtype=torch.uint8).view(count, height, width, 4).permute(0, 3, 1, 2)
    return Result(unit_range(pixels[:, 3:]), unit_range(pixels[:, :3]))


def chromakey(case: Case) -> tuple[Result, str]:
    """Chromakey and despill at the settings that serve the first and the last frame best."""
    sample = case.rgb[:: max(1, len(case.rgb) - 1)]
    alpha = case.alpha[:: max(1, len(case.rgb) - 1)]
    red, green, blue = (case.screen.flatten() * 255).round().int().tolist()
    kind = "green" if green > blue else "blue"

    def key(similarity: float, blend: float) -> str:
        return f"chromakey=0x{red:02x}{green:02x}{blue:02x}:{similarity:.3f}:{blend:.3f}"

    settings = itertools.product([0.01 * 1.25**n for n in range(16)], (0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3))
    best = min((key(*s) for s in settings), key=lambda f: float(mad(ffmpeg(sample, f).alpha, alpha).mean()))
    despills = [
        f"{best},format=rgba,despill={kind}:mix={mix}:expand={expand}"
        for mix, expand in itertools.product((0, 0.25, 0.5, 0.75, 1), (0, 0.25, 0.5))
    ]
    if case.foreground is not None:
        small = replace(case, rgb=sample, alpha=alpha, foreground=case.foreground[:: max(1, len(case.rgb) - 1)])
        best = min(despills, key=lambda f: colour_errors(small, ffmpeg(sample, f))[2])
    else:
        best = f"{best},format=rgba,despill={kind}"
    return ffmpeg(case.rgb, best), best


def colour_errors(case: Case, result: Result) -> tuple[float, float, float]:
    """Of the composite over mid-grey: spill at the edge and in the band, and mean colour error in the band."""
    assert case.foreground is not None
    made, true = over(result.foreground, result.alpha, GREY), over(case.foreground, case.alpha, GREY)
    hue = screen_hue(case.screen.expand(3, 2, 2))
    assert hue is not None
    a, b = chroma((made - true).movedim(1, 0))
    excess = (a * math.cos(hue) + b * math.sin(hue))[:, None].clamp(min=0)
    soft = (case.alpha > 1 / 255) & (case.alpha < 254 / 255)
    error = (made - true).abs().mean(1, keepdim=True)
    return float(excess[soft].mean()), float(excess[case.band].mean()), float(error[case.band].mean())


def flicker(case: Case, alpha: Tensor) -> tuple[float, float]:
    """Change along the motion where the true alpha stays the same to a step of 8 bits: of what moves less than half a
    pixel, and of all."""
    if len(alpha) < 2:
        return math.nan, math.nan
    rgb = unit_range(case.rgb)
    flow = estimate_flow(rgb[:-1], rgb[1:]) if case.flow is None else case.flow[:-1]
    moved, truth = warp(alpha[1:], flow), warp(case.alpha[1:], flow)
    still = ((truth - case.alpha[:-1]).abs() < 1 / 255) & lands_inside(flow) & case.band[:-1]
    slow = still & (flow.norm(dim=1, keepdim=True) < 0.5)
    change = (moved - alpha[:-1]).abs()
    return float(change[slow].mean()), float(change[still].mean())


def measure(case: Case, result: Result) -> dict[str, float]:
    values = {
        "MAD": 1e3 * float(mad(result.alpha, case.alpha).mean()),
        "band": 1e3 * float((result.alpha - case.alpha).abs()[case.band].mean()),
        "dtSSD": 1e2 * float(dtssd(result.alpha, case.alpha).mean()),
    }
    if case.foreground is not None:
        names = ("spill, edge", "spill, band", "colour")
        values |= {name: 1e3 * error for name, error in zip(names, colour_errors(case, result), strict=True)}
    slow, every = flicker(case, result.alpha)
    return values | {"flicker, slow": 1e3 * slow, "flicker": 1e3 * every}


def compare(name: str, case: Case, model: str, with_closed_form: bool) -> dict[str, object]:
    keyed, settings = chromakey(case)
    raw, calm = videomatte(case, model)
    results = {"chromakey": keyed, f"{model}, raw": raw, f"{model}, calmed": calm}
    if with_closed_form:
        results["closed-form, true trimaps"] = closed_form(case)
    rows = {method: measure(case, result) for method, result in results.items()}
    for method, row in rows.items():
        print(
            f"| {name} | {method} | " + " | ".join(f"{key} {value:.2f}" for key, value in row.items()) + " |",
            flush=True,
        )
    return {"methods": rows, "chromakey": settings}


REAL = {
    "woman_longhair_A": ("woman_longhair_A_0-4.8s.mp4", "40", "43"),
    "mdn_yellowgreen_wall": ("video/mdn_yellowgreen_wall.mp4", "300", "303"),
    "captain_uneven": ("stills/captain_uneven.jpg", None, None),
    "woman_flying_hair": ("stills/woman_flying_hair.jpg", None, None),
    "man_BLUEscreen": ("stills/man_BLUEscreen.jpg", None, None),
    "man_uneven_creased": ("stills/man_uneven_creased.png", None, None),
    "soldier_green_on_green": ("stills/soldier_green_on_green.jpg", None, None),
}
SHOWN = 960
"""Longer side that stills are reduced to, in pixels."""


def pictures(data: Path, folder: Path, model: str, names: list[str]) -> None:
    """Composites of real footage over a place and over a moving one."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = open_matting(model, torch.device("cpu"))
    for name, (file, start, end) in REAL.items():
        if not name.startswith(tuple(names)):
            continue
        path = data / "06_greenscreen_real" / file
        with open_source(path, start=start, end=end) as source:
            frames = [reduced(frame) for frame in source]
        mattes = list(Temporal()(Foreground()(stage(ChromaKey("auto")(iter(frames))))))
        height, width = frames[0].height, frames[0].width
        for place, settings in {
            "place": SceneSettings(width=width, height=height, frames=1, seed=31),
            "moving": SceneSettings(width=width, height=height, frames=len(frames), seed=77, camera=1.0),
        }.items():
            behind = [frame.background for frame in render(settings)]
            shown = ReplaceBackground(lambda seconds, b=behind: b[round(seconds * 24) % len(b)], SRGB, linear=True)
            items = list(shown(iter(mattes)))
            picture = items[len(items) // 2]
            assert picture.composite is not None
            save(folder / f"{name}_{place}.png", picture.composite)
            save(folder / f"{name}_{place}_zoom.png", zoomed(picture))


def reduced(frame: Frame) -> Frame:
    scale = SHOWN / max(frame.height, frame.width)
    if scale >= 1:
        return replace(frame, pts=frame.index, time_base=Fraction(1, 24))
    size = (round(frame.height * scale), round(frame.width * scale))
    small = F.interpolate(unit_range(frame.rgb)[None], size, mode="bilinear", antialias=True)[0]
    return Frame(frame.index, frame.index, Fraction(1, 24), (small * 255).round().to(torch.uint8))


def zoomed(matte: MatteFrame, count: int = 4, side: int = 110, zoom: int = 3) -> Tensor:
    """The softest windows: source above, composite below."""
    assert matte.composite is not None
    softness = F.avg_pool2d((matte.alpha * (1 - matte.alpha))[None], side, stride=side // 4)[0, 0]
    tiles = []
    for _ in range(count):
        if tiles and softness.max() <= 0:
            break
        row, column = divmod(int(softness.argmax()), softness.shape[1])
        top, left = row * (side // 4), column * (side // 4)
        window = (slice(None), slice(top, top + side), slice(left, left + side))
        tiles.append(torch.cat([unit_range(matte.frame.rgb)[window], matte.composite[window]], dim=1))
        softness[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = -1
    return F.interpolate(torch.cat(tiles, dim=2)[None], scale_factor=zoom, mode="nearest")[0]


def save(path: Path, rgb: Tensor) -> None:
    from PIL import Image

    Image.fromarray((rgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", nargs="*", default=[""], help="beginnings of the names of cases")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--no-closed-form", action="store_true")
    parser.add_argument("--pictures", type=Path, help="folder; composites of real footage instead of figures")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    if arguments.pictures:
        pictures(arguments.data, arguments.pictures, arguments.model, arguments.cases)
        return
    results: dict[str, object] = {"model": arguments.model, "frames": arguments.frames, "machine": machine()}
    for name, make in cases(arguments.data, arguments.frames).items():
        if name.startswith(tuple(arguments.cases)):
            results[name] = compare(name, make(), arguments.model, not arguments.no_closed_form)
    if arguments.output:
        before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
        arguments.output.write_text(json.dumps({**before, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
