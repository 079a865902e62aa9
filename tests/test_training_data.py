"""What training learns from: samples by seed, trimaps that never lie, batches by step, folders of the user's own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from videomatte.errors import InputError
from videomatte.matting.colour_detail import add_colour_detail
from videomatte.scenes.noise import stream
from videomatte.training.backdrops import Backdrops, screen
from videomatte.training.damage import coded, spill
from videomatte.training.data import Batches, Prepared, ProceduralSamples, trimap_unit
from videomatte.training.samples import draw_sample, random_trimap
from videomatte.training.vary import recolour, vary_prior, weaken
from videomatte.trimaps.morphology import OPAQUE, TRANSPARENT
from videomatte.types import UNKNOWN

SIZE = 224


@pytest.fixture(scope="module")
def samples() -> ProceduralSamples:
    return ProceduralSamples(first=0, count=6, size=SIZE, backdrops=Backdrops())


def test_a_seed_is_a_sample() -> None:
    once, again, other = (draw_sample(seed, SIZE, Backdrops()) for seed in (7, 7, 8))
    for name in ("rgb", "trimap", "alpha"):
        assert torch.equal(getattr(once, name), getattr(again, name))
    assert not torch.equal(once.alpha[0], other.alpha[0])


def test_trimaps_never_lie(samples: ProceduralSamples) -> None:
    for index in range(len(samples)):
        sample = samples[index]
        # What is sure was surely so before the matte was rounded to 8 bits: half a step of tolerance.
        assert (sample.alpha[sample.trimap == 255] >= OPAQUE * 255 - 0.5).all()
        assert (sample.alpha[sample.trimap == 0] <= TRANSPARENT * 255 + 0.5).all()
        assert 0 < (sample.trimap == 128).float().mean() < 1


def test_random_trimaps_differ_in_width() -> None:
    alpha = torch.zeros(1, SIZE, SIZE)
    alpha[:, 60:160, 60:160] = 1
    shares = {int((random_trimap(stream(seed), alpha) == 128).sum()) for seed in range(8)}
    assert len(shares) >= 7
    assert max(shares) > 2 * min(shares)


def test_screens_are_green_or_blue() -> None:
    greens = 0
    for seed in range(20):
        red, green, blue = screen(stream(seed), 64).mean((1, 2)).tolist()
        assert max(green, blue) > red + 0.05
        greens += green > blue
    assert 5 < greens < 19


def test_spill_is_strongest_at_the_edge() -> None:
    alpha = torch.zeros(1, 64, 64)
    alpha[:, :, 32:] = 1
    green = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    lit = spill(torch.full((3, 64, 64), 0.3), alpha, green, 1.0)
    assert (lit[0] == 0.3).all()
    assert float(lit[1, 32, 33]) > float(lit[1, 32, 60]) > 0.3


def test_coded_pictures_are_the_pictures_at_the_codecs_precision() -> None:
    row, column = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 95), indexing="ij")
    first = torch.stack([row, column, 0.5 * (row + column)])
    second = first.flip(2)
    good, bad = (coded([first, second], quality) for quality in (10, 40))
    for given, fine, coarse in zip((first, second), good, bad, strict=True):
        # A smooth picture loses next to nothing at rate factor 10, in place and in colour.
        assert (fine - given).abs().max() < 0.06
        assert (fine - given).abs().mean() < 0.01
        assert (coarse - given).abs().mean() > (fine - given).abs().mean()
    assert all(torch.equal(a, b) for a, b in zip(good, coded([first, second], 10), strict=True))


def test_prepared_samples_come_back_whole(samples: ProceduralSamples, tmp_path: Path) -> None:
    prepared = Prepared(samples, tmp_path, lambda rgb, trimap: torch.cat([rgb.mean(1, keepdim=True), trimap], dim=1))
    made, prior = prepared[1]
    read, kept = prepared[1]
    truth = samples[1]
    # As matting hands pictures to the model.
    rgb = (add_colour_detail(truth.rgb.float() / 255, truth.trimap == UNKNOWN) * 255).round().to(torch.uint8)
    for sample in (made, read):
        assert torch.equal(sample.rgb, rgb)
        assert torch.equal(sample.trimap, truth.trimap)
        assert torch.equal(sample.alpha, truth.alpha)
    assert prior is not None
    assert kept is not None
    assert torch.equal(prior, kept)
    assert torch.equal(prior[:, 1:].float(), trimap_unit(truth.trimap))
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_batches_depend_on_the_step_alone(samples: ProceduralSamples, tmp_path: Path) -> None:
    prepared = Prepared(samples, tmp_path, None)
    first = Batches(prepared, seed=1, batch=4, crop=96)
    again = Batches(prepared, seed=1, batch=4, crop=96)
    for _ in range(2):
        first[0]
    assert torch.equal(first[5].rgb, again[5].rgb)
    assert not torch.equal(first[5].rgb, first[6].rgb)
    assert not torch.equal(first[5].rgb, Batches(prepared, seed=2, batch=4, crop=96)[5].rgb)
    batch = first[5]
    assert batch.rgb.shape == (4, 3, 96, 96)
    assert set(batch.trimap.unique().tolist()) <= {0.0, 0.5, 1.0}
    # The planes were cut at one place and turned alike: what the trimap is sure of, the matte agrees with.
    assert (batch.alpha[batch.trimap == 1] > 0.98).all()
    assert (batch.alpha[batch.trimap == 0] < 0.02).all()


def test_each_pass_uses_every_sample_once(samples: ProceduralSamples, tmp_path: Path) -> None:
    batches = Batches(Prepared(samples, tmp_path, None), seed=0, batch=4, crop=96)
    for start in (0, 3):  # six samples are three steps of two
        used = [index for step in range(start, start + 3) for index in batches._indices(step)]
        assert sorted(used) == list(range(6))


def test_samples_smaller_than_a_crop_are_filled(samples: ProceduralSamples, tmp_path: Path) -> None:
    batch = Batches(Prepared(samples, tmp_path, None), seed=0, batch=2, crop=256)[0]
    assert batch.rgb.shape == (2, 3, 256, 256)


def test_second_moments_follow_the_first() -> None:
    for seed in range(100, 120):
        sample = draw_sample(seed, SIZE, Backdrops(), pairs=1.0)
        assert len(sample.rgb) == len(sample.alpha) == len(sample.trimap) == 2
        change = float((sample.alpha[1].float() - sample.alpha[0].float()).abs().mean())
        if change > 0:
            # A moment later, not another subject: a shift of a few pixels changes less than half of the matte.
            assert change < 0.5 * float(sample.alpha.float().mean()) + 10
            return
    raise AssertionError("twenty pairs, and nothing moved")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two foregrounds 300×200 with mattes and one background, as a user keeps them."""
    skio = pytest.importorskip("skimage.io")
    rng = np.random.default_rng(0)
    column = np.clip((np.arange(300) - 100) / 100, 0, 1)
    for name, colour in (("a", (255, 0, 0)), ("b", (0, 0, 255))):
        for kind in ("fg", "alpha", "bg"):
            (tmp_path / kind).mkdir(exist_ok=True)
        skio.imsave(tmp_path / f"fg/{name}.png", np.broadcast_to(np.uint8(colour), (200, 300, 3)), check_contrast=False)
        skio.imsave(tmp_path / f"alpha/{name}.png", np.uint8(np.broadcast_to(column * 255, (200, 300)).round()))
    skio.imsave(tmp_path / "bg/grass.png", np.uint8(rng.integers(100, 110, (64, 80, 3))), check_contrast=False)
    return tmp_path


def test_a_folder_is_composed_over_its_backgrounds(folder: Path) -> None:
    from videomatte.training.folders import FolderSamples

    samples = FolderSamples(folder, count=5, size=160, seed=0)
    for index in range(5):
        sample = samples[index]
        assert sample.rgb.shape == (1, 3, 160, 160)
        alpha = sample.alpha[0, 0].float() / 255
        channel = 0 if index % 2 == 0 else 2
        background = 105 * (1 - alpha)
        # The background lies within 100..110 and is enlarged smoothly: five steps, and one of rounding.
        assert (sample.rgb[0, channel] - (255 * alpha + background)).abs().max() <= 6
        assert (sample.rgb[0, 1] - background).abs().max() <= 6
    assert torch.equal(samples[3].rgb, FolderSamples(folder, count=5, size=160, seed=0)[3].rgb)


def test_folders_that_cannot_be_learned_from_say_why(folder: Path) -> None:
    from videomatte.training.folders import FolderSamples

    with pytest.raises(InputError, match="image/ and alpha/"):
        FolderSamples(folder / "nothing", count=1, size=64, seed=0)
    (folder / "alpha/b.png").unlink()
    with pytest.raises(InputError, match=r"first b\.png"):
        FolderSamples(folder, count=1, size=64, seed=0)


def test_a_weakened_prior_keeps_what_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    rgb, prior = torch.rand(1, 3, 64, 64, generator=generator), torch.rand(1, 7, 64, 64, generator=generator)
    trimap = torch.full((1, 1, 64, 64), 0.5)
    trimap[..., :20], trimap[..., 44:] = 0, 1
    prior[:, :1] = torch.where(trimap == 0.5, prior[:, :1], trimap)
    changed = 0
    for seed in range(40):
        worse = weaken(stream(seed), rgb, trimap, prior)
        assert torch.equal(worse[:, 1:], prior[:, 1:])  # the colours
        assert torch.equal(worse[:, :1][trimap != 0.5], trimap[trimap != 0.5])
        assert float(worse.min()) >= 0
        assert float(worse.max()) <= 1
        changed += not torch.equal(worse, prior)
    assert 5 <= changed <= 22  # one in three


def test_a_recoloured_composite_is_one() -> None:
    generator = torch.Generator().manual_seed(1)
    front, back = torch.rand(2, 1, 3, 16, 16, generator=generator)
    alpha = torch.rand(1, 1, 16, 16, generator=generator)
    for seed in range(10):
        rgb, prior = vary_prior(
            stream(seed),
            alpha * front + (1 - alpha) * back,
            alpha.new_full((1, 1, 16, 16), 0.5),
            torch.cat([alpha, front, back], dim=1),
        )
        assert prior is not None
        assert torch.allclose(alpha * prior[:, 1:4] + (1 - alpha) * prior[:, 4:], rgb, atol=1e-6)
        assert 0 <= rgb.min() <= rgb.max() <= 1
    assert not torch.equal(recolour(stream(3), front), recolour(stream(4), front))
