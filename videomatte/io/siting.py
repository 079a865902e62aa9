"""Where a movie's subsampled chroma really lies, found by holding it against luma.

H.264 and its kin put a chroma sample on the first of the two columns it stands for, unless the stream says otherwise,
and few streams say anything. Cameras keep to it. What was RGB first, renders, screen recordings, generated clips, has
mostly been through FFmpeg's scaler, which puts chroma in the middle of the two and does not say so. Read by the
letter, its colour is half a pixel beside its brightness, and every edge has a fringe: on a rendered green screen
closed-form mattes had a squared error a tenth higher for it.

Colour is mostly a linear function of brightness within a small window (the assumption behind closed-form matting, and
behind chroma from luma in AV1: Trudeau, Egge, Barr, "Predicting Chroma from Luma in AV1", DCC 2018), and is so best
where both are read at the same place. Windows with an edge in both are asked at which of the two places that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import InputError
from videomatte.io.pixel_layout import ChromaSiting
from videomatte.io.planes import frame_components
from videomatte.io.probe import decodable, open_movie
from videomatte.windows import square_sums

__all__ = ["find_siting", "siting_of"]

PICTURES = 4
"""Key frames looked at, spread over the clip: the first alone is often black."""
SIDE = 640
"""Rows and columns of luma looked at, in the middle of a picture."""
WINDOW = 5
"""Side of the windows, in chroma samples."""
BLUR = 0.8
"""Standard deviation of the Gaussian by which luma is read, in pixels: the same for both places, so that neither sees
a sharper picture."""
NOISE, CONTRAST = 1.0, 4.0
"""Variance of luma that counts as none, and of chroma from which on a window tells; in 8-bit codes, squared."""
LINEAR = 0.8
"""Share of chroma's variance that luma explains where the window holds one edge and nothing else."""
BETTER, SURE = 1.05, 5.0
"""How many times smaller the misfit in the middle must be, and by how many of its standard deviations. Footage of
cameras was found between 0.91 and 1.00; pictures from FFmpeg's scaler, unless strongly compressed, mostly above 1.1."""


def find_siting(path: Path, alive: Callable[[], None], *, seeks: bool) -> ChromaSiting:
    """The siting of a movie whose codec puts chroma to the left where nothing else is said.

    Args:
        path: the movie.
        alive: called as work goes on.
        seeks: whether the container can be sought in; otherwise the first frames are looked at.

    Returns:
        ``left`` unless the pictures say clearly that it is not so. Nothing is said of a movie that cannot be decoded:
        reading it will.
    """
    try:
        return siting_of(_pictures(path, alive, seeks=seeks))
    except (InputError, av.error.FFmpegError):
        return "left"


def siting_of(pictures: Iterable[av.VideoFrame]) -> ChromaSiting:
    """The siting of decoded pictures of one clip; ``left`` where they leave it open or have no chroma in pairs."""
    left = centre = variance = 0.0
    for picture in pictures:
        components = frame_components(picture)
        if components is None:
            continue
        luma, chroma = components
        down, across = (-(-whole // part) for whole, part in zip(luma.shape, chroma.shape[1:], strict=True))
        # Of an odd number of columns the last has a sample of its own.
        rows, columns = (
            _middle(whole // step, SIDE // step) for whole, step in zip(luma.shape, (down, across), strict=True)
        )
        if across != 2 or min(rows.stop - rows.start, columns.stop - columns.start) < WINDOW:
            continue
        chroma = chroma[:, rows, columns]
        luma = luma[rows.start * down : rows.stop * down, columns.start * across : columns.stop * across]
        if down == 2:
            luma = _read(luma, 0, 0.5)
        (at_left, whole), (at_centre, _) = (_misfit(_read(luma, 1, place), chroma) for place in (0.0, 0.5))
        tells = (whole > CONTRAST) & (torch.minimum(at_left, at_centre) < (1 - LINEAR) * whole)
        at_left, at_centre = at_left[tells].double(), at_centre[tells].double()
        left, centre = left + float(at_left.sum()), centre + float(at_centre.sum())
        variance += float((at_left - at_centre).square().sum())
    return "centre" if left > BETTER * centre and left - centre > SURE * variance**0.5 else "left"


def _pictures(path: Path, alive: Callable[[], None], *, seeks: bool) -> Iterator[av.VideoFrame]:
    container, stream = open_movie(path)
    with container:
        length = stream.duration or 0
        for number in range(PICTURES):
            if seeks and length:
                container.seek((stream.start_time or 0) + length * (2 * number + 1) // (2 * PICTURES), stream=stream)
            alive()
            packets = decodable(container.demux(stream), stream)
            picture = next((frame for packet in packets for frame in packet.decode()), None)
            if not isinstance(picture, av.VideoFrame):
                return
            yield picture


def _middle(length: int, most: int) -> slice:
    first = max(0, length - most) // 2
    return slice(first, first + min(length, most))


def _read(luma: Tensor, dim: int, place: float) -> Tensor:
    """Every second sample of ``[H, W]`` along an axis, read ``place`` behind its own place, edges repeated."""
    taps = torch.arange(-3, 5)
    weights = torch.exp(-(taps - place).square() / (2 * BLUR**2))
    weights /= weights.sum()
    margin = (0, 0, 3, 4) if dim == 0 else (3, 4)
    padded = F.pad(luma[None, None], (*margin, *[0] * (4 - len(margin))), mode="replicate")[0, 0]
    count = luma.shape[dim]
    total = torch.zeros_like(luma)
    for start, weight in enumerate(weights.tolist()):
        total += weight * padded.narrow(dim, start, count)
    return total[::2] if dim == 0 else total[:, ::2]


def _misfit(luma: Tensor, chroma: Tensor) -> tuple[Tensor, Tensor]:
    """Variance of chroma that no line over luma explains, and all of it; per window, ``[2, h, w]``."""

    def mean(planes: Tensor) -> Tensor:
        return square_sums(planes, WINDOW) / WINDOW**2

    luma_mean, chroma_mean = mean(luma), mean(chroma)
    luma_variance = (mean(luma.square()) - luma_mean.square()).clamp(min=0)
    whole = mean(chroma.square()) - chroma_mean.square()
    shared = mean(luma * chroma) - luma_mean * chroma_mean
    return (whole - shared.square() / (luma_variance + NOISE)).clamp(min=0), whole
