"""How much memory a batch takes, told before it is computed.

What a network needs at once is what its largest step holds: its inputs, what later steps still want, and its own. For
ViTMatte that is counted from its layers; tensors that live at once were traced to check the count. For the solver and
the embedded model it is bytes a pixel and a tile, traced likewise (`python -m benchmarks.memory` measures all of them
in processes of their own). Weights are not counted: they are there before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from videomatte.engine.memory import free_bytes, resident_bytes
from videomatte.models import attention, detail_capture
from videomatte.models.detail_capture import DetailCapture
from videomatte.models.embedded import TILE, TILES_AT_ONCE, EmbeddedMatting, tile_places
from videomatte.models.laplacian import LaplacianMatting
from videomatte.models.laplacian_system import CELLS_AT_ONCE
from videomatte.models.vitmatte import ViTMatte

__all__ = ["most_frames", "peak_bytes", "room_bytes"]

_INPUT = 29
"""Bytes a pixel that the matting stage holds during a call: RGB twice and the trimap in float32, and as it came."""
_SOLVER = 31, 251
"""Bytes a pixel that the solver takes, inputs and what the heap keeps of them counted, and further ones an unknown
pixel."""
_EQUATIONS = 150, 69_000
"""While its equations are made, instead: further bytes an unknown pixel, and of each cell worked on at a time."""
_TILED = 32
"""Bytes a pixel that the embedded model holds while its network runs."""
_TILE_PIXEL = {4: 345, 2: 300}
"""Bytes a pixel of the tiles that the network works on at once, by the bytes of the type that it multiplies in."""
_NEAR_MASKS = 27
"""Bytes a pixel of the masks that tell which pixels of each level are wanted, and of alpha."""
_NEAR_BLOCKS = 25_000_000
"""Bytes of the blocks that are computed at a time where ViTMatte computes near unknown pixels."""
_NEAR_HEAP = 45_000_000
"""Bytes that small blocks, freed, leave on the heap there, measured."""
_WRITTEN = 0.07, 1.25
"""Share of the maps that is written to there, measured: of all, and more for all that is unknown."""
_CPU_CODE = 20_000_000
"""Libraries' own memory, linear algebra above all, taken when a process first solves."""
_KEPT_FREE = 0.1
"""Share of the free memory that is left alone: for other programs, and for a CUDA allocator's holes."""


def peak_bytes(
    model: object,
    height: int,
    width: int,
    batch: int,
    *,
    unknown: float | Tensor = 1.0,
    near: bool = False,
    device: torch.device | str = "cpu",
) -> int | None:
    """The most bytes that a batch takes at once beyond the model's weights and the frames themselves.

    Args:
        model: ready to run, as of :func:`videomatte.models.load.load_model`.
        height, width: of the frames, in pixels.
        batch: how many.
        unknown: share of their pixels that is unknown, in [0, 1]; or which they are, ``[H, W]`` bool, of all frames
            alike: where they are few, what the embedded model takes hangs on where they lie. Left out, all are unknown:
            that takes most.
        near: whether ViTMatte computes near unknown pixels alone.
        device: where it runs.

    Returns:
        ``None`` for a model that nothing is known of.
    """
    kind = torch.device(device).type
    places = None
    if isinstance(unknown, Tensor):
        places, unknown = len(tile_places(unknown)), float(unknown.float().mean())
    if isinstance(model, LaplacianMatting):
        return _solver(batch * height * width, unknown, kind)
    if isinstance(model, EmbeddedMatting):
        pixels = batch * height * width
        most = -(-height // TILE) * -(-width // TILE)
        tiles = min(TILES_AT_ONCE.get(kind, TILES_AT_ONCE["cuda"]), batch * (most if places is None else places))
        tiled = _TILED * pixels + tiles * TILE * TILE * _TILE_PIXEL[_width_of(model.backbone.patch_embed.proj)]
        code = _CPU_CODE if kind == "cpu" else 0
        return max(_solver(pixels, unknown, kind), tiled + code)
    if isinstance(model, ViTMatte):
        if near and isinstance(model.decoder, DetailCapture):
            return _near_unknown(model, height, width, batch, unknown, kind)
        return _vitmatte(model, height, width, batch, kind)
    return None


def most_frames(
    model: object, height: int, width: int, batch: int, room: int, device: torch.device | str, *, near: bool = False
) -> int:
    """The largest batch, ``batch`` at most, that takes no more than ``room`` bytes, whatever is unknown; 0 where not
    even one frame does. A model that nothing is known of gets the batch that is asked for."""
    for frames in range(batch, 0, -1):
        need = peak_bytes(model, height, width, frames, near=near, device=device)
        if need is None or need <= room:
            return frames
    return 0


def room_bytes(limit: int | None, device: torch.device) -> int | None:
    """Bytes that a batch may take now.

    Args:
        limit: most that the process may take, on CUDA the device's memory alone; left out, nine tenths of what is free.
        device: where it runs.

    Returns:
        ``None`` where there is no limit and the system does not tell what is free.
    """
    if device.type == "cuda":
        allocated = torch.cuda.memory_allocated(device)
        if limit is not None:
            return max(0, limit - allocated)
        unused = torch.cuda.memory_reserved(device) - allocated
        return int((1 - _KEPT_FREE) * (torch.cuda.mem_get_info(device)[0] + unused))
    if limit is not None:
        return max(0, limit - (resident_bytes() or 0))
    free = free_bytes()
    return None if free is None else int((1 - _KEPT_FREE) * free)


def _solver(pixels: int, unknown: float, kind: str) -> int:
    cells = min(CELLS_AT_ONCE.get(kind, CELLS_AT_ONCE["cuda"]), int(unknown * pixels / 64) + 1)
    code = _CPU_CODE if kind == "cpu" else 0
    equations = pixels * unknown * _EQUATIONS[0] + cells * _EQUATIONS[1]
    return int(pixels * _SOLVER[0] + max(pixels * unknown * _SOLVER[1], equations)) + code


def _vitmatte(model: ViTMatte, height: int, width: int, batch: int, kind: str) -> int:
    """ViTMatte on full frames."""
    config = model.config
    height, width = height + -height % 32, width + -width % 32
    pixels = batch * height * width
    # The picture as the network sees it comes on top.
    held = (_INPUT + 4 * config.in_chans) * pixels
    rows, columns = height // config.patch_size, width // config.patch_size
    multiplied = _width_of(model.backbone.patch_embed.proj)
    backbone = _block(config.embed_dim, config.heads, batch, rows, columns, multiplied, kind)
    features = 4 * config.embed_dim * batch * rows * columns
    if isinstance(model.decoder, DetailCapture):
        decoder = _detail_capture(
            (config.in_chans, *config.convstream_out),
            (config.embed_dim, *config.fusion_out),
            batch,
            height,
            width,
            multiplied,
        )
    else:  # features four times as fine, of an eighth of their channels, and the head's 16 channels
        decoder = pixels // 16 * (multiplied * (config.embed_dim // 8 + 16) + 64)
    return held + max(backbone, features + decoder)


def _near_unknown(model: ViTMatte, height: int, width: int, batch: int, unknown: float, kind: str) -> int:
    """ViTMatte near unknown pixels: maps of the decoder's features are as large as ever, but of a CPU's memory only
    what is written to is taken."""
    config = model.config
    pixels = batch * (height + -height % 32) * (width + -width % 32)
    multiplied = _width_of(model.backbone.patch_embed.proj)
    held = _INPUT + 4 * config.in_chans + 4 * config.embed_dim / config.patch_size**2 + _NEAR_MASKS
    stream = sum(channels / 4**level for level, channels in enumerate(config.convstream_out, start=1))
    maps = stream + config.fusion_out[-2] / 4 + config.fusion_out[-1]
    if kind != "cpu":
        return int(pixels * (held + multiplied * maps)) + _NEAR_BLOCKS
    written = min(1.0, _WRITTEN[0] + _WRITTEN[1] * unknown)
    return int(pixels * (held + multiplied * maps * written)) + _NEAR_BLOCKS + _NEAR_HEAP


def _block(dim: int, heads: int, batch: int, rows: int, columns: int, multiplied: int, kind: str) -> int:
    """The larger of a transformer block's two branches: attention or MLP."""
    tokens = batch * rows * columns
    at_once = attention._SCORES_AT_ONCE.get(kind, attention._SCORES_AT_ONCE["cuda"])
    scores = min(at_once, heads * tokens * rows * columns) * (12 if kind == "cpu" else 4 + 2 * multiplied)
    relative = 4 * heads * (rows + columns) * tokens
    # Stream, norm, query and key in float32; qkv, values, and the output in parts and joined.
    exact = 4 if kind == "cpu" else 3
    attend = (4 * exact + 6 * multiplied) * dim * tokens + relative + scores
    mlp = (8 + 8 * multiplied) * dim * tokens
    return max(attend, mlp)


def _detail_capture(
    stream: Sequence[int], fused: Sequence[int], batch: int, height: int, width: int, multiplied: int
) -> int:
    """The decoder: its stream of details, and the largest of its fusions and its head.

    Args:
        stream: channels of the details, the picture's first.
        fused: channels before and after each fusion.
    """
    details = sum(channels * _area(batch, height, width, level) for level, channels in enumerate(stream) if level)
    peak = 0
    levels = range(len(fused) - 2, -1, -1)
    for (coarse, fine), level in zip(pairwise(fused), levels, strict=True):
        area = _area(batch, height, width, level)
        joined = coarse + stream[level]
        # Bands of rows: what is joined, what it is joined from, and what comes of it; two rows more on both sides.
        row = batch * (width >> level)
        rows = 2 * max(1, detail_capture._JOINED_AT_ONCE // (joined * 2 * row))
        whole = rows >= height >> level
        band = area if whole else (rows + 4) * row
        peak = max(peak, coarse * area // 4 + band * (coarse + joined + fine) + (0 if whole else fine * area))
    area = _area(batch, height, width, 0)
    head = (fused[-1] + 16) * area * multiplied + (4 + 64 * (multiplied < 4)) * area
    return details * multiplied + max(peak * multiplied, head)


def _area(batch: int, height: int, width: int, level: int) -> int:
    return batch * (height >> level) * (width >> level)


def _width_of(layer: nn.Module) -> int:
    """Bytes of a number of the type that the network multiplies in."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.element_size()
