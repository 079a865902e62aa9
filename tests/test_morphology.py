import numpy as np
import pytest
import scipy.ndimage
import torch

from videomatte.errors import ShapeError
from videomatte.trimaps.morphology import (
    BAND,
    box_around,
    boxes_around,
    dilate,
    dilate_square,
    erode,
    trimap_from_alpha,
    trimap_from_mask,
    trimap_of,
)


def blobs(seed, size=(67, 91), share=0.3):
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(size), 3)
    return noise > np.quantile(noise, 1 - share)


def disc(radius):
    y, x = np.mgrid[-int(radius) : int(radius) + 1, -int(radius) : int(radius) + 1]
    return x * x + y * y <= radius * radius


@pytest.mark.parametrize("radius", [1, 1.5, 2, 2.9, 5, 7.07, 13])
def test_dilate_and_erode_equal_scipys(radius) -> None:
    for seed in range(3):
        mask = blobs(seed)
        tensor = torch.from_numpy(mask)
        structure = disc(radius)
        expected = scipy.ndimage.binary_dilation(mask, structure)
        np.testing.assert_array_equal(dilate(tensor, radius).numpy(), expected)
        # border_value: outside the picture is as the border is, so that the border erodes nothing.
        expected = scipy.ndimage.binary_erosion(mask, structure, border_value=1)
        np.testing.assert_array_equal(erode(tensor, radius).numpy(), expected)


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 4, 5, 9, 200])
def test_a_square_equals_scipys(reach) -> None:
    for size in [(67, 91), (5, 3), (1, 8)]:
        mask = blobs(1, size, 0.05)
        expected = scipy.ndimage.maximum_filter(mask, 2 * reach + 1, mode="constant")
        np.testing.assert_array_equal(dilate_square(torch.from_numpy(mask), reach).numpy(), expected)


def test_dilate_equals_the_distance_transform() -> None:
    mask = np.zeros((120, 160), bool)
    mask[30, 40] = mask[119, 0] = mask[0, 159] = True
    distance = scipy.ndimage.distance_transform_edt(~mask)
    for radius in (10, 24.6, 50):
        np.testing.assert_array_equal(dilate(torch.from_numpy(mask), radius).numpy(), distance <= radius)


@pytest.mark.parametrize("radius", [0, 0.5, 0.99])
def test_below_one_pixel_nothing_changes(radius) -> None:
    mask = torch.from_numpy(blobs(0))
    assert torch.equal(dilate(mask, radius), mask)
    assert torch.equal(erode(mask, radius), mask)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 3)])
def test_a_disc_larger_than_the_picture(size) -> None:
    mask = torch.zeros(size, dtype=torch.bool)
    assert not dilate(mask, 20).any()
    assert erode(~mask, 20).all()
    mask[0, 0] = True
    assert dilate(mask, 20).all()
    assert not erode(~mask, 20).any()


def test_frames_of_a_batch_do_not_meet() -> None:
    masks = torch.from_numpy(np.stack([blobs(seed) for seed in range(4)])).view(2, 2, 67, 91)
    grown = dilate(masks, 6)
    for i in range(2):
        for j in range(2):
            assert torch.equal(grown[i, j], dilate(masks[i, j], 6))


def test_trimap_of_a_true_matte_equals_scipys() -> None:
    alpha = np.clip(scipy.ndimage.gaussian_filter(blobs(1).astype(float), 1.5) * 1.4 - 0.2, 0, 1)
    alpha = np.round(alpha * 255) / 255
    got = trimap_from_alpha(torch.from_numpy(alpha).float()[None], 4)[0].numpy()
    expected = np.full(alpha.shape, 128)
    expected[scipy.ndimage.distance_transform_edt(alpha >= 254 / 255) > 4] = 255
    expected[scipy.ndimage.distance_transform_edt(alpha <= 1 / 255) > 4] = 0
    assert {0, 128, 255} == set(np.unique(expected))
    np.testing.assert_array_equal(got, expected)


def test_a_radius_of_nothing_leaves_soft_pixels_unknown() -> None:
    alpha = torch.tensor([[0, 1, 2, 128, 253, 254, 255]]) / 255
    assert trimap_from_alpha(alpha, 0).tolist() == [[0, 0, 128, 128, 128, 255, 255]]


def test_the_band_of_a_mask_has_the_width_asked_for() -> None:
    mask = torch.zeros(20, 40, dtype=torch.bool)
    mask[:, 20:] = True
    for width in (2, 6, 10):
        trimap = trimap_from_mask(mask, width)
        assert (trimap == 128).sum(1).tolist() == [width] * 20
        assert trimap[0, 19] == trimap[0, 20] == 128
        assert trimap[0, 0] == 0
        assert trimap[0, -1] == 255
    assert trimap_from_mask(mask, 0).unique().tolist() == [0, 255]


def test_the_pictures_border_is_no_edge() -> None:
    assert trimap_from_mask(torch.ones(9, 9, dtype=torch.bool), 6).unique().tolist() == [255]
    assert trimap_from_mask(torch.zeros(9, 9, dtype=torch.bool), 6).unique().tolist() == [0]


def test_what_both_masks_claim_is_unknown() -> None:
    foreground = torch.tensor([[True, True, False, False]])
    background = torch.tensor([[True, False, True, False]])
    assert trimap_of(foreground, background).tolist() == [[128, 255, 0, 128]]


def test_other_types_are_refused() -> None:
    with pytest.raises(ShapeError, match="float32"):
        dilate(torch.zeros(3, 3), 2)


@pytest.mark.gpu
def test_the_device_does_not_change_the_result() -> None:
    mask = torch.from_numpy(blobs(0))
    for radius in (3, 17.5):
        assert torch.equal(dilate(mask.cuda(), radius).cpu(), dilate(mask, radius))


def test_the_box_around_a_mask_is_scipys_and_its_margin_ends_at_the_border() -> None:
    mask = torch.zeros(40, 50, dtype=torch.bool)
    assert box_around(mask) is None
    mask[3, 20] = mask[31, 7] = mask[12, 33] = True
    (expected,) = scipy.ndimage.find_objects(mask.int().numpy())
    assert box_around(mask) == expected
    assert mask[box_around(mask, 5)].shape == (37, 37)  # from row 0, of which 3 are missing above


@pytest.mark.parametrize("margin", [0, 9])
def test_boxes_around_a_mask_hold_all_that_is_near_once(margin: int) -> None:
    mask = torch.zeros(2 * BAND + 30, 90, dtype=torch.bool)
    mask[5, 20:60] = mask[BAND - 3, 80] = mask[2 * BAND + 29, 3] = True
    times = torch.zeros(mask.shape)
    for rows, columns in boxes_around(mask, margin):
        times[rows, columns] += 1
    assert times.max() == 1
    assert times[torch.from_numpy(scipy.ndimage.maximum_filter(mask.numpy(), 2 * margin + 1))].min() == 1
    assert times[BAND : 2 * BAND, 4 + margin : 80 - margin].max() == 0, "nothing is there"
    assert not list(boxes_around(torch.zeros(7, 9, dtype=torch.bool)))
