"""Cuts are found, and nothing else is taken for one."""

from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.flow import continuity, is_cut
from videomatte.flow.cuts import CUT_BELOW


def picture(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image[:300, :400])).permute(2, 0, 1)[None] / 255


def frames_of(path: Path, every: int = 1) -> list[Tensor]:
    if path.is_dir():
        return [
            torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)[None] / 255
            for file in sorted(path.iterdir())
        ]
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        # Most are not to be turned into RGB, which takes long.
        wanted = islice(container.decode(video=0), 0, None, every)
        return [torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None] / 255 for frame in wanted]


def cuts_in(frames: list[Tensor], apart: int = 1) -> list[int]:
    """Numbers of the frames a new shot begins with."""
    return [at + apart for at, (a, b) in enumerate(zip(frames, frames[apart:], strict=False)) if is_cut(a, b).item()]


def test_a_hard_cut_is_found_where_it_is(data: Path) -> None:
    assert cuts_in(frames_of(data / "05_synth_cut/cut_gt06_gt20/input.mp4")) == [24]


@pytest.mark.parametrize("apart", [1, 3])
@pytest.mark.parametrize("name", ["dance-twirl", "blackswan"])
def test_fast_motion_is_no_cut(data: Path, name: str, apart: int) -> None:
    assert cuts_in(frames_of(data / "07_vos" / name / "rgb"), apart) == []


def test_exposure_zoom_and_a_subject_leaving_are_no_cuts(data: Path) -> None:
    """One unbroken take of 24 s at 60 fps, seen at 10: exposure changes, zoom, motion blur, an empty wall."""
    assert cuts_in(frames_of(data / "06_greenscreen_real/video/mdn_yellowgreen_wall.mp4", every=6)) == []


@pytest.mark.parametrize("change", ["flash", "dark", "offset", "noise", "blur"])
def test_a_change_of_light_is_no_cut(change: str) -> None:
    first = picture(skimage.data.astronaut())
    second = {
        "flash": (first * 1.6).clamp(0, 1),
        "dark": first * 0.35,
        "offset": (first + 0.3).clamp(0, 1),
        "noise": (first + 0.05 * torch.randn_like(first)).clamp(0, 1),
        "blur": torch.nn.functional.avg_pool2d(first, (1, 31), 1, (0, 15)),
    }[change]
    assert not is_cut(first, second).item()


def test_unrelated_pictures_are_cuts() -> None:
    names = ("astronaut", "chelsea", "coffee", "rocket")
    pictures = [picture(getattr(skimage.data, name)()) for name in names]
    for first, second in pairwise([*pictures, pictures[0]]):
        assert is_cut(first, second).item()
        assert is_cut(second, first).item()


@pytest.mark.parametrize("shift", [0, 6, 40, 70, 130])
def test_a_cut_is_what_lacks_continuity(shift: int) -> None:
    """However far the search has to go: a pixel of the thumbnails is 8 of these, the reach is 75."""
    image = skimage.data.astronaut()
    first, second = picture(image), picture(image[:, shift:])
    first = first[..., : second.shape[3]]
    assert is_cut(first, second).item() == (continuity(first, second) < CUT_BELOW).item()
    assert shift > 70 or not is_cut(first, second).item()


def test_a_wall_without_texture_is_judged_by_its_colour() -> None:
    green, blue = torch.zeros(1, 3, 90, 160), torch.zeros(1, 3, 90, 160)
    green[:, 1], blue[:, 2] = 0.7, 0.7
    assert continuity(green, green).item() == pytest.approx(1)
    assert is_cut(green, blue).item()


def test_each_pair_of_a_batch_for_itself() -> None:
    cat, cup = picture(skimage.data.chelsea()), picture(skimage.data.coffee())
    assert is_cut(torch.cat([cat, cat, cup]), torch.cat([cat, cup, cup])).tolist() == [False, True, False]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (17, 17), (1080, 1920)])
def test_any_size(height: int, width: int) -> None:
    noise = torch.rand(1, 3, height, width)
    assert continuity(noise, noise).item() == pytest.approx(1, abs=0.02)


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(ShapeError, match=r"\[1, 3, 8, 9\]"):
        continuity(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
