"""Alpha from a picture and its trimap alone: the matting Laplacian's equations, solved on the device.

    solver = LaplacianMatting()
    alpha = solver(rgb, trimap)

The equations are those of closed-form matting (Levin, Lischinski, Weiss, 2008) and, beside them and weakly, what each
pixel's own colour says (:mod:`videomatte.models.laplacian_colours`). They are solved by conjugate gradients with a
multigrid preconditioner whose coarse levels hold fields of colour lines. A first answer is sought among such fields; a
few steps on the pixels follow. Stopped early on purpose: what later steps would still change is spread along
directions that the picture hardly determines, where noise decides, and mattes get no better from it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomatte.models.laplacian_cells import PerFrame
from videomatte.models.laplacian_multigrid import Hierarchy
from videomatte.models.laplacian_system import System, assemble
from videomatte.models.precision import full_precision
from videomatte.trimaps.spread import as_weight

__all__ = ["LaplacianMatting"]

_JACOBI = 0.8
"""Damping on the pixels; the largest eigenvalue that it must stay below 2 of was found to be 2.1 at most."""
_PLATE_WORTH = 4.0
"""How much more colours are worth where the background's is known at every pixel. On procedural screens 16 clears more
haze between strands, and makes more holes in clothes of nearly the screen's colour; 4 was settled with one of the
benchmark's own scenes in view."""
_LINE_STEPS = 7
"""Steps among fields of colour lines. Five would do, but where the unknown is wide; ten bring next to nothing more."""
_CONVERGED = 1e-6
"""A frame's residual, relative to the right-hand side, below which float32 has no more to give."""


class LaplacianMatting(nn.Module):
    """Closed-form matting, with an eye on colours, as a module without weights.

    Args:
        steps: steps of conjugate gradients on the pixels. Eight give the best mattes, in the least time; a hundred
            give the equations' own solution.
        epsilon: how much variance of colour within a window counts as none. More gives smoother alpha.
        evidence: weight of what each pixel's own colour says beside the sure colours around. It decides where the
            equations hardly do; 0 leaves closed-form matting as it was published.
        clip: how near alpha has to be to 0 or 1 to count as such, the rest stretched to fill the gap: the haze that
            the equations leave on plain areas.
    """

    takes_plate = True
    """Whether :meth:`forward` makes use of the background's picture."""
    wants_colour_detail = True
    """Whether subsampled chroma is to be made up for before."""

    def __init__(self, steps: int = 8, epsilon: float = 1e-7, evidence: float = 4e-6, clip: float = 0.02) -> None:
        super().__init__()
        self.evidence = evidence
        self.clip = clip
        self.steps = steps
        self.epsilon = epsilon

    @torch.no_grad()
    def forward(
        self, rgb: Tensor, trimap: Tensor, initial: Tensor | None = None, plate: Tensor | None = None
    ) -> Tensor:
        """Alpha of a batch of pictures, any height and width; each as if it were alone.

        Args:
            rgb: ``[B, 3, H, W]``, 1.0 at white; more is allowed. NaN and infinity count as black and white.
            trimap: ``[B, 1, H, W]``: up to 0.1 sure background, from 0.9 on sure foreground, the rest unknown.
            initial: ``[B, 1, H, W]``, an alpha to start from, such as that of the frame before; taken as far as it
                helps, so that a bad one does no harm.
            plate: ``[B, 3, H, W]``, the pictures with the subject gone, as a key or a clean plate knows them. What
                colours say is then worth more.

        Returns:
            ``[B, 1, H, W]`` float32 in 0..1, exactly 0 and 1 where the trimap is sure. A picture without sure
            foreground has no foreground, one without sure background no background; where nothing is sure alpha is
            one half.

        Convention:
            Alpha's pixels are the picture's, row 0 at the top.
        """
        with full_precision(rgb.device):
            height, width = rgb.shape[2:]
            # A picture less than one window high or wide has no equations: repeat its edge.
            margin = [0, max(0, 3 - width), 0, max(0, 3 - height)]
            if any(margin):
                rgb, trimap = (F.pad(planes, margin, mode="replicate") for planes in (rgb.float(), trimap.float()))
                initial = plate = None
            background, foreground = trimap <= 0.1, trimap >= 0.9
            unknown = ~(background | foreground)
            # Masks as bytes: what torch does with bools takes many times as long.
            any_background, any_foreground = (
                known.view(torch.uint8).amax((1, 2, 3)) for known in (background, foreground)
            )
            alone = 0.5 + 0.5 * (any_foreground.float() - any_background.float())
            alpha = torch.where(unknown, alone[:, None, None, None], as_weight(foreground))
            unknown[(any_background & any_foreground) == 0] = False
            if unknown.view(torch.uint8).any():
                evidence = self.evidence * (1 if plate is None else _PLATE_WORTH)
                plate = None if plate is None else plate.float()
                system = assemble(rgb.float(), unknown, foreground, self.epsilon, evidence, plate)
                x = self._solve(system, initial)
                x = ((x - self.clip) / (1 - 2 * self.clip)).clamp(0, 1)
                alpha = system.cells.write(x, system.unknown, alpha)
            return alpha[..., :height, :width]

    def _solve(self, system: System, initial: Tensor | None) -> Tensor:
        lines = Hierarchy(system.cells.lattice, system.elements)

        def precondition(residual: Tensor) -> Tensor:
            x = residual * system.inverse_diagonal * _JACOBI
            x += system.from_lines(lines.cycle(system.to_lines(residual - system.apply(x))))
            return x.addcmul_(residual - system.apply(x), system.inverse_diagonal, value=_JACOBI)

        x = system.from_lines(
            _conjugate_gradients(
                lines.apply,
                lines.cycle,
                system.to_lines(system.right),
                system.cells.lattice.per_frame,
                _LINE_STEPS,
            )
        )
        residual = system.right - system.apply(x)
        sums = system.cells.per_frame
        if initial is not None:
            # As far towards it as lowers the energy: details that have moved since would cost more than they bring.
            step = torch.where(system.unknown, system.cells.read(initial.float()) - x, 0)
            image = system.apply(step)
            bent = sums.dot(step, image)
            length = sums.spread(_ratio(sums.dot(step, residual), bent, bent > 0))
            x, residual = x + step * length, residual - image * length
        goal = sums.dot(system.right, system.right) * _CONVERGED**2
        return x + _conjugate_gradients(system.apply, precondition, residual, sums, self.steps, goal)


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    right: Tensor,
    per_frame: PerFrame,
    steps: int,
    goal: Tensor | float = 0.0,
) -> Tensor:
    """Solve ``A x = right`` from zero, every frame with its own step lengths, so that frames do not touch each other.

    Args:
        apply: ``A``.
        precondition: an approximate inverse, symmetric and positive.
        right: ``[..., n + 1]``.
        per_frame: whose sums over frames are meant.
        steps: at most this many.
        goal: ``[frames]``, the squared length of the residual at which a frame is left as it is.
    """
    x, residual = torch.zeros_like(right), right
    direction = torch.zeros_like(right)
    before: Tensor | None = None
    for _ in range(steps):
        going = per_frame.dot(residual, residual) > goal
        if not going.any():
            break
        z = precondition(residual)
        now = per_frame.dot(residual, z)
        direction = z if before is None else z + direction * per_frame.spread(_ratio(now, before, going))
        image = apply(direction)
        length = per_frame.spread(_ratio(now, per_frame.dot(direction, image), going))
        x = x + direction * length
        residual = residual - image * length
        before = now
    return x


def _ratio(numerator: Tensor, denominator: Tensor, going: Tensor) -> Tensor:
    """Quotients, zero for frames that are done or that rounding has led where the matrix is not positive."""
    sound = going & (denominator > 0)
    return torch.where(sound, numerator / torch.where(sound, denominator, 1), 0)
