"""Every source of trimaps through the front door: settings in, mattes out."""

import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import videomatte
from videomatte.errors import InputError, UsageError

HEIGHT, WIDTH, FRAMES = 72, 96, 3
PAGE = (Path(__file__).parents[1] / "docs/trimaps.md").read_text(encoding="utf-8")


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(picture).save(path)


def box(index: int) -> tuple[slice, slice]:
    return slice(20, 72), slice(20 + 4 * index, 50 + 4 * index)


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey box that walks before a green screen, with masks, a plate and mattes of it."""
    folder, random = tmp_path_factory.mktemp("shot"), np.random.default_rng(1)
    screen = np.full((HEIGHT, WIDTH, 3), (30, 170, 60)) + random.normal(0, 2, (HEIGHT, WIDTH, 3))
    write(folder / "plate.png", screen.round().astype(np.uint8))
    for index in range(FRAMES):
        picture, mask = screen.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        picture[box(index)], mask[box(index)] = 128, 255
        noisy = picture + random.normal(0, 2, picture.shape)
        write(folder / f"clip/{index:03}.png", noisy.round().clip(0, 255).astype(np.uint8))
        write(folder / f"masks/{index:03}.png", mask)
    corner = np.zeros((HEIGHT, WIDTH), np.uint8)
    corner[:10, :10] = 255
    write(folder / "corner.png", corner)
    return folder


def alphas(shot: Path, out: Path, **settings) -> np.ndarray:
    videomatte.matte(shot / "clip", out, model="embedded", content="alpha", **settings)
    return np.stack([np.array(PIL.Image.open(path)) for path in sorted(out.glob("*.png"))]) / 65535


def truth() -> np.ndarray:
    alpha = np.zeros((FRAMES, HEIGHT, WIDTH))
    for index in range(FRAMES):
        alpha[index][box(index)] = 1
    return alpha


@pytest.mark.parametrize(
    "settings", [{"key": "green"}, {"plate": "plate.png"}, {"mask": "masks", "band": 0.06}], ids=lambda s: next(iter(s))
)
def test_a_box_is_cut_out_by_every_source(shot, tmp_path, settings) -> None:
    files = {name: shot / value if name in ("plate", "mask") else value for name, value in settings.items()}
    found = alphas(shot, tmp_path / "out", **files)
    # A ring of half-covered pixels around the box would be 0.01.
    assert np.abs(found - truth()).mean() < 0.01


def test_mattes_go_on_top_and_keep_wins(shot, tmp_path) -> None:
    corner = shot / "corner.png"
    assert alphas(shot, tmp_path / "keep", key="green", keep=corner, drop=corner)[:, :10, :10].min() == 1
    dropped = alphas(shot, tmp_path / "drop", mask=shot / "masks", drop=shot / "masks")
    assert dropped.max() == 0


def test_the_pages_example_takes_a_segmenter_of_ones_own(shot, tmp_path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(compile(example[: example.index("def segment(")], "trimaps.md", "exec"), names)
    assert example.rstrip().endswith("trimaps=People(segment))")

    def grey(rgb: torch.Tensor) -> torch.Tensor:
        return (rgb.amax(1, keepdim=True) - rgb.amin(1, keepdim=True) < 0.2).float()

    found = alphas(shot, tmp_path / "own", trimaps=names["People"](grey))
    assert np.abs(found - truth()).mean() < 0.01
    kept = alphas(shot, tmp_path / "kept", trimaps=names["People"](grey), keep=shot / "corner.png")
    assert kept[:, :10, :10].min() == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": "green", "plate": "p.png"}, "--key and --plate are 2 answers"),
        ({"plate": "p.png", "mask": "m.png"}, "--plate and --mask are 2 answers"),
        ({"key": "blue", "mask": "m.png", "trimap": "t.png"}, "--key and --mask and --trimap are 3 answers"),
        ({"band": 0.05}, "give the mask with --mask"),
        ({"mask": "m.png", "band": 1.5}, "a fraction of the picture's longer side"),
        ({"trimaps": lambda frames: frames, "key": "green"}, "the stage that was given, but --key too"),
    ],
)
def test_contradictions_are_refused(shot, tmp_path, settings, message) -> None:
    with pytest.raises(UsageError, match=message):
        videomatte.matte(shot / "clip", tmp_path / "out.mov", **settings)
    assert not (tmp_path / "out.mov").exists()


def test_a_missing_file_is_named(shot, tmp_path) -> None:
    for name in ("plate", "mask", "keep", "drop"):
        with pytest.raises(InputError, match=r"nowhere\.png"):
            videomatte.matte(shot / "clip", tmp_path / "out.mov", **{name: tmp_path / "nowhere.png"})
