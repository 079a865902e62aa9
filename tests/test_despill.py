"""Despill: takes the screen's light off edges, of any hue, and leaves everything else to the bit."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.refine.despill import despill, edge_band
from videomatte.trimaps.hue import chroma, screen_hue

SCREENS = {
    "green": (0.1, 0.8, 0.2),
    "blue": (0.1, 0.25, 0.85),
    "magenta": (0.8, 0.1, 0.7),
    "yellowish": (0.6, 0.8, 0.1),
}
HEIGHT, WIDTH = 120, 160
LUMA = torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)


def colour(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


def even(values: tuple[float, float, float]) -> Tensor:
    return colour(values).expand(3, HEIGHT, WIDTH).clone()


def disc() -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return ((45 - torch.hypot(rows - 60.0, columns - 80.0)) / 3 + 0.5).clamp(0, 1)[None]


def towards(picture: Tensor, hue: float) -> Tensor:
    a, b = chroma(picture)
    return a * math.cos(hue) + b * math.sin(hue)


def hue_of(values: tuple[float, float, float]) -> float:
    found = screen_hue(even(values))
    assert found is not None
    return found


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_takes_spill_of_any_hue_off_a_grey_subject(screen: tuple[float, float, float]) -> None:
    """What a screen adds to grey is known: without it the edge is grey again, as light as it was."""
    alpha, grey = disc(), even((0.45, 0.45, 0.45))
    amount = 0.3 * edge_band(alpha)
    spilled = grey + amount * (colour(screen) - 0.45)
    clean = despill(spilled, alpha, hue_of(screen))
    edge = (edge_band(alpha) == 1).expand_as(grey)
    saturation = (clean.amax(0) - clean.amin(0))[edge[0]].max()
    assert saturation < 0.08 * (spilled.amax(0) - spilled.amin(0))[edge[0]].max()
    torch.testing.assert_close((clean * LUMA).sum(0), (spilled * LUMA).sum(0), atol=2e-6, rtol=0)


def test_no_colour_is_pushed_beyond_white() -> None:
    """What is taken of green comes back as red and blue; past white, files would lose it and composites show it."""
    alpha = disc()
    bright = torch.lerp(even((1.0, 0.8, 0.1)), even((1.0, 1.0, 0.1)), edge_band(alpha))
    clean = despill(bright, alpha, hue_of(SCREENS["green"]))
    assert (clean != bright).any()
    assert clean.max() <= 1


def test_the_inside_stays_to_the_bit() -> None:
    alpha, noise = disc(), torch.rand(3, HEIGHT, WIDTH)
    clean = despill(noise, alpha, hue_of(SCREENS["green"]))
    inside = edge_band(alpha) == 0
    assert inside.sum() > 1000
    assert torch.equal(clean * inside, noise * inside)
    # Two pixels of 160 are the band's reach, inwards and outwards.
    near = F.max_pool2d((alpha > 0).float(), 5, 1, 2) > 0
    assert torch.equal(edge_band(alpha)[alpha < 1] > 0, near[alpha < 1])


def test_a_green_shirt_keeps_its_edge_and_its_neighbour_does_not() -> None:
    """A shirt as green below as green gets, skin above: before a green screen, the shirt's edge is as its inside."""
    alpha, shirt, skin = disc(), colour((0.15, 0.5, 0.2)), colour((0.7, 0.5, 0.4))
    lower = (torch.arange(HEIGHT) > 60).view(1, -1, 1)
    subject = torch.where(lower, shirt, skin).expand(3, HEIGHT, WIDTH)
    spilled = subject + 0.3 * edge_band(alpha) * (colour(SCREENS["green"]) - subject)
    clean = despill(spilled, alpha, hue_of(SCREENS["green"]))
    edge = (edge_band(alpha) == 1) & (alpha > 0)
    below, above = (edge & (torch.arange(HEIGHT).view(1, -1, 1) > 80))[0], (edge & ~lower)[0]
    greenness = [chroma(picture)[1][below].mean() for picture in (subject, clean, spilled)]
    assert greenness[0] <= greenness[1] <= greenness[2], "a green edge is never bleached beyond the shirt's own green"
    # Skin turns no greener than grey, less its own distance from grey: that far spill cannot be told from skin.
    assert (chroma(clean)[1] * math.sqrt(0.75) - chroma(clean)[0] / 2)[
        above & (torch.arange(HEIGHT)[:, None] < 40)
    ].max() < 0.03


def test_hair_beside_a_white_dress_turns_as_brown_as_hair() -> None:
    """The mean of both would be too little: of like colour there is hair alone."""
    alpha, hair, dress = disc(), colour((0.34, 0.2, 0.12)), colour((0.9, 0.9, 0.9))
    left = (torch.arange(WIDTH) < 80).view(1, 1, -1)
    subject = torch.where(left, hair, dress).expand(3, HEIGHT, WIDTH)
    spilled = subject + 0.15 * edge_band(alpha) * (colour(SCREENS["green"]) - subject)
    clean = despill(spilled, alpha, hue_of(SCREENS["green"]))
    # Where both are about.
    place = ((edge_band(alpha) == 1) & (alpha > 0) & left & (torch.arange(WIDTH) > 74))[0]
    assert place.any()
    hue = hue_of(SCREENS["green"])
    tints = ((towards(picture, hue) / (picture * LUMA).sum(0))[place].mean() for picture in (subject, spilled, clean))
    true, before, after = tints
    assert (after - true).abs() < 0.05 * (before - true).abs()


def test_colours_on_both_sides_of_grey_are_not_averaged() -> None:
    """Magenta hair beside a pale green shirt, part of it unknown: their mean would turn that part pink."""
    hair, shirt, hue = colour((0.55, 0.2, 0.45)), colour((0.6, 0.75, 0.62)), math.radians(120)
    subject = torch.where((torch.arange(WIDTH) < 80).view(1, 1, -1), hair, shirt).expand(3, HEIGHT, WIDTH)
    unknown = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    unknown[:, 50:70, 81:90] = True
    clean = despill(subject, torch.ones(1, HEIGHT, WIDTH), hue, unknown)
    assert towards(clean, hue)[unknown[0]].min() > 0


def test_what_was_unknown_is_despilled_though_alpha_says_opaque() -> None:
    """The screen seen between locks of hair, and a shirt of its hue that was unknown all over: that is the inside."""
    alpha, hair = disc(), colour((0.3, 0.2, 0.12))
    gap, unknown = torch.zeros_like(alpha, dtype=torch.bool), torch.zeros_like(alpha, dtype=torch.bool)
    gap[:, 58:61, 76:84] = True
    unknown[:, 54:65, 72:88] = True
    hue = hue_of(SCREENS["green"])
    picture = torch.where(gap, torch.lerp(hair, colour(SCREENS["green"]), 0.4), hair)
    clean = despill(picture, alpha, hue, unknown)
    assert towards(clean, hue)[gap[0]].max() < 0.1 * towards(picture, hue)[gap[0]].min()
    assert torch.equal(clean * ~gap, picture * ~gap)
    assert torch.equal(despill(picture, alpha, hue, torch.zeros_like(unknown)), picture), "sure: left as it is"
    shirt = even((0.55, 0.75, 0.55))
    kept = despill(shirt, alpha, hue, alpha > 0)
    assert (kept - shirt).abs()[:, edge_band(alpha)[0] == 0].max() < 1e-5, "float32's rounding"


def test_grey_and_opposite_colours_are_left_alone() -> None:
    alpha = disc()
    for values in ((0.5, 0.5, 0.5), (0.8, 0.3, 0.6), (0.6, 0.2, 0.2)):
        subject = even(values)
        assert torch.allclose(despill(subject, alpha, hue_of(SCREENS["green"])), subject, atol=1e-6)


@pytest.mark.parametrize("screen", [SCREENS["green"], SCREENS["blue"]], ids=["green", "blue"])
def test_what_too_small_an_alpha_takes_out_of_strands_is_given_back(screen: tuple[float, float, float]) -> None:
    """Brown hair that covers 0.8, taken for 0.6: what is left when the screen is taken out is of the opposite hue."""
    alpha, brown = disc(), even((0.4, 0.3, 0.22))
    strands = (alpha[0] == 0).expand(3, -1, -1)
    alpha = alpha.where(alpha > 0, 0.6)
    left = (brown * 0.8 + 0.2 * colour(screen) - 0.4 * colour(screen)) / 0.6
    hair = torch.where(strands, left, brown)
    clean = despill(hair, alpha, hue_of(screen))
    assert torch.equal(clean[:, 60, 80], brown[:, 60, 80])
    before, after = ((chroma(x) - chroma(brown)).norm(dim=0)[strands[0]].mean() for x in (hair, clean))
    assert after < 0.5 * before


@pytest.mark.parametrize("values", SCREENS.values(), ids=SCREENS)
def test_knows_screens(values: tuple[float, float, float]) -> None:
    light = torch.linspace(0.3, 1, WIDTH)
    red, green, blue = colour(values).flatten().tolist()
    hue = math.atan2(math.sqrt(0.75) * (green - blue), red - (green + blue) / 2)
    found = screen_hue(even(values) * light + 0.02 * torch.randn(3, HEIGHT, WIDTH))
    assert found == pytest.approx(hue, abs=0.02)


def test_agrees_with_whole_pictures_at_once() -> None:
    """The formulas on all pixels at once, in double precision, and plain pooling for means over squares."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.rand(3, 210, 330, generator=generator).double()
    rows, columns = torch.meshgrid(torch.arange(210.0), torch.arange(330.0), indexing="ij")
    alpha = ((80 - torch.hypot(rows - 100, columns - 200)) / 30).clamp(0, 1)[None].double()
    hue, weights = 2.0, LUMA.double()

    def means(planes: Tensor, reach: float, samples: int) -> Tensor:
        step = max(1, round(reach / samples))
        small = F.avg_pool2d(planes[None], step, ceil_mode=True, count_include_pad=False)
        radius = max(1, round(reach / step))
        return F.avg_pool2d(F.pad(small, [radius] * 4, mode="replicate"), 2 * radius + 1, 1)

    def enlarged(planes: Tensor, size: torch.Size) -> Tensor:
        return F.interpolate(planes, size, mode="bilinear", align_corners=False)

    seen = F.max_pool2d((alpha > 0).double(), 9, 1, 4)
    band = (
        torch.maximum(4 * enlarged(means(1 - alpha, 4, 8), alpha.shape[1:])[0], (1 - alpha) / 0.25).clamp(0, 1) * seen
    )
    luma = (picture * weights).sum(0, keepdim=True)
    a, b = chroma(picture)
    tint = a * math.cos(hue) + b * math.sin(hue)
    ratio = (tint / luma).clamp(-3, 3)
    pure = torch.tensor([math.cos(hue) + math.sin(hue) / math.sqrt(3), math.sin(hue) / math.sqrt(0.75), 0.0]).double()
    pure = (pure - pure.min()) / (pure.max() - pure.min())
    lacking = (1 - pure * pure.sum() / (pure @ pure)).clamp(min=0).view(3, 1, 1)
    brightness = (picture * lacking).sum(0, keepdim=True) / lacking.sum()
    across = ((b * math.cos(hue) - a * math.sin(hue)) / brightness).clamp(-1.6, 1.6)
    unknown = torch.zeros_like(alpha, dtype=torch.bool)
    unknown[:, 80:110, 180:220] = True  # within what alpha says is opaque
    shown = ((tint / luma - 0.25) / 0.25).clamp(0, 1) * unknown
    inside = ((band < 0.1) & (alpha > 0.98)) * (1 - shown) + 0.01 * ((band < 0.5) & (alpha > 0.9)).double()
    like = (1 - (across - torch.linspace(-1.6, 1.6, 17, dtype=torch.float64).view(-1, 1, 1)).abs() / 0.2).clamp(
        min=0
    )  # tents
    powers = torch.cat([inside, ratio * inside, ratio**2 * inside])
    planes = torch.cat([powers, *(like * power for power in powers[:, None])])
    planes = planes[:, 1::2, 1::2]  # every second sample is enough
    near, far = (means(planes, 330 / 27 / 2 * by, 4) for by in (1, 4))
    sums = enlarged(near + 0.01 * enlarged(far, near.shape[2:]), alpha.shape[1:])[0]
    moments = []
    for weight, total, squares in ((sums[0], sums[1], sums[2]), [(like * x).sum(0) for x in sums[3:].chunk(3)]):
        mean = total / weight.clamp(min=1e-7)
        moments.append(
            (weight[None], mean[None], (squares / weight.clamp(min=1e-7) - mean**2).clamp(min=0).sqrt()[None])
        )
    (weight, mean, deviation), (alike, own, varies) = moments
    decides = (alike / weight.clamp(min=1e-6) / 0.02).clamp(max=1)
    limit = torch.lerp((mean + deviation).clamp(min=0), own + (varies - 0.1).clamp(min=0), decides) * luma
    excess = (tint - limit).clamp(min=0) * torch.maximum(band, shown)
    some, whole = ratio[:, 1::2, 1::2].flatten(), inside[:, 1::2, 1::2].flatten()
    of_all = (some @ whole / whole.sum(), some.square() @ whole / whole.sum())
    lowest = of_all[0] - 2 * (of_all[1] - of_all[0] ** 2).sqrt()
    least = torch.where(weight > 1e-6, mean - 2 * deviation, lowest) - 0.1
    lack = (least.clamp(max=0) * luma - tint).clamp(min=0) * ((1 - alpha) / 0.25).clamp(max=1) * seen
    assert (lack > 0).any()
    assert (excess > 0)[unknown].any()
    grey = torch.tensor([math.cos(hue) + math.sin(hue) / math.sqrt(3), math.sin(hue) / math.sqrt(0.75), 0.0]).double()
    grey = (grey - grey @ weights.flatten()).view(3, 1, 1)
    expected = torch.where(excess + lack > 0, (picture + (lack - excess) * grey).clamp(0, 1), picture)
    # Roots of small differences and quotients of small sums make most of float32's rounding.
    assert (despill(picture.float(), alpha.float(), hue, unknown) - expected).abs().max() < 1e-5


def test_knows_what_is_no_screen() -> None:
    assert screen_hue(even((0.5, 0.5, 0.52))) is None, "a grey wall"
    assert screen_hue(torch.rand(3, HEIGHT, WIDTH)) is None, "all colours at once"
    assert screen_hue(torch.zeros(3, HEIGHT, WIDTH)) is None


def test_thin_things_without_an_inside_are_despilled_too() -> None:
    """A strand has no inside to compare with: grey is its limit."""
    alpha = torch.zeros(1, HEIGHT, WIDTH)
    alpha[:, :, 70:73] = 0.6
    clean = despill(even((0.3, 0.6, 0.3)), alpha, math.radians(120))
    assert (clean.amax(0) - clean.amin(0))[alpha[0] > 0].max() < 0.02


def test_says_what_is_wrong_with_shapes() -> None:
    with pytest.raises(ShapeError, match="despill"):
        despill(torch.zeros(3, 4, 4), torch.zeros(1, 5, 4), 2.0)
