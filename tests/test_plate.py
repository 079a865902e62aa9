"""The clean plate: laid over the frame, brought to its light, subtracted."""

import logging
from fractions import Fraction

import pytest
import torch
from test_trimap_files import Pictures

from videomatte.errors import InputError
from videomatte.flow.warp import lands_inside, warp
from videomatte.scenes import SceneSettings, render
from videomatte.trimaps.plate import CleanPlate
from videomatte.trimaps.registration import homography_flow, match_light, register
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, from_unit_range, unit_range

HEIGHT, WIDTH = 216, 384
MOVED = torch.tensor([[1.004, 0.006, 0.02], [-0.006, 1.004, -0.012], [0.002, 0.001, 1]], dtype=torch.float64)


@pytest.fixture(scope="module")
def scene():
    settings = SceneSettings(width=WIDTH, height=HEIGHT, frames=1, subject="soft", seed=11, defocus=0.002)
    return next(render(settings))


def pixels(rgb, dtype=torch.uint8):
    return from_unit_range(rgb.clamp(0, 1), dtype)


def run(pictures, plates, dtype=torch.uint8):
    frames = [Frame(n, n, Fraction(1, 25), pixels(rgb, dtype)) for n, rgb in enumerate(pictures)]
    return list(CleanPlate(Pictures([pixels(plate) for plate in plates], "plate.png"))(iter(frames)))


def moved(picture, homography=MOVED):
    return warp(picture[None], homography_flow(homography, *picture.shape[1:])[None])[0]


def test_the_identity_moves_nothing_to_the_bit(scene) -> None:
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.equal(homography_flow(identity, 5, 8), torch.zeros(2, 5, 8))
    assert torch.equal(register(scene.plate, scene.plate), identity)
    # Grain and a subject in front do not make a still camera move.
    assert torch.equal(register(scene.rgb, scene.plate), identity)
    # Float32's rounding of a gain of one.
    torch.testing.assert_close(match_light(scene.plate, scene.plate)[0], scene.plate, atol=1e-6, rtol=0)


def test_a_homography_counts_from_the_centre_in_half_the_longer_side() -> None:
    shift = torch.tensor([[1, 0, 0.5], [0, 1, -0.25], [0, 0, 1]], dtype=torch.float64)
    flow = homography_flow(shift, 20, 40)
    torch.testing.assert_close(flow, torch.tensor([10.0, -5.0]).view(2, 1, 1).expand(2, 20, 40))
    turn = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    # A quarter turn clockwise of a square takes the middle of the top left pixel to that of the top right one.
    torch.testing.assert_close(homography_flow(turn, 4, 4)[:, 0, 0], torch.tensor([3.0, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shift", [0.0, 0.15])
def test_finds_how_the_camera_moved_behind_a_subject_in_other_light(scene, shift) -> None:
    true = MOVED.clone()
    true[0, 2] += shift  # up to an eleventh of the width
    found = register(moved(scene.rgb, true) * 0.6 + 0.05, scene.plate)
    expected = homography_flow(true, HEIGHT, WIDTH)
    error = (homography_flow(found, HEIGHT, WIDTH) - expected).norm(dim=0)[lands_inside(expected[None])[0, 0]]
    # A tenth of a pixel at the side it is worked out at.
    assert error.mean() < 0.1
    assert error.max() < 0.3


def test_light_is_matched_past_a_subject_that_takes_a_third_of_the_picture(scene) -> None:
    gain, offset = torch.tensor([0.7, 0.8, 0.95]).view(3, 1, 1), 0.03
    lit, noise = match_light(scene.rgb * gain + offset, scene.plate)
    # A fifth of a level of 8 bits; the grain's deviation is 0.012 at mid-grey and less in the dark.
    torch.testing.assert_close(lit, scene.plate * gain + offset, atol=3e-3, rtol=0)
    assert 0.002 < noise.mean() < 0.02


@pytest.mark.parametrize("shaken", [False, True])
def test_known_truth(scene, shaken) -> None:
    rgb, alpha, background = scene.rgb, scene.alpha, scene.background
    if shaken:
        rgb, alpha, background = (moved(picture) for picture in (rgb, alpha, background))
        rgb, background = rgb * 0.8, background * 0.8
    (item,) = run([rgb], [scene.plate])
    soft = (alpha > 0.1) & (alpha < 0.9)
    assert (item.trimap == UNKNOWN)[soft].float().mean() > 0.95
    assert (alpha[item.trimap == FOREGROUND] < 0.9).float().mean() < 0.001
    # Dark hair before dark trees is camouflage; what is lost to it must be little.
    assert (alpha[item.trimap == BACKGROUND] > 0.5).float().mean() < 0.005
    assert (item.trimap == FOREGROUND)[alpha > 0.999].float().mean() > 0.5
    assert (item.trimap == BACKGROUND)[alpha < 0.001].float().mean() > 0.9
    assert item.background is not None
    # Two levels of 8 bits.
    assert (unit_range(item.background) - background).abs()[:, 3:-3, 8:-8].mean() < 2 / 255


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_nothing_in_front_is_all_background(scene, dtype) -> None:
    noise = 0.01 * torch.randn(scene.plate.shape, generator=torch.Generator().manual_seed(3))
    (item,) = run([scene.plate + noise], [scene.plate], dtype)
    assert item.trimap.unique().tolist() == [BACKGROUND]
    assert item.background is not None
    assert item.background.dtype == dtype


def test_a_shadow_is_left_to_the_matting(scene) -> None:
    rgb = scene.plate.clone()
    rgb[:, 60:160, 100:200] *= 0.75
    rgb[:, 90:130, 180:240] = torch.tensor([0.9, 0.1, 0.1]).view(3, 1, 1)
    (item,) = run([rgb], [scene.plate])
    assert (item.trimap[:, 70:150, 105:160] != FOREGROUND).all()
    assert (item.trimap[:, 105:115, 195:225] == FOREGROUND).all()


def test_a_moving_plate_keeps_step_and_its_last_picture_stays(scene) -> None:
    plates = [scene.plate, scene.plate.flip(2)]
    first, second, third = run([plates[0], plates[1], plates[1]], plates)
    for item, plate in ((first, plates[0]), (second, plates[1]), (third, plates[1])):
        assert item.trimap.unique().tolist() == [BACKGROUND]
        assert torch.equal(item.background, pixels(plate))


def test_another_place_is_no_plate_and_one_lost_from_sight_is_told(scene, caplog) -> None:
    other = (1 - scene.plate.flip(1)).square()
    with pytest.raises(InputError, match=r"^plate.png shows another place than frame 0: "):
        run([other], [scene.plate])
    with caplog.at_level(logging.WARNING):
        items = run([scene.rgb, other, other, scene.rgb], [scene.plate])
    assert [item.trimap.unique().tolist() == [UNKNOWN] for item in items] == [False, True, True, False]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "from frame 1 on the plate is not to be found"
    ]
    assert torch.equal(items[0].trimap, items[3].trimap)
