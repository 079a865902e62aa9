"""The subject's motion and the background's, against pictures of two layers that were moved."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.flow import describe, estimate_both_flows, flow_confidence
from videomatte.refine import Temporal
from videomatte.refine.layers import FURTHEST, LayerMotion, Layers
from videomatte.trimaps.morphology import trimap_from_alpha
from videomatte.types import UNKNOWN, Frame, MatteFrame, TrimapFrame

SIZE = 144, 240
SUBJECT, BACKGROUND = (2.0, 1.0), (-3.0, 0.0)
"""Pixels to the right and down from one frame to the next."""


def texture(seed: int, contrast: float) -> Tensor:
    """Smooth, so that it can be moved by any shift."""
    noise = torch.rand(1, 3, 30, 50, generator=torch.Generator().manual_seed(seed))
    return 0.5 + contrast * (F.interpolate(noise, (180, 300), mode="bicubic")[0] - 0.5)


def moved(picture: Tensor, shift: tuple[float, float]) -> Tensor:
    """Cut out of a larger picture after so many whole pixels."""
    left, top = 30 - int(shift[0]), 18 - int(shift[1])
    return picture[:, top : top + SIZE[0], left : left + SIZE[1]]


def frame(moment: int, contrast: float) -> tuple[Tensor, Tensor]:
    """A disc with a wide soft edge: picture and alpha."""
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    centre = 72 + SUBJECT[1] * moment, 120 + SUBJECT[0] * moment
    alpha = ((48 - torch.hypot(rows - centre[0], columns - centre[1])) / 16).clamp(0, 1)[None]
    shown = moved(texture(1, 0.8), (SUBJECT[0] * moment, SUBJECT[1] * moment))
    behind = moved(texture(2, contrast), (BACKGROUND[0] * moment, BACKGROUND[1] * moment))
    return alpha * shown + (1 - alpha) * behind, alpha


def layers_and_motion(contrast: float) -> tuple[Layers, LayerMotion, Tensor, Tensor]:
    """Of the first frame, with the flow that was found and where it is unknown."""
    (first, alpha), (second, _) = (frame(moment, contrast) for moment in (0, 1))
    trimap = trimap_from_alpha(alpha, 3)
    layers = Layers.of(first[None], trimap, alpha, SIZE)
    there, back = estimate_both_flows(describe(first[None]), describe(second[None]))
    return layers, LayerMotion.of(there[0], flow_confidence(there, back)[0], layers), there[0], trimap[0] == UNKNOWN


def off(flow: Tensor, motion: tuple[float, float], where: Tensor) -> float:
    return float((flow - torch.tensor(motion).view(2, 1, 1)).norm(dim=0)[where].mean())


def test_layers_move_as_they_were_moved_where_both_are_seen() -> None:
    layers, motion, flow, unknown = layers_and_motion(contrast=0.8)
    assert layers.plain[0][unknown].max() < 0.1
    # What flow itself says there lies in between.
    assert off(flow, SUBJECT, unknown) > 1
    assert off(motion.subject, SUBJECT, unknown) < 0.3
    assert off(motion.background, BACKGROUND, unknown) < 0.3


def test_before_one_colour_the_subject_moves_as_the_flow_does() -> None:
    layers, motion, flow, unknown = layers_and_motion(contrast=0.0)
    assert layers.plain.min() > 0.99
    assert (motion.subject - flow)[:, unknown].abs().max() < 0.05


def test_a_layer_that_is_nowhere_sure_moves_as_the_flow_does() -> None:
    flow = torch.randn(2, 40, 60)
    layers = Layers.of(
        torch.rand(1, 3, 40, 60), torch.full((1, 40, 60), UNKNOWN).byte(), torch.rand(1, 40, 60), (40, 60)
    )
    motion = LayerMotion.of(flow, torch.ones(1, 40, 60), layers)
    assert torch.equal(motion.subject, flow)
    assert torch.equal(motion.background, flow)


def test_one_motion_after_another() -> None:
    """Both uniform: the sum, but for float32's rounding."""

    def uniform(*values: float) -> LayerMotion:
        a, b, c, d = (torch.full((1, 30, 50), value) for value in values)
        return LayerMotion(torch.cat([a, b]), torch.cat([c, d]))

    both = uniform(1.5, -2.0, 0.25, 3.0).then(uniform(2.0, 1.0, -1.0, 0.5))
    expected = uniform(3.5, -1.0, -0.75, 3.5)
    torch.testing.assert_close(both.subject, expected.subject, rtol=0, atol=1e-5)
    torch.testing.assert_close(both.background, expected.background, rtol=0, atol=1e-5)


def strands(shift: float) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(90.0), indexing="ij")
    columns = columns - shift
    return (0.5 + 0.25 * torch.sin(columns * 0.7 + rows * 0.2) + 0.2 * torch.sin(rows * 0.5 - columns * 0.3))[None]


def unsure(alpha: Tensor) -> Layers:
    nothing = torch.zeros_like(alpha)
    return Layers(nothing, nothing, nothing, alpha)


@pytest.mark.parametrize("shift", [0.3, -0.4])
def test_alphas_are_registered(shift: float) -> None:
    """Strands that lie a little aside of where the subject's motion puts them. The stiffness takes some of it back."""
    still = LayerMotion(torch.zeros(2, 60, 90), torch.zeros(2, 60, 90))
    found = still.registered(unsure(strands(0)), unsure(strands(shift)))
    across, down = found.subject[:, 12:-12, 12:-12]
    assert 0.75 * abs(shift) < float(across.mean() * shift / abs(shift)) < 1.1 * abs(shift)
    assert down.abs().mean() < 0.1
    assert torch.equal(found.background, still.background)


def test_equal_alphas_stay_and_no_shift_is_long() -> None:
    still = LayerMotion(torch.zeros(2, 60, 90), torch.zeros(2, 60, 90))
    same = still.registered(unsure(strands(0)), unsure(strands(0)))
    assert same.subject.abs().max() == 0
    far = still.registered(unsure(strands(0)), unsure(strands(2.0)))
    assert far.subject.norm(dim=0).max() < FURTHEST + 1e-5


def test_what_is_mistaken_of_a_background_that_passes_is_averaged_away() -> None:
    """Mattes that take what is bright behind the soft edge for the subject: they are healed by those of the moments at
    which something else was there. Five independent errors would leave 0.45."""
    mattes, truths = [], []
    for index in range(5):
        rgb, truth = frame(index, contrast=0.8)
        trimap = trimap_from_alpha(truth, 3)
        wrong = (moved(texture(2, 0.8), (BACKGROUND[0] * index, BACKGROUND[1] * index)).mean(0) - 0.5) * (1 - truth)
        pixels = Frame(index, index, Fraction(1, 24), (rgb.clamp(0, 1) * 255).round().to(torch.uint8))
        alpha = torch.where(trimap == UNKNOWN, truth + wrong, truth).clamp(0, 1)
        mattes.append(MatteFrame(TrimapFrame(pixels, trimap, "generated"), alpha))
        truths.append(truth)

    def error(matte: MatteFrame) -> float:
        return float((matte.alpha - truths[2]).square().mean().sqrt())

    assert error(list(Temporal()(iter(mattes)))[2]) < 0.7 * error(mattes[2])


def test_a_limb_that_stands_while_the_body_moves_stays_whole() -> None:
    """A body that walks past a textured ground, and a leg, unknown from edge to edge, that stands still with it."""
    body, leg, ground = (texture(seed, 0.8) for seed in (3, 4, 5))
    mattes = []
    for index in range(5):
        rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
        torso = (torch.hypot(rows - 40.0, columns - 100.0 - 6 * index) < 30).float()[None]
        standing = ((rows > 60) & (rows < 136) & ((columns - 112).abs() < 7)).float()[None]
        alpha = torch.maximum(torso, standing)
        shown = torch.where(torso > 0, moved(body, (6 * index, 0)), moved(leg, (0, 0)))
        rgb = alpha * shown + (1 - alpha) * moved(ground, (0, 0))
        pixels = Frame(index, index, Fraction(1, 24), (rgb.clamp(0, 1) * 255).round().to(torch.uint8))
        mattes.append(MatteFrame(TrimapFrame(pixels, trimap_from_alpha(alpha, 8), "generated"), alpha))
    left = list(Temporal()(iter(mattes)))[2].alpha[0, 80:130, 106:119]
    assert left.mean() > 0.95  # all of it, with the edges that the ground's own flow reaches
    assert left[:, 1:-1].min() > 0.99
