"""Computing near unknown pixels alone: exact where it says so, and never more than the picture holds."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
import vitmatte_reference as reference
from torch import Tensor
from torch.nn import functional as F

from videomatte.matting import NetworkMatting
from videomatte.matting.changes import changed
from videomatte.models.blocks import alpha_near, alpha_of_tiles, features_wanted
from videomatte.models.tokens import features_near, share
from videomatte.models.vitmatte import ViTMatte
from videomatte.types import Frame, TrimapFrame

ROUNDING = 2e-5
"""Both ways compute the same sums in another order, in float32, over features of size 1."""


@pytest.fixture(scope="module")
def network() -> ViTMatte:
    return reference.ours(reference.reference(reference.TINY)).eval()


def pictures(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    return reference.picture(batch, height, width, seed=3)


def with_unknown(shape: tuple[int, ...], *boxes: tuple[int, int, int, int, int]) -> Tensor:
    """Bool ``[B, 1, H, W]``, true in boxes of picture, top, left, height, width."""
    unknown = torch.zeros(shape, dtype=torch.bool)
    for b, y, x, h, w in boxes:
        unknown[b, :, y : y + h, x : x + w] = True
    return unknown


def test_places_are_shared_out_without_rest() -> None:
    wanted = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0)) > 0.7
    sharing = share(wanted, window=4, cell=2)
    assert sharing.of.shape == (2, 8, 12)  # filled up to whole windows
    assert int(sharing.members.sum()) == sharing.of.numel()
    assert sum(sharing.windows) == sum(sharing.pictures) == len(sharing.members)
    alone = sharing.of[:, :7, :9][wanted]
    assert (sharing.members[alone] == 1).all()
    assert len(alone.unique()) == len(alone)
    places = wanted.nonzero()
    assert torch.equal(sharing.rows[alone], places[:, 1])
    assert torch.equal(sharing.columns[alone], places[:, 2])
    # Ordered by picture and window: what shares a token is in one window, and windows are neighbours in the order.
    windows = sharing.of.unflatten(2, (3, 4)).unflatten(1, (2, 4)).permute(0, 1, 3, 2, 4).flatten(3).flatten(0, 2)
    assert [len(window.unique()) for window in windows] == sharing.windows
    assert all(int(a.max()) < int(b.min()) for a, b in pairwise(windows))
    assert int(sharing.filling.sum()) == 8  # all of a window's filling is one token


@pytest.mark.parametrize("size", [(96, 96), (80, 112)])
def test_backbone_without_sharing_is_the_full_one(network: ViTMatte, size: tuple[int, int]) -> None:
    rgb, trimap = pictures(2, *size)
    images = torch.cat([rgb, trimap], dim=1)
    with torch.inference_mode():
        near = features_near(network.backbone, images, torch.ones(2, size[0] // 16, size[1] // 16, dtype=torch.bool))
        torch.testing.assert_close(near, network.backbone(images), atol=ROUNDING, rtol=ROUNDING)


def test_one_flat_picture_needs_few_tokens() -> None:
    """Without positions, patches that are all alike have tokens that are all alike, shared or not: a known answer."""
    network = reference.ours(reference.reference(reference.TINY)).eval()
    with torch.inference_mode():
        for name, parameter in network.backbone.named_parameters():
            if "pos" in name:
                parameter.zero_()
        network.backbone.blocks[1].residual, network.backbone.blocks[3].residual = None, None  # these see the border
        images = torch.full((1, 4, 144, 144), 0.3)
        wanted = with_unknown((1, 1, 9, 9), (0, 2, 3, 2, 2))[:, 0]
        near = features_near(network.backbone, images, wanted, cell=3)
        assert len(share(wanted, 3, 3).members) < 20
        torch.testing.assert_close(near, network.backbone(images), atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize(
    "boxes",
    [
        [(0, 40, 50, 3, 5)],
        [(0, 0, 0, 1, 1), (0, 95, 127, 1, 1), (1, 0, 60, 96, 2)],
        [(0, 0, 0, 96, 128), (1, 31, 31, 2, 2)],
    ],
    ids=["inside", "corners and a line", "one whole picture"],
)
@pytest.mark.parametrize("near", [alpha_near, alpha_of_tiles])
def test_decoder_is_exact_where_unknown(
    network: ViTMatte, boxes: list[tuple[int, int, int, int, int]], near: Callable[..., Tensor]
) -> None:
    rgb, trimap = pictures(2, 96, 128)
    images = torch.cat([rgb, trimap], dim=1).contiguous(memory_format=torch.channels_last)
    unknown = with_unknown((2, 1, 96, 128), *boxes)
    with torch.inference_mode():
        features = network.backbone(images)
        expected = network.decoder(features, images)
        alpha = near(network.decoder, features, images, unknown)
    torch.testing.assert_close(alpha[unknown], expected[unknown], atol=ROUNDING, rtol=0)


def test_what_is_wanted_is_what_alpha_depends_on(network: ViTMatte) -> None:
    """Independently, by derivatives: no feature that is not wanted moves the alpha of an unknown pixel."""
    rgb, trimap = pictures(1, 96, 128)
    images = torch.cat([rgb, trimap], dim=1)
    unknown = with_unknown((1, 1, 96, 128), (0, 37, 66, 2, 1))
    features = network.backbone(images).detach().requires_grad_()
    network.decoder(features, images)[unknown].sum().backward()
    assert features.grad is not None
    moves = features.grad.abs().sum(1, keepdim=True) > 0
    wanted = features_wanted(unknown, 4)[-1]
    assert bool((wanted | ~moves).all())
    assert int(wanted.sum()) <= int(F.max_pool2d(moves.float(), 5, 1, 2).sum())  # and not many more


def test_unknown_all_over_is_the_whole_network_shared_or_not(network: ViTMatte) -> None:
    rgb, _ = pictures(2, 90, 70)
    trimap = torch.full((2, 1, 90, 70), 0.5)
    with torch.inference_mode():
        for shared in (False, True):
            alpha = network.near_unknown(rgb, trimap, shared=shared)
            torch.testing.assert_close(alpha, network(rgb, trimap), atol=ROUNDING, rtol=0)


def test_without_shared_tokens_the_unknown_is_the_whole_network_s(network: ViTMatte) -> None:
    """No seams between blocks, none at the picture's border: no difference but rounding at any unknown pixel."""
    rgb, trimap = pictures(2, 150, 200)
    unknown = trimap == 0.5
    assert 0.1 < float(unknown.float().mean()) < 0.9
    with torch.inference_mode():
        difference = (network.near_unknown(rgb, trimap) - network(rgb, trimap)).abs()
    assert float(difference[unknown].max()) <= ROUNDING


def test_known_pixels_are_the_trimap_and_known_pictures_cost_nothing(network: ViTMatte) -> None:
    rgb, _ = pictures(3, 64, 96)
    trimap = torch.zeros(3, 1, 64, 96)
    trimap[:, :, :, 48:] = 1
    trimap[1, :, 20:40, 40:56] = 0.5
    with torch.inference_mode():
        alpha = network.near_unknown(rgb, trimap)
        assert torch.equal(alpha[[0, 2]], trimap[[0, 2]])
        known = trimap != 0.5
        assert torch.equal(alpha[known], trimap[known])
        seen: list[int] = []
        hook = network.backbone.patch_embed.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
        for shared in (False, True):
            network.near_unknown(rgb, trimap, shared=shared)
            network.near_unknown(rgb[:1], trimap[:1], shared=shared)
        hook.remove()
    assert seen == [1, 1]  # one picture of three, and none of one


def test_pictures_of_a_batch_do_not_see_each_other(network: ViTMatte) -> None:
    rgb, trimap = pictures(3, 96, 64)
    with torch.inference_mode():
        together = network.near_unknown(rgb, trimap, shared=True)
        alone = torch.cat([network.near_unknown(rgb[i : i + 1], trimap[i : i + 1], shared=True) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=ROUNDING, rtol=0)


def test_what_does_not_change_is_not_computed_again(network: ViTMatte) -> None:
    """Three frames: the second is the first again, the third differs far from the unknown box and at another."""
    rgb, _ = pictures(1, 256, 256)
    rgb = rgb.repeat(3, 1, 1, 1)
    rgb[2, :, 200:210, 200:210] = 0
    trimap = torch.zeros(3, 1, 256, 256, dtype=torch.uint8)
    trimap[:, :, 10:20, 10:20] = 128
    trimap[:, :, 190:220, 190:220] = 128
    new = changed(rgb, trimap)
    assert new[0].all()
    assert not new[1].any()
    assert new[2, :, 192:224, 192:224].all()
    assert not new[2, :, :64, :64].any()
    frames = [
        TrimapFrame(Frame(i, i, Fraction(1, 24), (rgb[i] * 255).to(torch.uint8)), trimap[i], "key") for i in range(3)
    ]
    exact = list(NetworkMatting(network, batch=3)(iter(frames)))
    mattes = list(NetworkMatting(network, batch=3, regions="shared")(iter(frames)))
    whole = list(NetworkMatting(network, batch=3, regions="full")(iter(frames)))
    for ours, theirs in zip(exact, whole, strict=True):
        torch.testing.assert_close(ours.alpha, theirs.alpha, atol=ROUNDING, rtol=0)
    assert torch.equal(mattes[0].alpha, mattes[1].alpha)
    assert torch.equal(mattes[0].alpha[:, :64, :64], mattes[2].alpha[:, :64, :64])
    alone = next(iter(NetworkMatting(network, regions="shared")(iter(frames[2:])))).alpha
    assert not torch.equal(mattes[2].alpha[:, 190:220, 190:220], mattes[0].alpha[:, 190:220, 190:220])
    # The same but for the tokens that the still box would have had as context.
    assert float((mattes[2].alpha - alone)[:, 190:220, 190:220].abs().max()) < 0.2


def test_bfloat16_near_is_bfloat16_network() -> None:
    """Under autocast both ways round alike: by what the precision allows, 8 of 255, where nothing is shared."""
    from videomatte.models.precision import prepare

    network = prepare(reference.ours(reference.reference(reference.TINY)), torch.device("cpu"), "bf16")
    rgb, _ = pictures(1, 64, 64)
    trimap = torch.full((1, 1, 64, 64), 0.5)
    with torch.inference_mode():
        difference = (network.near_unknown(rgb, trimap) - network(rgb, trimap)).abs()
    assert float(difference.max()) <= 8 / 255


def test_compiled_parts_serve_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled runs near unknown pixels too, and gives what it gave before: only the compiler's backend is
    another here, for the real one takes minutes."""
    from videomatte.models.precision import prepare

    compiled = 0

    def backend(graph: torch.fx.GraphModule, example: list[Tensor]) -> object:
        nonlocal compiled
        compiled += 1
        return graph.forward

    plain = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: plain(self, backend=backend))
    network = reference.ours(reference.reference(reference.TINY)).eval()
    rgb, trimap = pictures(1, 64, 96)
    with torch.inference_mode():
        want = network.near_unknown(rgb, trimap)
        lean = prepare(network, torch.device("cpu"), "fp32", compile=True)
        got = lean.near_unknown(rgb, trimap)
    assert compiled > 0
    assert float((got - want).abs().max()) <= ROUNDING
