import itertools
from fractions import Fraction

import pytest
import torch

from videomatte.errors import UsageError
from videomatte.sheet import ContactSheet
from videomatte.types import Frame, MatteFrame, TrimapFrame

GAP = 8


def contact_sheet(mattes, tile_width=96, rows=8):
    sheet = ContactSheet(rows, tile_width)
    for item in mattes:
        sheet.add(item)
    return sheet.picture()


def matte(width=96, height=64, foreground=None, dtype=torch.uint8, composite=None):
    rgb = torch.rand(3, height, width)
    rgb = (rgb * 255).round().to(dtype) if dtype == torch.uint8 else rgb
    trimap = torch.zeros(1, height, width, dtype=torch.uint8)
    trimap[..., width // 2 :] = 128
    trimap[..., 3 * width // 4 :] = 255
    alpha = torch.zeros(1, height, width)
    alpha[..., 3 * width // 4 :] = 1
    alpha[:, 40:48, 72:80] = 0.5
    return MatteFrame(TrimapFrame(Frame(0, 0, Fraction(1, 25), rgb), trimap, "key"), alpha, foreground, composite)


def tiles(sheet, row, width=96, height=64):
    top = GAP + row * (height + GAP)
    return [sheet[:, top : top + height, GAP + i * (width + GAP) :][:, :, :width] for i in range(5)]


def test_tiles_at_the_frames_own_size_are_the_pictures_to_the_bit() -> None:
    item = matte()
    sheet = contact_sheet([item, item], tile_width=96)
    assert sheet.dtype == torch.uint8
    assert sheet.shape == (3, GAP + 2 * (64 + GAP), GAP + 5 * (96 + GAP))
    for row in range(2):
        source, trimap, alpha, composite, _ = tiles(sheet, row)
        assert torch.equal(source, item.frame.rgb)
        assert torch.equal(trimap, item.source.trimap.expand(3, -1, -1))
        assert torch.equal(alpha, (item.alpha * 255).round().to(torch.uint8).expand(3, -1, -1))
        assert torch.equal(composite[:, :, 80:], item.frame.rgb[:, :, 80:])
        assert set(composite[:, :, :72].unique().tolist()) == {round(0.4 * 255), round(0.6 * 255)}
    assert (sheet[:, :GAP] == round(0.15 * 255)).all()


def test_the_last_tile_shows_the_softest_part_enlarged() -> None:
    item = matte(foreground=torch.ones(3, 64, 96))
    close = tiles(contact_sheet([item], tile_width=96), 0)[4]
    assert torch.equal(close, close[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))
    # White at half strength over the board's two greys, on all the 8 x 8 soft pixels.
    half = (close == round(0.7 * 255)) | (close == round(0.8 * 255))
    assert half.all(0).sum() == 64 * 16


def test_larger_and_smaller_frames_are_fitted() -> None:
    for width, height in ((300, 200), (30, 20), (33, 7)):
        item = matte(width, height)
        sheet = contact_sheet([item], tile_width=96)
        tile_height = round(96 * height / width)
        assert sheet.shape == (3, tile_height + 2 * GAP, GAP + 5 * (96 + GAP))
        trimap = tiles(sheet, 0, height=tile_height)[1]
        assert (trimap[:, :, :40] == 0).all()
        assert (trimap[:, :, 80:] == 255).all()


def test_a_hard_matte_and_a_float_frame_have_a_sheet_too() -> None:
    item = matte(dtype=torch.float32)
    hard = MatteFrame(item.source, item.alpha.round())
    assert contact_sheet([hard], tile_width=96).shape[0] == 3


def test_a_composite_is_shown_where_there_is_one() -> None:
    made = torch.rand(3, 64, 96)
    composite, close = tiles(contact_sheet([matte(composite=made)]), 0)[3:]
    wanted = (made * 255).round().to(torch.uint8)
    assert torch.equal(composite, wanted)
    # The soft square lies at rows 40 to 47, columns 72 to 79, and the window is a quarter of the tile.
    windows = wanted.unfold(1, 16, 1).unfold(2, 24, 1)[:, 32:41, 56:73]
    assert (windows == close[:, ::4, ::4][:, None, None]).all(dim=(0, 3, 4)).any()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 16, 17, 100, 257])
def test_frames_are_spread_over_a_clip_of_any_length(count: int) -> None:
    """Each frame is a colour of its own; memory is bounded by what is kept."""
    sheet = ContactSheet(rows=4, tile_width=16)
    most = 0
    for number in range(count):
        rgb = torch.tensor([number % 256, number // 256, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 16)
        trimap = torch.zeros(1, 8, 16, dtype=torch.uint8)
        sheet.add(
            MatteFrame(TrimapFrame(Frame(number, number, Fraction(1, 25), rgb), trimap, "key"), torch.zeros(1, 8, 16))
        )
        most = max(most, len(sheet._kept))
    assert most <= 8
    picture = sheet.picture()
    shown = [int(picture[0, row, GAP]) + 256 * int(picture[1, row, GAP]) for row in range(GAP, picture.shape[1], 16)]
    assert len(shown) == min(4, count)
    assert shown[0] == 0
    # What is kept reaches to within one step of the end, and a step is at most a quarter of the clip.
    assert shown[-1] >= 0.75 * (count - 1)
    steps = [after - before for before, after in itertools.pairwise(shown)]
    assert count == 1 or 0 < max(steps) <= 2 * min(steps), "steps of what is kept are alike to within one"


def test_nothing_to_show() -> None:
    with pytest.raises(UsageError, match="at least one frame"):
        contact_sheet([])
