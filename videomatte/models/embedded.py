"""The model that comes with the package: a solve of the matting Laplacian, refined by a small ViTMatte.

The solver knows nothing and is never far off; the network has seen what the solver's assumption, colours on a line
within each window, gets wrong: patterned backgrounds, noise, compression, soft focus. It is given the solver's alpha
and the known colours on both sides as further channels, looks only at tiles that hold unknown pixels, and answers with
a correction. Before a coloured screen, which a plate shows or what is sure of the background, a correction of its own
takes the network's place (:mod:`videomatte.models.screen_correction`).

Sources: Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting", 2008 (the Laplacian); Yao et al.,
"ViTMatte", 2024 (the network); Gortler et al., "The Lumigraph", 1996 (push-pull, which spreads the known colours).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.errors import ModelError
from videomatte.models.backbone import PlainViT
from videomatte.models.blocks import alpha_of_tiles
from videomatte.models.detail_capture import DetailCapture
from videomatte.models.laplacian import LaplacianMatting
from videomatte.models.precision import autocast
from videomatte.models.screen_correction import NEAR, ScreenCorrection
from videomatte.trimaps.hue import plain_hue, screen_hue
from videomatte.trimaps.morphology import box_around
from videomatte.trimaps.spread import as_weight

__all__ = ["EmbeddedMatting", "load_embedded", "spread_colours", "tile_places"]

WEIGHTS = "embedded.safetensors"
"""File of the trained weights, beside this package's :mod:`weights`."""

TILE = 192
"""Side of what the network sees at once, in pixels: that of the crops it was trained on."""
OVERLAP = 16
"""How far neighbouring tiles overlap, in pixels; one fades into the next over this length."""
PATCH = 16
"""Side of the network's patches, in pixels."""
SHRUNK = 4
"""How many times smaller the known colours are spread. Tiles begin at multiples of it."""
MIDDLE = 1, 2
"""Which rows and columns out of so many are looked at for them."""
TILES_AT_ONCE = {"cpu": 4, "cuda": 8}
"""Tiles the network works on together: on a CPU so few that a layer's features stay in its cache."""


class EmbeddedMatting(nn.Module):
    """Alpha from a picture and its trimap: solver, then network, in one module.

    Args:
        embed_dim: channels of a token.
        depth: transformer blocks.
        heads: attention heads a block.
        convstream_out: channels of the stream of details.
        fusion_out: channels of the decoder's levels.
    """

    takes_plate = True
    """Whether :meth:`forward` makes use of the background's picture."""
    wants_colour_detail = True
    """Whether subsampled chroma is to be made up for before."""

    def __init__(
        self,
        *,
        embed_dim: int = 192,
        depth: int = 3,
        heads: int = 3,
        convstream_out: tuple[int, ...] = (16, 32, 64),
        fusion_out: tuple[int, ...] = (64, 32, 16, 12),
    ) -> None:
        super().__init__()
        channels = 12  # rgb, trimap, the solver's alpha, two known colours, the alpha between these two
        self.solver = LaplacianMatting()
        self.backbone = PlainViT(
            in_chans=channels,
            embed_dim=embed_dim,
            depth=depth,
            heads=heads,
            image_size=TILE,
            pretrain_image_size=TILE,
            window_blocks=(),
            residual_blocks=(),
        )
        self.decoder = DetailCapture(embed_dim, channels, convstream_out, fusion_out, use_sigmoid=False)
        self.screen = ScreenCorrection()
        # Untrained, the network corrects nothing: training starts from the solver's alpha.
        for parameter in self.decoder.matting_head.matting_convs[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, rgb: Tensor, trimap: Tensor, initial: Tensor | None = None, plate: Tensor | None = None
    ) -> Tensor:
        """Alpha of a batch of pictures, any height and width.

        Args:
            rgb: ``[B, 3, H, W]`` in 0..1.
            trimap: ``[B, 1, H, W]``, 0 sure background, 0.5 unknown, 1 sure foreground. Pictures without one or both
                of the sure sides get an answer too, from what the network has learned.
            initial: ``[B, 1, H, W]``, an alpha to start the solver from, such as the previous frame's.
            plate: ``[B, 3, H, W]``, the pictures with the subject gone, where they are known: told to the solver.
                Where they show a coloured screen, or without them the sure background is one of a plain colour, the
                answer is that of :class:`ScreenCorrection`.

        Returns:
            ``[B, 1, H, W]`` float32 in 0..1; 0 and 1 where the trimap is.

        Convention:
            Alpha's pixels are the picture's; a picture moved by whole patches of the network gives alpha moved alike.
        """
        rgb, trimap = rgb.float(), trimap.float()
        solved = self.solver(rgb, trimap, initial, plate)
        colours = _both_colours(rgb, trimap)
        if plate is None:
            # Means over four, or the grain of dim pictures would be taken for colours.
            blocks = F.avg_pool2d(colours[:, 3:], 2, ceil_mode=True)
            sure = trimap[:, 0, :: 2 * SHRUNK, :: 2 * SHRUNK] < 0.25
            hues = [plain_hue(small, known) for small, known in zip(blocks, sure, strict=True)]
        else:
            hues = [screen_hue(picture) for picture in plate]
        screens = [hue is not None for hue in hues]
        if all(screens):
            return self._before_screens(rgb, trimap, solved, colours)
        height, width = rgb.shape[2:]

        def prior_of(frame: int, y: int, x: int) -> Tensor:
            inside = slice(y, min(y + TILE, height)), slice(x, min(x + TILE, width))
            # Colours are enlarged inside of the tiles alone.
            return torch.cat([_cut(solved, frame, y, x), _filled(_enlarged(colours[frame], *inside))])

        alpha = self._in_tiles(rgb, trimap, prior_of)
        for frame in (number for number, screen in enumerate(screens) if screen):
            one = slice(frame, frame + 1)
            alpha[one] = self._before_screens(rgb[one], trimap[one], solved[one], colours[one])
        return alpha

    def _before_screens(self, rgb: Tensor, trimap: Tensor, solved: Tensor, colours: Tensor) -> Tensor:
        """As :meth:`forward`, given the solver's alpha and the known colours at a quarter of the size."""
        result = trimap.round()
        for alpha, picture, known, one, small in zip(result, rgb, trimap, solved, colours, strict=True):
            box = box_around(((known > 0.25) & (known < 0.75))[0], max(NEAR))  # the correction sees no further
            if box is not None:
                rows, columns = box
                front, back = torch.split(_enlarged(small, rows, columns), 3)
                planes = (all_of[:, rows, columns] for all_of in (picture, known, one))
                alpha[:, rows, columns] = self.screen(*planes, front, back)
        return result

    def prior(self, rgb: Tensor, trimap: Tensor, initial: Tensor | None = None, plate: Tensor | None = None) -> Tensor:
        """What is known before the network looks: nothing here is learned.

        Args:
            rgb, trimap, initial, plate: as in :meth:`forward`.

        Returns:
            ``[B, 7, H, W]`` float32 in 0..1: the solver's alpha, the foreground's colour and the background's colour
            as spread from the sure regions.
        """
        solved = self.solver(rgb, trimap, initial, plate)
        whole = slice(0, rgb.shape[2]), slice(0, rgb.shape[3])
        colours = torch.stack([_enlarged(small, *whole) for small in _both_colours(rgb, trimap)])
        return torch.cat([solved, colours], dim=1)

    def correct(self, rgb: Tensor, trimap: Tensor, prior: Tensor) -> Tensor:
        """Alpha from what is known: :meth:`refine` on tiles laid over the unknown.

        Args:
            rgb, trimap: as in :meth:`forward`.
            prior: ``[B, 7, H, W]`` from :meth:`prior`.

        Returns:
            As :meth:`forward`.
        """
        return self._in_tiles(rgb, trimap, partial(_cut, prior))

    def refine(self, rgb: Tensor, trimap: Tensor, prior: Tensor, unknown: Tensor | None = None) -> Tensor:
        """The solver's alpha, corrected by the network: what training trains.

        Args:
            rgb: ``[N, 3, h, w]`` in 0..1, a tile or a crop; h and w multiples of 16.
            trimap: ``[N, 1, h, w]`` as in :meth:`forward`.
            prior: ``[N, 7, h, w]`` cut from :meth:`prior` of the whole picture.
            unknown: ``[N, 1, h, w]`` bool, some of it true: where alpha is wanted, if not everywhere. The last layers
                are computed in blocks that hold some of it (:mod:`videomatte.models.blocks`).

        Returns:
            ``[N, 1, h, w]`` float32, alpha, not yet limited to 0..1; on known pixels too, but anything at all where it
            is not wanted.
        """
        solved, foreground, background = prior[:, :1], prior[:, 1:4], prior[:, 4:]
        line = foreground - background
        between = ((rgb - background) * line).sum(1, keepdim=True) / (line.square().sum(1, keepdim=True) + 1e-3)
        images = torch.cat([rgb, foreground, background, trimap, solved, between.clamp(0, 1)], dim=1)
        # Colours, which differ less than alphas do, twice as large.
        images = images.sub_(0.5).mul_(images.new_tensor([4.0] * 9 + [2.0] * 3)[:, None, None])
        dtype = self.backbone.patch_embed.proj.weight.dtype
        images = images.to(dtype, memory_format=torch.channels_last)
        with autocast(images.device, dtype):
            features = self.backbone(images)
            if unknown is None:
                correction: Tensor = self.decoder(features, images)
            else:
                correction = alpha_of_tiles(self.decoder, features, images, unknown)
        # Added to alpha, not to its logit: a sigmoid passes next to no gradient where the solver is sure and wrong,
        # which is where there is most to learn.
        return solved + correction.float()

    def _in_tiles(self, rgb: Tensor, trimap: Tensor, prior_of: Callable[[int, int, int], Tensor]) -> Tensor:
        """As :meth:`correct`, given what makes a tile's prior from its frame, row and column."""
        height, width = trimap.shape[2:]
        unknown = (trimap > 0.25) & (trimap < 0.75)
        places = [(frame, y, x) for frame, one in enumerate(unknown[:, 0]) for y, x in tile_places(one)]
        fade = _fade(unknown.device)
        total = torch.zeros_like(trimap)
        weight = torch.zeros_like(total)
        at_once = TILES_AT_ONCE.get(unknown.device.type, TILES_AT_ONCE["cuda"])
        for first in range(0, len(places), at_once):
            chunk = places[first : first + at_once]
            cuts = (partial(_cut, rgb), partial(_cut, trimap), prior_of, partial(_cut, unknown))
            refined = self.refine(*(torch.stack([cut(*place) for place in chunk]) for cut in cuts)) * fade
            for (frame, y, x), tile in zip(chunk, refined, strict=True):
                inside = frame, slice(None), slice(y, y + TILE), slice(x, x + TILE)
                total[inside] += tile[:, : height - y, : width - x]
                weight[inside] += fade[: height - y, : width - x]
        alpha = total.div_(weight.clamp_(min=1e-9)).clamp_(0, 1)
        return torch.where(unknown, alpha, trimap.round())


def spread_colours(rgb: Tensor, known: Tensor) -> Tensor:
    """Colours of the known pixels, carried smoothly to all others: push-pull over a pyramid, at a quarter of the size.

    Args:
        rgb: ``[B, 3, H, W]``.
        known: ``[B, 1, H, W]`` bool.

    Returns:
        ``[B, 3, ⌈H / 4⌉, ⌈W / 4⌉]``: in known places their own colour, softened; far from any, the mean of the
        nearest; 0.5 where nothing is known at all.

    Convention:
        Averages of the middle 2×2 of each 4×4 pixels, which tell as much as all do, then of 2×2 blocks, and bilinear
        enlargement with ``align_corners=False``: areas keep their place. Where they do not fit, the picture's border is
        repeated.
    """
    margin = [0, -rgb.shape[3] % SHRUNK, 0, -rgb.shape[2] % SHRUNK]
    weight = as_weight(known)
    if any(margin):
        rgb, weight = (F.pad(planes, margin, mode="replicate") for planes in (rgb, weight))
    # Rows, then columns: several times faster on a CPU than average pooling.
    rows = rgb.new_zeros(rgb.shape[0], 4, rgb.shape[2] // SHRUNK, rgb.shape[3])
    for row in MIDDLE:
        here = weight[:, :, row::SHRUNK]
        rows[:, :3].addcmul_(rgb[:, :, row::SHRUNK], here)
        rows[:, 3:] += here
    levels = [torch.stack([rows[..., column::SHRUNK] for column in MIDDLE]).sum(0) / len(MIDDLE) ** 2]
    while max(levels[-1].shape[2:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], [min(2, n) for n in levels[-1].shape[2:]], ceil_mode=True))
    colour = torch.full_like(levels[-1][:, :3], 0.5)
    for level in reversed(levels):
        total, share = level[:, :3], level[:, 3:]
        up = F.interpolate(colour, size=level.shape[2:], mode="bilinear", align_corners=False)
        colour = torch.lerp(up, total / share.clamp(min=1e-6), (share * 4).clamp(max=1))
    return colour


def _both_colours(rgb: Tensor, trimap: Tensor) -> Tensor:
    """``[B, 6, ⌈H / 4⌉, ⌈W / 4⌉]``: foreground and background, spread."""
    return torch.cat([spread_colours(rgb, trimap > 0.75), spread_colours(rgb, trimap < 0.25)], dim=1)


def load_embedded(path: Path | None = None) -> EmbeddedMatting:
    """The shipped model, or one fine-tuned from it, in evaluation mode and float32 on the CPU.

    Args:
        path: a file that training wrote; the shipped weights if not given.

    Raises:
        ModelError: the file is damaged or another model's.
    """
    file = path or resources.files("videomatte.models") / "weights" / WEIGHTS
    model = EmbeddedMatting()
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in load(file.read_bytes()).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{file}: not weights of the embedded model: {reason}") from error
    return model.eval()


def tile_places(unknown: Tensor) -> list[tuple[int, int]]:
    """Top left corners of tiles that hold every unknown pixel of ``[H, W]``: in bands of rows, each begun where the
    unknown begins, so that they are few."""
    rows = _starts(unknown.any(1))
    return [(y, x) for y in rows for x in _starts(unknown[y : y + TILE].any(0))]


def _starts(some: Tensor) -> list[int]:
    """Where tiles begin that hold the true entries of ``[n]``, each half of the overlap inside at least.

    All begin at multiples of the network's patches, so that a tile that moves on with what it holds sees the picture
    cut into the same patches.
    """
    margin, starts, covered = OVERLAP // 2, list[int](), 0
    last = max(0, math.ceil((len(some) - TILE) / PATCH) * PATCH)
    for place in some.nonzero()[:, 0].tolist():
        if not starts or place >= covered:
            starts.append(min(max(0, (place - margin) // PATCH * PATCH), last))
            covered = starts[-1] + TILE - margin if starts[-1] < last else len(some)
    return starts


def _cut(planes: Tensor, frame: int, y: int, x: int) -> Tensor:
    """A tile ``[C, TILE, TILE]`` of ``[B, C, H, W]``, the picture's border repeated beyond it."""
    return _filled(planes[frame, :, y : y + TILE, x : x + TILE])


def _enlarged(small: Tensor, rows: slice, columns: slice) -> Tensor:
    """What lies in some rows and columns, ``[C, h, w]``, of ``[C, ⌈H / 4⌉, ⌈W / 4⌉]`` enlarged to H × W; bilinear."""
    firsts = [part.start // SHRUNK - 1 for part in (rows, columns)]
    y, x = (
        torch.arange(first, (part.stop - 1) // SHRUNK + 2, device=small.device).clamp(0, length - 1)
        for part, first, length in zip((rows, columns), firsts, small.shape[1:], strict=True)
    )
    large = F.interpolate(small[None, :, y[:, None], x], scale_factor=SHRUNK, mode="bilinear", align_corners=False)[0]
    rows, columns = (
        slice(part.start - first * SHRUNK, part.stop - first * SHRUNK)
        for part, first in zip((rows, columns), firsts, strict=True)
    )
    return large[:, rows, columns]


def _filled(tile: Tensor) -> Tensor:
    """``[C, TILE, TILE]``: a tile that reaches beyond the picture, the border repeated."""
    if tile[0].numel() == TILE**2:
        return tile
    filled = F.pad(tile.float(), (0, TILE - tile.shape[2], 0, TILE - tile.shape[1]), mode="replicate")
    return filled.to(tile.dtype)


def _fade(device: torch.device) -> Tensor:
    """``[TILE, TILE]`` weights that rise over the overlap: two neighbours' add up to 1."""
    ramp = (torch.arange(TILE, device=device) + 0.5) / OVERLAP
    side = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
    return side[:, None] * side[None, :]
