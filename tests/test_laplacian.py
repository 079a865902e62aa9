"""The Laplacian solver against PyMatting's matrix, a direct solve of it, and what a solver owes its user."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pymatting
import pytest
import scipy.sparse.linalg
import torch
from torch import Tensor

from videomatte.models.laplacian import LaplacianMatting
from videomatte.models.laplacian_multigrid import Hierarchy
from videomatte.models.laplacian_system import System, assemble

EXACT = LaplacianMatting(steps=120, evidence=0, clip=0)


def still(data: Path, name: str, scale: float = 0.25) -> tuple[Tensor, Tensor]:
    """RGB and trimap of a photograph of hair, made small so that it is solved in a moment."""
    folder = data / "01_stills/alphamatting"
    rgb = pymatting.load_image(str(folder / f"input/{name}.png"), "RGB", scale, "box")
    trimap = pymatting.fix_trimap(pymatting.load_image(str(folder / f"trimap1/{name}.png"), "GRAY", scale, "nearest"))
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float(), torch.from_numpy(trimap)[None, None].float()


def made_up(height: int = 73, width: int = 61, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A blob of one texture over another, with a winding band of unknown that meets the picture's edge."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = torch.hypot(y - height / 2.0, x - width / 3.0) + 3 * torch.sin(y / 4.0)
    alpha = ((width / 3 - distance) / 12 + 0.5).clamp(0, 1)
    colours = torch.tensor([[0.8, 0.5, 0.3], [0.2, 0.3, 0.6]])[:, :, None, None]
    texture = torch.rand(2, 3, height, width, generator=generator) * 0.1
    front, back = colours + texture
    trimap = torch.where((alpha > 0) & (alpha < 1), 0.5, alpha)
    return (alpha * front + (1 - alpha) * back)[None], trimap[None, None]


def matrix(rgb: Tensor, trimap: Tensor) -> tuple[scipy.sparse.csr_matrix, npt.NDArray[np.float64]]:
    """``L_U`` and ``-R m`` as PyMatting makes them."""
    known, foreground = (trimap != 0.5).numpy().ravel(), (trimap == 1).numpy().ravel()
    rows = pymatting.cf_laplacian(rgb[0].permute(1, 2, 0).double().numpy(), is_known=known)[~known]
    return rows[:, ~known].tocsc(), -rows[:, known].dot(foreground[known].astype(np.float64))


def solved(rgb: Tensor, trimap: Tensor) -> Tensor:
    """The closed form, by a direct solve in float64."""
    a, b = matrix(rgb, trimap)
    factors = scipy.sparse.linalg.splu(a, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    alpha = trimap.clone()
    alpha[trimap == 0.5] = torch.from_numpy(factors.solve(b)).clamp(0, 1).float()
    return alpha


@pytest.fixture(scope="module")
def hair(data: Path) -> tuple[Tensor, Tensor, Tensor]:
    """RGB, trimap and the closed form of one photograph."""
    rgb, trimap = still(data, "GT18")
    return rgb, trimap, solved(rgb, trimap)


def system_of(rgb: Tensor, trimap: Tensor) -> System:
    return assemble(rgb, trimap == 0.5, trimap == 1, 1e-7)


def on_unknown(system: System, values: Tensor) -> Tensor:
    """Values of slots in the order of the pictures' unknown pixels."""
    shape = system.cells.shape
    pictures = system.cells.write(values, system.unknown, torch.full(shape, torch.nan))
    return pictures[~pictures.isnan()]


@pytest.mark.parametrize("size", [(73, 61), (64, 64), (65, 57), (33, 90), (9, 9), (17, 40)])
def test_equations_are_pymattings(size: tuple[int, int]) -> None:
    """Every coefficient, by way of a random vector; sizes that fill the cells in different ways."""
    rgb, trimap = made_up(*size)
    system = system_of(rgb, trimap)
    a, b = matrix(rgb, trimap)
    picture = torch.randn(rgb[:, :1].shape) * (trimap == 0.5)
    x = system.cells.read(picture) * system.unknown
    expected = torch.from_numpy(a @ picture[trimap == 0.5].double().numpy()).float()
    # float32 against float64, where a window's covariance may be near singular.
    assert torch.allclose(on_unknown(system, system.apply(x)), expected, atol=2e-3)
    assert torch.allclose(on_unknown(system, system.right), torch.from_numpy(b).float(), atol=2e-3)


@pytest.mark.parametrize("name", ["GT01", "GT04"])
def test_converges_to_the_closed_form_on_photographs(data: Path, name: str) -> None:
    rgb, trimap = still(data, name)
    difference = (EXACT(rgb, trimap) - solved(rgb, trimap)).abs()[trimap == 0.5]
    # A tenth of an 8-bit level on average: what float32 leaves of equations with a condition number of some 1e6.
    assert difference.mean() < 0.1 / 255
    assert difference.max() < 0.02


def test_default_steps_are_near_the_closed_form(hair: tuple[Tensor, Tensor, Tensor]) -> None:
    """Stopped early on purpose; the equations' own noise, some levels of 255, is what is left out."""
    rgb, trimap, exact = hair
    difference = (LaplacianMatting(evidence=0, clip=0)(rgb, trimap) - exact).abs()[trimap == 0.5]
    assert difference.mean() < 3 / 255


def test_steps_count(data: Path) -> None:
    """A speed test without a clock: plain conjugate gradients need some 500 steps for this."""
    rgb, trimap = still(data, "GT04")
    difference = (LaplacianMatting(steps=12, evidence=0, clip=0)(rgb, trimap) - solved(rgb, trimap)).abs()[
        trimap == 0.5
    ]
    assert difference.mean() < 1 / 255


def test_alpha_on_a_colour_line_is_found_exactly() -> None:
    """Alpha that is an affine function of colour everywhere has no energy at all."""
    alpha = torch.zeros(1, 1, 48, 56)
    alpha[..., 8:-8, 8:-8] = torch.rand(1, 1, 32, 40)
    alpha[..., 20:28, 24:32] = 1
    rgb = torch.cat([0.2 + 0.5 * alpha, 0.7 - 0.3 * alpha, 0.1 + 0.6 * alpha], dim=1)
    trimap = torch.full_like(alpha, 0.5)
    trimap[..., 20:28, 24:32] = 1
    for edge in (trimap[..., :8, :], trimap[..., -8:, :], trimap[..., :8], trimap[..., -8:]):
        edge.zero_()
    assert torch.allclose(EXACT(rgb, trimap), alpha, atol=2e-3)


def test_preconditioner_is_symmetric_and_positive() -> None:
    rgb, trimap = made_up(150, 170)
    system = system_of(rgb, trimap)
    lines = Hierarchy(system.cells.lattice, system.elements)
    a, b = (system.to_lines(torch.randn_like(system.right) * system.unknown) for _ in range(2))
    assert torch.allclose((a * lines.cycle(b)).sum(), (b * lines.cycle(a)).sum(), rtol=1e-3)
    assert (a * lines.cycle(a)).sum() > 0


def test_to_lines_is_the_transpose_of_from_lines() -> None:
    system = system_of(*made_up())
    x = torch.randn_like(system.right) * system.unknown
    lines = torch.randn_like(system.to_lines(x))
    lines[:, -1] = 0
    assert torch.allclose((system.from_lines(lines) * x).sum(), (lines * system.to_lines(x)).sum(), rtol=1e-4)


def test_elements_are_the_energy_of_smooth_colour_lines() -> None:
    """Exact but for kinks at the cells' edges, which a smooth field hardly has."""
    system = system_of(*made_up())
    lattice = system.cells.lattice
    y, x = lattice.node_row.float(), lattice.node_column.float()
    field = torch.stack([torch.sin(y / 3), torch.cos(x / 4), torch.sin((x + y) / 5), torch.cos(y / 6)])
    lines = torch.nn.functional.pad(field, (0, 1))
    alpha = system.from_lines(lines)
    energy = (alpha * system.apply(alpha)).sum()
    assert torch.allclose((lines * Hierarchy(lattice, system.elements).apply(lines)).sum(), energy, rtol=0.1)


def blocky() -> tuple[Tensor, Tensor]:
    """A dark picture of flat 8 × 8 blocks, as strong JPEG leaves them, with lights: next to nothing ties blocks."""
    rgb, trimap = made_up(144, 160)
    blocks = torch.nn.functional.avg_pool2d(rgb, 8).mul(12).round().div(255)
    rgb = torch.nn.functional.interpolate(blocks, scale_factor=8)
    rgb[..., 30:34, 60:64] = 0.8
    return rgb, trimap


def test_energies_next_to_zero_stay_positive() -> None:
    """Rounding would make some negative, upon which conjugate gradients run away."""
    system = system_of(*blocky())
    assert torch.linalg.eigvalsh(system.elements.double()).min() > -1e-9


def test_flat_blocks_get_alpha_near_the_closed_form() -> None:
    rgb, trimap = blocky()
    unknown = trimap == 0.5
    assert (LaplacianMatting()(rgb, trimap) - solved(rgb, trimap)).abs()[unknown].mean() < 0.05


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    pairs = [made_up(seed=0), made_up(seed=1)]
    pairs[1][1][..., :40, :] = 0
    rgb, trimap = (torch.cat(both) for both in zip(*pairs, strict=True))
    together = LaplacianMatting()(rgb, trimap)
    alone = torch.cat([LaplacianMatting()(*pair) for pair in pairs])
    # The same operations on the same numbers, summed in another order.
    assert torch.allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("axis", [2, 3])
def test_a_mirrored_picture_gives_mirrored_alpha(axis: int) -> None:
    """Identity of the layout: no row or column is favoured. Odd sizes, so that the cells fall elsewhere."""
    rgb, trimap = made_up()
    mirrored = EXACT(rgb.flip(axis), trimap.flip(axis)).flip(axis)
    assert torch.allclose(mirrored, EXACT(rgb, trimap), atol=2e-3)


def test_starting_from_the_answer_stays_there(hair: tuple[Tensor, Tensor, Tensor]) -> None:
    rgb, trimap, exact = hair
    solver = LaplacianMatting(steps=2, evidence=0, clip=0)
    cold, warm = ((solver(rgb, trimap, initial) - exact).abs().mean() for initial in (None, exact))
    # Not quite there: the equations' own answer overshoots 0 and 1 a little, which alpha does not.
    assert warm < 0.25 * cold


@pytest.mark.parametrize("shift", [0, 1, 40])
def test_a_start_never_harms(hair: tuple[Tensor, Tensor, Tensor], shift: int) -> None:
    """The answer itself a little softened helps; moved by a pixel or by many it is not followed."""
    rgb, trimap, exact = hair
    before = torch.nn.functional.avg_pool2d(exact, 3, 1, 1) if shift == 0 else exact.roll(shift, dims=3)
    solver = LaplacianMatting(steps=3, evidence=0, clip=0)
    cold, warm = ((solver(rgb, trimap, initial) - exact).abs().mean() for initial in (None, before))
    # Less energy is not always less difference, hence a margin; followed, a shift by a pixel would cost threefold.
    assert warm < (1.5 if shift else 1) * cold


def test_known_pixels_are_exact_and_alpha_is_in_range() -> None:
    rgb, trimap = made_up()
    alpha = LaplacianMatting()(rgb, trimap)
    assert torch.equal(alpha[trimap != 0.5], trimap[trimap != 0.5])
    assert alpha.min() >= 0
    assert alpha.max() <= 1


@pytest.mark.parametrize(("known", "expected"), [((0,), 0.0), ((1,), 1.0), ((), 0.5)])
def test_pictures_that_lack_a_sure_side_get_an_answer(known: tuple[int, ...], expected: float) -> None:
    """Also next to one in the batch that lacks nothing."""
    rgb, trimap = made_up()
    lacking = trimap.clone()
    for side in {0, 1} - set(known):
        lacking[trimap == side] = 0.5
    alpha = LaplacianMatting()(rgb.expand(2, -1, -1, -1), torch.cat([lacking, trimap]))
    assert (alpha[0] == expected).all()
    assert torch.allclose(alpha[1:], LaplacianMatting()(rgb, trimap), atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 3), (4, 33), (9, 8), (8, 9), (65, 5)])
def test_small_sizes(size: tuple[int, int]) -> None:
    trimap = torch.full((1, 1, *size), 0.5)
    trimap[..., 0, 0], trimap[..., -1, -1] = 0, 1
    alpha = LaplacianMatting()(torch.rand(1, 3, *size), trimap)
    assert alpha.shape == trimap.shape
    assert alpha.isfinite().all()


@pytest.mark.parametrize("level", [0.0, 0.5, 100.0])
def test_a_flat_picture_gets_an_answer_between_its_sides(level: float) -> None:
    rgb, trimap = made_up()
    alpha = LaplacianMatting()(torch.full_like(rgb, level), trimap)
    assert alpha.isfinite().all()
    # No colour to go by: alpha is smooth across the band, about one half on average.
    assert 0.3 < alpha[trimap == 0.5].mean() < 0.7


def test_broken_and_bright_pixels_do_not_spread() -> None:
    rgb, trimap = made_up()
    plain = LaplacianMatting()(rgb, trimap)
    rgb[0, :, 30, 40], rgb[0, :, 31, 8] = torch.nan, torch.inf
    alpha = LaplacianMatting()(rgb, trimap)
    assert alpha.isfinite().all()
    assert (alpha - plain).abs()[trimap == 0.5].mean() < 0.05


def test_brightness_does_not_matter_where_epsilon_goes_with_it() -> None:
    rgb, trimap = made_up()
    bright = LaplacianMatting(epsilon=1e-3)(rgb * 100, trimap)
    assert torch.allclose(bright, LaplacianMatting()(rgb, trimap), atol=1e-3)


def test_is_a_module_without_weights_that_ignores_autocast() -> None:
    rgb, trimap = made_up()
    solver = LaplacianMatting()
    assert not solver.state_dict()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(solver(rgb, trimap), LaplacianMatting()(rgb, trimap))


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    rgb, trimap = made_up()
    there = LaplacianMatting()(rgb.cuda(), trimap.cuda())
    assert there.device.type == "cuda"
    assert torch.allclose(there.cpu(), LaplacianMatting()(rgb, trimap), atol=5e-3)
