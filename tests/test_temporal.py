"""Calm over time: flicker goes, motion stays, and nothing reaches further than one frame."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import UsageError
from videomatte.flow import describe, estimate_both_flows, flow_confidence, lands_inside, read_at, resize_flow, warp
from videomatte.refine.layers import LayerMotion, Layers
from videomatte.refine.places import SAMPLED
from videomatte.refine.temporal import (
    AGREEMENT,
    ALPHA_FLOOR,
    CHANGE,
    CLEAR,
    CONTRADICTION,
    FLOW_SIDE,
    LEAD,
    LOWERS,
    NOISE,
    PICTURE_FLOOR,
    RAISES,
    SAME,
    UNSTEADY,
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
    settings = SceneSettings(width=256, height=144, frames=7, seed=11, motion=0.3, grain=0.02, trimap_margin=4)
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
    """A run that begins two frames early gives every frame as the whole run does, to the bit."""
    whole, part = calm(clip[1])[3], calm(clip[1][3 - LEAD : 3 + LEAD + 1])[LEAD]
    assert torch.equal(whole.alpha, part.alpha)
    assert whole.foreground is not None
    assert part.foreground is not None
    assert torch.equal(whole.foreground, part.foreground)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_agrees_with_whole_frames_plainly_averaged(clip: Clip, dtype: torch.dtype) -> None:
    """The formulas on all pixels at once, and the unknown ones taken from that."""
    mattes = [
        replace(m, source=replace(m.source, frame=replace(m.frame, rgb=from_unit_range(s.rgb, dtype))))
        for m, s in zip(clip[1], clip[0], strict=True)
    ]
    calmed = calm(mattes)
    for here in (1, 3, 6):  # with one frame before it, with all, with none after it
        expected, result = plainly_calmed(mattes, here), calmed[here]
        assert result.foreground is not None
        # Flows are enlarged pixel by pixel and sums taken in another order: float32's rounding, 1e-5 of a pixel.
        torch.testing.assert_close(torch.cat([result.alpha, result.foreground]), expected, rtol=0, atol=5e-6)


def plainly_calmed(mattes: list[MatteFrame], here: int) -> Tensor:
    """Alpha and foreground of one of them, ``[4, H, W]``."""
    matte = mattes[here]
    size = matte.frame.height, matte.frame.width
    pictures = [unit_range(m.frame.rgb)[None] for m in mattes]  # too small to be reduced
    described = [describe(picture, working_side=FLOW_SIDE) for picture in pictures]
    small = described[0].levels[0].brightness.shape[2:]
    layers = [
        Layers.of(picture, m.source.trimap, m.alpha, (small[0], small[1]))
        for picture, m in zip(pictures, mattes, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")).flip(0).float()

    def motion(first: int, second: int) -> LayerMotion:
        there, back = estimate_both_flows(described[first], described[second])
        return LayerMotion.of(there[0], flow_confidence(there, back, side=max(size))[0], layers[first])

    def planes(matte: MatteFrame) -> Tensor:
        assert matte.foreground is not None
        return torch.cat([matte.alpha, matte.foreground])

    own, read, ways = planes(matte), {}, {}
    for step in (-1, 1):
        way = None
        for other in (here + step, here + 2 * step):
            if not 0 <= other < len(mattes):
                break
            link = motion(other - step, other)
            way = link if way is None else way.then(link)
            flows = way.registered(layers[here], layers[other])
            ways[other - here] = tuple(resize_flow(flow[None], *size) for flow in (flows.subject, flows.background))
            x, y = (ways[other - here][0][0] + grid).flatten(1)
            parts = [planes(mattes[other])[part] for part in (slice(0, 1), slice(1, 4))]
            brought = torch.cat([read_at(p, x, y, "bicubic").clamp(p.min(), p.max()) for p in parts]).view(4, *size)
            brought[0] = torch.where((brought[0] - own[0]).abs() > SAME, brought[0], own[0])
            read[other - here] = brought
    unknown = matte.source.trimap[0] == UNKNOWN
    differs = torch.stack([brought[0] != own[0] for brought in read.values()]).any(0)
    changing = unknown & (((own[0] > CLEAR) & (own[0] < 1 - CLEAR)) | differs)
    rows, columns = (changing.any(dim=dim).nonzero().flatten() for dim in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    settled, changing = unknown.sum() - changing.sum(), changing[box]
    own, read = own[:, *box], {step: brought[:, *box] for step, brought in read.items()}

    def left(other: int, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        apart = (warp(pictures[other], flow) - pictures[here])[0][:, *box].square().mean(0)
        last = torch.tensor([size[1], size[0]]).view(2, 1, 1) - 0.5  # half a pixel of a border's own is still it
        inside = ((flow[0] + grid >= -0.5) & (flow[0] + grid <= last)).all(0)
        scale = NOISE**2 * apart.flatten()[::SAMPLED].median() + PICTURE_FLOOR**2
        return around(apart), scale, inside[box]

    trusts: dict[int, Tensor] = {}
    evidence = torch.zeros(())
    for step, flows in ways.items():
        (subject, subject_scale, subject_in), (background, background_scale, background_in) = (
            left(here + step, flow) for flow in flows
        )
        by_subject = torch.exp(-subject / subject_scale) * subject_in
        by_background = torch.exp(-background / background_scale) * background_in
        explained = torch.where(read[step][0] < own[0], torch.maximum(by_subject, by_background), by_subject)
        trusts[step] = explained * (trusts[step // 2] if step in (-2, 2) else 1)
        least = torch.minimum(subject_scale, background_scale)
        unsteady = around((read[step][0] - own[0]).abs() * changing)
        ratio = torch.log((background + least) / (subject + least)) * (subject_in & background_in)
        evidence = evidence + ratio * unsteady / (unsteady + UNSTEADY)
    plain = resize_plane(layers[here].plain, size)[box]
    weights, apart = {}, {step: (brought[0] - own[0]).abs() for step, brought in read.items()}
    nearest = torch.stack([1 - trusts[step] * (1 - far) for step, far in apart.items()]).amin(0)
    for step, trust in trusts.items():
        far = apart[step]
        usual = (trust * far)[changing].sum() / (trust[changing].sum() + settled)
        same = torch.exp(-((far / (CHANGE * usual + ALPHA_FLOOR)) ** 2))
        if -step in trusts:
            between, both = (read[step][0] - read[-step][0]).abs(), torch.minimum(far, apart[-step])
            agreed = torch.exp(-((between / (AGREEMENT * both + SAME)) ** 2)) * torch.minimum(trust, trusts[-step])
            same = torch.maximum(same, agreed)
        lonely = torch.exp(-(((far - nearest).clamp(min=0) / CONTRADICTION) ** 2))
        weights[step] = trust * lonely * (1 + plain * (same - 1))
    alpha = (own[0] + sum(w * read[s][0] for s, w in weights.items())) / (1 + sum(weights.values()))
    evidence = (1 - plain) * evidence
    odds = alpha / (1 - alpha) * torch.exp(torch.where(evidence > 0, RAISES, LOWERS) * evidence)
    alpha = torch.where((alpha > 0) & (alpha < 1), odds / (1 + odds), alpha)
    shares = {step: weight * read[step][0] for step, weight in weights.items()}
    colours = sum((share * (read[s][1:] - own[1:]) for s, share in shares.items()), start=torch.zeros(()))
    colour = own[1:] + colours / (own[0] + sum(shares.values())).clamp(min=1e-4)
    result = planes(matte)
    mean = torch.cat([alpha[None], torch.lerp(colour, own[1:], own[:1])])
    result[:, *box] = torch.where(changing, mean, own)
    return result


def around(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane[None], 3, 1, 1, count_include_pad=False)[0]


def resize_plane(plane: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(plane[None], size, mode="bilinear", align_corners=False)[0, 0]


def test_equal_frames_pass_to_the_bit(clip: Clip) -> None:
    still = [replace(clip[1][0]) for _ in range(3)]
    for item in calm(still):
        assert torch.equal(item.alpha, still[0].alpha)


def test_a_matte_gone_wrong_is_healed_and_spoils_no_other() -> None:
    """Five equal frames, the middle one's matte wrong by 0.6: the others bear one another out."""
    rgb, truth = torch.rand(3, 96, 128), torch.full((1, 96, 128), 0.3)
    mattes = [matte(i, rgb, truth + 0.6 * (i == 2), torch.full((1, 96, 128), 128).byte()) for i in range(5)]
    errors = [float((item.alpha - truth).abs().mean()) for item in calm(mattes)]
    assert errors[2] < 0.6 * 0.21, "the mean of five"
    assert max(errors[:2] + errors[3:]) < 0.6 * 0.02


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


@pytest.mark.parametrize("plain", [False, True])
def test_what_passes_behind_is_told_from_the_subject(plain: bool) -> None:
    """A still plate with holes, behind which a ground passes, and mattes that are 0.5 and noise throughout, whose means
    would all be 0.5: holes come out clear where the ground can be seen to pass, and stay so before one colour."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(2, 3, 170, 190, generator=generator)
    plate, ground = ((F.avg_pool2d(noise, 7, 1) - 0.5) * 3 + 0.5).clamp(0, 1)
    truth = F.interpolate((torch.rand(1, 1, 20, 20, generator=generator) > 0.3).float(), (160, 160))[0]
    truth[:, :, :40], truth[:, :, 120:] = 1, 0
    trimap = torch.full((1, 160, 160), UNKNOWN, dtype=torch.uint8)
    trimap[:, :, :36], trimap[:, :, 124:] = 255, 0
    mattes = []
    for index in range(5):
        behind = torch.full((3, 160, 160), 0.2) if plain else ground[:, :160, 4 * index : 4 * index + 160]
        guess = (0.5 + 0.15 * torch.randn(1, 160, 160, generator=generator)).clamp(0, 1)
        alpha = torch.where(trimap == UNKNOWN, guess, trimap / 255)
        mattes.append(matte(index, truth * plate[:, :160, :160] + (1 - truth) * behind, alpha, trimap))
    result = calm(mattes)[2].alpha[trimap == UNKNOWN]
    holes, solid = (result[truth[trimap == UNKNOWN] == value].mean() for value in (0, 1))
    if plain:
        assert abs(holes - 0.5) < 0.02
        assert abs(solid - 0.5) < 0.02
    else:
        assert holes < 0.35
        assert solid > 0.65


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
