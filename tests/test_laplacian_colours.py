"""What colours say of alpha, against scipy's Gaussians, and what it is for: plain backgrounds."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from videomatte.models import laplacian_colours
from videomatte.models.laplacian import LaplacianMatting
from videomatte.models.laplacian_cells import Cells
from videomatte.models.laplacian_colours import alpha_from_colours, sure_colours
from videomatte.models.laplacian_system import assemble

PAIRS = [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]
"""The products of colours in their order: rr, gg, bb, rg, rb, gb."""


def side(mean: list[float], spread: float) -> Tensor:
    """``[9, 1]``: a side of one colour with an even spread."""
    colour = torch.tensor(mean)
    products = torch.outer(colour, colour) + spread**2 * torch.eye(3)
    return torch.cat([colour, products[PAIRS]])[:, None]


@pytest.mark.parametrize("plate", [None, [0.12, 0.55, 0.31]])
def test_posterior_is_that_of_the_gaussians(plate: list[float] | None) -> None:
    front, back, pixel = [0.8, 0.3, 0.2], [0.1, 0.6, 0.3], [0.5, 0.42, 0.22]
    told = None if plate is None else torch.tensor(plate)[:, None]
    departure = back if plate is None else (np.array(back) - plate).tolist()
    alpha, weight = alpha_from_colours(torch.tensor(pixel)[:, None], side(front, 0.05), side(departure, 0.03), told)

    own = laplacian_colours
    f, b, eye = np.array(front), np.array(back), np.eye(3)
    front_spread = own._UNLIKE * 0.05**2 * eye + own._SHADE**2 * np.outer(f, f) + own._SPREAD**2 * eye
    about = own._SPREAD if plate is None else own._PLATE_SPREAD
    back_spread = 0.03**2 * eye + own._SHADE**2 * np.outer(b, b) + about**2 * eye
    candidates = np.linspace(0, 1, own._CANDIDATES)
    prior = np.full(own._CANDIDATES, (1 - 2 * own._ENDS) / (own._CANDIDATES - 2))
    prior[[0, -1]] = own._ENDS
    density = [
        multivariate_normal.pdf(
            pixel, a * f + (1 - a) * b, a * a * front_spread + (1 - a) ** 2 * back_spread + own._NOISE**2 * eye
        )
        for a in candidates
    ]
    if plate is None:
        strange = np.full(own._CANDIDATES, own._STRANGE)
    else:
        # By brute force over the ways to be lit: a strange foreground is one within 0..1, up to the noise.
        lights = np.linspace(1 - own._SHADE, 1 + own._SHADE, 301)[:, None, None]
        shown = np.array(pixel) - (1 - candidates[:, None]) * np.minimum(lights * b, 1)
        low, high = shown.max(0) >= -4 * own._NOISE, shown.min(0) <= candidates[:, None] + 4 * own._NOISE
        strange = own._PLATE_STRANGE * (low & high).all(1)
        assert 0 < strange.astype(bool).sum() < own._CANDIDATES
    posterior = prior * (np.array(density) + strange)
    posterior /= posterior.sum()
    mean = (posterior * candidates).sum()
    variance = (posterior * (candidates - mean) ** 2).sum()
    before = (prior * (candidates - 0.5) ** 2).sum()
    assert abs(float(alpha) - mean) < 1e-3
    expected = (1 / (variance + own._LEAST_VARIANCE) - 1 / before) * (1 - 2 * mean) ** 2
    assert abs(float(weight) - expected) < 1e-3 * expected + 1e-3


def test_what_no_foreground_explains_is_no_mixture() -> None:
    """Clothes unlike all that is sure, but of the screen's hue: darker in green, or paler, than any mixture with it."""
    front, screen = side([0.8, 0.6, 0.5], 0.05), torch.tensor([0.05, 0.25, 0.6])[:, None]
    departure = side([0.0, 0.0, 0.0], 0.01)
    for clothes in ([0.15, 0.02, 0.5], [0.6, 0.75, 1.0]):
        alpha, weight = alpha_from_colours(torch.tensor(clothes)[:, None], front, departure, screen)
        # At least 0.77 and 0.91 are possible; a mixture with the sure foreground's colour still has a say.
        assert float(alpha) > 0.75
        assert float(weight) > 1
    # A shadow on the screen is as far off the plate, and is none of the subject.
    for light in (0.8, 1.2):
        assert float(alpha_from_colours(light * screen, front, departure, screen)[0]) < 0.1
    # Brighter than white, as floating point files may be, is possible, too.
    alpha, weight = alpha_from_colours(torch.full((3, 1), 4.0), front, departure, screen)
    assert float(alpha) == pytest.approx(1)
    assert float(weight) > 1


def test_sides_that_look_alike_say_nothing() -> None:
    same = side([0.4, 0.5, 0.3], 0.1)
    _, weight = alpha_from_colours(torch.tensor([0.42, 0.5, 0.31])[:, None], same, same)
    assert float(weight) < 1
    distinct = alpha_from_colours(
        torch.tensor([0.1, 0.6, 0.2])[:, None], side([0.8, 0.2, 0.2], 0.03), side([0.1, 0.6, 0.2], 0.01)
    )
    assert float(distinct[0]) < 0.02
    assert float(distinct[1]) > 50


def test_plain_sides_are_known_everywhere_as_they_are() -> None:
    """Identity: what is constant stays so, however far it is carried, on sizes that no cell divides."""
    colours = torch.tensor([[0.9, 0.2, 0.4], [0.1, 0.5, 0.3]])
    foreground = torch.zeros(1, 1, 75, 61, dtype=torch.bool)
    foreground[..., 30:40, 20:29] = True
    unknown = torch.zeros_like(foreground)
    unknown[..., 8:70, 5:55] = True
    unknown &= ~foreground
    rgb = torch.where(foreground, colours[0][:, None, None], colours[1][:, None, None])
    found = sure_colours(rgb, unknown, foreground, Cells(unknown))[..., :-1]
    for colour, side_found in zip(colours, found, strict=True):
        products = torch.outer(colour, colour)[PAIRS]
        assert torch.allclose(side_found, torch.cat([colour, products])[:, None].expand_as(side_found), atol=1e-5)


def test_every_second_pixel_is_asked_and_counts_twice() -> None:
    """Before plain sides what a colour says is the same at all pixels: as a chessboard of it lies on the diagonal."""
    colours = torch.tensor([[0.9, 0.2, 0.4], [0.1, 0.5, 0.3]])
    unknown = torch.zeros(1, 1, 40, 48, dtype=torch.bool)
    unknown[..., 8:32, 8:40] = True
    foreground = torch.zeros_like(unknown)
    foreground[..., 8:32, 40:] = True
    rgb = torch.where(foreground, colours[0][:, None, None], colours[1][:, None, None])
    alpha, weight = alpha_from_colours(colours[1][:, None], *(side(colour, 0) for colour in colours.tolist()))
    without, told = (assemble(rgb, unknown, foreground, 1e-7, evidence) for evidence in (0, 1e-3))
    picture = torch.zeros(1, 1, 40, 48)
    for got, expected in (
        (told.stencil[2, 2] - without.stencil[2, 2], weight),
        (told.right - without.right, weight * alpha),
    ):
        board = told.cells.write(got, told.unknown, picture)[0, 0, 8:32, 8:40]
        assert board[0::2, 1::2].abs().max() == board[1::2, 0::2].abs().max() == 0
        for asked in (board[0::2, 0::2], board[1::2, 1::2]):
            assert torch.allclose(asked, 2e-3 * expected.expand_as(asked), rtol=1e-3, atol=1e-6)


def test_a_plate_opens_holes_before_what_is_not_plain() -> None:
    """A hole shows another part of a painted wall than what is sure around: only the plate knows its colours."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    distance = torch.hypot(y - 48.0, x - 48.0)
    alpha = ((38.5 - distance).clamp(0, 1) * (distance - 11.5).clamp(0, 1))[None]
    paint = torch.stack([0.2 + 0.5 * torch.exp(-((distance / 20) ** 2)), 0.4 + x / 400, 0.3 + y / 400])
    noise = 0.01 * torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(0))
    rgb = (torch.tensor([0.7, 0.25, 0.15])[:, None, None] * alpha + (1 - alpha) * paint + noise)[None]
    trimap = torch.full((1, 1, 96, 96), 0.5)
    trimap[..., distance > 44] = 0
    trimap[..., (distance > 20) & (distance < 30)] = 1
    blind, told = LaplacianMatting()(rgb, trimap), LaplacianMatting()(rgb, trimap, plate=paint[None])
    hole = distance < 9
    assert blind[0, 0, hole].mean() > 0.5
    assert told[0, 0, hole].mean() < 0.1
    # Elsewhere, too: a third of the error, or less, is left.
    assert (told - alpha).abs().mean() < (blind - alpha).abs().mean() / 3


def test_a_hole_before_a_plain_wall_opens() -> None:
    """No sure background reaches the hole: the equations of closed-form matting leave it closed."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    distance = torch.hypot(y - 48.0, x - 48.0)
    alpha = ((distance < 38) & (distance > 9)).float()
    noise = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0)) * 0.02
    wall, body = torch.tensor([0.2, 0.7, 0.25])[:, None, None], torch.tensor([0.7, 0.5, 0.4])[:, None, None]
    rgb = torch.where(alpha > 0, body + 5 * noise, wall + noise)
    trimap = torch.full((96, 96), 0.5)
    trimap[distance > 44] = 0
    trimap[(distance > 22) & (distance < 30)] = 1
    hole = distance < 7
    solvers = LaplacianMatting(evidence=0, clip=0), LaplacianMatting(), LaplacianMatting(evidence=1e-3)
    pure, seen, stressed = (solver(rgb[None], trimap[None, None])[0, 0][hole].mean() for solver in solvers)
    assert pure > 0.5
    # By default the equations are moved, not overruled; with more weight on colour they are.
    assert seen < 0.75 * pure
    assert stressed < 0.1
