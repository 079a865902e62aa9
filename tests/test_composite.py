import numpy as np
import pytest
import torch

from videomatte.composite import checkerboard, over, premultiply, unpremultiply
from videomatte.errors import ShapeError


def test_over_keeps_both_ends_to_the_bit() -> None:
    foreground, background = torch.rand(3, 7, 5), torch.rand(3, 7, 5)
    assert torch.equal(over(foreground, torch.ones(1, 7, 5), background), foreground)
    assert torch.equal(over(foreground, torch.zeros(1, 7, 5), background), background)


def test_over_is_the_matting_equation_in_double_precision() -> None:
    foreground, alpha, background = torch.rand(2, 3, 9, 8), torch.rand(2, 1, 9, 8), torch.rand(3, 9, 8)
    f, a, b = (t.double().numpy() for t in (foreground, alpha, background))
    # Three float32 roundings of numbers below 1.
    np.testing.assert_allclose(over(foreground, alpha, background).numpy(), f * a + b * (1 - a), atol=3 * 2**-24)


def test_over_takes_one_colour_as_background() -> None:
    green = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    result = over(torch.ones(3, 2, 2), torch.tensor([[[0.0, 0.25], [0.5, 1.0]]]), green)
    assert result[0].tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert result[1].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_premultiply_and_back_is_the_identity_where_there_is_coverage() -> None:
    foreground, alpha = torch.rand(3, 6, 6), torch.rand(1, 6, 6).clamp(min=1e-3)
    # A product and a quotient: two roundings relative to the value.
    torch.testing.assert_close(unpremultiply(premultiply(foreground, alpha), alpha), foreground, rtol=2**-22, atol=0)


def test_premultiplied_over_equals_straight_over() -> None:
    foreground, alpha, background = torch.rand(3, 6, 6), torch.rand(1, 6, 6), torch.rand(3, 6, 6)
    associated = premultiply(foreground, alpha) + (1 - alpha) * background
    assert torch.equal(associated, over(foreground, alpha, background))


def test_unpremultiply_is_black_and_finite_without_coverage() -> None:
    alpha = torch.tensor([[[0.0, 1e-30, 1.0]]])
    straight = unpremultiply(premultiply(torch.full((3, 1, 3), 0.5), alpha), alpha)
    assert straight.isfinite().all()
    assert straight[:, 0, 0].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(straight[:, 0, 1:], torch.full((3, 2), 0.5))


def test_checkerboard_squares_start_light_at_the_corner() -> None:
    board = checkerboard(5, 7, square=2)
    assert board.shape == (3, 5, 7)
    assert board.dtype == torch.float32
    light = (board[0] > 0.5).int().tolist()
    assert light == [
        [1, 1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0, 0, 1],
        [0, 0, 1, 1, 0, 0, 1],
        [1, 1, 0, 0, 1, 1, 0],
    ]
    assert torch.equal(board[0], board[1])
    assert torch.equal(board[0], board[2])


@pytest.mark.parametrize("function", [premultiply, unpremultiply])
def test_sizes_that_disagree_are_both_named(function) -> None:
    with pytest.raises(ShapeError, match=r"\[3, 4, 4\].*\[1, 4, 5\]"):
        function(torch.rand(3, 4, 4), torch.rand(1, 4, 5))
    with pytest.raises(ShapeError, match=r"\[3, 4, 4\] and \[3, 4, 4\]"):
        over(torch.rand(3, 4, 4), torch.rand(3, 4, 4), torch.rand(3, 4, 4))
    with pytest.raises(ShapeError, match="foreground and background"):
        over(torch.rand(3, 4, 4), torch.rand(1, 4, 4), torch.rand(3, 4, 5))
