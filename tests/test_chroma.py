import colorsys
import itertools
import logging
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import torch

from videomatte.composite import over
from videomatte.errors import InputError, UsageError
from videomatte.scenes import SceneSettings, render
from videomatte.trimaps import ChromaKey
from videomatte.trimaps.clothes import foreign_islands, of_another_hue
from videomatte.trimaps.hue import chroma, find_hue
from videomatte.trimaps.screen import empty_screen, fit_screen
from videomatte.trimaps.spread import spread
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, from_unit_range, unit_range

COLOURS = {
    "green": (0.1, 0.7, 0.2),
    "dark green": (0.02, 0.2, 0.05),
    "blue": (0.1, 0.2, 0.8),
    "teal": (0.3, 0.65, 0.5),
    "yellow-green": (0.75, 0.78, 0.06),
}
HEIGHT, WIDTH = 180, 240


def screen(colour, seed=0, grain=0.01, fall=0.5, size=(HEIGHT, WIDTH)):
    """A screen lit from the left, with a little grain; ``[3, H, W]`` float32."""
    light = torch.linspace(1, 1 - fall, size[1]) * torch.linspace(1, 0.9, size[0])[:, None]
    noise = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed))
    return (torch.tensor(colour).view(3, 1, 1) * light + grain * noise).clamp(0, 1)


def subject(seed=0, size=(HEIGHT, WIDTH)):
    """A soft-edged blob with strands: alpha ``[1, H, W]``."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    alpha = np.clip((60 - np.hypot(x - 120, (y - 130) * 0.8)) / 6 + 0.5, 0, 1)
    for _ in range(25):
        angle, reach = random.uniform(-math.pi, 0), random.uniform(62, 80)
        for r in np.linspace(50, reach, 200):
            column, row = 120 + r * math.cos(angle + 0.002 * r), 130 + r * math.sin(angle) / 0.8
            if 1 <= row < size[0] - 1 and 1 <= column < size[1] - 1:
                alpha[int(row), int(column)] = max(alpha[int(row), int(column)], 0.7)
    return torch.from_numpy(scipy.ndimage.gaussian_filter(alpha, 0.7)).float()[None].clamp(0, 1)


def frame(rgb, index=0):
    return Frame(index, index, Fraction(1, 25), rgb.mul(255).round().clamp(0, 255).to(torch.uint8))


def key_one(rgb, key="auto"):
    (item,) = ChromaKey(key)(iter([frame(rgb)]))
    return item.trimap


def textured(colour, size=(HEIGHT, WIDTH)):
    noise = torch.from_numpy(scipy.ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(size), 1.5))
    return torch.tensor(colour).view(3, 1, 1) * (1 + 0.15 * noise.float() / noise.std().float())


def test_chroma_is_the_hue_of_the_hexagon() -> None:
    for rgb in torch.rand(50, 3).tolist():
        a, b = chroma(torch.tensor(rgb).view(3, 1, 1)).flatten().tolist()
        # colorsys bends the circle into a hexagon: equal at every 30°, up to 1.1° apart between.
        turn = math.degrees(math.atan2(b, a)) - 360 * colorsys.rgb_to_hsv(*rgb)[0]
        assert abs((turn + 180) % 360 - 180) < 1.2


def test_spread_keeps_constants_and_fills_holes_smoothly() -> None:
    weight = (torch.rand(1, 90, 130) < 0.5).float()
    weight[:, 30:60, 40:90] = 0
    # Sums of some thousand float32 and a quotient.
    torch.testing.assert_close(spread(torch.full((2, 90, 130), 0.7), weight, 6), torch.full((2, 90, 130), 0.7))
    ramp = torch.linspace(0, 1, 130).expand(1, 90, 130)
    filled = spread(ramp, weight, 6)
    # A linear ramp over a hole of 50 columns (0.38 of it) comes back to within a tenth of its height.
    assert (filled - ramp)[:, 8:-8, 8:-8].abs().max() < 0.1
    assert spread(ramp, torch.zeros_like(weight), 6).abs().max() == 0


@pytest.mark.parametrize("name", COLOURS)
def test_finds_the_hue_of_uneven_grainy_screens(name) -> None:
    alpha = subject()
    rgb = over(textured((0.6, 0.45, 0.35)), alpha, screen(COLOURS[name]))
    hue = find_hue(rgb, math.radians(160), math.radians(110), must_be_plain=True)
    assert hue is not None
    a, b = chroma(torch.tensor(COLOURS[name]).view(3, 1, 1)).flatten().tolist()
    assert abs(math.degrees(hue - math.atan2(b, a) % math.tau)) < 3


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("grey", [0.0, 0.3, 0.9])
def test_a_mixture_with_grey_shows_the_screen_in_proportion(name, grey) -> None:
    hue = math.atan2(*chroma(torch.tensor(COLOURS[name]).view(3, 1, 1)).flatten().flip(0))
    for covered in (0.5, 0.75, 1.0):
        alpha = torch.zeros(1, HEIGHT, WIDTH)
        alpha[:, 60:120, 90:150] = covered
        rgb = over(torch.full((3, HEIGHT, WIDTH), grey), alpha, screen(COLOURS[name], grain=0, fall=0.2))
        fitted = fit_screen(rgb, hue)
        assert fitted is not None
        # The plate under the patch is carried over 30 pixels, along which the light falls by a fortieth.
        assert (fitted.share[62:118, 92:148] - (1 - covered)).abs().max() < 0.025
        assert (fitted.share[:55] - 1).abs().max() < 0.01
        assert fitted.light[:55].abs().max() < 0.01


@pytest.mark.parametrize("name", COLOURS)
def test_known_truth(name) -> None:
    alpha = subject()
    trimap = key_one(over(textured((0.62, 0.45, 0.35)), alpha, screen(COLOURS[name])))
    soft = (alpha > 0.1) & (alpha < 0.9)
    assert (trimap == UNKNOWN)[soft].float().mean() > 0.97
    assert (alpha[trimap == BACKGROUND] > 0.5).sum() == 0
    assert (alpha[trimap == FOREGROUND] < 0.9).sum() == 0
    assert (trimap == FOREGROUND)[alpha > 0.999].float().mean() > 0.75
    assert (trimap == BACKGROUND)[alpha < 0.001].float().mean() > 0.9


@pytest.mark.parametrize("backdrop", ["green", "blue"])
@pytest.mark.parametrize("which", ["hair", "fur"])
def test_procedural_footage(backdrop, which) -> None:
    """Grain, compression, spill, creases and shadows, with the truth known."""
    settings = SceneSettings(width=384, height=288, frames=3, subject=which, backdrop=backdrop, seed=11)
    for item in render(settings):
        trimap = key_one(item.rgb)
        alpha = item.alpha.float()
        soft = (alpha > 0.1) & (alpha < 0.9)
        assert (trimap == UNKNOWN)[soft].float().mean() > 0.9
        assert (alpha[trimap == FOREGROUND] < 0.8).float().mean() < 0.002
        assert (alpha[trimap == BACKGROUND] > 0.2).float().mean() < 0.002
        assert (trimap == BACKGROUND).any()
        assert (trimap == FOREGROUND).any()


def test_a_gap_shut_in_by_hair_is_unknown_and_spill_is_not() -> None:
    """Both pale on average; but in a gap the screen shows somewhere as no spill does."""
    alpha = subject()
    alpha[:, 120:128, 100:140] = 0.88
    spilled = key_one(over(textured((0.45, 0.33, 0.25)), alpha, screen(COLOURS["green"])))
    alpha[:, 122:126, 118:124] = 0.4
    gap = key_one(over(textured((0.45, 0.33, 0.25)), alpha, screen(COLOURS["green"])))
    inside = (0, slice(122, 126), slice(105, 135))
    assert (spilled[inside] == FOREGROUND).all()
    assert (gap[inside] == UNKNOWN).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_the_background_is_the_screen_with_the_subject_gone(dtype) -> None:
    empty = screen(COLOURS["green"], grain=0)
    rgb = over(textured((0.62, 0.45, 0.35)), subject(), empty)
    (item,) = ChromaKey()(iter([Frame(0, 0, Fraction(1, 25), from_unit_range(rgb, dtype))]))
    assert item.background is not None
    assert item.background.dtype == dtype
    # Three levels of 8 bits, where the screen's light falls by half over the picture; the subject hides a third of it.
    error = (unit_range(item.background) - empty).abs()
    assert error[:, item.trimap[0] != FOREGROUND].mean() < 3 / 255
    assert error.mean() < 4 / 255


def test_a_frame_is_held_against_its_screen_as_the_formulas_say() -> None:
    """Of whole pictures in double precision: a frame of a size that has uneven strips."""
    (frame,) = render(SceneSettings(width=402, height=227, frames=1, seed=3, backdrop="green"))
    hue = find_hue(frame.rgb, math.radians(120), math.radians(55), must_be_plain=False)
    assert hue is not None
    screen = fit_screen(frame.rgb, hue)
    assert screen is not None
    inner = torch.nn.functional.pad(frame.rgb[None, :, 1:-1, 1:-1].double(), [1] * 4, mode="replicate")[0].numpy()
    smooth = torch.from_numpy(scipy.ndimage.uniform_filter(inner, (1, 3, 3), mode="nearest"))
    size = frame.rgb.shape[1:]
    plate = torch.nn.functional.interpolate(screen.plate[None].double(), size, mode="bilinear", align_corners=False)[0]
    colour, empty = chroma(smooth), chroma(plate)
    strength = torch.hypot(*empty)
    along = (colour * empty).sum(0) / strength
    across = (colour[1] * empty[0] - colour[0] * empty[1]) / strength
    share = (along - across.abs() / math.tan(math.radians(60))) / strength
    strict = (along - across.abs() / math.tan(math.radians(30))) / strength
    light = smooth.mean(0) / plate.mean(0) - 1
    for ours, theirs in (
        (screen.colour, colour),
        (screen.share, share),
        (screen.strict_share, strict),
        (screen.light, light),
    ):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=1e-5)  # float32, over screens as dark as 0.2


def test_the_empty_screen_is_that_of_what_is_sure_alone() -> None:
    """Identity for a plain screen; where it is uneven, what is in front of it leaves no trace on what is behind."""
    sure = torch.hypot(*torch.meshgrid(torch.arange(-90.0, 90), torch.arange(-120.0, 120), indexing="ij")) > 40
    plain = screen(COLOURS["blue"], grain=0, fall=0)[:, :1, :1].expand(3, HEIGHT, WIDTH)
    assert torch.allclose(empty_screen(plain, plain, sure), plain, atol=1e-6)
    uneven = screen(COLOURS["green"], grain=0)
    paled = torch.where(sure, uneven, 0.8 * uneven + 0.2)
    assert torch.equal(empty_screen(paled, paled, sure), empty_screen(uneven, uneven, sure))
    # Three levels of 8 bits, as in the test above; the paled screen is 10 to 45 levels off.
    assert (empty_screen(paled, paled, sure) - uneven).abs().mean() < 3 / 255


def test_the_background_in_a_narrow_gap_is_what_is_seen_there() -> None:
    """Between legs the screen is lit otherwise, and the gap, open below, too narrow to be sure background."""
    green = screen(COLOURS["green"], grain=0, fall=0)
    alpha = torch.zeros(1, HEIGHT, WIDTH)
    alpha[:, 40:150, 70:170] = 1
    alpha[:, 60:, 119:123] = 0
    lit = green.clone()
    lit[:, 60:, 119:123] *= (0.9 + 0.1 * (torch.arange(60, HEIGHT) - 130) / 50).clamp(0.9, 1)[:, None]
    shot = over(textured((0.62, 0.45, 0.35)), alpha, lit)
    large = torch.nn.functional.interpolate(shot[None], scale_factor=3)[0]
    (item,) = ChromaKey()(iter([Frame(0, 0, Fraction(1, 25), large)]))
    gap = slice(80 * 3, 130 * 3), slice(120 * 3, 122 * 3)
    assert item.background is not None
    assert (item.trimap[0][gap] == UNKNOWN).all()
    # A tenth of its light apart; the middle third is told by blocks as wide as the gap, up to a third of that.
    assert (item.background[1][gap] / large[1][gap] - 1).abs().mean() < 0.035


def test_a_coat_of_nearly_the_screens_colour_stays_and_a_gap_in_shadow_does_not() -> None:
    alpha, figure, blue = subject(), textured((0.6, 0.45, 0.35)), screen((0.09, 0.19, 0.55), fall=0.3)
    gapped = over(figure, alpha, blue)
    gapped[:, 125:150, 110:135] = blue[:, 125:150, 110:135] * 0.8
    gap = key_one(gapped, "blue")[:, 130:145, 115:130]
    assert (gap == BACKGROUND).float().mean() > 0.7
    assert (gap != FOREGROUND).all()
    figure[:, 115:] = textured((0.13, 0.09, 0.42))[:, 115:]
    trimap = key_one(over(figure, alpha, blue), "blue")
    # By chroma alone all of it would be screen; parts of the coat are in doubt, but none is lost.
    assert (alpha[trimap == BACKGROUND] > 0.5).sum() == 0
    assert (trimap[:, 130:] == FOREGROUND).any()


def turned(rgb, degrees):
    """Colours turned about the axis of greys, by Rodrigues' formula."""
    angle, cross = math.radians(degrees), torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = math.cos(angle) * torch.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) / 3
    return torch.einsum("ij,jhw->ihw", turn, rgb)


def islands(patch, fill, before=None):
    """A screen, a subject that is no screen from its middle to the lower border, and a patch of it that may be."""
    green = screen(COLOURS["green"], size=(288, 512), fall=0.2)
    known = torch.ones(288, 512, dtype=torch.bool)
    known[100:, 150:360] = False
    known |= patch
    return foreign_islands(torch.where(patch, fill(green), green), known, before)


def place(side, top=200, left=200):
    mask = torch.zeros(288, 512, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_clothes_in_small_pieces_around_the_least_turn_are_one() -> None:
    """A print whose pieces, each of a thousandth of the picture, are turned by 7 to 13 degrees."""
    cells = torch.stack(torch.meshgrid(torch.arange(288), torch.arange(512), indexing="ij"))
    print_ = (cells % 16 < 13).all(0) & (torch.arange(512) >= 180) & (torch.arange(512) < 330)
    print_[:150] = False
    angle = 10 + 3 * torch.where((cells // 16).sum(0) % 2 == 0, 1.0, -1.0)
    found = islands(print_, lambda rgb: torch.where(angle > 10, turned(rgb, 13), turned(rgb, 7)))
    # All but pixels that grain turns back.
    assert found[print_].float().mean() > 0.99
    found[150:, 180:330] = False
    assert not found.any()
    assert not islands(print_, lambda rgb: turned(rgb, 4)).any()
    assert not islands(print_, lambda rgb: 0.8 * rgb).any()


def test_between_strands_the_screen_itself_shows() -> None:
    """As large and as much turned on average as clothes are."""
    strands = place(80, top=120)
    stripes = torch.arange(512) % 8 < 4
    assert islands(strands, lambda rgb: turned(rgb, 15)).sum() > 0.95 * strands.sum()
    assert not islands(strands, lambda rgb: torch.where(stripes, turned(rgb, 30), rgb)).any()


def test_a_coat_that_was_there_needs_half_the_evidence() -> None:
    """Of 0.006 of the picture; one that was elsewhere helps as little as none."""
    for side, alone, helped in ((34, True, True), (26, False, True), (18, False, False)):
        patch = place(side)
        for before, expected in ((None, alone), (place(side, 205, 205), helped), (place(side, 110, 300), alone)):
            found = islands(patch, lambda rgb: turned(rgb, 14), before)
            assert bool(found.any()) == expected, (side, before is None)
            assert not (found & ~patch).any()


def test_what_lies_between_pieces_of_cloth_is_cloth_but_for_a_gap() -> None:
    """Dark stripes of a print, and a gap as wide, through which the screen shows in shadow."""
    print_ = place(80, top=120)
    print_[:, 240:246] = False  # of the subject's: islands() leaves it out of what was taken for the screen
    cloth, gap = place(80, top=120), torch.zeros_like(print_)
    gap[120:200, 220:226] = True
    found = islands(print_, lambda rgb: torch.where(gap, 0.8 * rgb, turned(rgb, 15)))
    assert found[cloth & ~gap].float().mean() > 0.95
    assert not found[:, 221:225].any()
    assert not (found & ~cloth).any()


@pytest.mark.parametrize(("backdrop", "shirt"), [("green", (0.2, 0.55, 0.5)), ("blue", (0.3, 0.6, 0.6))])
def test_a_shirt_of_a_neighbouring_hue_is_opaque_and_a_grey_veil_is_not(backdrop, shirt) -> None:
    """Teal before green, turquoise before blue: half of the screen's colour is in them, as in a veil."""
    size = 3 * HEIGHT, 3 * WIDTH
    alpha = torch.nn.functional.interpolate(subject()[None], size, mode="bilinear")[0]
    behind, figure = screen(COLOURS[backdrop], size=size), textured((0.6, 0.45, 0.35), size)
    deep = torch.from_numpy(scipy.ndimage.binary_erosion(alpha[0].numpy() == 1, iterations=50))
    deep[: 130 * 3] = False
    dressed, veiled = figure.clone(), figure.clone()
    dressed[:, 120 * 3 :] = textured(shirt, size)[:, 120 * 3 :]
    veiled[:, 120 * 3 :] = (0.5 * behind + 0.5 * textured((0.5, 0.5, 0.5), size))[:, 120 * 3 :]
    trimaps = [key_one(over(front, alpha, behind), backdrop)[0][deep] for front in (dressed, veiled)]
    assert (trimaps[0] == FOREGROUND).float().mean() > 0.9
    assert (trimaps[1] == FOREGROUND).float().mean() < 0.1


def test_what_turns_a_hue_is_told_from_what_pales_it() -> None:
    green = screen(COLOURS["green"])
    held = fit_screen(green, 2 * math.pi / 3)
    assert held is not None
    for other, turned in {(0.5, 0.5, 0.5): False, (0.0, 0.0, 0.0): False, (0.2, 0.3, 0.9): True}.items():
        mixed = 0.5 * green + 0.5 * torch.tensor(other).view(3, 1, 1)
        assert of_another_hue(chroma(mixed), held.empty, held.share_noise, 1).float().mean() == turned


def test_cloth_of_the_screens_own_hue_that_is_brighter_than_it_is_not_lost() -> None:
    """Patches of a plaid shirt before a dark, grainy corner; a gap of the same colours, but darker, is seen through."""
    dark = screen((0.03, 0.22, 0.06), grain=0.012, fall=0.2)
    alpha, figure = subject(), textured((0.05, 0.06, 0.2))
    patches = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    patches[120:170, 90:150] = (torch.arange(50)[:, None] // 12 + torch.arange(60) // 12) % 2 == 0
    figure[:, patches] = (1.9 * dark)[:, patches]
    assert (key_one(over(figure, alpha, dark), "green")[0][patches] != BACKGROUND).all()


def test_grain_as_strong_as_the_light_does_not_hide_what_is_opaque() -> None:
    """A dark shirt and face before a dim screen, under heavy grain: their depth is known all the same."""
    size = 3 * HEIGHT, 3 * WIDTH
    alpha = torch.nn.functional.interpolate(subject()[None], size, mode="bilinear")[0]
    dim, shirt = screen(COLOURS["dark green"], grain=0.0, size=size), torch.tensor([0.07, 0.06, 0.06]).view(3, 1, 1)
    grain = 0.04 * torch.randn(3, *size, generator=torch.Generator().manual_seed(5))
    trimap = key_one((over(shirt.expand_as(dim), alpha, dim) + grain).clamp(0, 1), "green")
    deep = torch.from_numpy(scipy.ndimage.binary_erosion(alpha[0].numpy() == 1, iterations=15))
    assert (trimap[0][deep] == FOREGROUND).float().mean() > 0.95
    assert (trimap[alpha < 0.5] == FOREGROUND).sum() == 0


def test_an_empty_screen_is_all_background() -> None:
    for colour in COLOURS.values():
        assert key_one(screen(colour)).unique().tolist() == [BACKGROUND]


def test_a_line_left_around_the_picture_by_a_scaler_is_no_edge() -> None:
    rgb = screen(COLOURS["green"], fall=0.2)
    rgb[:, 0] *= 0.85
    rgb[:, :, -1] *= 0.85
    assert key_one(rgb).unique().tolist() == [BACKGROUND]


def test_a_given_colour_is_found_where_auto_would_take_another() -> None:
    rgb = screen(COLOURS["green"])
    rgb[:, 90:] = screen(COLOURS["blue"])[:, 90:]
    blue, green = key_one(rgb, "blue"), key_one(rgb, "#19B333")
    for trimap, above, below in ((blue, FOREGROUND, BACKGROUND), (green, BACKGROUND, FOREGROUND)):
        assert (trimap[:, :60] == above).all()
        assert (trimap[:, 120:] == below).all()


def test_a_red_screen_needs_its_colour_given() -> None:
    alpha = subject()
    rgb = over(textured((0.2, 0.3, 0.6)), alpha, screen((0.8, 0.1, 0.12)))
    with pytest.raises(InputError, match="no screen in frame 0: "):
        key_one(rgb)
    trimap = key_one(rgb, "#C02020")
    assert (alpha[trimap == BACKGROUND] > 0.5).sum() == 0
    assert (alpha[trimap == FOREGROUND] < 0.9).sum() == 0


def test_changing_exposure_is_followed() -> None:
    alpha, figure = subject(), textured((0.6, 0.45, 0.35))
    scene = over(figure, alpha, screen(COLOURS["green"], fall=0.2))
    exposures = [1.0, 0.8, 0.6, 0.45, 0.6, 0.9, 1.15]
    clip = [frame(scene * exposure, index) for index, exposure in enumerate(exposures)]
    for item in ChromaKey()(iter(clip)):
        assert (alpha[item.trimap == BACKGROUND] > 0.5).sum() == 0
        assert (item.trimap == BACKGROUND)[alpha < 0.001].float().mean() > 0.9
        assert (item.trimap == FOREGROUND)[alpha > 0.999].float().mean() > 0.7


def test_no_screen_at_the_beginning_is_told_with_the_frames() -> None:
    room = textured((0.5, 0.4, 0.3))
    clip = [frame(room, index) for index in range(40, 45)]
    with pytest.raises(InputError, match=r"^no screen in frames 40 to 44: .*--key green.*--start.*--trimap"):
        list(ChromaKey()(iter(clip)))
    with pytest.raises(InputError, match=r"^no blue screen in frames 40 to 44: .*--key auto"):
        list(ChromaKey("blue")(iter(clip)))
    pulled = iter(frame(room, index) for index in itertools.count())
    with pytest.raises(InputError, match=r"frames 0 to 11: "):
        list(ChromaKey()(pulled))


def test_foliage_is_no_screen() -> None:
    random = np.random.default_rng(2)
    leaves = scipy.ndimage.gaussian_filter(random.standard_normal((3, HEIGHT, WIDTH)), (0, 3, 3))
    rgb = torch.tensor([0.3, 0.5, 0.15]).view(3, 1, 1) * (1 + 0.5 * torch.from_numpy(leaves / leaves.std()).float())
    assert find_hue(rgb.clamp(0, 1), math.radians(120), math.radians(70), must_be_plain=True) is None


def test_a_clip_may_fade_in_and_lose_its_screen_for_a_while(caplog) -> None:
    scene = over(textured((0.6, 0.45, 0.35)), subject(), screen(COLOURS["green"]))
    room = textured((0.5, 0.4, 0.3))
    black = torch.zeros_like(scene)
    clip = [frame(rgb, n) for n, rgb in enumerate([black, scene, scene, room, room, scene])]
    with caplog.at_level(logging.WARNING):
        trimaps = [item.trimap for item in ChromaKey()(iter(clip))]
    assert [bool((trimap == FOREGROUND).all()) for trimap in trimaps] == [True, False, False, True, True, False]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "from frame 0 on no screen shows",
        "from frame 3 on no screen shows",
    ]
    assert torch.equal(trimaps[1], trimaps[2])


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (40, 3), (17, 16)])
def test_tiny_pictures(size) -> None:
    assert key_one(screen(COLOURS["green"], size=size), "green").unique().tolist() == [BACKGROUND]


def test_broken_float_pixels_do_not_spread() -> None:
    rgb = over(textured((0.6, 0.45, 0.35)), subject(), screen(COLOURS["green"]))
    broken = rgb.clone()
    broken[:, 10, 10] = math.nan
    broken[0, 150, 120] = math.inf
    (whole,) = ChromaKey()(iter([Frame(0, 0, Fraction(1, 25), rgb)]))
    (item,) = ChromaKey()(iter([Frame(0, 0, Fraction(1, 25), broken)]))
    assert (item.trimap != whole.trimap).float().mean() < 0.01


@pytest.mark.parametrize("key", ["gren", "", "#12345", "#GG0000", "00FF00"])
def test_keys_that_are_none(key) -> None:
    with pytest.raises(UsageError, match="give auto, green, blue or a colour as #RRGGBB"):
        ChromaKey(key)


@pytest.mark.parametrize("key", ["#000000", "#808080", "#FFFFFF", "#807F81"])
def test_grey_is_no_key(key) -> None:
    with pytest.raises(UsageError, match="is grey"):
        ChromaKey(key)


REAL = {
    # Points as fractions of the width and the height, chosen by eye: screen, then subject.
    "captain_uneven.jpg": ([(0.1, 0.1), (0.9, 0.9), (0.75, 0.3)], [(0.47, 0.6), (0.45, 0.95), (0.47, 0.12)]),
    "man_BLUEscreen.jpg": ([(0.9, 0.1), (0.05, 0.9), (0.7, 0.9)], [(0.55, 0.35), (0.45, 0.6), (0.65, 0.15)]),
    "man_uneven_creased.png": ([(0.05, 0.5), (0.9, 0.3), (0.3, 0.2)], [(0.5, 0.75), (0.51, 0.42), (0.35, 0.95)]),
    "soldier_green_on_green.jpg": ([(0.2, 0.5), (0.5, 0.9), (0.95, 0.1)], [(0.78, 0.4), (0.77, 0.9)]),
    "woman_flying_hair.jpg": ([(0.1, 0.1), (0.9, 0.1), (0.2, 0.9)], [(0.47, 0.65), (0.6, 0.35), (0.6, 0.95)]),
}


@pytest.mark.parametrize("name", REAL)
def test_real_stills(data: Path, name) -> None:
    with PIL.Image.open(data / "06_greenscreen_real/stills" / name) as image:
        image.draft("RGB", (1280, 1280))
        image.thumbnail((1280, 1280))
        rgb = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    (item,) = ChromaKey()(iter([Frame(0, 0, Fraction(1), rgb)]))
    height, width = rgb.shape[1:]
    for expected, points in zip((BACKGROUND, FOREGROUND), REAL[name], strict=True):
        for x, y in points:
            assert item.trimap[0, int(y * height), int(x * width)] == expected, (x, y)
    assert (item.trimap == UNKNOWN).float().mean() < 0.3


def test_synthetic_doll_against_its_truth(data: Path) -> None:
    folder = data / "04_synth_green_doll/green_gt08_doll"

    def read(path):
        with PIL.Image.open(path) as image:
            return torch.from_numpy(np.array(image))

    rgb = read(folder / "input_00000_lossless.png").permute(2, 0, 1)[:3]
    alpha = read(folder / "alpha/00000.png")[None].float() / 255
    (item,) = ChromaKey()(iter([Frame(0, 0, Fraction(1), rgb)]))
    # Its long translucent tresses are partly of one tone with the opaque hair: what is lost must be little and slight.
    soft = (alpha > 0.1) & (alpha < 0.9)
    assert (item.trimap == UNKNOWN)[soft].float().mean() > 0.9
    assert (alpha[item.trimap == FOREGROUND] < 0.8).float().mean() < 0.01
    assert (alpha[item.trimap == BACKGROUND] > 0.2).float().mean() < 0.002
