"""Keyframes carried to other frames: against known truth, on scenes that move."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from videomatte.errors import InputError, ShapeError
from videomatte.matting import NetworkMatting
from videomatte.models.laplacian import LaplacianMatting
from videomatte.scenes import SceneSettings, render
from videomatte.trimaps.belief import (
    Belief,
    Motion,
    Seen,
    after_matting,
    believed_of_trimap,
    carry,
    fuse,
    learn,
    motions,
    trimap_from_belief,
)
from videomatte.trimaps.from_behind import LEVELS, BeliefStore
from videomatte.trimaps.morphology import trimap_from_alpha
from videomatte.trimaps.propagate import Propagate
from videomatte.trimaps.small import SmallPicture, reduced
from videomatte.trimaps.statistics import ColourStatistics, colour_bins
from videomatte.types import Frame, MatteFrame, from_unit_range, unit_range

WIDTH, HEIGHT, COUNT = 192, 108, 10
BAND = 5


class Clip:
    """Frames and the truth about them."""

    def __init__(self, *settings: SceneSettings) -> None:
        shots = [scene for one in settings for scene in render(one)]
        self.alphas = [scene.alpha for scene in shots]
        pictures = [(scene.rgb.clamp(0, 1) * 255).round().byte() for scene in shots]
        self.frames = [Frame(n, n, Fraction(1, 24), rgb) for n, rgb in enumerate(pictures)]

    def trimap(self, index: int) -> Tensor:
        return trimap_from_alpha(self.alphas[index], BAND)

    def stage(self, *keyframes: int, window: int = 1, reads_again: bool = True) -> Propagate:
        def reopen(start: int, end: int) -> contextlib.AbstractContextManager[list[Frame]]:
            return contextlib.nullcontext(self.frames[start:end])

        matting = NetworkMatting(LaplacianMatting(), batch=window)
        trimaps = {index: self.trimap(index) for index in keyframes}
        return Propagate(trimaps, matting, window=window, reopen=reopen if reads_again else None)

    def mattes(self, *keyframes: int, window: int = 1) -> list[MatteFrame]:
        return list(self.stage(*keyframes, window=window)(iter(self.frames)))

    def error(self, mattes: list[MatteFrame]) -> float:
        pairs = zip(mattes, self.alphas, strict=True)
        return sum(float((matte.alpha - true).abs().mean()) for matte, true in pairs) / len(mattes)


@pytest.fixture(scope="module")
def walk() -> Clip:
    return Clip(SceneSettings(width=WIDTH, height=HEIGHT, frames=COUNT, seed=21, camera=0.5, motion=1.0))


@pytest.fixture(scope="module")
def carried(walk: Clip) -> list[MatteFrame]:
    return walk.mattes(0)


def test_one_matte_comes_out_for_each_frame_and_the_key_is_kept(walk: Clip, carried: list[MatteFrame]) -> None:
    assert [matte.frame.index for matte in carried] == list(range(COUNT))
    assert [matte.source.origin for matte in carried] == ["key"] + ["propagated"] * (COUNT - 1)
    assert torch.equal(carried[0].source.trimap, walk.trimap(0))


def test_the_band_holds_what_is_soft_and_stays_slim(walk: Clip, carried: list[MatteFrame]) -> None:
    for matte, alpha in zip(carried, walk.alphas, strict=True):
        unknown = matte.source.trimap == 128
        soft = (alpha > 0.02) & (alpha < 0.98)
        assert (unknown & soft).sum() >= 0.98 * soft.sum()
        true = trimap_from_alpha(alpha, BAND) == 128
        assert unknown.sum() <= 3 * true.sum()


def test_what_is_sure_is_right(walk: Clip, carried: list[MatteFrame]) -> None:
    """A sure pixel that is wrong no matting can mend: a hundredth of a frame is a strand or two."""
    for matte, alpha in zip(carried, walk.alphas, strict=True):
        wrong = ((matte.source.trimap == 255) & (alpha < 0.5)) | ((matte.source.trimap == 0) & (alpha > 0.5))
        assert wrong.float().mean() < 0.01


def test_windows_keep_order_and_quality(walk: Clip, carried: list[MatteFrame]) -> None:
    windowed = walk.mattes(0, window=4)
    assert [matte.frame.index for matte in windowed] == list(range(COUNT))
    assert walk.error(windowed) < 1.25 * walk.error(carried)


def test_a_second_keyframe_helps(walk: Clip, carried: list[MatteFrame]) -> None:
    both = walk.mattes(0, COUNT - 1)
    assert both[-1].source.origin == "key"
    assert walk.error(both) < walk.error(carried)


def test_a_keyframe_is_carried_back_to_the_beginning(walk: Clip, carried: list[MatteFrame]) -> None:
    back = walk.mattes(COUNT - 1)
    assert all(bool((matte.source.trimap == 255).any()) for matte in back)
    # Backwards there is no matting to correct the way, but the way is as short.
    assert walk.error(back) < 1.5 * walk.error(carried)


@pytest.fixture(scope="module")
def cut() -> Clip:
    first, second = (
        SceneSettings(width=WIDTH, height=HEIGHT, frames=4, seed=seed, subject=subject)
        for seed, subject in ((5, "hair"), (12, "fur"))
    )
    return Clip(first, second)


def test_nothing_crosses_a_cut(cut: Clip) -> None:
    stage = cut.stage(0)
    mattes = list(stage(iter(cut.frames)))
    assert all(float(matte.alpha.max()) == 0 for matte in mattes[4:])
    assert all(bool((matte.source.trimap == 255).any()) for matte in mattes[:4])
    assert stage.suggestions[0].frame == 4
    (note,) = stage.fallbacks
    assert "4 to 7" in note
    assert "--trimap 4=" in note


def test_keyframes_on_both_sides_of_a_cut_keep_to_themselves(cut: Clip) -> None:
    stage = cut.stage(0, 7)
    mattes = list(stage(iter(cut.frames)))
    assert not stage.fallbacks
    for matte, alpha in zip(mattes, cut.alphas, strict=True):
        unlike = ((matte.alpha > 0.5) != (alpha > 0.5)).float().mean()
        assert unlike < 0.03


def test_a_keyframe_behind_the_end_is_an_error(walk: Clip) -> None:
    for reads_again in (True, False):
        stage = walk.stage(0, reads_again=reads_again)
        stage._keyframes = {0: walk.trimap(0), COUNT + 5: walk.trimap(0)}
        with pytest.raises(InputError, match=str(COUNT + 5)):
            list(stage(iter(walk.frames[:2])))


def test_where_nothing_moves_nothing_changes() -> None:
    torch.manual_seed(3)
    small = torch.rand(1, 3, 60, 80)
    small[:, 0, 20:40, 30:50] += 2
    small = (small / 3).clamp(0, 1)
    trimap = torch.zeros(1, 60, 80, dtype=torch.uint8)
    trimap[:, 18:42, 28:52] = 128
    trimap[:, 22:38, 32:48] = 255
    belief = believed_of_trimap(trimap, 60, 80)
    statistics = ColourStatistics(60, 80)
    here = SmallPicture(small)
    learn(statistics, here, belief)
    there = SmallPicture(small)
    still = carry(belief, motions(there, here)[0], there, statistics)
    assert torch.equal(still.softness, belief.softness)
    assert torch.equal(still.confidence, torch.ones_like(still.confidence))
    assert (still.subject[trimap[None] == 255] > 0.9).all()
    assert (still.subject[trimap[None] == 0] < 0.1).all()
    there = SmallPicture(small.roll((3, -4), (2, 3)))
    shifted = carry(belief, motions(there, here)[0], there, statistics)
    moved = trimap.roll((3, -4), (1, 2))[None]
    assert ((shifted.subject > 0.5) == (moved == 255))[moved != 128].float().mean() > 0.98


def test_fusing_is_symmetric_and_follows_trust() -> None:
    def belief(subject: float, trust: float) -> Belief:
        one = torch.ones(1, 1, 2, 2)
        return Belief(subject * one, 0 * one, trust * one, one)

    near, far = belief(0.9, 0.9), belief(0.2, 0.4)
    assert torch.allclose(fuse(near, far).subject, fuse(far, near).subject)
    assert (fuse(near, far).subject > 0.8).all()
    assert torch.allclose(fuse(belief(0.9, 0.5), belief(0.1, 0.5)).subject, torch.tensor(0.5))


def test_a_trimap_survives_being_believed() -> None:
    trimap = torch.zeros(1, 90, 160, dtype=torch.uint8)
    trimap[:, 20:70, 40:120] = 128
    trimap[:, 30:60, 55:105] = 255
    again = trimap_from_belief(believed_of_trimap(trimap, 90, 160), 90, 160)
    assert (again[trimap == 128] == 128).all()
    assert not ((again == 255) & (trimap != 255)).any()
    assert not ((again == 0) & (trimap != 0)).any()


def test_what_passes_behind_softness_in_the_subjects_colour_comes_out_as_background() -> None:
    """A white subject stands still within a wide soft border; a white patch on a wall goes behind that and comes out
    again, and a matte that goes by colour takes it for the subject's every time."""
    generator = torch.Generator().manual_seed(4)
    height, width, step, there = 96, 160, 2, 14
    blocks = torch.rand(1, 3, height // 4, width // 2, generator=generator)
    wall = 0.6 * blocks.repeat_interleave(4, 2).repeat_interleave(4, 3)
    white = 1 - 0.15 * torch.rand(1, 1, height, width, generator=generator)
    wall[..., 40:52, 96:108] = white[..., 40:52, 96:108]
    trimap = torch.zeros(1, height, width, dtype=torch.uint8)
    trimap[..., :90] = 128
    trimap[..., :30] = 255

    def picture(index: int) -> SmallPicture:
        gone = step * (there - abs(there - index))
        rgb = wall[..., gone : gone + width].clone()
        rgb[..., :40] = white[..., :40]
        return SmallPicture(rgb)

    before = picture(0)
    belief = believed_of_trimap(trimap, height, width)
    statistics = ColourStatistics(height, width)
    learn(statistics, before, belief)
    for index in range(1, 2 * there + 1):
        here = picture(index)
        belief = carry(belief, motions(here, before)[0], here, statistics)
        alpha = (here.rgb.mean(1, keepdim=True) > 0.8).float()
        belief = after_matting(belief, Seen(torch.logit(alpha, eps=0.02), (belief.softness > 0.5).float()))
        learn(statistics, here, belief)
        before = here
    assert float(belief.subject[..., 42:50, 98:106].max()) < 0.15  # decided
    assert float(belief.subject[..., :28].min()) > 0.85


def test_stored_beliefs_come_back_once() -> None:
    torch.manual_seed(1)
    kept = {index: Belief(*torch.rand(4, 1, 1, 9, 16)) for index in (7, 3)}
    with BeliefStore() as store:
        for index, belief in kept.items():
            store.put(index, belief)
        for index in (3, 7):
            belief = store.take(index)
            assert belief is not None
            # Half a step of 8 and of 4 bits.
            assert (belief.subject - kept[index].subject).abs().max() <= 0.5 / 255 + 1e-6
            assert (belief.trust - kept[index].trust).abs().max() <= 0.5 / (LEVELS - 1) + 1e-6
        assert store.take(3) is None


def test_stored_motions_come_back_once() -> None:
    torch.manual_seed(2)
    kept = {index: Motion(20 * torch.randn(1, 2, 9, 16), torch.rand(1, 1, 9, 16)) for index in (4, 5)}
    with BeliefStore() as store:
        for index, motion in kept.items():
            store.keep_motion(index, motion)
        for index in (4, 5):
            motion = store.motion(index)
            assert motion is not None
            for found, expected in zip(motion, kept[index], strict=True):
                torch.testing.assert_close(found, expected, rtol=2**-11, atol=1e-6)  # half a unit of half precision
        assert store.motion(4) is None


def test_motion_found_on_the_way_back_is_that_of_the_way_forwards() -> None:
    """So it need not be worked out again."""
    clip = [torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(1)).roll(2 * n, 3) for n in range(3)]
    here, there = (SmallPicture(picture) for picture in clip[:2])
    forwards, back = motions(here, there), motions(there, here)
    for one, other in zip(forwards, reversed(back), strict=True):
        assert torch.allclose(one.flow, other.flow, atol=1e-5)
        assert torch.allclose(one.confidence, other.confidence, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_reduced_planes_keep_their_place(dtype: torch.dtype) -> None:
    ramp = torch.linspace(0.1, 0.9, 96).expand(2, 54, 96)
    planes = from_unit_range(ramp, dtype)
    assert torch.equal(reduced(planes, 54, 96)[0], unit_range(planes))
    small = reduced(planes, 18, 32)[0]
    # The mean of a ramp is its middle; one step of 8 bits for rounding twice. Borders see to one side alone.
    expected = ramp.unflatten(2, (32, 3)).mean(3)[:, ::3]
    torch.testing.assert_close(small[..., 1:-1], expected[..., 1:-1], rtol=0, atol=1 / 255)


def test_statistics_tell_colours_apart_by_place() -> None:
    """Red is the subject's on the left and the background's on the right; green has not been seen."""
    rgb = torch.zeros(1, 3, 32, 64)
    rgb[:, 0] = 0.8
    left = torch.zeros(1, 1, 32, 64)
    left[..., :32] = 1
    statistics = ColourStatistics(32, 64)
    statistics.learn(colour_bins(rgb), left, 1 - left)
    word = statistics.judge(colour_bins(rgb))
    # A part of 16 pixels, halved by the blur over five axes, against a doubt of 0.3 and a picture that says one half.
    assert (word[..., :24] > 0.85).all()
    assert (word[..., 40:] < 0.15).all()
    assert torch.equal(statistics.judge(colour_bins(rgb.roll(1, 1))), torch.full((1, 1, 32, 64), 0.5))
    with pytest.raises(ShapeError, match="pictures must be"):
        statistics.judge(colour_bins(rgb[..., :60]))


def test_memory_does_not_hold_frames(walk: Clip) -> None:
    """One window and no more is drawn ahead of what has been given out."""
    drawn = 0

    def counted() -> Iterator[Frame]:
        nonlocal drawn
        for frame in walk.frames:
            drawn += 1
            yield frame

    mattes = walk.stage(0, window=2)(counted())
    for given, _ in enumerate(mattes, start=1):
        assert drawn - given <= 2
