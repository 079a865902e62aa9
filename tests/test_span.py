"""Points in a clip as people write them."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest

import videomatte
from videomatte.errors import UsageError
from videomatte.io.span import expected_frames, parse_point


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("0", 0),
        ("120", 120),
        ("5.0", Fraction(5)),
        ("5s", Fraction(5)),
        ("5.", Fraction(5)),
        (".5", Fraction(1, 2)),
        ("12.345s", Fraction(12345, 1000)),
        ("1:02.5", Fraction(125, 2)),
        ("0:01:02.5", Fraction(125, 2)),
        ("2:00:00", Fraction(7200)),
    ],
)
def test_whole_numbers_are_frames_the_rest_is_time(text: str, point: int | Fraction) -> None:
    assert parse_point(text) == point
    assert type(parse_point(text)) is type(point)


@pytest.mark.parametrize("text", ["", "-3", "1:2:3:4", "five", "1e3", "٣", "5 s", "1:", "nan"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no point in a clip"):
        parse_point(text)


def test_expected_frames_for_the_progress_bar(green_clip: Path) -> None:
    info = videomatte.probe(green_clip)  # 8 frames at 24 a second
    assert expected_frames(info, None, None) == 8
    assert expected_frames(info, "2", "6") == 4
    assert expected_frames(info, "0.125", None) == 5
    assert expected_frames(info, None, "99") == 8
    assert expected_frames(dataclasses.replace(info, frame_count=None), None, None) is None
