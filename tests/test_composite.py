import numpy as np
import pytest
import torch

from videomatte.composite import checkerboard, over, over_light, premultiply, unpremultiply, wrap_light
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


# In linear light


def to_bt709_light(values):
    """ITU-T H.273, transfer 1, read backwards."""
    values = values.double().numpy()
    return np.where(values < 4.5 * 0.018054, values / 4.5, ((values + 0.099297) / 1.099297) ** (1 / 0.45))


@pytest.mark.parametrize("mix", [over, lambda f, a, b: over_light(f, a, b, 1), lambda f, a, b: over_light(f, a, b, 18)])
@pytest.mark.parametrize("one_colour", [False, True])
def test_full_and_no_coverage_give_the_layers_to_the_bit(mix, one_colour) -> None:
    foreground = torch.arange(256).view(1, 16, 16).expand(3, -1, -1) / 255
    background = torch.rand(3, 1, 1) if one_colour else 1 - foreground
    alpha = torch.zeros(1, 16, 16)
    alpha[:, ::2] = 1
    made = mix(foreground, alpha, background)
    assert torch.equal(made[:, ::2], foreground[:, ::2])
    assert torch.equal(made[:, 1::2], background.expand(3, 16, 16)[:, 1::2])


def test_light_is_mixed_in_proportion() -> None:
    foreground, alpha, background = torch.rand(3, 20, 20), torch.rand(1, 20, 20), torch.rand(3, 20, 20)
    made = over_light(foreground, alpha, background, 1)
    share = alpha.double().numpy()
    wanted = share * to_bt709_light(foreground) + (1 - share) * to_bt709_light(background)
    # float32 powers, and the constants above, which are printed to six digits.
    np.testing.assert_allclose(to_bt709_light(made), wanted, atol=2e-6)


def test_layers_that_are_linear_already_are_mixed_as_they_are() -> None:
    foreground, alpha, background = 3 * torch.rand(3, 9, 9), torch.rand(1, 9, 9), torch.rand(3, 9, 9)
    torch.testing.assert_close(over_light(foreground, alpha, background, 8), over(foreground, alpha, background))


def test_light_mixed_half_and_half_is_brighter_than_code_values() -> None:
    white, black, half = torch.ones(3, 1, 1), torch.zeros(3, 1, 1), torch.full((1, 1, 1), 0.5)
    assert over_light(white, half, black, 1)[0, 0, 0] == pytest.approx(0.7055, abs=1e-3)  # 1.099 · 0.5^0.45 - 0.099


# Light wrap


def edge(height=60, width=200):
    """Opaque in the left half, with a straight soft edge."""
    return ((width / 2 + 1 - torch.arange(width)) / 3).clamp(0, 1).expand(1, height, -1).clone()


def test_light_wraps_the_edge_and_nothing_else() -> None:
    alpha, foreground = edge(), torch.rand(3, 60, 200) * 0.4
    lit = wrap_light(foreground, alpha, torch.full((3, 1, 1), 0.9), 1, 1.0)
    gain = (lit - foreground).mean((0, 1))
    assert torch.equal(lit[..., :97], foreground[..., :97]), "a hundredth of 200 is 2 pixels, and the edge ends at 98"
    assert torch.equal(lit[..., 102:], foreground[..., 102:]), "where nothing is, nothing is lit"
    assert (gain[99:101] > 0.1).all()
    assert (lit >= foreground).all()
    assert (lit <= 0.9 + 1e-6).all()


def test_darkness_does_not_wrap() -> None:
    foreground = torch.rand(3, 60, 200) * 0.5 + 0.3
    lit = wrap_light(foreground, edge(), torch.full((3, 60, 200), 0.1), 1, 1.0)
    torch.testing.assert_close(lit, foreground, rtol=0, atol=1e-6)  # there and back through light


def test_half_the_strength_is_half_the_light() -> None:
    foreground, background = torch.full((3, 60, 200), 0.2), torch.full((3, 1, 1), 0.8)
    gains = [
        to_bt709_light(wrap_light(foreground, edge(), background, 1, strength)) - to_bt709_light(foreground)
        for strength in (0.5, 1.0)
    ]
    np.testing.assert_allclose(2 * gains[0], gains[1], atol=1e-6)
