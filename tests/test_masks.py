"""Masks, and the mattes that hold a trimap up or down."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from test_trimap_files import Pictures, clip

from videomatte.errors import InputError, ShapeError, UsageError
from videomatte.trimaps import Holdout, Masks, TrimapFiles
from videomatte.trimaps.holdout import drop_from, keep_in
from videomatte.trimaps.masks import mask_from_picture, trimap_from_soft_mask
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN

SIZE = (60, 100)


def disc(radius=20, row=30, column=50, softness=0.0):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = radius - np.hypot(y - row, x - column)
    edge = np.clip(distance / softness + 0.5, 0, 1) if softness else distance >= 0
    return torch.from_numpy(edge).float()[None]


def grey(mask, dtype=torch.uint8):
    scale = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}[dtype]
    return (mask * scale).to(dtype).repeat(3, 1, 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_masks_of_every_depth_and_kind_are_read_alike(dtype) -> None:
    mask = disc(softness=6)
    # Half a step of 8 bits, rounded down.
    torch.testing.assert_close(mask_from_picture(grey(mask, dtype)), mask, atol=1 / 255, rtol=0)
    photo = grey(torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(1)), dtype)[:3]
    cut_out = mask_from_picture(photo, grey(mask, dtype)[:1])
    torch.testing.assert_close(cut_out, mask, atol=1 / 255, rtol=0)
    opaque = mask_from_picture(grey(mask, dtype), grey(torch.ones(1, *SIZE), dtype)[:1])
    torch.testing.assert_close(opaque, mask, atol=1 / 255, rtol=0)


def test_labels_of_several_objects_are_one_subject() -> None:
    labels = torch.zeros(3, *SIZE, dtype=torch.uint8)
    labels[0, 10:20, 10:20] = 128  # red
    labels[1, 40:43, 40:43] = 128  # green, nine pixels
    assert torch.equal(mask_from_picture(labels)[0] > 0.5, labels.amax(0) > 0)


def test_a_photograph_is_no_mask() -> None:
    with pytest.raises(InputError, match=r"^photo.jpg is in colour"):
        list(
            Masks(Pictures([torch.randint(0, 255, (3, 20, 20), dtype=torch.uint8)], "photo.jpg"))(
                clip(1, size=(20, 20))
            )
        )
    with pytest.raises(ShapeError, match=r"\[1, 4, 4\]"):
        mask_from_picture(torch.zeros(1, 4, 4, dtype=torch.uint8))


def test_the_band_lies_evenly_on_both_sides_of_a_hard_edge() -> None:
    mask = disc()
    trimap = trimap_from_soft_mask(mask, 10)[0]
    inside = scipy.ndimage.distance_transform_edt(mask[0])
    outside = scipy.ndimage.distance_transform_edt(1 - mask[0])
    assert np.array_equal(trimap == FOREGROUND, inside > 5)
    assert np.array_equal(trimap == BACKGROUND, outside > 5)


def test_softness_widens_the_band_by_itself() -> None:
    def width(softness):
        row = trimap_from_soft_mask(disc(softness=softness), 6)[0, 30, :50]
        return int((row == UNKNOWN).sum())

    # From 0.1 to 0.9 a ramp of so many pixels is soft over 0.8 of them.
    assert [width(s) - width(0) for s in (5, 10, 15)] == [pytest.approx(0.8 * s, abs=1) for s in (5, 10, 15)]


def test_what_is_thinner_than_the_band_keeps_its_middle() -> None:
    mask = disc(radius=12)
    mask[:, 5:8, 70:95] = 1  # a strand of its own
    mask[:, 50:52, 70:90] = 1  # two pixels wide
    trimap = trimap_from_soft_mask(mask, 20)[0]
    assert (trimap[6, 75:90] == FOREGROUND).all()
    assert (trimap[5:8, 70:95] != BACKGROUND).all()
    assert (trimap[50:52, 72:88] == FOREGROUND).any()
    assert trimap[30, 50] == FOREGROUND


def test_levels_of_studio_swing_are_black_and_white() -> None:
    mask = torch.where(disc() > 0, 235, 16).to(torch.uint8).repeat(3, 1, 1)
    (item,) = Masks(Pictures([mask]), band=0)(clip(1, size=SIZE))
    assert item.trimap.unique().tolist() == [BACKGROUND, FOREGROUND]


def test_a_still_goes_with_every_frame_and_a_sequence_with_its_own() -> None:
    still = list(Masks(Pictures([grey(disc())]))(clip(3, size=SIZE)))
    assert all(torch.equal(item.trimap, still[0].trimap) for item in still)
    moving = Masks(Pictures([grey(disc(column=c)) for c in (30, 50, 70)]), band=0)
    assert [int(item.trimap[0, 30].float().argmax()) for item in moving(clip(3, size=SIZE))] == [10, 30, 50]
    assert [int(item.trimap[0, 30].float().argmax()) for item in moving(clip(3, start=1, size=SIZE))] == [30, 50]


def test_another_size_of_the_same_shape_is_fitted_and_another_shape_refused() -> None:
    small = grey(disc())[:, ::2, ::2]
    (item,) = Masks(Pictures([small]), band=0.1)(clip(1, size=SIZE))
    true = disc()[0] > 0
    assert (item.trimap[0][true] != BACKGROUND).all()
    assert (item.trimap[0][~true] != FOREGROUND).all()
    with pytest.raises(InputError, match=r"^masks is 100x60, but its frame is 60x60, of another shape"):
        list(Masks(Pictures([grey(disc())], "masks"))(clip(1, size=(60, 60))))


def test_a_mask_may_be_empty_but_not_all_of_them() -> None:
    empty = torch.zeros(3, *SIZE, dtype=torch.uint8)
    items = list(Masks(Pictures([empty, grey(disc())]))(clip(2, size=SIZE)))
    assert items[0].trimap.unique().tolist() == [BACKGROUND]
    with pytest.raises(InputError, match=r"^masks: every mask is empty: .* 0 and 255"):
        list(Masks(Pictures([empty, empty + 1], "masks"))(clip(2, size=SIZE)))


def test_too_few_and_too_many_masks() -> None:
    two = [grey(disc())] * 2
    with pytest.raises(InputError, match=r"^masks: holds 2 masks, but the clip goes on with frame 2 "):
        list(Masks(Pictures(two, "masks"))(clip(3, size=SIZE)))
    with pytest.raises(InputError, match=r"^masks: holds more than 1 masks, but the clip ends after 1 frames"):
        list(Masks(Pictures(two, "masks"))(clip(1, size=SIZE)))
    assert len(list(Masks(Pictures(two), clip_ends_early=True)(clip(1, size=SIZE)))) == 1


@pytest.mark.parametrize("band", [-0.1, 1.0])
def test_a_band_is_a_fraction(band) -> None:
    with pytest.raises(UsageError, match="--band"):
        Masks(Pictures([grey(disc())]), band=band)


TRIMAP = torch.tensor([[[0, 128, 255]]], dtype=torch.uint8)


@pytest.mark.parametrize(
    ("value", "kept", "dropped"),
    [
        (0.0, [0, 128, 255], [0, 128, 255]),
        (0.1, [0, 128, 255], [0, 128, 255]),
        (0.5, [128, 128, 255], [0, 128, 128]),
        (0.9, [255, 255, 255], [0, 0, 0]),
        (1.0, [255, 255, 255], [0, 0, 0]),
    ],
)
def test_mattes_are_bounds_of_alpha(value, kept, dropped) -> None:
    matte = torch.full((1, 1, 3), value)
    assert keep_in(TRIMAP, matte)[0, 0].tolist() == kept
    assert drop_from(TRIMAP, matte)[0, 0].tolist() == dropped
    assert TRIMAP[0, 0].tolist() == [0, 128, 255]
    with pytest.raises(ShapeError, match=r"\[1, 1, 3\] and \[1, 2, 3\]"):
        keep_in(TRIMAP, torch.zeros(1, 2, 3))


def picture(*levels):
    return torch.tensor(levels, dtype=torch.uint8).view(1, 1, -1).repeat(3, 2, 1)


def test_keep_wins_over_drop_and_both_over_the_stage() -> None:
    def stage(*mattes):
        return Holdout(TrimapFiles(Pictures([picture(0, 128, 255, 255)])), *mattes)

    keep, drop = Pictures([picture(255, 0, 0, 255)]), Pictures([picture(255, 255, 0, 255)])
    for mattes, expected in (
        ((None, None), [0, 128, 255, 255]),
        ((keep, None), [255, 128, 255, 255]),
        ((None, drop), [0, 0, 255, 0]),
        ((keep, drop), [255, 0, 255, 255]),
    ):
        (item,) = stage(*mattes)(clip(1, size=(2, 4)))
        assert item.trimap[0, 0].tolist() == expected


def test_moving_mattes_keep_step_with_the_clip() -> None:
    trimaps = [picture(0, 128, 255)] * 3
    drop = Pictures([picture(0, 0, 0), picture(0, 255, 0), picture(0, 0, 255)], "drop")
    items = Holdout(TrimapFiles(Pictures(trimaps)), None, drop)(clip(3))
    assert [item.trimap[0, 0].tolist() for item in items] == [[0, 128, 255], [0, 0, 255], [0, 128, 0]]
    with pytest.raises(InputError, match=r"^drop: holds 3 drop mattes, but the clip goes on with frame 3"):
        list(Holdout(TrimapFiles(Pictures([*trimaps, trimaps[0]])), None, drop)(clip(4)))
