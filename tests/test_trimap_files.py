from fractions import Fraction
from pathlib import Path

import pytest
import torch

from videomatte.errors import InputError, ShapeError
from videomatte.trimaps import TrimapFiles
from videomatte.trimaps.files import trimap_from_picture
from videomatte.types import ClipInfo, Colour, Frame


class Pictures:
    """A source of pictures that never were in a file."""

    def __init__(self, pictures, name="trimaps"):
        self.pictures = pictures
        height, width = pictures[0].shape[1:]
        self.info = ClipInfo(
            path=Path(name), container="images", codec="png", width=width, height=height, time_base=Fraction(1, 25),
            average_rate=Fraction(25), frame_count=len(pictures), duration_seconds=None, pixel_format="rgb24",
            bit_depth=8, colour=Colour(), rotation_degrees=0, sample_aspect=Fraction(1), has_alpha=False,
        )  # fmt: skip

    def __iter__(self):
        for index, picture in enumerate(self.pictures):
            yield Frame(index, index, Fraction(1, 25), picture[:3], picture[3:] if len(picture) == 4 else None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        pass


def picture(*levels, channels=3):
    return torch.tensor(levels, dtype=torch.uint8).view(1, 1, -1).repeat(channels, 2, 1)


def clip(count, start=0, size=(2, 3)):
    return iter(Frame(i, i, Fraction(1, 25), torch.zeros(3, *size, dtype=torch.uint8)) for i in range(start, count))


GOOD = picture(0, 128, 255)
EMPTY = picture(0, 0, 0)


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, 0), (12, 0), (84, 0), (85, 128), (102, 128), (128, 128), (169, 128), (170, 255), (254, 255), (255, 255)],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_levels_are_read_alike_at_any_depth(level, expected, dtype) -> None:
    grey = torch.full((3, 2, 2), level)
    scaled = {torch.uint8: grey, torch.uint16: grey * 257, torch.float32: grey / 255}[dtype].to(dtype)
    assert trimap_from_picture(scaled).unique().tolist() == [expected]


def test_compression_noise_changes_nothing() -> None:
    clean = torch.tensor([0, 128, 255]).repeat_interleave(200).view(1, 1, -1).repeat(3, 50, 1)
    noisy = (clean + 12 * torch.randn(clean.shape)).clamp(0, 255).to(torch.uint8)  # per channel: chroma noise too
    assert torch.equal(trimap_from_picture(noisy), trimap_from_picture(clean.to(torch.uint8)))


def test_nothing_painted_is_background() -> None:
    rgb, alpha = picture(255, 255, 128), torch.tensor([[[255, 0, 255]] * 2], dtype=torch.uint8)
    assert trimap_from_picture(rgb, alpha)[0, 0].tolist() == [255, 0, 128]


def test_a_photograph_is_no_trimap() -> None:
    with pytest.raises(InputError, match="in colour"):
        trimap_from_picture(torch.randint(0, 255, (3, 20, 20), dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"\[1, 4, 4\]"):
        trimap_from_picture(torch.zeros(1, 4, 4, dtype=torch.uint8))


def test_each_frame_takes_its_own() -> None:
    trimaps = [GOOD, EMPTY, picture(0, 102, 102), picture(255, 255, 255), picture(128, 128, 255)]
    items = list(TrimapFiles(Pictures(trimaps))(clip(5)))
    assert [item.frame.index for item in items] == [0, 1, 2, 3, 4]
    assert [item.trimap[0, 0].tolist() for item in items] == [
        [0, 128, 255], [0, 0, 0], [0, 128, 128], [255, 255, 255], [128, 128, 255],
    ]  # fmt: skip
    assert {item.origin for item in items} == {"key"}


def test_a_clip_that_starts_late_takes_the_trimaps_of_its_own_frames() -> None:
    trimaps = [EMPTY, EMPTY, GOOD, picture(255, 128, 0)]
    items = list(TrimapFiles(Pictures(trimaps))(clip(4, start=2)))
    assert [item.trimap[0, 0].tolist() for item in items] == [[0, 128, 255], [255, 128, 0]]


def test_too_few_and_too_many_are_told_with_both_numbers() -> None:
    with pytest.raises(InputError, match=r"^trimaps: holds 2 trimaps, but the clip goes on with frame 2 "):
        list(TrimapFiles(Pictures([GOOD, GOOD]))(clip(3)))
    with pytest.raises(
        InputError, match=r"^one.png: holds 1 trimap, but the clip goes on with frame 1 .*one trimap per"
    ):
        list(TrimapFiles(Pictures([GOOD], "one.png"))(clip(3)))
    with pytest.raises(InputError, match=r"^trimaps: holds more than 2 trimaps, but the clip ends after 2 frames"):
        list(TrimapFiles(Pictures([GOOD] * 3))(clip(2)))
    assert len(list(TrimapFiles(Pictures([GOOD] * 3), clip_ends_early=True)(clip(2)))) == 2


def test_another_size_is_told_with_both_sizes() -> None:
    with pytest.raises(InputError, match=r"^trimaps: trimap 0 is 3x2, but its frame is 5x4: "):
        list(TrimapFiles(Pictures([GOOD, GOOD]))(clip(2, size=(4, 5))))


@pytest.mark.parametrize(
    ("levels", "missing"),
    [
        ((0, 128, 128), r"no sure foreground \(grey 170 to 255\): "),
        ((128, 128, 255), r"no sure background \(grey 0 to 84\): "),
        ((0, 0, 0), "no sure foreground"),
        ((255, 255, 255), "no sure background"),
        ((128, 128, 128), "no sure foreground .* and no sure background"),
    ],
)
def test_a_still_needs_both_kinds(levels, missing) -> None:
    with pytest.raises(InputError, match=f"^still.png has {missing}"):
        list(TrimapFiles(Pictures([picture(*levels)], "still.png"))(clip(1)))


def test_a_sequence_may_begin_empty_but_never_unknown() -> None:
    assert len(list(TrimapFiles(Pictures([EMPTY, GOOD]))(clip(2)))) == 2
    with pytest.raises(InputError, match="trimap 0 has no sure foreground"):
        list(TrimapFiles(Pictures([picture(0, 128, 128), GOOD]))(clip(2)))
    with pytest.raises(InputError, match=r"trimap 1 has no sure foreground .* and no sure background"):
        list(TrimapFiles(Pictures([GOOD, picture(102, 102, 102)]))(clip(2)))


def test_a_photograph_is_told_with_its_file() -> None:
    photo = torch.randint(0, 255, (3, 20, 20), dtype=torch.uint8)
    with pytest.raises(InputError, match=r"^photo.jpg is in colour"):
        list(TrimapFiles(Pictures([photo], "photo.jpg"))(clip(1, size=(20, 20))))
