"""Where the unknown is: the 8 × 8 cells of a batch of trimaps that hold unknown pixels, as one list.

Trimaps are mostly known, and the unknown winds through the picture. Working on a list of small cells costs what the
unknown costs, whatever its shape, and frames of a batch need not be alike.

Note: layout
    What belongs to pixels is ``[..., 8, 8, T + 1]``: row and column in the cell, then the cell. With the cells last,
    an operation on one pixel of every cell runs through contiguous memory. Column ``T`` belongs to no cell and is
    always zero: where a cell has no neighbour, its neighbour is number ``T``. What belongs to the corners of cells
    (nodes) is ``[..., N + 1]`` in the same way. Everything is gathered, never added from several places at once, so
    that a GPU gives the same answer each time.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["CELL", "HALO", "REACH", "Cells", "Lattice", "PerFrame", "pick", "sum_corners"]

CELL = 8
"""Side of a cell, in pixels."""
REACH = 2
"""A pixel's equation reaches this far: the breadth of the 3 × 3 windows that hold the pixel, less one."""
HALO = CELL + 2 * REACH
"""Side of a cell with all that its pixels' equations reach."""


def pick(values: Tensor, index: Tensor) -> Tensor:
    """``values[..., index]``: ``[..., n]`` and an index of any shape give ``[..., *shape]``."""
    # Several times faster on the CPU than the brackets.
    return values.index_select(-1, index.reshape(-1)).reshape(*values.shape[:-1], *index.shape)


def sum_corners(corners: Tensor, touching: Tensor) -> Tensor:
    """``[C, N + 1]``: what the cells around each node hold for it, from ``[C, 4, T + 1]``."""
    return pick(corners.flatten(1), touching).sum(1)


class PerFrame:
    """Sums over the cells, or nodes, of each frame, and numbers of a frame handed back to them.

    Args:
        frame: ``[n]`` int64, the frame of each, in rising order.
        frames: how many frames there are.
    """

    def __init__(self, frame: Tensor, frames: int) -> None:
        self._index = F.pad(frame, (0, 1))
        self._members = F.pad(F.one_hot(frame, frames).float(), (0, 0, 0, 1))

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """``[frames]``: inner products of two ``[..., n + 1]``, frame by frame."""
        return (a * b).flatten(0, -2).sum(0) @ self._members

    def spread(self, numbers: Tensor) -> Tensor:
        """``[n + 1]``: each one's frame's number, from ``[frames]``."""
        return numbers[self._index]


class Lattice:
    """A list of equal square cells and their corners, the nodes, and the next coarser lattice of twice the side.

    Args:
        active: ``[B, h, w]`` bool, the cells of the list.

    Attributes:
        frames, cells, nodes: how many there are.
        corners: ``[4, cells + 1]``, the node at each corner of a cell: rows first, then columns.
        touching: ``[4, nodes + 1]``, where in ``[4, cells + 1]`` laid out flat each node is that corner of a cell.
        per_frame: sums over the nodes of a frame.
    """

    def __init__(self, active: Tensor) -> None:
        self.active = active
        self.cell_ids, (self.frame, self.row, self.column) = _number(active)
        at_corner = F.max_pool2d(F.pad(active.float()[:, None], (1, 1, 1, 1)), 2, 1)[:, 0] > 0
        self.node_ids, (self.node_frame, self.node_row, self.node_column) = _number(at_corner)
        self.frames, self.cells, self.nodes = len(active), len(self.frame), len(self.node_frame)
        both = [(dy, dx) for dy in (0, 1) for dx in (0, 1)]
        self.corners = self._index(
            [self.node_ids[self.frame, self.row + dy + 1, self.column + dx + 1] for dy, dx in both], self.nodes
        )
        touching = self._index(
            [self.cell_ids[self.node_frame, self.node_row - dy + 1, self.node_column - dx + 1] for dy, dx in both],
            self.cells,
        )
        self.touching = touching + torch.arange(4, device=active.device)[:, None] * (self.cells + 1)
        self.per_frame = PerFrame(self.node_frame, self.frames)

    def coarser(self) -> tuple[Lattice, Tensor, Tensor, Tensor]:
        """The lattice of cells of 2 × 2 cells, and the ways to it.

        Returns:
            the lattice; ``[4, its cells + 1]``, the four cells in each of its cells; ``[4, nodes + 1]``, the coarse
            nodes that a node lies between, one named more than once where it lies nearer (their mean is bilinear);
            ``[9, its nodes + 1]``, the nodes around each coarse node, rows first.
        """
        height, width = self.active.shape[1:]
        coarse = Lattice(F.max_pool2d(F.pad(self.active.float()[:, None], (0, width % 2, 0, height % 2)), 2)[:, 0] > 0)
        both = [(dy, dx) for dy in (0, 1) for dx in (0, 1)]
        ids = F.pad(self.cell_ids, (0, 1, 0, 1), value=self.cells)
        children = self._index(
            [ids[coarse.frame, 2 * coarse.row + dy + 1, 2 * coarse.column + dx + 1] for dy, dx in both], self.cells
        )
        up = self._index(
            [
                coarse.node_ids[self.node_frame, (self.node_row + dy) // 2 + 1, (self.node_column + dx) // 2 + 1]
                for dy, dx in both
            ],
            coarse.nodes,
        )
        ids = F.pad(self.node_ids, (0, 2, 0, 2), value=self.nodes)
        down = self._index(
            [
                ids[coarse.node_frame, 2 * coarse.node_row + dy + 1, 2 * coarse.node_column + dx + 1]
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
            ],
            self.nodes,
        )
        return coarse, children, up, down

    @staticmethod
    def _index(rows: list[Tensor], missing: int) -> Tensor:
        return F.pad(torch.stack(rows), (0, 1), value=missing)


class Cells:
    """The cells that hold unknown pixels, or centres of windows that reach one.

    Args:
        unknown: ``[B, 1, H, W]`` bool; H and W at least 3.

    Attributes:
        shape: of ``unknown``.
        count: how many cells there are, T.
        lattice: the cells and their corners.
        top, left: how far the grid starts above and left of the picture.
        per_frame: sums over the pixels of a frame.

    Convention:
        The grid is laid so that the picture is in its middle, pixel ``(y, x)`` in the cell at ``((y + top) // 8,
        (x + left) // 8)``. Thus no cell holds the picture's outermost row or column alone, which no window is centred
        on, so that nothing would be known of the cell.
    """

    def __init__(self, unknown: Tensor) -> None:
        self.shape = unknown.shape
        height, width = unknown.shape[2:]
        self.top, self.left = -height % CELL // 2, -width % CELL // 2
        # One pixel more than the cell to all sides: a window reaches one pixel from its centre.
        margin = [1 + self.left, 1 + -width % CELL - self.left, 1 + self.top, 1 + -height % CELL - self.top]
        active = _any_of(_any_of(F.pad(unknown[:, 0], margin), 1), 2)
        self.lattice = lattice = Lattice(active)
        self.count = lattice.cells
        self.per_frame = PerFrame(lattice.frame, lattice.frames)
        around = [
            lattice.cell_ids[lattice.frame, lattice.row + dy, lattice.column + dx] for dy in range(3) for dx in range(3)
        ]
        neighbours = F.pad(torch.stack(around), (0, 1), value=self.count).reshape(3, 3, -1)
        step = torch.arange(-REACH, CELL + REACH, device=unknown.device)
        cell, slot = step.div(CELL, rounding_mode="floor") + 1, step % CELL
        slots = (slot[:, None] * CELL + slot)[..., None]
        self._halo = slots * (self.count + 1) + neighbours[cell[:, None], cell]

    def places(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Where in the pictures the pixels of some cells and around them lie.

        Returns:
            ``[12, 12, stop - start]`` int64, indices into pictures ``[B, H, W]`` laid out flat; those outside of the
            picture name its nearest pixel. And the same shape, bool: which are inside by one pixel at least, so that
            a window may be centred on them.
        """
        height, width = self.shape[2:]
        steps = torch.arange(-REACH, CELL + REACH, device=self.lattice.row.device)
        y = (self.lattice.row[start:stop] * CELL - self.top + steps[:, None])[:, None]
        x = (self.lattice.column[start:stop] * CELL - self.left + steps[:, None])[None]
        inner = (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
        frame = self.lattice.frame[start:stop] * (height * width)
        return frame + y.clamp(0, height - 1) * width + x.clamp(0, width - 1), inner

    def own(self, values: Tensor) -> Tensor:
        """``[..., 8, 8, n]``, the cells' own part of ``[..., 12, 12, n]``."""
        return values[..., REACH : REACH + CELL, REACH : REACH + CELL, :]

    def with_halo(self, x: Tensor) -> Tensor:
        """``[12, 12, T + 1]``: ``[8, 8, T + 1]`` with what lies around each cell; zero where no cell is."""
        return pick(x.reshape(-1), self._halo)

    def read(self, pictures: Tensor) -> Tensor:
        """``[8, 8, T + 1]`` from ``[B, 1, H, W]``."""
        places, _ = self.places(0, self.count)
        return F.pad(pictures.reshape(-1)[self.own(places)], (0, 1))

    def write(self, x: Tensor, where: Tensor, pictures: Tensor) -> Tensor:
        """``[B, 1, H, W]``: the pictures, with ``[8, 8, T + 1]`` written over them where ``[8, 8, T + 1]`` says so."""
        places, _ = self.places(0, self.count)
        # What is not to be written goes behind the last picture.
        places = self.own(places).where(where[..., :-1], pictures.numel())
        flat = F.pad(pictures.reshape(-1), (0, 1))
        flat[places.reshape(-1)] = x[..., :-1].reshape(-1)
        return flat[:-1].reshape(pictures.shape)


def _any_of(mask: Tensor, dim: int) -> Tensor:
    """Which cells along an axis of ``[B, h, w]`` hold something true, or have it beside them.

    Args:
        mask: one more than whole cells at both ends of the axis.
        dim: the axis.
    """
    length = mask.shape[dim] - 2 - CELL + 1
    parts = (mask.narrow(dim, start, length) for start in range(CELL + 2))
    return reduce(torch.logical_or, [part[:, ::CELL] if dim == 1 else part[..., ::CELL] for part in parts])


def _number(active: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Number the true entries of ``[B, h, w]``, frame by frame and row by row, from 0.

    Returns:
        ``[B, h + 2, w + 2]`` int64, the numbers with a border around, their count where there is none; and the frame,
        row and column of each.
    """
    frame, row, column = active.nonzero(as_tuple=True)
    ids = active.new_full(F.pad(active, (1, 1, 1, 1)).shape, 0, dtype=torch.long).fill_(len(frame))
    ids[frame, row + 1, column + 1] = torch.arange(len(frame), device=active.device)
    return ids, (frame, row, column)
