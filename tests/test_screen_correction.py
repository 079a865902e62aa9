"""Alpha before screens: what is measured of a pixel, what is learned from it, and when it answers."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.ndimage import uniform_filter

from pipelines.train_screen import train_screen
from videomatte.errors import UsageError
from videomatte.models.embedded import EmbeddedMatting, load_embedded
from videomatte.models.precision import prepare
from videomatte.models.screen_correction import MEASURES, ScreenCorrection, measures
from videomatte.scenes import random_scene, render
from videomatte.training.backdrops import Backdrops
from videomatte.training.screen_correction import STRENGTH, Pixels, draw_pixels, fit_correction
from videomatte.trimaps.hue import chroma, plain_hue
from videomatte.trimaps.morphology import BAND, trimap_from_alpha

HEIGHT, WIDTH = 60, 90
BROWN, GREEN, GREY = ((0.5, 0.35, 0.3), (0.1, 0.6, 0.2), (0.5, 0.5, 0.5))


def flat(colour: tuple[float, float, float], height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.tensor(colour)[:, None, None].expand(3, height, width).clone()


def ramp(height: int = HEIGHT, width: int = WIDTH) -> tuple[torch.Tensor, torch.Tensor]:
    """Alpha that rises from left to right, and its trimap."""
    alpha = ((torch.arange(width) - 0.25 * width) / (0.5 * width)).clamp(0, 1).expand(1, height, width).clone()
    return alpha, torch.where((alpha > 0) & (alpha < 1), 0.5, alpha)


@pytest.fixture(scope="module")
def trained() -> EmbeddedMatting:
    return load_embedded()


@pytest.mark.parametrize("light", [1.0, 0.3])
def test_a_plain_mixture_measures_as_what_it_is(light: float) -> None:
    """Mixing by the compositing equation is undone by each of the ways, in any light."""
    alpha, trimap = ramp()
    front, back = flat(BROWN) * light, flat(GREEN) * light
    unknown, values = measures(alpha * front + (1 - alpha) * back, trimap, alpha, front, back)
    assert torch.equal(unknown, trimap == 0.5)
    assert values.shape == (int(unknown.sum()), MEASURES)
    truth = alpha[unknown]
    for number, name in enumerate(("solver", "share of front", "share of back", "chroma", "line")):
        assert (values[:, number] - truth).abs().max() < 1e-4, name  # float32, divided by squares of some hundredths
    assert values[:, 8].abs().max() < 1e-4, "brighter than the mixture by nothing"


def test_light_changes_no_measure() -> None:
    alpha, trimap = ramp()
    rgb = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 0.2 + flat(GREEN)
    (_, bright), (_, dim) = (
        measures(rgb * light, trimap, alpha, flat(BROWN) * light, flat(GREEN) * light) for light in (1.0, 0.5)
    )
    assert (bright - dim).abs().max() < 1e-3  # float32, divided by squares of some hundredths


def test_means_around_a_pixel_are_those_of_its_square() -> None:
    _, trimap = ramp()
    noise = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    solved = torch.where(trimap == 0.5, noise, trimap)
    unknown, values = measures(flat(GREEN), trimap, solved, flat(BROWN), flat(GREEN))
    row, column = 30, 45
    number = int(unknown[0].flatten().cumsum(0)[row * WIDTH + column]) - 1
    square = solved[0, row - 3 : row + 4, column - 3 : column + 4]
    three = solved[0, row - 1 : row + 2, column - 1 : column + 2]
    assert values[number, 10] == pytest.approx(float(three.mean()), abs=1e-5)
    assert values[number, 12] == pytest.approx(float(square.mean()), abs=1e-5)
    assert values[number, 15] == pytest.approx(float(square.std(correction=0)), abs=1e-5)


def test_no_mean_is_cut_off_where_pictures_are_worked_on_in_parts() -> None:
    """Every unknown pixel of a picture of several bands, by SciPy's filters, which repeat the border as well."""
    noise = torch.rand(1, 2 * BAND + 40, 70, generator=torch.Generator().manual_seed(3))
    trimap = (noise * 2).round() / 2
    trimap[:, BAND : 2 * BAND, 30:] = 1
    plain = flat(GREEN, *noise.shape[1:])
    unknown, values = measures(plain, trimap, noise, flat(BROWN, *noise.shape[1:]), plain)
    solved = torch.where(trimap == 0.5, noise, trimap)[0].double().numpy()
    for number, reach in ((10, 1), (12, 3), (17, 10), (22, 28)):
        expected = torch.from_numpy(uniform_filter(solved, 2 * reach + 1, mode="nearest"))[unknown[0]]
        assert (values[:, number] - expected).abs().max() < 1e-6  # float32


def test_untrained_it_corrects_nothing() -> None:
    alpha, trimap = ramp()
    solved = (alpha * 0.9 + 0.03).clamp(0, 1)
    answer = ScreenCorrection()(flat(GREEN), trimap, solved, flat(BROWN), flat(GREEN))
    assert torch.equal(answer, torch.where(trimap == 0.5, solved, trimap))


def test_where_nothing_is_unknown_the_trimap_is_the_answer(trained: EmbeddedMatting) -> None:
    alpha, _ = ramp()
    trimap = alpha.round()
    assert torch.equal(trained.screen(flat(BROWN), trimap, trimap, flat(BROWN), flat(GREEN)), trimap)


def test_a_moved_picture_gives_alpha_moved_alike(trained: EmbeddedMatting) -> None:
    alpha, trimap = ramp(120, 200)
    rgb = alpha * flat(BROWN, 120, 200) + (1 - alpha) * flat(GREEN, 120, 200)
    rgb += 0.02 * torch.randn(3, 120, 200, generator=torch.Generator().manual_seed(3))
    planes = (rgb, trimap, alpha, flat(BROWN, 120, 200), flat(GREEN, 120, 200))
    with torch.inference_mode():
        whole = trained.screen(*planes)
        part = trained.screen(*(p[:, 5:, 7:] for p in planes))
    inside = (slice(None), slice(40, -40), slice(40, -40))  # where no square reaches over a border
    assert (part[inside] - whole[:, 5:, 7:][inside]).abs().max() < 1e-5


@pytest.mark.parametrize("known", [True, False])
def test_it_answers_before_screens_and_nowhere_else(trained: EmbeddedMatting, known: bool) -> None:
    """Two pictures of a batch, one before a screen and one before a grey wall, told by plates or by the trimap alone:
    each has the answer it has alone."""
    alpha, trimap = ramp()
    rgb = torch.stack([alpha * flat(BROWN) + (1 - alpha) * flat(behind) for behind in (GREEN, GREY)])
    rgb += 0.01 * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(4))
    plates = torch.stack([flat(GREEN), flat(GREY)]) if known else None
    trimaps = trimap.expand(2, 1, HEIGHT, WIDTH)
    with torch.inference_mode():
        both = trained(rgb, trimaps, plate=plates)
        prior = trained.prior(rgb, trimaps, plate=plates)
        network = trained.correct(rgb[1:], trimaps[1:], prior[1:])[0]
        screen = trained.screen(rgb[0], trimap, prior[0, :1], prior[0, 1:4], prior[0, 4:])
    # The same numbers but for rounding.
    assert (both[0] - screen).abs().max() < 1e-5
    assert (both[1] - network).abs().max() < 1e-5
    assert (screen - trained.correct(rgb[:1], trimaps[:1], prior[:1])[0]).abs().max() > 1e-3, "the two do differ"


def test_a_plain_pure_colour_in_any_light_is_a_screen() -> None:
    light = torch.linspace(0.2, 1, WIDTH)
    everywhere = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    for colour in (GREEN, (0.1, 0.25, 0.8), (0.6, 0.8, 0.1)):
        a, b = chroma(flat(colour))[:, 0, 0].tolist()
        assert plain_hue(flat(colour) * light, everywhere) == pytest.approx(math.atan2(b, a), abs=1e-5)
    striped = torch.where(torch.arange(WIDTH) % 20 < 10, flat(GREEN), flat((0.3, 0.6, 0.1)))
    for other in (flat(GREY), flat((0.8, 0.3, 0.1)), flat((0.35, 0.5, 0.4)), striped):  # wall, brick, pale paint, lawn
        assert plain_hue(other, everywhere) is None
    assert plain_hue(striped, (torch.arange(WIDTH) % 20 < 10) & everywhere) is not None, (
        "what is not known does not count"
    )
    few = torch.zeros_like(everywhere)
    few[0, :20] = True
    assert plain_hue(flat(GREEN), few) is None, "too small to tell"


def test_in_bfloat16_it_stays_in_float32(trained: EmbeddedMatting) -> None:
    alpha, trimap = ramp()
    rgb = (alpha * flat(BROWN) + (1 - alpha) * flat(GREEN))[None]
    lean = prepare(load_embedded(), torch.device("cpu"), "bf16")
    with torch.inference_mode():
        answers = [m(rgb, trimap[None], plate=flat(GREEN)[None]) for m in (lean, trained)]
    assert (answers[0] - answers[1]).abs().max() < 1e-5


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("light", [1.0, 0.3])
def test_it_is_better_than_the_solver_on_held_out_scenes(trained: EmbeddedMatting, light: float, known: bool) -> None:
    """Scenes of seeds that nothing was learned from, with true trimaps, and the true backdrop as the plate or none."""
    errors = []
    for seed in range(2_000_100, 2_000_108):
        scene = replace(
            random_scene(seed, 240, 136, 1), backdrop="green" if seed % 2 else "blue", light=light, subject="hair"
        )
        shot = next(iter(render(scene)))
        trimap = trimap_from_alpha(shot.alpha, 4)[None].float().div(127.5).round() / 2
        with torch.inference_mode():
            plate = shot.background[None] if known else None
            ours = trained(shot.rgb[None], trimap, plate=plate)
            solved = trained.solver(shot.rgb[None], trimap, None, plate)
        unknown = trimap == 0.5
        errors.append([float((a - shot.alpha[None])[unknown].square().mean()) for a in (ours, solved)])
    ours_error, solver_error = torch.tensor(errors).mean(0).tolist()
    assert ours_error < 0.9 * solver_error  # a tenth of the squared error at least, or it is not worth its weights


def test_what_can_be_told_from_measures_is_learned() -> None:
    """A made-up fault: the solver gives four fifths of alpha, while chroma tells all of it."""
    generator = torch.Generator().manual_seed(5)
    samples = []
    for _ in range(4):
        truth = torch.rand(2000, generator=generator)
        values = torch.rand(2000, MEASURES, generator=generator)
        values[:, 0], values[:, 3] = 0.8 * truth, truth
        samples.append(Pixels(values, truth, float((0.2 * truth).mean())))
    fitted = fit_correction(samples, steps=300)
    with torch.inference_mode():
        left = (samples[0].values[:, 0] + fitted.correction(samples[0].values) - samples[0].alpha).abs().mean()
    # The noise that is learned with leaves some of the fault besides the share that is left on purpose.
    assert left < (1 - STRENGTH + 0.15) * samples[0].error
    again = fit_correction(samples, steps=300)
    assert all(torch.equal(a, b) for a, b in zip(fitted.parameters(), again.parameters(), strict=True))


def test_a_sample_is_the_same_whenever_it_is_drawn(trained: EmbeddedMatting) -> None:
    first, second = (next(filter(None, (draw_pixels(trained, n, Backdrops()) for n in range(6)))) for _ in range(2))
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.alpha, second.alpha)
    assert torch.isfinite(first.values).all()
    assert first.error == pytest.approx(second.error)


def test_what_is_trained_can_be_loaded_and_is_all_that_changed(tmp_path: Path, trained: EmbeddedMatting) -> None:
    train_screen(tmp_path / "weights.safetensors", samples=3, steps=5, workers=0)
    before, after = trained.state_dict(), load_embedded(tmp_path / "weights.safetensors").state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"screen"}


def test_nothing_to_learn_from_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--samples 0"):
        train_screen(tmp_path / "weights.safetensors", samples=0, workers=0)
    assert not list(tmp_path.iterdir())
