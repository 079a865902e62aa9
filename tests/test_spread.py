"""Masks reduced as pictures are, against torch's own pooling."""

import pytest
import torch

from videomatte.trimaps.spread import shrink, shrink_whole

SIZES = [(72, 128), (45, 80), (33, 50), (5, 90), (30, 40)]
"""Reduced to 40 pixels: by whole numbers, by others, from flat pictures, and not at all."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.5, 0.99, 1.0])
def test_whole_pixels_of_a_reduced_mask_are_those_whose_mean_is_one(size: tuple[int, int], share: float) -> None:
    mask = torch.rand(size, generator=torch.Generator().manual_seed(3)) < share
    whole = shrink_whole(mask, 40)
    assert torch.equal(whole, shrink(mask[None].float(), 40)[0] == 1)
    assert whole.all() == (share == 1)
