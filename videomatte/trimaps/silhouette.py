"""From what departs from a known background to a trimap: which of it hangs together, which of it is opaque.

Shared by all that know what is behind the subject, be it a coloured screen or a clean plate.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.components import by_label, held_by_label, label_components, without_specks
from videomatte.strips import Enlarged, strips
from videomatte.trimaps.hue import dot
from videomatte.trimaps.morphology import box_around, dilate, erode, trimap_of
from videomatte.trimaps.spread import as_weight, spread

__all__ = ["around", "hangs_together", "opaque", "trimap_of_silhouette"]


def hangs_together(weak: Tensor, strong: Tensor, size: int) -> Tensor:
    """What departs a little and hangs together with enough that departs by much.

    A hysteresis, as in Canny, "A computational approach to edge detection", PAMI 1986: hair as fine as the noise allows
    stays in, specks and creases fall out.

    Args:
        weak: ``[H, W]`` bool, departs by more than noise.
        strong: ``[H, W]`` bool, departs by much more.
        size: longer side of the whole picture.

    Returns:
        ``[H, W]`` bool, a part of ``weak``.

    Convention:
        Pixel on pixel. Neighbours are at most two pixels apart, so that a strand broken by noise still hangs together.
    """
    labels, areas = label_components(dilate(weak, 1))
    evidence = held_by_label(strong, labels, areas)
    evidence[0] = 0
    return weak & by_label(evidence > 3 + (size / 300) ** 2, labels)


def opaque(
    subject: Tensor, core: Tensor, colour: Tensor, empty: Tensor, hidden: Tensor, foreign: Tensor, size: int
) -> Tensor:
    """The pixels of the subject through which nothing of the background shows, edges not yet drawn back.

    The subject's own colour is taken from its depth and spread outwards. A pixel whose colour lies between that and the
    background's is a mixture of the two, and how far along tells the background's part in it. Of a colour off that line
    this says nothing, and ``hidden`` decides; the more the subject's colours vary, the further off is called off.

    Args:
        subject: ``[H, W]`` bool.
        core: ``[H, W]`` bool, a first guess.
        colour: ``[C, H, W]`` float32, the frame, in any space where mixtures lie on straight lines.
        empty: ``[C, H, W]`` float32, the background.
        hidden: ``[H, W]`` bool, whether a colour that is no mixture hides the background.
        foreign: ``[H, W]`` bool, whether a colour off the line is none, however much the subject's vary.
        size: longer side of the whole picture.

    Returns:
        ``[H, W]`` bool, a part of ``subject``.

    Convention:
        Pixel on pixel. The depth begins a 180th of the longer side below the surface.
    """
    coarse = _quarter(colour)  # only slow changes are wanted
    for _ in range(2):
        deep = erode(_quarter(as_weight(core[None])) > 0.99, max(1.0, size / 180))
        if not deep.any():
            break
        moments = spread(torch.cat([coarse, coarse.square()]), deep, size / 160)
        enlarged, core = Enlarged(moments, *subject.shape), torch.empty_like(subject)
        for rows in strips(subject):
            own, square = enlarged.rows(rows).chunk(2)
            axis, offset = own - empty[:, rows], colour[:, rows] - empty[:, rows]
            length = dot(axis, axis).clamp_(min=1e-6)
            along = dot(offset, axis).div_(length)
            across = dot(offset.addcmul_(along, axis, value=-1), offset).div_(length).sqrt_()
            variety = square.sub_(own.square()).sum(0).clamp_(min=0).div_(length).sqrt_()
            # Masks are combined, for to choose between them takes ten times as long.
            mixed = across < variety + 0.15
            solid = ((along > 0.93 - 0.5 * variety) & mixed) | (hidden[rows] & ~mixed)
            core[rows] = subject[rows] & (solid | ((across > 0.15) & foreign[rows]))
    return core


def trimap_of_silhouette(subject: Tensor, core: Tensor, share: Tensor, size: int) -> Tensor:
    """The trimap of a subject and its opaque part; both sure areas draw back from what lies between.

    Args:
        subject: ``[H, W]`` bool.
        core: ``[H, W]`` bool, its opaque part.
        share: ``[H, W]`` float32, how much of the background shows, 0 to 1. Places where it is below a quarter on
            average and nowhere above two fifths, as by spill, and which are shut in by the core, belong to it.
        size: longer side of the whole picture.

    Returns:
        ``[H, W]`` uint8 in {0, 128, 255}.

    Convention:
        Distances are fractions of the picture's longer side, so that a smaller picture has the same trimap.
    """
    labels, areas = label_components(~core)
    outside = held_by_label(~subject, labels, areas)
    shown = torch.bincount(labels.flatten(), share.flatten(), minlength=len(areas)) / areas.clamp(min=1)
    gaps = held_by_label(share > 0.4, labels, areas)  # between locks of hair
    core = core | by_label((outside == 0) & (shown < 0.25) & (gaps == 0), labels)

    speck = (size / 160) ** 2
    cores, areas_of_cores = label_components(erode(core, max(2.0, size / 160)))
    large = areas_of_cores >= speck
    large[0] = False
    foreground = by_label(large, cores)
    wide = erode(~subject, max(2.0, size / 90))
    # What is seen through a narrow gap stays sure in its middle, if it is no speck.
    labels, areas = label_components(~subject)
    narrow = (held_by_label(wide, labels, areas) == 0) & (areas > (size / 50) ** 2)
    background = without_specks(wide | (erode(~subject, max(2.0, size / 200)) & by_label(narrow, labels)), speck)
    # Where what lies between is thick it is hair, and hair goes on where it looks opaque.
    hair = erode(subject & ~core, size / 160)
    drawn = foreground & ~dilate(hair, size / 160 + size / 80)
    lost = large & (held_by_label(drawn, cores, areas_of_cores) == 0)
    return trimap_of(drawn | by_label(lost, cores), background)


def around(subject: Tensor, size: int) -> tuple[slice, slice] | None:
    """The rows and columns that hold a subject and what its trimap may reach into; ``None`` where there is none."""
    return box_around(subject, size // 100 + 3)


def _quarter(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, 4, ceil_mode=True, count_include_pad=False)
