"""Strips cover a picture once, and what is enlarged in strips is as if at once."""

import pytest
import torch
import torch.nn.functional as F

from videomatte.strips import Enlarged, strips


@pytest.mark.parametrize("size", [(720, 1280), (1, 1), (3, 70000), (2000, 9)])
def test_strips_hold_every_row_once_from_the_top_down(size: tuple[int, int]) -> None:
    rows = [row for rows in strips(torch.empty(2, *size)) for row in range(rows.start, rows.stop)]
    assert rows == list(range(size[0]))


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (120, 213), (45, 4)])
def test_enlarged_rows_are_those_of_torch(size: tuple[int, int]) -> None:
    picture = torch.rand(3, *size)
    expected = F.interpolate(picture[None], (271, 483), mode="bilinear", align_corners=False)[0]
    enlarged = Enlarged(picture, 271, 483)
    parts = torch.cat([enlarged.rows(slice(top, min(top + 50, 271))) for top in range(0, 271, 50)], dim=1)
    # Rows and columns are blended one after the other: float32's rounding, of places too.
    torch.testing.assert_close(parts, expected, rtol=0, atol=1e-5)


def test_of_equal_size_nothing_moves() -> None:
    picture = torch.rand(2, 31, 17)
    assert torch.equal(Enlarged(picture, 31, 17).rows(slice(0, 31)), picture)
