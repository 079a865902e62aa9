"""Calm over time: flicker goes, motion stays, and nothing reaches further than one frame."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import UsageError
from videomatte.flow import describe, estimate_both_flows, flow_confidence, lands_inside, resize_flow, warp, warp_at
from videomatte.refine.temporal import (
    AGREEMENT,
    CHANGE,
    CONTRADICTION,
    FLOW_SIDE,
    LEAD,
    NOISE,
    NOISE_FLOOR,
    SAME,
    SAMPLED,
    SLOW,
    Temporal,
)
from videomatte.scenes import SceneFrame, SceneSettings, render
from videomatte.types import UNKNOWN, Frame, MatteFrame, TrimapFrame, from_unit_range, unit_range

Clip = tuple[list[SceneFrame], list[MatteFrame]]


def matte(index: int, rgb: Tensor, alpha: Tensor, trimap: Tensor, foreground: Tensor | None = None) -> MatteFrame:
    frame = Frame(index, index, Fraction(1, 24), (rgb * 255).round().to(torch.uint8))
    return MatteFrame(TrimapFrame(frame, trimap, "generated"), alpha, foreground)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Hair that hardly moves, filmed with grain, and mattes that are each wrong in their own way."""
    settings = SceneSettings(width=256, height=144, frames=5, seed=11, motion=0.3, grain=0.02, trimap_margin=4)
    scene = list(render(settings))
    generator = torch.Generator().manual_seed(5)
    mattes = []
    for frame in scene:
        noise = 0.08 * torch.randn(frame.alpha.shape, generator=generator) * (frame.trimap == UNKNOWN)
        alpha = (frame.alpha + noise).clamp(0, 1)
        mattes.append(matte(frame.index, frame.rgb, alpha, frame.trimap, frame.foreground + noise))
    return scene, mattes


def calm(mattes: list[MatteFrame], strength: float = 1.0) -> list[MatteFrame]:
    return list(Temporal(strength)(iter(mattes)))


def flicker(mattes: list[MatteFrame], scene: list[SceneFrame]) -> float:
    """Mean change of alpha along the true motion, where the true alpha does not change: of static regions."""
    changes = []
    for before, after, truth, later in zip(mattes, mattes[1:], scene, scene[1:], strict=False):
        flow = truth.flow[None]
        moved = [warp(alpha[None], flow)[0] for alpha in (after.alpha, later.alpha)]
        still = ((moved[1] - truth.alpha).abs() < 0.02) & (truth.trimap == UNKNOWN) & lands_inside(flow)[0]
        changes.append((moved[0] - before.alpha).abs()[still])
    return float(torch.cat(changes).mean())


def error(mattes: list[MatteFrame], scene: list[SceneFrame]) -> float:
    return float(torch.stack([(m.alpha - s.alpha).abs().mean() for m, s in zip(mattes, scene, strict=True)]).mean())


def test_static_regions_flicker_less_and_nothing_gets_worse(clip: Clip) -> None:
    """At least 30 % less is what is promised of real mattes; here, where all errors are noise, it is far more."""
    scene, mattes = clip
    result = calm(mattes)
    assert flicker(result, scene) < 0.6 * flicker(mattes, scene)
    assert error(result, scene) < 0.9 * error(mattes, scene)


def test_the_foreground_is_calmed_too(clip: Clip) -> None:
    scene, mattes = clip

    def colour_error(items: list[MatteFrame]) -> float:
        errors = []
        for item, truth in zip(items, scene, strict=True):
            assert item.foreground is not None
            soft = (truth.alpha > 0.2) & (truth.alpha < 0.6)
            errors.append((item.foreground - truth.foreground).abs()[soft.expand(3, -1, -1)])
        return float(torch.cat(errors).mean())

    assert colour_error(calm(mattes)) < 0.85 * colour_error(mattes)


def test_strength_0_passes_the_mattes_themselves(clip: Clip) -> None:
    assert all(a is b for a, b in zip(calm(clip[1], 0.0), clip[1], strict=True))


def test_more_strength_calms_more(clip: Clip) -> None:
    scene, mattes = clip
    values = [flicker(calm(mattes, strength), scene) for strength in (0.0, 0.4, 1.0)]
    assert values[0] > values[1] > values[2]


def test_only_what_is_unknown_changes(clip: Clip) -> None:
    for raw, item in zip(clip[1], calm(clip[1]), strict=True):
        assert item.source is raw.source
        sure = raw.source.trimap != UNKNOWN
        assert torch.equal(item.alpha * sure, raw.alpha * sure)
        assert item.foreground is not None
        assert raw.foreground is not None
        opaque = sure | ((raw.alpha == 1) & (item.alpha == 1))
        assert torch.equal(item.foreground * opaque, raw.foreground * opaque)


def test_a_frame_hangs_on_its_neighbours_alone(clip: Clip) -> None:
    """A run that begins one frame early gives every frame as the whole run does, to the bit."""
    whole, part = calm(clip[1]), calm(clip[1][2 - LEAD : 2 + LEAD + 1])
    assert torch.equal(whole[2].alpha, part[LEAD].alpha)
    assert whole[2].foreground is not None
    assert part[LEAD].foreground is not None
    assert torch.equal(whole[2].foreground, part[LEAD].foreground)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_agrees_with_whole_frames_plainly_averaged(clip: Clip, dtype: torch.dtype) -> None:
    """The formulas on all pixels at once, and the unknown ones taken from that."""
    mattes = [
        replace(m, source=replace(m.source, frame=replace(m.frame, rgb=from_unit_range(s.rgb, dtype))))
        for m, s in zip(clip[1][:3], clip[0], strict=False)
    ]
    expected = plainly_calmed(*mattes)
    result = calm(mattes)[1]
    assert result.foreground is not None
    # Sums over 3 x 3 pixels, and over all, are taken in another order: float32's rounding.
    torch.testing.assert_close(torch.cat([result.alpha, result.foreground]), expected, rtol=0, atol=1e-6)


def plainly_calmed(before: MatteFrame, here: MatteFrame, after: MatteFrame) -> Tensor:
    """Alpha and foreground, ``[4, H, W]``."""
    unknown = here.source.trimap[0] == UNKNOWN
    rows, columns = (unknown.any(dim=dim).nonzero().flatten() for dim in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    size = here.frame.height, here.frame.width

    def planes(matte: MatteFrame) -> Tensor:
        assert matte.foreground is not None
        return torch.cat([matte.alpha, matte.foreground, unit_range(matte.frame.rgb)])

    own, trusts, others = planes(here)[:, *box], [], []
    for other in (before, after):
        first, second = (unit_range(m.frame.rgb)[None] for m in (here, other))  # too small to be reduced
        there, back = estimate_both_flows(*(describe(small, working_side=FLOW_SIDE) for small in (first, second)))
        flow = resize_flow(there, *size)
        brought = warp(planes(other)[None], flow)[0]
        everywhere = torch.arange(size[0] * size[1])
        for layer in (slice(0, 1), slice(1, 4)):
            part = planes(other)[layer]
            read = warp_at(part, flow[0].flatten(1), everywhere, "bicubic").clamp(part.min(), part.max())
            brought[layer] = read.view(-1, *size)
        brought = brought[:, *box]
        brought[0] = torch.where((brought[0] - own[0]).abs() > SAME, brought[0], own[0])
        squares = (brought[4:] - own[4:]).square().mean(0)
        local = F.avg_pool2d(squares[None], 3, 1, 1, count_include_pad=False)[0]
        likeness = torch.exp(-local / (NOISE**2 * squares.flatten()[::SAMPLED].median() + NOISE_FLOOR**2))
        motion = flow[0][:, *box].square().sum(0) / (SLOW * max(size)) ** 2
        confidence = F.interpolate(flow_confidence(there, back, side=max(size)), size, mode="bilinear")
        trusts.append(confidence[0, 0][box] * torch.exp(-motion) * likeness)
        others.append(brought)
    apart, far = others[0][0] - others[1][0], [(other[0] - own[0]).abs() for other in others]
    usual = [(t * d)[unknown[box]].sum() / t[unknown[box]].sum() for t, d in zip(trusts, far, strict=True)]
    same = [torch.exp(-((d / (CHANGE * u + NOISE_FLOOR)) ** 2)) for d, u in zip(far, usual, strict=True)]
    agreed = torch.minimum(*trusts) * torch.exp(-((apart / (AGREEMENT * torch.minimum(*far) + SAME)) ** 2))
    doubt = torch.minimum(*trusts) * (1 - torch.exp(-((apart / CONTRADICTION) ** 2)))
    trusts = [trust * (1 - doubt) * torch.maximum(one, agreed) for trust, one in zip(trusts, same, strict=True)]
    alpha = (own[0] + trusts[0] * others[0][0] + trusts[1] * others[1][0]) / (1 + sum(trusts))
    shares = [trust * other[0] for trust, other in zip(trusts, others, strict=True)]
    colours = sum((s * (o[1:4] - own[1:4]) for s, o in zip(shares, others, strict=True)), start=torch.zeros(()))
    colour = own[1:4] + colours / (own[0] + sum(shares)).clamp(min=1e-4)
    result = planes(here)[:4]
    mean = torch.cat([alpha[None], torch.lerp(colour, own[1:4], own[:1])])
    result[:, *box] = torch.where(unknown[box], mean, own[:4])
    return result


def test_equal_frames_pass_to_the_bit(clip: Clip) -> None:
    still = [replace(clip[1][0]) for _ in range(3)]
    for item in calm(still):
        assert torch.equal(item.alpha, still[0].alpha)


def test_a_matte_gone_wrong_is_healed_and_spoils_no_other() -> None:
    """Five equal frames, the middle one's matte wrong by 0.6: its neighbours see it contradicted."""
    rgb, truth = torch.rand(3, 96, 128), torch.full((1, 96, 128), 0.3)
    mattes = [matte(i, rgb, truth + 0.6 * (i == 2), torch.full((1, 96, 128), 128).byte()) for i in range(5)]
    errors = [float((item.alpha - truth).abs().mean()) for item in calm(mattes)]
    assert errors[2] < 0.6 * 0.4, "two witnesses against one"
    assert max(errors[1], errors[3]) < 0.6 * 0.02
    assert max(errors[0], errors[4]) < 1e-6


def test_steady_mattes_keep_what_changes() -> None:
    """Equal pictures, mattes equal but for a patch: what begins to change stays as it is, what jumps back is healed."""
    rgb, unknown = torch.rand(3, 96, 128), torch.full((1, 96, 128), 128).byte()

    def patch_of_the_middle(*alphas: float) -> Tensor:
        planes = [torch.full((1, 96, 128), 0.3) for _ in alphas]
        for plane, alpha in zip(planes, alphas, strict=True):
            plane[:, 40:50, 60:70] = alpha
        return calm([matte(i, rgb, plane, unknown) for i, plane in enumerate(planes)])[1].alpha[:, 40:50, 60:70]

    assert (patch_of_the_middle(0.4, 0.4, 0.52) - 0.4).abs().max() < 1e-3
    assert patch_of_the_middle(0.4, 0.52, 0.4).max() < 0.45  # the mean of three is 0.44


def test_what_moves_fast_is_not_blurred() -> None:
    """A soft disc that flies over a textured ground, its matte exact: no ghost before it or behind it."""
    rows, columns = torch.meshgrid(torch.arange(120.0), torch.arange(200.0), indexing="ij")
    ground = torch.rand(3, 120, 200)
    mattes = []
    for index in range(3):
        distance = torch.hypot(rows - 60, columns - 60 - 20 * index)
        alpha = ((25 - distance) / 6 + 0.5).clamp(0, 1)[None]
        colour = torch.tensor([0.8, 0.4, 0.3]).view(3, 1, 1) + 0.1 * torch.sin(distance / 3)
        mattes.append(matte(index, alpha * colour + (1 - alpha) * ground, alpha, torch.full_like(alpha, 128).byte()))
    for raw, item in zip(mattes, calm(mattes), strict=True):
        assert (item.alpha - raw.alpha).abs().mean() < 1e-3
        assert (item.alpha - raw.alpha).abs().max() < 0.1


def test_nothing_crosses_a_cut(clip: Clip) -> None:
    first = clip[1][0]
    other = SceneSettings(width=256, height=144, frames=1, seed=90, backdrop="blue", subject="fur")
    (shot,) = render(other)
    second = matte(1, shot.rgb, shot.alpha, shot.trimap)
    for raw, item in zip([first, second], calm([first, second]), strict=True):
        assert torch.equal(item.alpha, raw.alpha)


def test_odd_inputs_pass() -> None:
    tiny = [matte(i, torch.rand(3, 5, 6), torch.rand(1, 5, 6), torch.full((1, 5, 6), 128).byte()) for i in range(2)]
    assert calm([]) == []
    for mattes in (tiny[:1], tiny):
        for raw, item in zip(mattes, calm(mattes), strict=True):
            assert torch.equal(item.alpha, raw.alpha)


def test_a_strength_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="temporal"):
        Temporal(1.5)
