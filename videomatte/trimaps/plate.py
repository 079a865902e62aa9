"""The clean plate: trimaps of a subject before any background that was also shot, or painted, without it.

    with open_source("clip.mp4") as clip, open_source("plate.png") as plate:
        for item in CleanPlate(plate)(clip):
            ...

The plate is laid over each frame (:mod:`videomatte.trimaps.registration`), brought to its exposure and white balance,
and subtracted. What is left over is judged in units of the noise around it, and of what a fraction of a pixel's misfit
makes of the background's own edges, so that neither grain nor a busy background needs settings.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.components import by_label, label_components
from videomatte.errors import InputError
from videomatte.flow.warp import lands_inside, warp
from videomatte.trimaps.companions import Companions
from videomatte.trimaps.morphology import erode, trimap_of
from videomatte.trimaps.registration import homography_flow, match_light, register
from videomatte.trimaps.silhouette import hangs_together
from videomatte.trimaps.spread import spread
from videomatte.types import UNKNOWN, Frame, Source, TrimapFrame, finite_unit_range, from_unit_range
from videomatte.windows import box_mean

__all__ = ["CleanPlate", "Difference", "difference", "trimap_from_plate"]

_log = logging.getLogger(__name__)

_MISFIT = 0.15
"""Pixels by which the plate may lie beside the frame where the fit is at its worst."""
_DEPTH, _SMALL_HOLE, _GAP = 40, 60, 20
"""As parts of the picture's longer side: how deep in its silhouette a subject is opaque, and the size of a hole that is
none, and of one that may be none."""
_TRANSLUCENT = 0.25
"""Share of the plate's texture from which on it is seen through something, such as a veil; less is chance."""
_TEXTURE = 0.02
"""Standard deviation of a channel below which the plate has no texture to be seen through anything."""
_LEAST_NOISE, _MOST_NOISE = 0.004, 0.06
"""Standard deviation below which nothing is trusted, a level of 8 bits; and beyond which it is no noise, but another
place."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A frame held against its clean plate."""

    colour: Tensor
    """``[3, H, W]`` float32: the frame, averaged over 3 x 3 pixels."""
    background: Tensor
    """``[3, H, W]`` float32: the plate, laid over the frame and in its light."""
    departure: Tensor
    """``[H, W]`` float32: how far the frame departs from the plate; 1 is as far as chance takes one pixel in a
    hundred."""
    shade: Tensor
    """``[H, W]`` bool: departs as a shadow does, darker but of one tint with the plate."""
    through: Tensor
    """``[H, W]`` float32: how much of the plate's own texture shows around here, 0 to 1; 0 where it has none."""
    noise: float
    """Standard deviation of the best third of the picture from the plate."""
    inside: Tensor
    """``[H, W]`` bool: where the plate has anything to show."""


class CleanPlate:
    """The trimap stage of a clean plate. Each trimap comes with the plate, laid over its frame, as the background.

    A shadow of the subject is neither sure background nor sure foreground: the matting decides. Should a frame agree
    with the plate hardly anywhere, as with the subject right before the lens, all of it is unknown, with a warning.

    Args:
        plate: an open source: a still, or one picture per frame where the camera moved the same way twice. Where it
            ends before the clip, its last picture stays. At another size, of the same shape, it is resized.

    Raises:
        InputError: while running: the plate is empty, of another shape, or of another place than the first frame.
    """

    def __init__(self, plate: Source) -> None:
        self._plates = Companions(plate, "plate", last_stays=True)

    def __call__(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """Give every frame its trimap; none is held back."""
        map_: Tensor | None = None
        matched, missing = False, False
        for frame, picture in self._plates(frames):
            plate = self._plates.fitted(_clean(picture.rgb), picture, frame).to(frame.rgb.device)
            rgb = _clean(frame.rgb)
            map_ = register(rgb, plate, map_)
            found = difference(rgb, plate, map_)
            if found.noise < _MOST_NOISE:
                matched, missing = True, False
                background = from_unit_range(found.background, frame.rgb.dtype)
                yield TrimapFrame(frame, trimap_from_plate(found), "generated", background=background)
                continue
            if not matched:
                raise InputError(
                    f"{self._plates.name(picture)} shows another place than frame {frame.index}: they agree on less "
                    f"than a third of the picture. Begin at a frame that shows enough of it (--start)"
                )
            if not missing:
                _log.warning("from frame %d on the plate is not to be found: all is unknown", frame.index)
            missing, map_ = True, None
            yield TrimapFrame(frame, torch.full_like(frame.rgb[:1], UNKNOWN, dtype=torch.uint8), "generated")


def difference(rgb: Tensor, plate: Tensor, homography: Tensor) -> Difference:
    """Hold a frame against its clean plate.

    Args:
        rgb: ``[3, H, W]`` float32 in [0, 1].
        plate: ``[3, H, W]`` float32 in [0, 1].
        homography: ``[3, 3]``, from :func:`videomatte.trimaps.registration.register`.

    Convention:
        Pixel on pixel with the frame; averaging over 3 x 3 pixels takes off noise.
    """
    flow = homography_flow(homography, *rgb.shape[1:])[None]
    inside = lands_inside(flow)[0, 0]
    background, noise = match_light(rgb, warp(plate[None], flow)[0])
    colour, smooth = _smooth(rgb), _smooth(background)
    gap = (colour - smooth).abs()
    # Known to be background: in all channels within what the best third of the picture suggests.
    limit = (3 * noise).clamp(3 * _LEAST_NOISE, 3 * _MOST_NOISE).view(3, 1, 1)
    known = ((gap < limit).all(0) & inside)[None].float()
    local = spread(gap.square(), known, max(rgb.shape[1:]) / 16).clamp(min=0).sqrt()
    tolerance = 3 * local.clamp(_LEAST_NOISE, _MOST_NOISE) + _MISFIT * _slope(smooth)
    departure = (gap / tolerance).square().mean(0).sqrt()
    # The brightness distortion of Horprasert et al., ICCV Frame-Rate Workshop 1999, and what is left without it.
    light = (colour * smooth).sum(0) / smooth.square().sum(0).clamp(min=1e-4)
    tint = ((colour - light * smooth).abs() / tolerance).square().mean(0).sqrt()
    shade = (light > 0.5) & (light < 1) & (tint < 1)
    through = _regression(colour, smooth, max(2, max(rgb.shape[1:]) // 50), float(noise.mean()))
    return Difference(colour, background, departure, shade, through, float(noise.mean()), inside)


def trimap_from_plate(found: Difference) -> Tensor:
    """Tell sure background and sure foreground from where a frame departs from its plate.

    Args:
        found: the frame held against the plate.

    Returns:
        ``[1, H, W]`` uint8 in {0, 128, 255}. Where the plate has nothing to show all is unknown.

    Convention:
        Pixel on pixel with the frame.
    """
    size = max(found.departure.shape)
    weak = found.inside & (found.departure > 1)
    subject = hangs_together(weak, weak & (found.departure > 3) & ~found.shade, size)
    # Where by chance the subject looks as the plate does there are holes in it. Gaps under an arm are larger.
    labels, areas = label_components(~subject)
    subject = subject | by_label(areas < (size / _SMALL_HOLE) ** 2, labels)
    doubtful = by_label(areas < (size / _GAP) ** 2, labels) & ~subject
    # A shadow is no speck, nor is a veil.
    labels, areas = label_components(found.shade | (found.through > _TRANSLUCENT))
    doubted = by_label(areas >= (size / _GAP) ** 2, labels) & (labels > 0)
    core = erode(subject, size / _DEPTH) & ~doubted
    background = erode(~subject & ~doubtful & found.inside, max(2.0, size / 200))
    return trimap_of(core, background)[None]


def _regression(picture: Tensor, plate: Tensor, reach: int, noise: float) -> Tensor:
    """``[H, W]``: the factor by which the plate's texture is found again in squares of the picture."""
    products = torch.cat([picture, plate, picture * plate, plate.square()])
    y, x, xy, xx = box_mean(products, reach).chunk(4)
    covariance, variance = (xy - x * y).sum(0), (xx - x * x).sum(0)
    return (covariance / (variance + 4 * noise**2 + 3 * _TEXTURE**2)).clamp(0, 1)


def _slope(picture: Tensor) -> Tensor:
    """``[C, H, W]``: the steepest change from a pixel to its neighbours."""
    padded = F.pad(picture[None], [1] * 4, mode="replicate")
    return (F.max_pool2d(padded, 3, 1) + F.max_pool2d(-padded, 3, 1))[0] / 2


def _smooth(picture: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(picture[None], [1] * 4, mode="replicate"), 3, 1)[0]


def _clean(pixels: Tensor) -> Tensor:
    return finite_unit_range(pixels).clamp_(0, 1)
