"""Multigrid over fields of colour lines: what makes the matting Laplacian's equations converge in a few steps.

Plain multigrid interpolates alpha and knows only smooth errors. The errors that the matting Laplacian damps least are
``a · colour + b`` with smooth ``(a, b)``: as busy as the picture is. Here every coarse level holds ``(a, b)``, four
numbers a node, so that from the second level on all is smooth, and each level's matrix follows from the finer one's
(Galerkin), cell by cell.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from videomatte.models.laplacian_cells import Lattice, pick, sum_corners

__all__ = ["Hierarchy"]

_DAMPING = 0.5
"""A cell's matrix is at most four times its diagonal blocks (it has four corners), so that 0.5 always converges."""
_BLOCK_RIDGE = 1e-4
"""Added to blocks before they are inverted, relative to their mean diagonal: colours may be all alike around a node."""
_DENSE_NODES = 128
"""A level with no more nodes a frame than this is solved at once."""


class _Level:
    """A lattice's matrix, its smoother, and the ways to the next coarser level."""

    def __init__(self, lattice: Lattice, elements: Tensor) -> None:
        self.lattice = lattice
        self.elements = elements.permute(1, 2, 0).contiguous()
        blocks = elements.reshape(-1, 4, 4, 4, 4).diagonal(dim1=2, dim2=4).permute(1, 2, 3, 0)
        at_nodes = sum_corners(blocks.reshape(16, 4, -1), lattice.touching).reshape(4, 4, -1).permute(2, 0, 1)
        ridge = at_nodes.diagonal(dim1=1, dim2=2).mean(1) * _BLOCK_RIDGE + 1e-12
        inverse = torch.linalg.inv(at_nodes + ridge[:, None, None] * torch.eye(4, device=elements.device))
        # Rounding leaves an inverse a little asymmetric, and conjugate gradients need it symmetric.
        self.smoother: Tensor = (_DAMPING / 2 * (inverse + inverse.mT)).permute(1, 2, 0).contiguous()
        self.smoother[..., -1] = 0

    def apply(self, lines: Tensor) -> Tensor:
        """The matrix times ``[4, N + 1]``."""
        at_corners = pick(lines, self.lattice.corners).reshape(16, -1)
        return sum_corners((self.elements * at_corners[:, None]).sum(0).reshape(4, 4, -1), self.lattice.touching)

    def smooth(self, residual: Tensor) -> Tensor:
        """A damped step of block Jacobi."""
        return (self.smoother * residual[:, None]).sum(0)


class Hierarchy:
    """The levels from the cells' lattice to one that is solved at once.

    Args:
        lattice: the finest.
        elements: ``[T + 1, 16, 16]``, number ``4 · channel + corner`` in rows and columns.
    """

    def __init__(self, lattice: Lattice, elements: Tensor) -> None:
        self._levels = [_Level(lattice, elements)]
        self._ways: list[tuple[Tensor, Tensor]] = []
        self._hat = torch.tensor([1, 2, 1, 2, 4, 2, 1, 2, 1], device=elements.device)[:, None] / 4
        parts = _child_from_parent(elements.device)
        while self._nodes_a_frame(lattice) > _DENSE_NODES:
            lattice, children, up, down = lattice.coarser()
            elements = sum(
                (part.T @ elements[child] @ part for part, child in zip(parts, children, strict=True)),
                start=torch.zeros_like(elements[:1]),
            )
            self._levels.append(_Level(lattice, elements))
            self._ways.append((up, down))
        self._slots, self._dense = _dense_inverse(lattice, elements)

    def apply(self, lines: Tensor) -> Tensor:
        """The finest level's matrix times ``[4, N + 1]``."""
        return self._levels[0].apply(lines)

    def cycle(self, residual: Tensor, depth: int = 0) -> Tensor:
        """An approximate solution ``[4, N + 1]`` by one V-cycle: symmetric and positive, fit to precondition with."""
        if depth == len(self._ways):
            return self._solve_dense(residual)
        level, (up, down) = self._levels[depth], self._ways[depth]
        lines = level.smooth(residual)
        left = residual - level.apply(lines)
        coarse = self.cycle((pick(left, down) * self._hat).sum(1), depth + 1)
        lines += pick(coarse, up).mean(1)
        return lines.add_(level.smooth(residual - level.apply(lines)))

    def _solve_dense(self, residual: Tensor) -> Tensor:
        frames, size = self._dense.shape[:2]
        flat = residual.new_zeros(4, frames * size // 4 + 1)
        flat[:, self._slots] = residual
        flat = flat[:, :-1].reshape(4, frames, -1).transpose(0, 1).reshape(frames, size, 1)
        solved = torch.bmm(self._dense, flat).reshape(frames, 4, -1).transpose(0, 1).reshape(4, -1)
        return pick(F.pad(solved, (0, 1)), self._slots)

    @staticmethod
    def _nodes_a_frame(lattice: Lattice) -> int:
        if lattice.active[0].numel() == 1:
            return 4
        return int(torch.bincount(lattice.node_frame, minlength=1).max())


def _child_from_parent(device: torch.device) -> Tensor:
    """``[4, 16, 16]``: ``(a, b)`` at the corners of each quarter of a cell, from that at the cell's corners."""
    side = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.0, 1.0]]], device=device)
    corners = torch.einsum("ynm,xkl->yxnkml", side, side).reshape(4, 4, 4)
    return torch.stack([torch.kron(torch.eye(4, device=device), quarter) for quarter in corners])


def _dense_inverse(lattice: Lattice, elements: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of a level's matrix, frame by frame.

    Returns:
        ``[N + 1]``, each node's place among ``frames · n`` where n is the most nodes that a frame has; and
        ``[frames, 4n, 4n]``.
    """
    frames = lattice.frames
    counts = torch.bincount(lattice.node_frame, minlength=frames)
    first = counts.cumsum(0) - counts
    size = int(counts.max())
    local = torch.arange(lattice.nodes, device=elements.device) - first[lattice.node_frame]
    slots = F.pad(lattice.node_frame * size + local, (0, 1), value=frames * size)

    corners = F.pad(local, (0, 1))[lattice.corners[:, :-1]].T
    index = (torch.arange(4, device=elements.device)[:, None] * size + corners[:, None]).reshape(-1, 16)
    dense = elements.new_zeros(frames, 4 * size, 4 * size)
    place = lattice.frame[:, None, None], index[:, :, None], index[:, None]
    dense.index_put_(place, elements[:-1], accumulate=True)
    if dense.device.type != "mps":
        dense = dense.double()
    diagonal = dense.diagonal(dim1=1, dim2=2)
    diagonal += diagonal.mean(1, keepdim=True) * 1e-5 + 1e-12
    inverse = torch.linalg.inv(dense).float()
    return slots, (inverse + inverse.mT) / 2
