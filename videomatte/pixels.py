"""Some pixels of a picture by their numbers, row by row from the top left: looked up, read and put back.

Whole numbers are looked up and divided by NumPy where it can: torch takes two to eight times as long on a CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["pixels_at", "places_of", "put_at", "rows_and_columns"]


def places_of(mask: Tensor) -> Tensor:
    """``[N]`` int64: the numbers of the true pixels of a mask, ``[..., H, W]`` bool, in rising order. Where it has
    several planes these are numbered one after the other."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def rows_and_columns(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Of pixels of planes so wide, by their numbers: ``[N]`` int64 each."""
    rows = torch.from_numpy(places.numpy() // width) if places.device.type == "cpu" else places // width
    return rows, torch.sub(places, rows, alpha=width)


def pixels_at(planes: Tensor, places: Tensor) -> Tensor:
    """Planes, ``[C, H, W]``, at some of their pixels, ``[N]`` int64: ``[C, N]``."""
    return planes.flatten(1).index_select(1, places)


def put_at(planes: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Planes, ``[C, H, W]``, that have these values there, ``[C, N]``, and are otherwise as they were."""
    return planes.flatten(1).scatter(1, places.expand_as(values), values).view_as(planes)
