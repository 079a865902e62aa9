"""What is known in places, over blocks and whole pictures: against torch's own pooling."""

import pytest
import torch
import torch.nn.functional as F

from videomatte.trimaps.spread import line_blocks, shrink, shrink_whole

SIZES = [(72, 128), (45, 80), (33, 50), (5, 90), (30, 40)]
"""Reduced to 40 pixels: by whole numbers, by others, from flat pictures, and not at all."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.5, 0.99, 1.0])
def test_whole_pixels_of_a_reduced_mask_are_those_whose_mean_is_one(size: tuple[int, int], share: float) -> None:
    mask = torch.rand(size, generator=torch.Generator().manual_seed(3)) < share
    whole = shrink_whole(mask, 40)
    assert torch.equal(whole, shrink(mask[None].float(), 40)[0] == 1)
    assert whole.all() == (share == 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 3, 16])
def test_means_over_blocks_of_lines_are_those_of_adaptive_pooling(size: tuple[int, int], count: int) -> None:
    planes = torch.rand(3, *size, generator=torch.Generator().manual_seed(4))
    pooled = F.adaptive_avg_pool2d(planes, (size[0], count))
    # Of at most 128 numbers below 1, summed in another order.
    torch.testing.assert_close(planes @ line_blocks(size[1], count, planes), pooled, rtol=0, atol=1e-6)
    assert not (torch.zeros(size) @ line_blocks(size[1], count, planes)).any(), "nothing stays nothing, to the bit"
