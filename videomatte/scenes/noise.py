"""Random fields and the small image arithmetic everything in a scene is made with.

Every draw comes from a named stream of a seed, so that a scene is the same whatever was drawn elsewhere, and adding one
part does not shift the others. Draws and transforms are NumPy's, which uses one thread; the rest is elementwise or a
pooling, whose results do not hang on how many threads share the work.
"""

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "bearing",
    "between",
    "blur",
    "fractal",
    "fractal_like",
    "lookup",
    "luma",
    "power",
    "resize",
    "smoothstep",
    "stream",
    "tile_noise",
    "uniform_colour",
]

Rng = np.random.Generator

LUMA = (0.2126, 0.7152, 0.0722)
"""BT.709's weights of red, green and blue."""


def stream(seed: int, *names: str | int) -> Rng:
    """The random generator of one part of one scene: PCG64 seeded with the scene's seed and the part's name."""
    keys = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, *keys])


def fractal(rng: Rng, height: int, width: int, feature: float, exponent: float = 1.8) -> Tensor:
    """A field whose amplitude spectrum is flat up to one cycle in ``feature`` pixels and falls as a power above it.

    Spectral synthesis (Saupe, in "The Science of Fractal Images", 1988). An exponent of 1.8 looks like clouds and
    stains, 1.2 like gravel, 3 like soft light.

    Args:
        rng: where the numbers come from.
        height: rows.
        width: columns.
        feature: size of the largest structures, in pixels.
        exponent: fall of the amplitude, per octave about ``6 * exponent`` dB.

    Returns:
        ``[height, width]`` float32 of zero mean and unit variance.
    """
    # Periodic by nature: the field is made larger and cut, so that opposite borders do not match. Multiples of 32 keep
    # the transform quick.
    rows, columns = (32 * -(-int(n * 1.1 + 1) // 32) for n in (height, width))
    fy = np.fft.fftfreq(rows).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(columns).astype(np.float32)[None, :]
    amplitude = (fx * fx + fy * fy + 1.0 / feature**2) ** (-exponent / 2)
    amplitude[0, 0] = 0
    noise = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    field = np.fft.irfft2((noise[0] + 1j * noise[1]) * amplitude, s=(rows, columns))
    field = field[:height, :width].astype(np.float32)
    return torch.from_numpy((field - field.mean()) / max(float(field.std()), 1e-9))


def fractal_like(rng: Rng, grid: Tensor, feature: float, exponent: float = 1.8) -> Tensor:
    """:func:`fractal` of the size of a grid ``[H, W]``."""
    return fractal(rng, grid.shape[0], grid.shape[1], feature, exponent)


def tile_noise(rng: Rng, size: int = 256, feature: float = 64, exponent: float = 1.8) -> Tensor:
    """A periodic :func:`fractal` of ``[size, size]``, to be looked up at any coordinates by :func:`lookup`."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    amplitude = (fx * fx + fy * fy + 1.0 / feature**2) ** (-exponent / 2)
    amplitude[0, 0] = 0
    noise = rng.standard_normal((2, *amplitude.shape))
    field = np.fft.irfft2((noise[0] + 1j * noise[1]) * amplitude, s=(size, size))
    return torch.from_numpy((field / field.std()).astype(np.float32))


def lookup(tile: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear value of a periodic tile at any coordinates.

    Args:
        tile: ``[N, N]`` float32, periodic.
        x: coordinates in tiles (1 is once round), any shape.
        y: as x, downward.

    Returns:
        Values in the shape of x.
    """
    n = tile.shape[0]
    # Wrapped by floor, not by remainder(), which loses the fraction of small negatives in float32.
    x, y = (x - x.floor()) * n, (y - y.floor()) * n
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    x0, y0 = x0.long() % n, y0.long() % n
    x1, y1 = (x0 + 1) % n, (y0 + 1) % n
    flat = tile.reshape(-1)
    top = torch.lerp(flat[y0 * n + x0], flat[y0 * n + x1], fx)
    bottom = torch.lerp(flat[y1 * n + x0], flat[y1 * n + x1], fx)
    return torch.lerp(top, bottom, fy)


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """0 below ``low``, 1 above ``high``, a cubic between; ``high`` below ``low`` turns it round."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def power(x: Tensor, exponent: float) -> Tensor:
    """``x ** exponent`` of what is not negative.

    torch's own rounds otherwise at the ends of each thread's share of the work; exp and log do not. So does atan2, for
    which :func:`bearing` stands.
    """
    return (x.clamp(min=0).log() * exponent).exp()


def bearing(y: Tensor, x: Tensor) -> Tensor:
    """The angle of ``(x, y)`` in (-pi, pi], as atan2."""
    angle = (y / torch.where(x == 0, 1e-20, x)).atan()
    return angle + torch.where(x < 0, torch.where(y < 0, -torch.pi, torch.pi), 0.0)


def luma(rgb: Tensor) -> Tensor:
    """BT.709 luma ``[1, H, W]`` of ``[3, H, W]``, elementwise."""
    return LUMA[0] * rgb[0:1] + LUMA[1] * rgb[1:2] + LUMA[2] * rgb[2:3]


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of ``[C, H, W]``; pixel areas correspond (centres at half-integers), borders are held.

    torch's own chooses its arithmetic by the number of threads, which changes last digits; this one does not.
    """
    rows = (torch.arange(height) + 0.5) * (image.shape[1] / height) - 0.5
    columns = (torch.arange(width) + 0.5) * (image.shape[2] / width) - 0.5
    return between(image, rows, columns)


def between(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values of ``[C, H, W]`` on a grid of fractional rows ``[h]`` and columns ``[w]``: ``[C, h, w]``.

    Convention: 0 is the centre of the first pixel; places outside are those of the border.
    """
    for dim, asked in ((1, rows), (2, columns)):
        last = image.shape[dim] - 1
        places = asked.clamp(0, last)
        low = places.floor().long()
        share = places - low
        share = share[:, None] if dim == 1 else share
        image = torch.lerp(image.index_select(dim, low), image.index_select(dim, (low + 1).clamp(max=last)), share)
    return image


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian-like blur of ``[C, H, W]`` by three box filters, at reduced size where the blur allows it.

    The boxes are the extended ones of Gwosdek et al. ("Theoretical foundations of Gaussian convolution by extended box
    filtering", 2011): a whole number of ones and a fraction at each end, so that their variance is exact.

    Borders are held. Convention: sigma in pixels; the picture stays in place (symmetric filters, areas kept).
    """
    if sigma < 0.3:
        return image
    height, width = image.shape[-2:]
    factor = int(sigma / 2)
    if factor > 1:
        padded = F.pad(image[None], (0, -width % factor, 0, -height % factor), mode="replicate")
        # Averaging and enlarging blur too, by a quarter of the factor's square between them.
        rest = (sigma * sigma / factor**2 - 0.25) ** 0.5
        small = blur(F.avg_pool2d(padded, factor)[0], rest)
        return resize(small, padded.shape[2], padded.shape[3])[:, :height, :width]
    variance = sigma * sigma / 3
    radius = int(((12 * variance + 1) ** 0.5 - 1) / 2)
    inner = 2 * radius + 1
    end = inner * (radius * (radius + 1) / 3 - variance) / (2 * (variance - (radius + 1) ** 2))
    for _ in range(3):
        image = _box(_box(image, radius, end, -1), radius, end, -2)
    return image


def _box(image: Tensor, radius: int, end: float, dim: int) -> Tensor:
    """Mean over ``2 * radius + 1`` pixels and a fraction ``end`` of one more to each side, along one dimension."""
    size, reach = image.shape[dim], radius + 1
    pad = (reach, reach, 0, 0) if dim == -1 else (0, 0, reach, reach)
    padded = F.pad(image[None], pad, mode="replicate")[0]
    total = padded.narrow(dim, 0, size) * end
    total.add_(padded.narrow(dim, 2 * reach, size), alpha=end)
    for k in range(1, 2 * reach):
        total.add_(padded.narrow(dim, k, size))
    return total.div_(2 * radius + 1 + 2 * end)


def uniform_colour(rng: Rng, low: tuple[float, float, float], high: tuple[float, float, float]) -> Tensor:
    """A colour ``[3, 1, 1]`` from a box, mostly along its diagonal: real materials vary in depth more than in hue."""
    place = np.clip(rng.random() + rng.normal(0, 0.15, 3), 0, 1)
    return torch.from_numpy((np.array(low) + place * (np.array(high) - np.array(low))).astype(np.float32))[
        :, None, None
    ]
