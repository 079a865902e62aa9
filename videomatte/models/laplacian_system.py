"""The matting Laplacian's equations on the unknown pixels, and the same energy seen from fields of colour lines.

Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting" (2008), ask that alpha be an affine
function of colour in each 3 × 3 window. With ``c_p`` a pixel's colour less the window's mean and ``Σ`` the window's
covariance plus ``ε / 9``, the window's energy is ``xᵀ (1 - Q Qᵀ) x`` where ``Q`` has a row ``(1, Σ^-½ c_p) / 3`` for
each of its nine pixels; the sum over all windows is the matting Laplacian.

What these equations leave free is not just what is smooth: it is every alpha that is ``a · colour + b`` with ``(a, b)``
smooth. Such fields of colour lines, ``(a, b)`` at the corners of the cells and bilinear between them, are the coarse
space that :mod:`videomatte.models.laplacian_multigrid` works in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from videomatte.models.laplacian_cells import CELL, HALO, REACH, Cells, pick, sum_corners
from videomatte.models.laplacian_colours import alpha_from_colours, sure_colours
from videomatte.types import finite_unit_range

__all__ = ["CELLS_AT_ONCE", "System", "assemble"]

CELLS_AT_ONCE = {"cpu": 256, "cuda": 4096}
"""Cells whose equations are made together. On a CPU not so many that what is made of them leaves the cache, and not so
few that operations are too short to be worth calling."""
_WINDOW = [(dy, dx) for dy in range(3) for dx in range(3)]
_STENCIL = 2 * REACH + 1
_RIDGE = 4e-6
"""Added to the elements' diagonals, relative to what their difference is taken from: sixteen times float32's rounding,
for sixteen rows, so that what is positive in theory is so in numbers. JPEG's flat blocks leave energies near zero."""


@dataclass(frozen=True)
class System:
    """Equations ``A x = b`` for the alpha of the unknown pixels; known slots are zero throughout.

    For the layout see the Note in :mod:`videomatte.models.laplacian_cells`.
    """

    cells: Cells
    """Where the equations' pixels are."""
    unknown: Tensor
    """``[8, 8, T + 1]`` bool: the slots that hold an unknown pixel."""
    stencil: Tensor
    """``[5, 5, 8, 8, T + 1]``: the coefficients of a pixel's 5 × 5 neighbours in its row of the Laplacian."""
    right: Tensor
    """``[8, 8, T + 1]``: b, from the sure foreground around."""
    inverse_diagonal: Tensor
    """``[8, 8, T + 1]``."""
    colours: Tensor
    """``[4, 8, 8, T + 1]``: red, green and blue, centred and scaled frame by frame, and 1."""
    hats: Tensor
    """``[4, 64]``: the weight of each corner of a cell at each of its pixels, bilinear."""
    elements: Tensor
    """``[T + 1, 16, 16]``: each cell's share of the energy of ``(a, b)`` at its corners; rows and columns are
    numbered ``4 · channel + corner``."""

    def apply(self, x: Tensor) -> Tensor:
        """``A x``, both ``[8, 8, T + 1]``; x is zero on known slots."""
        return _apply(self.stencil, self.cells.with_halo(x))

    def to_lines(self, x: Tensor) -> Tensor:
        """``Pᵀ x``, ``[4, N + 1]``: the transpose of :meth:`from_lines`."""
        lattice = self.cells.lattice
        weighted = (self.colours * x).reshape(4, CELL * CELL, -1)
        corners = torch.matmul(self.hats, weighted)
        return sum_corners(corners, lattice.touching)

    def from_lines(self, lines: Tensor) -> Tensor:
        """``P lines``: alpha ``[8, 8, T + 1]`` of a field of colour lines ``[4, N + 1]``."""
        at_corners = pick(lines, self.cells.lattice.corners)
        # A channel at a time: a batch of such flat products takes several times as long.
        fields = ((self.hats.T @ channel).view(self.right.shape) for channel in at_corners)
        return reduce(torch.Tensor.add_, map(torch.mul, fields, self.colours))


def assemble(
    rgb: Tensor,
    unknown: Tensor,
    foreground: Tensor,
    epsilon: float,
    evidence: float = 0.0,
    plate: Tensor | None = None,
) -> System:
    """The equations of a batch of pictures.

    Args:
        rgb: ``[B, 3, H, W]`` float32; NaN and infinity count as black and white.
        unknown, foreground: ``[B, 1, H, W]`` bool, from the trimap.
        epsilon: how much variance of colour counts as none; more gives smoother alpha.
        evidence: weight of what each pixel's own colour says (:mod:`videomatte.models.laplacian_colours`). Every second
            pixel is asked, as on a chessboard, and counts twice: it tells as much.
        plate: ``[B, 3, H, W]`` float32, the pictures with the subject gone, where they are known.
    """
    cells = Cells(unknown)
    count, device = cells.count, rgb.device
    picture = rgb[0, 0].numel()
    # Colours of comparable size make good blocks to invert; the space they span stays the same.
    spread, mean = torch.std_mean(finite_unit_range(rgb[..., ::4, ::4]), (2, 3), correction=0)
    centre, scale = mean.T, 1 / (spread.mean(1) + 1e-6)
    flat = rgb.reshape(-1)
    state = (unknown.to(torch.uint8) + 2 * foreground.to(torch.uint8)).reshape(-1)
    position = (torch.arange(HALO, device=device) - REACH + 0.5) / CELL
    side = torch.stack([1 - position, position])
    hats = torch.einsum("ay,bx->abyx", side, side).reshape(4, HALO, HALO, 1)
    own_hats = hats[:, REACH : REACH + CELL, REACH : REACH + CELL]
    some_hats, own_hats = (planes.reshape(4, -1).contiguous() for planes in (_half(own_hats), own_hats))

    if evidence:
        sure = sure_colours(rgb, unknown, foreground, cells, plate).reshape(18, -1)
    stencil = rgb.new_empty(_STENCIL, _STENCIL, CELL, CELL, count + 1)
    stencil[..., count] = 0
    right = rgb.new_zeros(CELL, CELL, count + 1)
    colours = rgb.new_zeros(4, CELL, CELL, count + 1)
    elements = rgb.new_zeros(count + 1, 16, 16)
    step = CELLS_AT_ONCE.get(device.type, CELLS_AT_ONCE["cuda"])
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        places, inner = cells.places(part.start, part.stop)
        # ``places`` counts pixels of [B, H, W]; channels of frame b lie 2b pictures further on.
        frame = cells.lattice.frame[part]
        known_as = pick(state, places)
        is_unknown = (known_as == 1).float()
        places += frame * (2 * picture)
        channels = torch.stack([places + channel * picture for channel in range(3)])
        colour = finite_unit_range(pick(flat, channels))
        q = _windows(colour, epsilon)
        coefficients = stencil[..., part]
        torch.mul(_coefficients(q, inner[1:-1, 1:-1]), cells.own(is_unknown), out=coefficients)
        right[..., part] = -_apply(coefficients, (known_as == 2).float())
        weight = torch.zeros_like(right[..., part])
        if evidence:
            around = torch.matmul(some_hats.T, pick(sure, cells.lattice.corners[:, part]))
            empty = None if plate is None else finite_unit_range(pick(plate.reshape(-1), _half(cells.own(channels))))
            alpha, worth = alpha_from_colours(_half(cells.own(colour)), around[:9], around[9:], empty)
            worth *= 2 * evidence * _half(cells.own(is_unknown))
            for first, (share, pull) in enumerate(zip(worth.chunk(2), (worth * alpha).chunk(2), strict=True)):
                half = slice(first, None, 2)
                weight[half, half] = share.view_as(weight[half, half])
                right[half, half, part] += pull.view_as(weight[half, half])
            stencil[REACH, REACH, ..., part] += weight
        colour = (colour - centre[:, None, None, frame]) * (scale[frame] * is_unknown)
        basis = torch.cat([colour, is_unknown[None]])
        colours[..., part] = cells.own(basis)
        elements[part] = _elements(q, _near(is_unknown), weight, basis, hats)

    diagonal = stencil[REACH, REACH]
    inverse = torch.where(diagonal != 0, diagonal.clamp(min=1e-3).reciprocal(), 0)
    return System(cells, diagonal != 0, stencil, right, inverse, colours, own_hats, elements)


def _half(values: Tensor) -> Tensor:
    """``[..., 32, n]``, every second pixel of ``[..., 8, 8, n]`` as on a chessboard: even rows' even columns first."""
    return torch.cat([values[..., first::2, first::2, :].flatten(-3, -2) for first in (0, 1)], dim=-2)


def _apply(stencil: Tensor, halo: Tensor) -> Tensor:
    """``[8, 8, n]`` from coefficients ``[5, 5, 8, 8, n]`` and values ``[12, 12, n]``."""
    total = torch.zeros_like(stencil[0, 0])
    around = halo.unfold(0, CELL, 1).unfold(1, CELL, 1).permute(0, 1, 3, 4, 2)  # [5, 5, 8, 8, n], nothing moved
    for coefficients, values in zip(stencil, around, strict=True):
        for coefficient, value in zip(coefficients, values, strict=True):
            total.addcmul_(coefficient, value)
    return total


def _windows(rgb: Tensor, epsilon: float) -> Tensor:
    """``Q``, but for its constant column, of the windows centred in and right around each cell.

    Args:
        rgb: ``[3, 12, 12, n]``.

    Returns:
        ``[9, 3, 10, 10, n]``: for each pixel of a window its row of Q.
    """
    span = HALO - 2
    q = torch.stack([rgb[:, dy : dy + span, dx : dx + span] for dy, dx in _WINDOW])
    q -= q.mean(0)
    red, green, blue = q.unbind(1)
    floor = epsilon / 9

    def covariance(a: Tensor, b: Tensor) -> Tensor:
        total = a[0] * b[0]
        for one, other in zip(a[1:], b[1:], strict=True):
            total.addcmul_(one, other)
        # In float64, where there is any, so that subtracting pivots leaves more than rounding errors.
        return (total if total.device.type == "mps" else total.double()).div_(9)

    # Σ = L D Lᵀ; rows of Q hold D^-½ L^-1 c.
    rr, gg, bb = (covariance(c, c).add_(floor) for c in (red, green, blue))
    rg, rb, gb = covariance(red, green), covariance(red, blue), covariance(green, blue)
    l10, l20 = rg / rr, rb / rr
    d1 = gg.addcmul_(l10, rg, value=-1).clamp_(min=floor)
    e21 = gb.addcmul_(l10, rb, value=-1)
    l21 = e21 / d1
    d2 = bb.addcmul_(l20, rb, value=-1).addcmul_(l21, e21, value=-1).clamp_(min=floor)
    l10, l20, l21 = l10.float(), l20.float(), l21.float()
    green.addcmul_(l10, red, value=-1)
    blue.addcmul_(l20, red, value=-1).addcmul_(l21, green, value=-1)
    return q.mul_(torch.stack([rr, d1, d2]).rsqrt_().div_(3).float())


def _coefficients(q: Tensor, inner: Tensor) -> Tensor:
    """``[5, 5, 8, 8, n]``: rows of the matting Laplacian for each cell's pixels, from ``Q`` of the windows that are
    inside of the picture, ``[10, 10, n]`` bool."""
    n = q.shape[-1]
    means = inner / 9.0  # what the constant column makes of any two pixels
    if not inner.all():
        q = q * inner
    stencil = torch.zeros(_STENCIL, _STENCIL, CELL, CELL, n, device=q.device)
    for tap, (dy, dx) in enumerate(_WINDOW):
        # The windows of which each pixel of the cell is this tap, and what they tie it to.
        rows, columns = slice(2 - dy, 2 - dy + CELL), slice(2 - dx, 2 - dx + CELL)
        windows = q[:, :, rows, columns]
        ties = torch.addcmul(means[rows, columns], windows[:, 0], windows[tap, 0])
        for term in (1, 2):
            ties.addcmul_(windows[:, term], windows[tap, term])
        stencil[2 - dy : 5 - dy, 2 - dx : 5 - dx] -= ties.reshape(3, 3, CELL, CELL, n)
    # Rows of a Laplacian sum to zero; made so, they do in spite of rounding.
    stencil[REACH, REACH] = 0
    stencil[REACH, REACH] = -stencil.sum((0, 1))
    return stencil


def _near(unknown: Tensor) -> Tensor:
    """``[10, 10, n]`` bool: windows that hold an unknown pixel, from ``[12, 12, n]``."""
    rows = torch.maximum(torch.maximum(unknown[:-2], unknown[1:-1]), unknown[2:])
    return torch.maximum(torch.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]) > 0


def _elements(q: Tensor, counted: Tensor, weight: Tensor, basis: Tensor, hats: Tensor) -> Tensor:
    """The energy of the windows centred in each cell, as a form of ``(a, b)`` at the cell's corners.

    A window at the cell's edge sees the cell's own bilinear field carried on past the edge, where the true one has a
    kink, and every second window, as on a chessboard, stands for two: small parts of the energy, and what this matrix
    is for, preconditioning, does not ask for more. (Every fourth would be too few: mattes get worse.)

    Args:
        q: ``[9, 3, 10, 10, n]``, of windows centred outside of the picture too, so that its outermost pixels count.
        counted: ``[10, 10, n]`` bool, the windows that count.
        weight: ``[8, 8, n]``, of the evidence.
        basis: ``[4, 12, 12, n]``, colours and 1; zero on known pixels.
        hats: ``[4, 12, 12, 1]``, the corners' weights, carried on past the cell's edges.

    Returns:
        ``[n, 16, 16]``.
    """
    n, half = basis.shape[-1], CELL // 2
    fields = (basis[:, None] * hats).reshape(16, HALO, HALO, n)
    fitted = torch.zeros(16, 4, 2, half, half, n, device=q.device)
    seen = torch.zeros(HALO, HALO, n, device=q.device)
    for colour in (0, 1):
        some = slice(1 + colour, 1 + CELL, 2)
        share = counted[some, some] * 2.0
        for tap, (dy, dx) in enumerate(_WINDOW):
            rows, columns = (slice(1 + colour + step, 1 + step + CELL, 2) for step in (dy, dx))
            fitted[:, :3, colour].addcmul_(q[tap, :, some, some], fields[:, None, rows, columns])
            fitted[:, 3, colour] += fields[:, rows, columns]
            seen[rows, columns] += share
        root = share.sqrt()
        fitted[:, :3, colour] *= root
        fitted[:, 3, colour] *= root / 3
    seen[REACH : REACH + CELL, REACH : REACH + CELL] += weight
    whole = fields[:, 1:-1, 1:-1] * seen[1:-1, 1:-1].sqrt()
    # xᵀ (1 - Q Qᵀ) x, summed over windows. Cells first by a transposition of two axes, which torch does fast.
    taken, whole = (terms.reshape(-1, n).T.contiguous().reshape(n, 16, -1) for terms in (fitted, whole))
    whole = whole @ whole.mT
    whole.diagonal(dim1=1, dim2=2).mul_(1 + _RIDGE)
    return whole.baddbmm_(taken, taken.mT, alpha=-1)
