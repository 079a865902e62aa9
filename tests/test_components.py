import numpy as np
import pytest
import skimage.measure
import torch

from videomatte.components import by_label, held_by_label, label_components, largest_component, without_specks
from videomatte.errors import ShapeError


@pytest.mark.parametrize("density", [0.1, 0.4, 0.55, 0.59, 0.65, 0.9])
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (37, 1), (40, 53)])
def test_labels_equal_skimages(size, density) -> None:
    # Around 0.59 a random grid percolates: long winding pieces, the hardest for label propagation.
    for seed in range(5):
        mask = np.random.default_rng(seed).random(size) < density
        labels, areas = label_components(torch.from_numpy(mask))
        expected = skimage.measure.label(mask, connectivity=1)  # numbers in raster order too
        np.testing.assert_array_equal(labels.numpy(), expected)
        np.testing.assert_array_equal(areas.numpy(), np.bincount(expected.ravel()))


def test_a_spiral_is_one_piece() -> None:
    spiral = torch.zeros(41, 41, dtype=torch.bool)
    x, y, dx, dy = 0, 0, 1, 0
    spiral[0, 0] = True
    for _ in range(900):
        ahead = (y + 2 * dy, x + 2 * dx)
        blocked = not (0 <= y + dy < 41 and 0 <= x + dx < 41) or (
            0 <= ahead[0] < 41 and 0 <= ahead[1] < 41 and bool(spiral[ahead])
        )
        if blocked:
            dx, dy = -dy, dx
            if spiral[y + 2 * dy, x + 2 * dx]:
                break
        x, y = x + dx, y + dy
        spiral[y, x] = True
    labels, areas = label_components(spiral)
    assert spiral.sum() > 800
    assert areas.tolist() == [41 * 41 - int(spiral.sum()), int(spiral.sum())]
    assert torch.equal(labels == 1, spiral)


def test_diagonals_and_opposite_borders_do_not_touch() -> None:
    mask = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    _, areas = label_components(mask)
    assert areas.tolist() == [4, 1, 1, 1, 1, 1]


def test_largest_takes_the_first_of_equals_and_nothing_of_nothing() -> None:
    mask = torch.tensor([[0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    assert largest_component(mask).nonzero().tolist() == [[0, 1], [0, 2]]
    assert not largest_component(torch.zeros(3, 4, dtype=torch.bool)).any()
    assert label_components(torch.zeros(3, 4, dtype=torch.bool))[1].tolist() == [12]


def test_each_pixel_gets_its_pieces_value() -> None:
    mask = torch.rand(23, 31) > 0.6
    labels, areas = label_components(mask)
    assert torch.equal(by_label(areas, labels), areas[labels])


def test_each_piece_is_told_how_much_of_a_mask_it_holds() -> None:
    mask, other = torch.rand(2, 23, 31, generator=torch.Generator().manual_seed(2)) > 0.6
    labels, areas = label_components(mask)
    held = held_by_label(other, labels, areas)
    for label in range(1, len(areas)):
        assert held[label] == ((labels == label) & other).sum()
    assert held.sum() == mask.numel()


def test_specks_go_and_pieces_of_the_least_size_stay() -> None:
    mask = torch.rand(40, 50, generator=torch.Generator().manual_seed(1)) > 0.5
    expected = skimage.morphology.remove_small_objects(mask.numpy(), max_size=6, connectivity=1)
    assert torch.equal(without_specks(mask, 7), torch.from_numpy(expected))
    assert torch.equal(without_specks(mask, 1), mask)
    assert not without_specks(torch.zeros(3, 4, dtype=torch.bool), 0).any()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[1, 3, 4\]"):
        label_components(torch.zeros(1, 3, 4, dtype=torch.bool))
