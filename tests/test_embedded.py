"""The shipped model: from the solver's alpha to a better one, on pictures of any size and with any trimap."""

from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from videomatte.errors import ModelError
from videomatte.models.embedded import (
    OVERLAP,
    PATCH,
    TILE,
    EmbeddedMatting,
    _starts,
    load_embedded,
    spread_colours,
)
from videomatte.models.precision import prepare
from videomatte.training.backdrops import Backdrops
from videomatte.training.data import trimap_unit
from videomatte.training.samples import draw_sample


@pytest.fixture(scope="module")
def untrained() -> EmbeddedMatting:
    torch.manual_seed(0)
    return EmbeddedMatting().eval()


@pytest.fixture(scope="module")
def trained() -> EmbeddedMatting:
    return load_embedded()


def soft_disc(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A soft red disc before a grey wall, no screen, with noise: rgb, trimap, alpha."""
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    side = min(height, width)
    far = torch.hypot(row - height / 2, column - width / 2) - 0.3 * side
    alpha = (0.5 - far / (0.1 * side)).clamp(0, 1)[None, None]
    trimap = torch.where(far.abs() < 0.09 * side, 0.5, (far < 0).float())[None, None]
    red, grey = (torch.tensor(c)[None, :, None, None] for c in ([0.8, 0.2, 0.1], [0.3, 0.3, 0.35]))
    noise = 0.01 * torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return (red * alpha + grey * (1 - alpha) + noise).clamp(0, 1), trimap, alpha


@pytest.mark.parametrize("size", [(300, 420), (192, 192), (97, 33), (5, 400), (1, 1)])
def test_untrained_it_is_the_solver(untrained: EmbeddedMatting, size: tuple[int, int]) -> None:
    """The identity of tiling: cut, corrected by nothing, blended, it is what went in, at any size."""
    rgb, trimap, _ = soft_disc(*size)
    with torch.inference_mode():
        alpha, solved = untrained(rgb, trimap), untrained.solver(rgb, trimap).clamp(0, 1)
    expected = torch.where(trimap == 0.5, solved, trimap)
    assert alpha.shape == (1, 1, *size)
    # Weighted sums of up to four equal float32 values.
    assert (alpha - expected).abs().max() < 1e-5


def test_pictures_of_a_batch_do_not_touch(trained: EmbeddedMatting) -> None:
    first, second = soft_disc(200, 240), soft_disc(200, 240)
    second = (second[0].flip(1), 1 - second[1], second[2])
    both = torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])
    with torch.inference_mode():
        together = trained(*both)
        apart = torch.cat([trained(*first[:2]), trained(*second[:2])])
    # Other sizes of batch take other kernels, which round otherwise.
    assert (together - apart).abs().max() < 1e-3


def test_moving_a_picture_by_a_tile_moves_alpha(trained: EmbeddedMatting) -> None:
    step = TILE - OVERLAP
    rgb, trimap, _ = soft_disc(TILE, TILE)
    wide_rgb = torch.cat([rgb[..., :1].expand(-1, -1, -1, step), rgb], dim=3)
    wide_trimap = torch.cat([trimap[..., :1].expand(-1, -1, -1, step), trimap], dim=3)
    with torch.inference_mode():
        prior, wide_prior = trained.prior(rgb, trimap), trained.prior(wide_rgb, wide_trimap)
        wide_prior[..., step:] = prior
        here, there = trained.correct(rgb, trimap, prior), trained.correct(wide_rgb, wide_trimap, wide_prior)
    # Only the first tile reaches over the border; in the overlap its own view has a part, beyond it none.
    assert (there[..., step + OVERLAP :] - here[..., OVERLAP:]).abs().max() < 1e-3


@pytest.mark.parametrize("sure", ["foreground", "background", "neither"])
def test_a_missing_side_gets_an_answer(trained: EmbeddedMatting, sure: str) -> None:
    rgb, trimap, _ = soft_disc(160, 200)
    keep = {"foreground": 1.0, "background": 0.0}.get(sure)
    trimap = torch.where(trimap == keep, trimap, 0.5) if keep is not None else torch.full_like(trimap, 0.5)
    with torch.inference_mode():
        alpha = trained(rgb, trimap)
    assert torch.isfinite(alpha).all()
    assert (alpha >= 0).all()
    assert (alpha <= 1).all()
    if keep is not None:
        assert (alpha[trimap == keep] == keep).all()


@pytest.mark.parametrize("length", [60, 192, 200, 368, 1000])
def test_tiles_hold_all_that_is_unknown(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    for density in (0.002, 0.02, 1.0):
        some = torch.rand(length, generator=generator) < density
        starts = _starts(some)
        assert all(start % PATCH == 0 for start in starts)
        for place in some.nonzero()[:, 0].tolist():
            # As far inside of a tile as half the overlap, but where the picture ends.
            near = [min(place - s, s + TILE - 1 - place) for s in starts if s <= place < s + TILE]
            assert max(near) >= min(OVERLAP // 2, place, length - 1 - place)
        assert len(starts) <= -(-max(length - OVERLAP, 1) // (TILE - OVERLAP)) + 1


def test_a_known_picture_returns_its_trimap(trained: EmbeddedMatting) -> None:
    trimap = (torch.arange(120).view(1, 1, 1, -1).expand(1, 1, 80, -1) > 60).float()
    with torch.inference_mode():
        assert torch.equal(trained(torch.rand(1, 3, 80, 120), trimap), trimap)


def test_colours_spread_from_where_they_are_known() -> None:
    rgb = torch.zeros(1, 3, 64, 96)
    rgb[..., :48], rgb[..., 48:] = torch.tensor([0.9, 0.1, 0.2])[None, :, None, None], 0.5
    known = torch.zeros(1, 1, 64, 96, dtype=torch.bool)
    known[..., :40] = True
    # One known colour, wherever it is, is the colour everywhere.
    everywhere = spread_colours(rgb, known)
    assert everywhere.shape == (1, 3, 16, 24)
    assert (everywhere - torch.tensor([0.9, 0.1, 0.2])[None, :, None, None]).abs().max() < 1e-5
    assert (spread_colours(rgb, torch.zeros_like(known)) == 0.5).all()
    whole = spread_colours(rgb, torch.ones_like(known))
    assert (whole - rgb[..., ::4, ::4])[..., :10].abs().max() < 1e-5  # flat up to a block from the edge of colours


@pytest.mark.parametrize("size", [(300, 420), (205, 199), (97, 33), (3, 400)])
def test_colours_enlarged_in_tiles_are_those_of_the_whole_picture(
    trained: EmbeddedMatting, size: tuple[int, int]
) -> None:
    """The identity of cutting: a whole picture's prior, given, makes the same alpha. Sizes that fours do not fit."""
    rgb, trimap, _ = soft_disc(*size)
    with torch.inference_mode():
        alpha, expected = trained(rgb, trimap), trained.correct(rgb, trimap, trained.prior(rgb, trimap))
    assert (alpha - expected).abs().max() < 1e-5  # the same numbers but for rounding


def test_weights_are_small_and_loaded_whole() -> None:
    file = resources.files("videomatte.models") / "weights" / "embedded.safetensors"
    assert len(file.read_bytes()) <= 20_000_000
    fresh, loaded = EmbeddedMatting().state_dict(), load_embedded().state_dict()
    assert fresh.keys() == loaded.keys()
    assert any(bool((fresh[name] != loaded[name]).any()) for name in fresh)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in loaded.values())


def test_prepared_it_answers_the_same(trained: EmbeddedMatting) -> None:
    """BatchNorm folded, and twelve channels filled up to sixteen with what must not be seen."""
    rgb, trimap, _ = soft_disc(200, 240)
    ready = prepare(load_embedded(), torch.device("cpu"), "fp32")
    head, untouched = (network.decoder.matting_head.matting_convs[0] for network in (ready, trained))
    assert (head.weight.shape[1], untouched.weight.shape[1]) == (16, 12)
    with torch.inference_mode():
        # float32's rounding, in another order, through some twenty layers.
        assert (ready(rgb, trimap) - trained(rgb, trimap)).abs().max() < 1e-4


def test_in_bfloat16_it_answers_alike(trained: EmbeddedMatting) -> None:
    rgb, trimap, _ = soft_disc(200, 240)
    lean = prepare(load_embedded(), torch.device("cpu"), "bf16")
    with torch.inference_mode():
        difference = (lean(rgb, trimap) - trained(rgb, trimap)).abs()
    # One 8-bit step on average and eight at worst are what a matte may differ by between precisions.
    assert difference.mean() <= 1 / 255
    assert difference.max() <= 8 / 255


def test_files_that_are_not_its_weights_are_refused(tmp_path: Path) -> None:
    damaged, foreign = tmp_path / "damaged.safetensors", tmp_path / "foreign.safetensors"
    damaged.write_bytes(b"no weights")
    save_file({"decoder.weight": torch.zeros(1)}, foreign)
    for path in (damaged, foreign, tmp_path / "missing.safetensors"):
        with pytest.raises(ModelError, match=path.name):
            load_embedded(path)


def test_it_is_better_than_the_solver_on_held_out_samples(trained: EmbeddedMatting) -> None:
    """A dozen samples of other seeds than training's and validation's, pooled."""
    errors = []
    for seed in range(2_000_000, 2_000_012):
        sample = draw_sample(seed, 160, Backdrops())
        rgb, trimap, true = sample.rgb[:1].float() / 255, trimap_unit(sample.trimap[:1]), sample.alpha[:1].float() / 255
        with torch.inference_mode():
            prior = trained.prior(rgb, trimap)
            ours = trained.correct(rgb, trimap, prior)
        unknown = trimap == 0.5
        errors.append([float((alpha - true)[unknown].abs().mean()) for alpha in (ours, prior[:, :1])])
    ours, solver = torch.tensor(errors).mean(0).tolist()
    assert ours < solver
