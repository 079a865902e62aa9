"""Shadows kept from a screen, against screens whose light is known."""

import itertools

import pytest
import torch

from videomatte.shadow import Shadow, darken


def screen(height=180, width=320):
    """A subject's alpha, a screen whose light falls off to the corners, and a soft shadow beside the subject."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-16 / 9, 16 / 9, width), indexing="ij")
    alpha = ((0.35 - torch.hypot(x, (y - 0.4) / 2)) * 40).clamp(0, 1)
    factor = 1 - 0.5 * torch.exp(-(((x - 0.35) / 0.15) ** 2) - ((y - 0.4) / 0.5) ** 2)
    light = 0.4 * (1 - 0.15 * x * x - 0.1 * y * y + 0.05 * x)
    return alpha[None], light[None], factor[None]


def picture(alpha, light, factor, grain=0.0):
    colour = torch.tensor([0.2, 1.0, 0.3]).view(3, 1, 1)
    shot = alpha * 0.5 + (1 - alpha) * colour * light * factor
    return (shot + grain * torch.randn_like(shot)).clamp(min=0)


@pytest.mark.parametrize("grain", [0.0, 0.02])
def test_a_shadow_is_found_and_light_that_falls_off_is_none(grain: float) -> None:
    alpha, light, factor = screen()
    # Linear: transfer 8.
    found = Shadow(8)(picture(alpha, light, factor, grain), alpha)
    bare = alpha == 0
    deep, lit = bare & (factor < 0.7), bare & (factor > 0.995)
    # A shadow this soft has no end to tell it by; its deep part must come out to a tenth of its depth.
    assert float((found - factor)[deep].abs().mean()) < 0.05
    assert float(found[lit].mean()) > 0.99
    assert float(found[lit].min()) > 0.9
    assert found.max() <= 1


def test_a_narrow_shadow_keeps_its_depth() -> None:
    alpha, light, _ = screen()
    y, x = torch.meshgrid(torch.linspace(-1, 1, 180), torch.linspace(-16 / 9, 16 / 9, 320), indexing="ij")
    factor = (1 - 0.5 * torch.exp(-(((x - 0.36) / 0.06) ** 2) - ((y - 0.4) / 0.5) ** 2))[None]
    found = Shadow(8)(picture(alpha, light, factor, 0.01), alpha)
    deep = (alpha == 0) & (factor < 0.65)
    # Sixteen pixels across, of which the pixels next to the subject are not looked at.
    assert 0.94 < float((1 - found)[deep].mean() / (1 - factor)[deep].mean()) < 1.05


def test_an_evenly_or_unevenly_lit_screen_without_a_shadow_darkens_nothing() -> None:
    alpha, light, _ = screen()
    for level in (torch.full_like(light, 0.4), light):
        found = Shadow(8)(picture(alpha, level, 1.0, 0.01), alpha)
        assert float(found[alpha == 0].mean()) > 0.995
        assert float(found[alpha == 0].min()) > 0.9, "grain, where the screen is darkest"


def test_grain_is_not_kept() -> None:
    alpha, light, factor = screen()
    found = Shadow(8)(picture(alpha, light, factor, 0.03), alpha)
    rough = (found[:, 1:] - found[:, :-1]).abs()
    assert rough.mean() < 0.004, "the screen's own grain is a tenth from pixel to pixel"
    assert rough.max() < 0.06


def test_frames_without_a_screen_are_left_alone() -> None:
    alpha = torch.ones(1, 60, 80)
    assert torch.equal(Shadow(1)(torch.rand(3, 60, 80), alpha), torch.ones(1, 60, 80))


def test_the_light_of_a_still_clip_does_not_flicker() -> None:
    alpha, light, factor = screen()
    shadow = Shadow(8)
    found = [shadow(picture(alpha, light, factor, 0.02), alpha) for _ in range(4)]
    for before, after in itertools.pairwise(found[1:]):
        assert float((after - before).abs().mean()) < 0.01


def test_darkening_takes_light_in_proportion_and_leaves_the_rest_to_the_bit() -> None:
    rgb, factor = torch.rand(3, 8, 8), torch.ones(1, 8, 8)
    factor[:, :4] = 0.25
    made = darken(rgb, factor, 4)  # a power of 2.2
    assert torch.equal(made[:, 4:], rgb[:, 4:])
    torch.testing.assert_close(made[:, :4], rgb[:, :4] * 0.25 ** (1 / 2.2))
    assert darken(torch.rand(3, 1, 1), factor, 1).shape == (3, 8, 8)
