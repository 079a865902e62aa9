"""Pixels by their numbers, against torch's own look-up and indexing."""

import pytest
import torch

from videomatte.pixels import pixels_at, places_of, put_at, rows_and_columns


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (64, 48), (2, 5, 3)])
def test_numbers_rows_and_columns_are_those_that_torch_finds(shape: tuple[int, ...], share: float) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < share
    places = places_of(mask)
    assert places.dtype == torch.int64
    assert torch.equal(places, mask.flatten().nonzero()[:, 0])
    rows, columns = rows_and_columns(places, shape[-1])
    *_, wanted_rows, wanted_columns = mask.view(1, -1, shape[-1]).nonzero(as_tuple=True)
    assert torch.equal(rows, wanted_rows)
    assert torch.equal(columns, wanted_columns)


def test_a_part_of_a_mask_is_numbered_by_itself() -> None:
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[2, 3] = mask[4, 6] = True
    assert places_of(mask[2:5, 3:7]).tolist() == [0, 11]


def test_what_is_read_and_put_back_changes_nothing() -> None:
    planes = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(2))
    places = torch.tensor([0, 9, 47])
    values = pixels_at(planes, places)
    assert torch.equal(values, planes.view(3, -1)[:, places])
    assert torch.equal(put_at(planes, places, values), planes)
    changed = put_at(planes, places, values + 1)
    assert int((changed != planes).sum()) == values.numel()
    assert torch.equal(pixels_at(changed, places), values + 1)
