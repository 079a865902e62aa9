"""Samples from a folder of the user's own: pictures with mattes, or foregrounds with mattes and backgrounds."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.errors import InputError
from videomatte.io import open_source
from videomatte.scenes.noise import Rng, stream
from videomatte.training.samples import Sample, random_trimap
from videomatte.types import unit_range

__all__ = ["FolderSamples", "read_picture", "read_pictures"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".exr"}


class FolderSamples:
    """A folder with ``image/`` and ``alpha/``, or with ``fg/``, ``alpha/`` and ``bg/``.

    A picture and its matte have the same name up to the extension; backgrounds have any. Each sample is a square of one
    picture with a trimap of its own; with ``fg/`` it is laid over a background drawn for it.

    Args:
        root: the folder.
        count: samples to make of it; more than there are pictures gives several of each.
        size: side of a sample in pixels; smaller pictures are filled up by repeating their border.
        seed: of squares, trimaps and backgrounds.
        name: what kept samples are called.

    Raises:
        InputError: a folder is missing or empty, or a picture has no matte.
    """

    def __init__(self, root: Path, *, count: int, size: int, seed: int, name: str = "folder") -> None:
        self.name, self.count, self.size, self.seed = name, count, size, seed
        composed = not (root / "image").is_dir()
        self.pictures = _pictures(root / ("fg" if composed else "image"), root)
        alphas = {path.stem: path for path in _pictures(root / "alpha", root)}
        missing = [path.name for path in self.pictures if path.stem not in alphas]
        if missing:
            raise InputError(
                f"{root}: {len(missing)} picture(s) have no file of the same name in alpha/, first {missing[0]}"
            )
        self.alphas = [alphas[path.stem] for path in self.pictures]
        self.backgrounds = _pictures(root / "bg", root) if composed else []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Sample number ``index``.

        Raises:
            InputError: a file cannot be read, or picture and matte differ in size.
        """
        rng = stream(self.seed, self.name, index)
        which = index % len(self.pictures)
        rgb, alpha = read_picture(self.pictures[which]), read_picture(self.alphas[which])[:1]
        if rgb.shape[1:] != alpha.shape[1:]:
            sizes = " and ".join(f"{x.shape[2]}x{x.shape[1]}" for x in (rgb, alpha))
            raise InputError(f"{self.alphas[which]}: picture and matte must have the same size, they have {sizes}")
        rgb, alpha = self._square(rng, rgb, alpha)
        if self.backgrounds:
            path = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
            rgb = rgb * alpha + _cover(read_picture(path), self.size) * (1 - alpha)
        trimap = random_trimap(rng, alpha)
        return Sample(_bytes(rgb)[None], trimap[None], _bytes(alpha)[None])

    def _square(self, rng: Rng, rgb: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """A square of the picture that holds some of the subject's edge, if any does."""
        planes = torch.cat([rgb, alpha])
        short = [max(0, self.size - n) for n in planes.shape[1:]]
        planes = F.pad(planes[None], (0, short[1], 0, short[0]), mode="replicate")[0]
        edge = ((planes[3] > 0.02) & (planes[3] < 0.98)).nonzero()
        height, width = planes.shape[1:]
        if len(edge):
            row, column = edge[int(rng.integers(len(edge)))].tolist()
        else:
            row, column = int(rng.integers(height)), int(rng.integers(width))
        top = min(max(0, row - int(rng.integers(self.size))), height - self.size)
        left = min(max(0, column - int(rng.integers(self.size))), width - self.size)
        square = planes[:, top : top + self.size, left : left + self.size]
        return square[:3], square[3:]


def read_picture(path: Path) -> Tensor:
    """A still as ``[3, H, W]`` float32 in 0..1.

    Raises:
        InputError: it cannot be read.
    """
    with open_source(path) as source:
        for frame in source:
            return unit_range(frame.rgb).clamp(0, 1)
    raise InputError(f"{path}: holds no picture")


def read_pictures(folder: Path) -> tuple[Tensor, ...]:
    """All stills of a folder as ``[3, H, W]`` uint8, in order of their names.

    Raises:
        InputError: there are none, or one cannot be read.
    """
    paths = _stills(folder)
    if not paths:
        raise InputError(f"{folder}: no pictures in this folder")
    return tuple(_bytes(read_picture(path)) for path in paths)


def _stills(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)


def _pictures(folder: Path, root: Path) -> list[Path]:
    paths = _stills(folder)
    if not paths:
        raise InputError(f"{root}: needs image/ and alpha/, or fg/, alpha/ and bg/; found no pictures in {folder}")
    return paths


def _cover(picture: Tensor, size: int) -> Tensor:
    """The picture's middle at the largest scale that still fills a square."""
    side = min(picture.shape[1:])
    top, left = ((n - side) // 2 for n in picture.shape[1:])
    middle = picture[None, :, top : top + side, left : left + side]
    return F.interpolate(middle, size=(size, size), mode="bilinear", antialias=True, align_corners=False)[0]


def _bytes(unit: Tensor) -> Tensor:
    return (unit * 255).round().clamp(0, 255).to(torch.uint8)
